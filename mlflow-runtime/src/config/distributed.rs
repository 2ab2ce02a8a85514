//! Settings of distributed runs: the rendezvous at which ranks share runs, and the prefix that separates
//! their metrics.
//!
//! Invariant: as in [`config`](crate::config), a value that cannot be used causes one warning, and the next
//! source's value is used instead.

use super::resolver::Resolver;
use crate::config::Config;
use crate::environment::launcher::RankInfo;
use crate::model::limits;
use crate::warnings::UserWarning;

/// Distributed settings as given to [`Config`]; `None` if not given.
#[derive(Clone, Debug, Default)]
pub(crate) struct DistributedOptions {
    rendezvous_id: Option<String>,
    metric_prefix: Option<String>,
}

/// Resolved distributed settings: explicit values, then the environment, then defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct DistributedSettings {
    pub(crate) rank_info: Option<RankInfo>,
    /// Rendezvous id; `None` also if the rank of the process is not known.
    pub(crate) rendezvous_id: Option<String>,
    /// Prefix of metric names; empty if there is none.
    pub(crate) metric_prefix: String,
}

const RENDEZVOUS_ID: &str = "MLFLOW_RENDEZVOUS_ID";
const METRIC_PREFIX: &str = "MLFLOW_METRIC_PREFIX";

impl Config {
    /// Sets a text that all processes of a launch have in common and no other launch has
    /// (`MLFLOW_RENDEZVOUS_ID`, default none). Runs without a parent are then shared between these processes;
    /// see [`distributed`](crate::distributed). The setting is ignored, with a warning, if no launcher has
    /// set the rank of the process.
    ///
    /// ```
    /// # let job = "4711";
    /// let config = mlflow::Config::new().rendezvous_id(format!("cluster-a/{job}"));
    /// # let _ = config;
    /// ```
    pub fn rendezvous_id(mut self, id: impl Into<String>) -> Self {
        self.rank.rendezvous_id = Some(id.into());
        self
    }

    /// Sets a prefix for the name of every metric (`MLFLOW_METRIC_PREFIX`, default none), except for names
    /// that begin with `system/`. The placeholders `{rank}`, `{local_rank}` and `{world_size}` stand for the
    /// values of the process. A prefix is ignored, with a warning, if the value of a placeholder is not known
    /// or no valid metric name can begin with the prefix. See [`distributed`](crate::distributed).
    ///
    /// ```
    /// let config = mlflow::Config::new().metric_prefix("rank-{rank}/");
    /// # let _ = config;
    /// ```
    pub fn metric_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.rank.metric_prefix = Some(prefix.into());
        self
    }
}

impl DistributedOptions {
    pub(super) fn resolve(
        self,
        resolver: &mut Resolver<'_>,
        place: Option<RankInfo>,
    ) -> DistributedSettings {
        let Self {
            rendezvous_id,
            metric_prefix,
        } = self;
        let rendezvous_id = resolver
            .choose(RENDEZVOUS_ID)
            .configured(rendezvous_id)
            .variable(Ok);
        let without_rank = rendezvous_id.chosen().filter(|_| place.is_none()).map(|(id, _)| {
            UserWarning::new(format_args!(
                "{RENDEZVOUS_ID}={id:?} is ignored, because no launcher has set the rank of this process; expected RANK and \
                 WORLD_SIZE, or what Open MPI, PMI or srun sets in their place"
            ))
        });
        let rendezvous_id = rendezvous_id.unless(without_rank).or_unset();
        let metric_prefix = resolver
            .choose(METRIC_PREFIX)
            .configured_as(metric_prefix, |template: String| {
                resolve_metric_prefix("the configured metric prefix", &template, place)
            })
            .variable(|template| resolve_metric_prefix(METRIC_PREFIX, &template, place))
            .or_unset();
        DistributedSettings {
            rank_info: place,
            rendezvous_id,
            metric_prefix: metric_prefix.unwrap_or_default(),
        }
    }
}

