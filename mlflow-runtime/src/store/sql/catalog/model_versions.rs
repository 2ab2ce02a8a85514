//! Model versions: reading, searching and changing them.
//!
//! As in MLflow, a deleted version keeps its row without its content, so that its number is not used again.

use std::collections::BTreeMap;

use super::comparison::{Bindings, direction, distinct_keys};
use super::registered_models;
use super::workspace::{primary_key, workspace_condition};
use crate::entities::{ModelVersion, ModelVersionStatus, NewModelVersion};
use crate::model::tag_keys;
use crate::search::{Comparison, FieldKind, SearchModelVersions, SortKey, Subject};
use crate::store::ClientError;
use crate::store::catalog::leave_out_prompts;
use crate::store::sql::dialect::json_list;
use crate::store::sql::error::CatalogError;
use crate::store::sql::query::{query_all, query_one, query_optional};
use crate::store::sql::{SqlConnection, SqlError, SqlValue, rows};
use crate::time;

/// Stage of a version that is deleted.
const DELETED: &str = "Deleted_Internal";

/// Creates the next version of a registered model, and returns it.
pub(super) fn create(
    db: &dyn SqlConnection,
    new: &NewModelVersion,
) -> Result<ModelVersion, CatalogError> {
    registered_models::require(db, &new.name)?;
    let storage = resolve_source(db, &new.source)?;
    let workspace = workspace_condition(db, "model_versions")?;
    let version: i64 = query_one(
        db,
        &format!(
            "SELECT coalesce(max(version), 0) + 1 FROM model_versions WHERE name = ?1 AND {workspace}"
        ),
        &[(&new.name).into()],
        |row| rows::integer(row, 0),
    )?;
    let now = time::now_ms();
    db.execute(
        "INSERT INTO model_versions
             (name, version, creation_time, last_updated_time, description, current_stage, source, run_id, status, run_link)
         VALUES (?1, ?2, ?3, ?3, ?4, 'None', ?5, ?6, 'READY', ?7)",
        &[
            (&new.name).into(),
            version.into(),
            now.into(),
            new.description.as_ref().into(),
            (&new.source).into(),
            new.run_id.as_ref().or(storage.run_id.as_ref()).into(),
            new.run_link.as_ref().into(),
        ],
    )?;
    if has_storage_location(db)? {
        db.execute(
            &format!(
                "UPDATE model_versions SET storage_location = ?3
                 WHERE name = ?1 AND version = ?2 AND {workspace}"
            ),
            &[(&new.name).into(), version.into(), storage.location.into()],
        )?;
    }
    let tags: Vec<SqlValue<'_>> = { new.tags.iter() }
        .flat_map(|(key, value)| [(&new.name).into(), version.into(), key.into(), value.into()])
        .collect();
    db.execute_many(
        "INSERT INTO model_version_tags (name, version, key, value) VALUES (?1, ?2, ?3, ?4)",
        &tags,
        4,
    )?;
    registered_models::touch(db, &new.name, now)?;
    get(db, &new.name, version.unsigned_abs())
}

/// Place of a version's files.
struct Storage {
    location: String,
    /// Run that created the files, as far as their place tells.
    run_id: Option<String>,
}

/// Returns true if this database records the place of a version's files beside the source that the user gave.
fn has_storage_location(db: &dyn SqlConnection) -> Result<bool, SqlError> {
    db.has_column("model_versions", "storage_location")
}

/// Returns the place that the source of a new version names. A source `models:/name/version` or
/// `models:/id` stands for the place of another version, or of a logged model.
fn resolve_source(db: &dyn SqlConnection, source: &str) -> Result<Storage, CatalogError> {
    let Some(model) = source.strip_prefix("models:/") else {
        return Ok(Storage {
            location: source.to_owned(),
            run_id: None,
        });
    };
    let model = model.trim_start_matches('/');
    let found = match model.split_once('/') {
        Some((name, version)) => match version.parse() {
            Ok(version) => storage_of_version(db, name, version)?,
            Err(_) => None,
        },
        None => storage_of_logged_model(db, model)?,
    };
    found.ok_or_else(|| {
        CatalogError::Declined(ClientError::invalid(format!(
            "the source `{source}` names no model: expected `models:/name/version`, `models:/id of a logged model`, \
             or the URI of the files"
        )))
    })
}

