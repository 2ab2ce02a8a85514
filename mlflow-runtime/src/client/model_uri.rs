//! [`ModelUri`]: the URI of a model in the registry, or of a logged model, and the place of the model's files.

use crate::client::worker::Connection;
use crate::entities::ModelVersion;
use crate::model::limits::is_model_id;
use crate::store::ClientError;

/// Longest chain of versions that are each a copy of another one.
const MAX_COPIES: usize = 8;

/// URI of a model, as MLflow writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelUri {
    model: ModelRef,
    /// Path of a file or folder inside of the model; empty for the model itself.
    pub(super) path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ModelRef {
    Logged { model_id: String },
    Alias { name: String, alias: String },
    Version { name: String, version: u64 },
}

/// Place of artifacts in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ArtifactPlace {
    /// Folder among the artifacts of a run; empty for all of them.
    Run { run_id: String, folder: String },
    /// Files of a logged model.
    LoggedModel { model_id: String },
}

impl ModelUri {
    /// Reads `models:/name@alias`, `models:/name/version` or `models:/id`, each of the first two with a path inside of
    /// the model if need be.
    pub(super) fn parse(uri: &str) -> Result<Self, ClientError> {
        let invalid = || {
            ClientError::invalid(format!(
                "`{uri}` is no URI of a model: expected `models:/name@alias`, `models:/name/version`, or `models:/id` with \
                 the id of a logged model"
            ))
        };
        let rest = uri.strip_prefix("models:/").ok_or_else(invalid)?;
        let rest = rest.trim_matches('/');
        let (first, inside) = rest.split_once('/').unwrap_or((rest, ""));
        let (model, path) = match (first.rsplit_once('@'), inside) {
            (Some((name, alias)), path) => {
                let (name, alias) = (name.to_owned(), alias.to_owned());
                (ModelRef::Alias { name, alias }, path)
            }
            (None, "") => {
                let model_id = first.to_owned();
                if !is_model_id(first) {
                    return Err(invalid());
                }
                (ModelRef::Logged { model_id }, "")
            }
            (None, inside) => {
                let (version, path) = inside.split_once('/').unwrap_or((inside, ""));
                let name = first.to_owned();
                let model = if version.eq_ignore_ascii_case("latest") {
                    let alias = version.to_owned();
                    ModelRef::Alias { name, alias }
                } else {
                    let version = version.parse().map_err(|_| invalid())?;
                    ModelRef::Version { name, version }
                };
                (model, path)
            }
        };
        let is_named = match &model {
            ModelRef::Logged { model_id } => !model_id.is_empty(),
            ModelRef::Version { name, .. } => !name.is_empty(),
            ModelRef::Alias { name, alias } => !name.is_empty() && !alias.is_empty(),
        };
        if !is_named {
            return Err(invalid());
        }
        let path = path.to_owned();
        Ok(Self { model, path })
    }

    /// Returns the place of the model's files.
    pub(super) async fn locate(
        &self,
        connection: &Connection,
    ) -> Result<ArtifactPlace, ClientError> {
        let mut model = self.model.clone();
        for _ in 0..MAX_COPIES {
            let version = match &model {
                ModelRef::Logged { model_id } => {
                    let model_id = model_id.clone();
                    return Ok(ArtifactPlace::LoggedModel { model_id });
                }
                ModelRef::Alias { name, alias } => {
                    connection
                        .repeat(|store| store.get_model_version_by_alias(name, alias))
                        .await?
                }
                ModelRef::Version { name, version } => {
                    connection
                        .repeat(|store| store.get_model_version(name, *version))
                        .await?
                }
            };
            match Self::parse(&version.source) {
                Ok(source) if source.path.is_empty() => model = source.model,
                _ => return find_source(connection, &version).await,
            }
        }
        Err(ClientError::unsupported(
            "the version is a copy of a copy, more often than this client follows",
        ))
    }
}

/// Returns the place of the files of a version whose source is not the URI of a model.
async fn find_source(
    connection: &Connection,
    version: &ModelVersion,
) -> Result<ArtifactPlace, ClientError> {
    let source = version.source.trim_end_matches('/');
    if let Some(rest) = source.strip_prefix("runs:/") {
        let (run_id, folder) = rest.split_once('/').unwrap_or((rest, ""));
        let (run_id, folder) = (run_id.to_owned(), folder.to_owned());
        return Ok(ArtifactPlace::Run { run_id, folder });
    }
    // `<experiment>/models/<id>/artifacts`
    if let Some(rest) = source.strip_suffix("/artifacts")
        && let Some((parent, id)) = rest.rsplit_once('/')
        && parent.ends_with("/models")
        && is_model_id(id)
    {
        let model_id = id.to_owned();
        return Ok(ArtifactPlace::LoggedModel { model_id });
    }
    if let Some(run_id) = &version.run_id {
        let run = connection
            .repeat(|store| store.get_run_record(run_id))
            .await?;
        let below = source.strip_prefix(run.artifact_uri.trim_end_matches('/'));
        if let Some(folder) = below.filter(|folder| folder.is_empty() || folder.starts_with('/')) {
            let (run_id, folder) = (run.run_id, folder.trim_matches('/').to_owned());
            return Ok(ArtifactPlace::Run { run_id, folder });
        }
    }
    Err(ClientError::unsupported(format!(
        "the files of version {} of `{}` are at `{}`, which belongs neither to a run nor to a logged model: read them from \
         there",
        version.version,
        version.name,
        mlflow_rules::url_without_credentials(source)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_as_mlflow_does() {
        let owned = str::to_owned;
        for (uri, model, path) in [
            (
                "models:/digits@champion",
                ModelRef::Alias {
                    name: owned("digits"),
                    alias: owned("champion"),
                },
                "",
            ),
            (
                "models:/a@b@c/dir/x.bin",
                ModelRef::Alias {
                    name: owned("a@b"),
                    alias: owned("c"),
                },
                "dir/x.bin",
            ),
            (
                "models:/digits/3/MLmodel",
                ModelRef::Version {
                    name: owned("digits"),
                    version: 3,
                },
                "MLmodel",
            ),
            (
                "models:/digits/latest",
                ModelRef::Alias {
                    name: owned("digits"),
                    alias: owned("latest"),
                },
                "",
            ),
            (
                "models:/m-0a1b/",
                ModelRef::Logged {
                    model_id: owned("m-0a1b"),
                },
                "",
            ),
        ] {
            let path = path.to_owned();
            let parsed = ModelUri::parse(uri).expect(uri);
            assert_eq!(parsed, ModelUri { model, path });
        }
        for uri in [
            "runs:/1/model",
            "models:/",
            "models:/@a",
            "models:/a@",
            "models:/digits/Production",
            "models:/digits/-1",
            "models:/digits",
            "models:/m-..%2f",
        ] {
            let parsed = ModelUri::parse(uri);
            assert!(matches!(parsed, Err(ClientError::Invalid { .. })), "{uri}");
        }
    }
}