/// Expands a template into a prefix; returns a warning if the template cannot be used.
fn resolve_metric_prefix(
    source: &str,
    template: &str,
    place: Option<RankInfo>,
) -> Result<String, UserWarning> {
    let fault = match expand_placeholders(template, place) {
        // The prefix with one more letter has to be a valid key: otherwise no key with the prefix is valid.
        Ok(prefix) if !prefix.is_empty() => match limits::find_key_fault(&format!("{prefix}x")) {
            None => return Ok(prefix),
            Some(fault) => fault.into_owned(),
        },
        Ok(empty) => return Ok(empty),
        Err(fault) => fault,
    };
    Err(UserWarning::new(format_args!(
        "{source} {template:?} cannot be used and is ignored: {fault}"
    )))
}

// Input:  `rank-{rank}/`
// Output: `rank-3/`
fn expand_placeholders(template: &str, place: Option<RankInfo>) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after
            .split_once('}')
            .ok_or_else(|| "a `{` is not closed".to_owned())?;
        let number = match name {
            "rank" => place.map(|place| place.rank),
            "local_rank" => place.and_then(|place| place.local_rank),
            "world_size" => place.map(|place| place.world_size.get()),
            _ => {
                return Err(format!(
                    "unknown placeholder `{{{name}}}`; expected `{{rank}}`, `{{local_rank}}` or `{{world_size}}`"
                ));
            }
        };
        let number = number.ok_or_else(|| {
            format!("no launcher has set a value for `{{{name}}}` in this process")
        })?;
        text.push_str(before);
        text.push_str(&number.to_string());
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn resolve(
        options: DistributedOptions,
        environment: &[(&str, &str)],
        place: Option<RankInfo>,
    ) -> (Option<String>, String) {
        let find = |name: &str| environment.iter().find(|(key, _)| *key == name);
        let lookup = |name: &str| find(name).map(|(_, value)| (*value).into());
        let DistributedSettings {
            rank_info: _,
            rendezvous_id,
            metric_prefix,
        } = options.resolve(&mut Resolver::new(&lookup, None), place);
        (rendezvous_id, metric_prefix)
    }

    const PLACE: RankInfo = RankInfo {
        rank: 3,
        world_size: NonZeroU32::MIN.saturating_add(7),
        local_rank: None,
    };

    #[test]
    fn what_is_configured_wins_over_the_environment() {
        let environment = [
            ("MLFLOW_RENDEZVOUS_ID", "env"),
            ("MLFLOW_METRIC_PREFIX", "env/"),
        ];
        let configured = Config::new().rendezvous_id("code").metric_prefix("code/");
        let found = resolve(configured.rank, &environment, Some(PLACE));
        assert_eq!(found, (Some("code".to_owned()), "code/".to_owned()));
        let found = resolve(DistributedOptions::default(), &environment, Some(PLACE));
        assert_eq!(found, (Some("env".to_owned()), "env/".to_owned()));
    }

    #[test]
    fn without_a_place_there_is_no_rendezvous() {
        let environment = [("MLFLOW_RENDEZVOUS_ID", "env")];
        assert_eq!(
            resolve(DistributedOptions::default(), &environment, None).0,
            None
        );
    }

    #[test]
    fn placeholders_are_those_of_the_process() {
        let of = |template: &str| {
            let environment = [("MLFLOW_METRIC_PREFIX", template)];
            resolve(DistributedOptions::default(), &environment, Some(PLACE)).1
        };
        assert_eq!(of("rank-{rank}/"), "rank-3/");
        assert_eq!(of("{rank}of{world_size}."), "3of8.");
        assert_eq!(of("plain "), "plain ");
        for bad in [
            "{local_rank}/",
            "{host}/",
            "{rank",
            "rank={rank}/",
            "}",
            "/",
            "..",
            "{}",
            "a//",
        ] {
            assert_eq!(of(bad), "", "{bad}");
        }
        assert_eq!(of(&"x".repeat(249)).len(), 249);
        assert_eq!(of(&"x".repeat(250)), "", "no key would fit");
    }

    #[test]
    fn a_bad_prefix_leaves_the_next_source() {
        let environment = [("MLFLOW_METRIC_PREFIX", "env/")];
        let configured = Config::new().metric_prefix("{host}/");
        assert_eq!(resolve(configured.rank, &environment, None).1, "env/");
    }
}