fn storage_of_version(
    db: &dyn SqlConnection,
    name: &str,
    version: i64,
) -> Result<Option<Storage>, CatalogError> {
    let workspace = workspace_condition(db, "model_versions")?;
    let location = if has_storage_location(db)? {
        "coalesce(nullif(storage_location, ''), source)"
    } else {
        "source"
    };
    let found = query_optional(
        db,
        &format!(
            "SELECT {location} FROM model_versions
             WHERE name = ?1 AND version = CAST(?2 AS BIGINT) AND current_stage != '{DELETED}' AND {workspace}"
        ),
        &[name.into(), version.into()],
        |row| {
            Ok(Storage {
                location: rows::string(row, 0)?,
                run_id: None,
            })
        },
    )?;
    Ok(found)
}

/// Returns the place of the files of a logged model.
pub(super) fn location_of_logged_model(
    db: &dyn SqlConnection,
    id: &str,
) -> Result<String, CatalogError> {
    match storage_of_logged_model(db, id)? {
        Some(storage) => Ok(storage.location),
        None => Err(CatalogError::Declined(ClientError::not_found(format!(
            "there is no logged model with the id `{id}`"
        )))),
    }
}

fn storage_of_logged_model(
    db: &dyn SqlConnection,
    id: &str,
) -> Result<Option<Storage>, CatalogError> {
    if !db.has_column("logged_models", "artifact_location")? {
        return Ok(None);
    }
    let found = query_optional(
        db,
        "SELECT artifact_location, source_run_id FROM logged_models WHERE model_id = ?1 AND lifecycle_stage = 'active'",
        &[id.into()],
        |row| {
            Ok(Storage {
                location: rows::string(row, 0)?,
                run_id: rows::optional_string(row, 1)?,
            })
        },
    )?;
    Ok(found)
}

/// Returns the id under which a version is found again on a later page.
fn id_of(name: &str, version: u64) -> String {
    // No name of a model contains a slash.
    format!("{version}/{name}")
}

fn missing_error(name: &str, version: u64) -> CatalogError {
    CatalogError::Declined(ClientError::not_found(format!(
        "there is no version {version} of the registered model `{name}`"
    )))
}

/// Returns a model version.
pub(super) fn get(
    db: &dyn SqlConnection,
    name: &str,
    version: u64,
) -> Result<ModelVersion, CatalogError> {
    let found = read(db, &[id_of(name, version)])?.pop();
    found.ok_or_else(|| missing_error(name, version))
}

/// Returns the number of the version as the database holds it, if the version exists and is not deleted.
pub(super) fn require(
    db: &dyn SqlConnection,
    name: &str,
    version: u64,
) -> Result<i64, CatalogError> {
    let missing = || missing_error(name, version);
    let number = i64::try_from(version).map_err(|_| missing())?;
    let workspace = workspace_condition(db, "model_versions")?;
    let found = query_optional(db, &format!(
            "SELECT version FROM model_versions
             WHERE name = ?1 AND version = CAST(?2 AS BIGINT) AND current_stage != '{DELETED}' AND {workspace}"
        ), &[name.into(), number.into()], |row| rows::integer(row, 0))?;
    found.ok_or_else(missing)
}

/// Returns the number of the newest version, if the model has any.
pub(super) fn newest(db: &dyn SqlConnection, name: &str) -> Result<Option<u64>, CatalogError> {
    let workspace = workspace_condition(db, "model_versions")?;
    let newest: Option<i64> = query_one(
        db,
        &format!(
            "SELECT max(version) FROM model_versions WHERE name = ?1 AND current_stage != '{DELETED}' AND {workspace}"
        ),
        &[name.into()],
        |row| row.integer(0),
    )?;
    Ok(newest.map(i64::unsigned_abs))
}

/// Returns the ids of the versions that match, in order.
pub(super) fn find_ids(
    db: &dyn SqlConnection,
    search: &SearchModelVersions,
) -> Result<Vec<String>, CatalogError> {
    let workspace = workspace_condition(db, "model_versions")?;
    let keys = search.order_by.iter();
    let keys = keys.map(|order| order.sort_key(Subject::ModelVersions));
    let keys = distinct_keys(keys.collect::<Result<_, _>>()?);
    let mut comparisons = search.filter.comparisons(Subject::ModelVersions)?;
    let mut bindings = Bindings::new(db.dialect());
    let mut conditions = vec![
        workspace.to_owned(),
        format!("v.current_stage != '{DELETED}'"),
    ];
    if leave_out_prompts(&mut comparisons) {
        let key = bindings.bind(tag_keys::IS_PROMPT.to_owned());
        // As in MLflow, one marked version makes all versions of the name those of a prompt.
        conditions.push(format!(
            "NOT EXISTS (SELECT 1 FROM model_version_tags AS t
                         WHERE t.name = v.name AND t.key = {key} AND t.value = 'true' AND {workspace})"
        ));
    }
    for comparison in &comparisons {
        conditions.push(condition(&mut bindings, comparison, workspace));
    }
    let ids = query_all(
        db,
        &format!(
            "SELECT v.name, v.version FROM model_versions AS v WHERE {} ORDER BY {}",
            conditions.join(" AND "),
            order(&keys)
        ),
        bindings.values(),
        |row| Ok(id_of(&rows::text(row, 0)?, rows::unsigned(row, 1)?)),
    )?;
    Ok(ids)
}

fn condition(bindings: &mut Bindings, comparison: &Comparison, workspace: &str) -> String {
    let Comparison {
        field,
        operator,
        operand,
    } = comparison;
    if field.kind == FieldKind::Tag {
        let key = bindings.bind(field.key.clone());
        let value = bindings.compare_text("t.value", *operator, operand);
        return format!(
            "EXISTS (SELECT 1 FROM model_version_tags AS t
                     WHERE t.name = v.name AND t.version = v.version AND t.key = {key} AND {value} AND {workspace})"
        );
    }
    match column(&field.key) {
        "v.version" => bindings.compare_number("v.version", *operator, operand),
        text => bindings.compare_text(text, *operator, operand),
    }
}

/// Returns the column of an attribute.
fn column(attribute: &str) -> &'static str {
    match attribute {
        "version_number" => "v.version",
        "run_id" => "v.run_id",
        "source_path" => "v.source",
        "creation_timestamp" => "v.creation_time",
        "last_updated_timestamp" => "v.last_updated_time",
        _ => "v.name",
    }
}

fn order(keys: &[SortKey]) -> String {
    let mut parts: Vec<String> = keys
        .iter()
        .map(|key| format!("{} {}", column(&key.field.key), direction(key)))
        .collect();
    if parts.is_empty() {
        parts.push("v.last_updated_time DESC".to_owned());
    }
    parts.push("v.name, v.version DESC".to_owned());
    parts.join(", ")
}

/// Returns the versions with these ids, in the same order, without those that do not exist.
pub(super) fn read(
    db: &dyn SqlConnection,
    ids: &[String],
) -> Result<Vec<ModelVersion>, CatalogError> {
    let workspace = workspace_condition(db, "model_versions")?;
    let keys: Vec<(&str, i64)> = ids
        .iter()
        .filter_map(|id| {
            let (version, name) = id.split_once('/')?;
            Some((name, version.parse().ok()?))
        })
        .collect();
    let pairs = { keys.iter() }.map(|&(name, version)| serde_json::json!([name, version]));
    let list = json_list(&pairs.collect::<Vec<_>>());
    let mut versions: Vec<Option<ModelVersion>> = keys.iter().map(|_| None).collect();
    let dialect = db.dialect();
    let (wanted, join) = (dialect.pairs("?1"), dialect.join());
    let (name, number) = (dialect.pair_text(), dialect.pair_integer());
    db.query(
        &format!(
            "SELECT k.key, v.name, v.version, v.creation_time, v.last_updated_time, v.description, v.user_id, v.source,
                    v.run_id, v.status, v.status_message, v.run_link
             FROM {wanted} {join} model_versions AS v ON v.name = {name} AND v.version = {number}
                  AND v.current_stage != '{DELETED}' AND {workspace}"
        ),
        &[(&list).into()],
        &mut |row| {
            let run_id = rows::string(row, 8)?;
            let version = ModelVersion {
                name: rows::string(row, 1)?,
                version: rows::unsigned(row, 2)?,
                creation_time_ms: row.integer(3)?,
                last_updated_time_ms: row.integer(4)?,
                description: rows::string(row, 5)?,
                user_id: rows::string(row, 6)?,
                source: rows::string(row, 7)?,
                run_id: (!run_id.is_empty()).then_some(run_id),
                status: ModelVersionStatus::from_name(&rows::text(row, 9)?),
                status_message: rows::string(row, 10)?,
                run_link: rows::string(row, 11)?,
                tags: BTreeMap::new(),
                aliases: Vec::new(),
            };
            if let Some(place) = versions.get_mut(rows::position(row, 0)?) {
                *place = Some(version);
            }
            Ok(())
        },
    )?;
    db.query(
        &format!(
            "SELECT k.key, t.key, t.value
             FROM {wanted} {join} model_version_tags AS t ON t.name = {name} AND t.version = {number} AND {workspace}"
        ),
        &[(&list).into()],
        &mut |row| {
            if let Some(Some(version)) = versions.get_mut(rows::position(row, 0)?) {
                let (key, value) = (rows::string(row, 1)?, rows::string(row, 2)?);
                version.tags.insert(key, value);
            }
            Ok(())
        },
    )?;
    db.query(
        &format!(
            "SELECT k.key, a.alias
             FROM {wanted} {join} registered_model_aliases AS a ON a.name = {name} AND a.version = {number} AND {workspace}
             ORDER BY a.alias"
        ),
        &[(&list).into()],
        &mut |row| {
            if let Some(Some(version)) = versions.get_mut(rows::position(row, 0)?) {
                version.aliases.push(rows::string(row, 1)?);
            }
            Ok(())
        },
    )?;
    Ok(versions.into_iter().flatten().collect())
}

/// Sets the description of a version.
pub(super) fn describe(
    db: &dyn SqlConnection,
    name: &str,
    version: u64,
    description: &str,
) -> Result<(), CatalogError> {
    let version = require(db, name, version)?;
    let workspace = workspace_condition(db, "model_versions")?;
    db.execute(
        &format!(
            "UPDATE model_versions SET description = ?3, last_updated_time = ?4
             WHERE name = ?1 AND version = ?2 AND {workspace}"
        ),
        &[
            name.into(),
            version.into(),
            description.into(),
            time::now_ms().into(),
        ],
    )?;
    Ok(())
}

/// Deletes a version: its aliases for good, and of its row all but name, number, times and status. As in
/// MLflow, the tags stay in the database.
pub(super) fn delete(db: &dyn SqlConnection, name: &str, version: u64) -> Result<(), CatalogError> {
    let version = require(db, name, version)?;
    let workspace = workspace_condition(db, "model_versions")?;
    let now = time::now_ms();
    db.execute(
        &format!(
            "DELETE FROM registered_model_aliases WHERE name = ?1 AND version = ?2 AND {workspace}"
        ),
        &[name.into(), version.into()],
    )?;
    db.execute(
        &format!(
            "UPDATE model_versions
             SET current_stage = '{DELETED}', last_updated_time = ?3, description = NULL, user_id = NULL,
                 status_message = NULL, source = 'REDACTED-SOURCE-PATH', run_id = 'REDACTED-RUN-ID',
                 run_link = 'REDACTED-RUN-LINK'
             WHERE name = ?1 AND version = ?2 AND {workspace}"
        ),
        &[name.into(), version.into(), now.into()],
    )?;
    registered_models::touch(db, name, now)
}

/// Sets a tag that was checked.
pub(super) fn set_tag(
    db: &dyn SqlConnection,
    name: &str,
    version: u64,
    key: &str,
    value: &str,
) -> Result<(), CatalogError> {
    let version = require(db, name, version)?;
    let columns = primary_key(db, "model_version_tags", "key, name, version")?;
    db.execute(
        &format!(
            "INSERT INTO model_version_tags (name, version, key, value) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT ({columns}) DO UPDATE SET value = excluded.value"
        ),
        &[name.into(), version.into(), key.into(), value.into()],
    )?;
    Ok(())
}

/// Deletes a tag, if the version has it.
pub(super) fn delete_tag(
    db: &dyn SqlConnection,
    name: &str,
    version: u64,
    key: &str,
) -> Result<(), CatalogError> {
    let version = require(db, name, version)?;
    let workspace = workspace_condition(db, "model_version_tags")?;
    db.execute(
        &format!(
            "DELETE FROM model_version_tags
             WHERE name = ?1 AND version = ?2 AND key = ?3 AND {workspace}"
        ),
        &[name.into(), version.into(), key.into()],
    )?;
    Ok(())
}
