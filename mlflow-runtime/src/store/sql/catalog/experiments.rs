//! Experiments: reading, searching and changing them.

use std::collections::BTreeMap;
use std::path::{self, Path};

use super::comparison::{Bindings, direction, distinct_keys};
use super::workspace::workspace_condition;
use crate::entities::{Experiment, LifecycleStage, NewExperiment};
use crate::model::ExperimentRef;
use crate::model::limits::{ARTIFACT_LOCATION_CHARS, EXPERIMENT_TAG_VALUE_CHARS};
use crate::search::{
    Comparison, FieldKind, Operand, Operator, SearchExperiments, SortKey, Subject, ViewType,
};
use crate::store::sql::dialect::json_list;
use crate::store::sql::error::CatalogError;
use crate::store::sql::query::{query_all, query_optional};
use crate::store::sql::runs::insert_experiment;
use crate::store::sql::{SqlConnection, SqlValue, rows};
use crate::store::{ClientError, uri, validate};
use crate::time;

/// Checks a new experiment, and returns the place of its artifacts, if the experiment has one of its own.
pub(super) fn check_new(new: &NewExperiment) -> Result<Option<String>, ClientError> {
    validate::check_new_experiment(&new.name)?;
    for (key, value) in &new.tags {
        check_tag(key, value)?;
    }
    let Some(location) = new.artifact_location.as_deref().filter(|l| !l.is_empty()) else {
        return Ok(None);
    };
    let location = match uri::scheme(location) {
        None => absolute(location)?,
        Some("runs") => {
            return Err(ClientError::invalid(format!(
                "the artifact location `{location}` lies within a run: give a directory or the URI of a storage"
            )));
        }
        Some(_) => location.to_owned(),
    };
    if location.chars().count() > ARTIFACT_LOCATION_CHARS {
        return Err(ClientError::invalid(format!(
            "the artifact location is longer than {ARTIFACT_LOCATION_CHARS} characters: choose another"
        )));
    }
    Ok(Some(location))
}

fn absolute(location: &str) -> Result<String, ClientError> {
    if Path::new(location).is_absolute() {
        return Ok(location.to_owned());
    }
    let path = path::absolute(location).map_err(|error| {
        ClientError::local_file(
            format!("the artifact location `{location}` has no absolute path: {error}"),
            error,
        )
    })?;
    Ok(path.to_string_lossy().into_owned())
}

/// Checks a tag of an experiment.
pub(super) fn check_tag(key: &str, value: &str) -> Result<(), ClientError> {
    Ok(validate::check_tag(key, value, EXPERIMENT_TAG_VALUE_CHARS)?)
}

/// Creates an experiment that was [checked](check_new), and returns its id.
pub(super) fn create(
    db: &dyn SqlConnection,
    new: &NewExperiment,
    artifact_location: Option<&str>,
    artifact_root: &Path,
) -> Result<String, CatalogError> {
    require_free_name(db, &new.name)?;
    let id = insert_experiment(db, &new.name, artifact_location, artifact_root)?;
    let number = parse_id(&id)?;
    let tags: Vec<SqlValue<'_>> = { new.tags.iter() }
        .flat_map(|(key, value)| [number.into(), key.into(), value.into()])
        .collect();
    db.execute_many(
        "INSERT INTO experiment_tags (experiment_id, key, value) VALUES (?1, ?2, ?3)",
        &tags,
        3,
    )?;
    Ok(id)
}

fn require_free_name(db: &dyn SqlConnection, name: &str) -> Result<(), CatalogError> {
    match select(db, "name = ?1", name.into())? {
        None => Ok(()),
        Some(found) if found.is_deleted => Err(CatalogError::Declined(
            ClientError::already_exists(format!(
                "the experiment `{name}` exists, but is deleted: restore it, or use another name"
            )),
        )),
        Some(_) => Err(CatalogError::Declined(ClientError::already_exists(
            format!("the experiment `{name}` already exists: use it, or choose another name"),
        ))),
    }
}

/// Experiment, as far as a change has to know it.
struct ExperimentState {
    id: i64,
    name: String,
    is_deleted: bool,
}

fn select(
    db: &dyn SqlConnection,
    condition: &str,
    value: SqlValue<'_>,
) -> Result<Option<ExperimentState>, CatalogError> {
    let workspace = workspace_condition(db, "experiments")?;
    let found = query_optional(
        db,
        &format!(
            "SELECT experiment_id, name, lifecycle_stage FROM experiments WHERE {condition} AND {workspace}"
        ),
        &[value],
        |row| {
            Ok(ExperimentState {
                id: rows::integer(row, 0)?,
                name: rows::string(row, 1)?,
                is_deleted: rows::text(row, 2)? == "deleted",
            })
        },
    )?;
    Ok(found)
}

/// Returns the number that an id consists of.
fn parse_id(id: &str) -> Result<i64, CatalogError> {
    id.parse().map_err(|_| {
        CatalogError::Declined(ClientError::invalid(format!(
            "the experiment id `{id}` is not an integer"
        )))
    })
}

fn require(db: &dyn SqlConnection, id: &str) -> Result<ExperimentState, CatalogError> {
    let number = parse_id(id)?;
    select(db, "experiment_id = CAST(?1 AS BIGINT)", number.into())?.ok_or_else(|| {
        CatalogError::Declined(ClientError::not_found(format!(
            "there is no experiment with the id {id}"
        )))
    })
}

/// Returns an experiment to whose tags or name a change may be made.
fn require_active(db: &dyn SqlConnection, id: &str) -> Result<ExperimentState, CatalogError> {
    let found = require(db, id)?;
    if found.is_deleted {
        return Err(CatalogError::Declined(ClientError::invalid(format!(
            "the experiment `{}` is deleted: restore it to change it",
            found.name
        ))));
    }
    Ok(found)
}

/// Returns the id of an experiment, which may be deleted.
pub(super) fn find_id(
    db: &dyn SqlConnection,
    experiment: &ExperimentRef,
) -> Result<i64, CatalogError> {
    match experiment {
        ExperimentRef::Id(id) => Ok(require(db, id)?.id),
        ExperimentRef::Name(name) => match select(db, "name = ?1", name.into())? {
            Some(found) => Ok(found.id),
            None => Err(CatalogError::Declined(ClientError::not_found(format!(
                "there is no experiment `{name}`"
            )))),
        },
    }
}

/// Returns an experiment, which may be deleted.
pub(super) fn get(
    db: &dyn SqlConnection,
    experiment: &ExperimentRef,
) -> Result<Experiment, CatalogError> {
    let id = find_id(db, experiment)?.to_string();
    let missing = || ClientError::not_found(format!("there is no experiment with the id {id}"));
    let found = read(db, std::slice::from_ref(&id))?.pop();
    found.ok_or_else(|| missing().into())
}

/// Returns the ids of the experiments that match, in order.
pub(super) fn find_ids(
    db: &dyn SqlConnection,
    search: &SearchExperiments,
) -> Result<Vec<String>, CatalogError> {
    let mut bindings = Bindings::new(db.dialect());
    let mut conditions = vec![workspace_condition(db, "experiments")?.to_owned()];
    conditions.push(stage_condition("lifecycle_stage", search.view));
    for comparison in search.filter.comparisons(Subject::Experiments)? {
        conditions.push(condition(&mut bindings, &comparison)?);
    }
    let keys = search.order_by.iter();
    let keys = keys.map(|order| order.sort_key(Subject::Experiments));
    let order = order(&distinct_keys(keys.collect::<Result<_, _>>()?));
    let conditions = conditions.join(" AND ");
    let ids = query_all(
        db,
        &format!(
            "SELECT e.experiment_id FROM experiments AS e WHERE {conditions} ORDER BY {order}"
        ),
        bindings.values(),
        |row| Ok(rows::integer(row, 0)?.to_string()),
    )?;
    Ok(ids)
}

/// Returns the condition that a stage of experiments or runs is part of a search.
pub(super) fn stage_condition(column: &str, view: ViewType) -> String {
    match view {
        ViewType::ActiveOnly => format!("{column} = 'active'"),
        ViewType::DeletedOnly => format!("{column} = 'deleted'"),
        ViewType::All => format!("{column} IN ('active', 'deleted')"),
    }
}

fn condition(bindings: &mut Bindings, comparison: &Comparison) -> Result<String, CatalogError> {
    let Comparison {
        field,
        operator,
        operand,
    } = comparison;
    let (operator, key) = (*operator, field.key.as_str());
    if field.kind == FieldKind::Tag {
        let key = bindings.bind(field.key.clone());
        let tag = format!(
            "EXISTS (SELECT 1 FROM experiment_tags AS t WHERE t.experiment_id = e.experiment_id AND t.key = {key}"
        );
        return Ok(match operator {
            Operator::IsNull => format!("NOT {tag})"),
            Operator::IsNotNull => format!("{tag})"),
            _ => format!(
                "{tag} AND {})",
                bindings.compare_text("t.value", operator, operand)
            ),
        });
    }
    Ok(match column(key) {
        "e.experiment_id" => compare_id(bindings, operator, operand)?,
        "e.name" => bindings.compare_text("e.name", operator, operand),
        number => bindings.compare_number(number, operator, operand),
    })
}

/// Returns the condition on the id, which a filter holds as a text.
fn compare_id(
    bindings: &mut Bindings,
    operator: Operator,
    operand: &Operand,
) -> Result<String, CatalogError> {
    let texts = match operand {
        Operand::Text(text) => std::slice::from_ref(text),
        Operand::List(texts) => texts.as_slice(),
        Operand::Nothing | Operand::Integer(_) | Operand::Float(_) => &[],
    };
    let ids = texts.iter().map(|text| parse_id(text));
    let ids = ids
        .map(|id| id.map(|id| bindings.bind_integer(id)))
        .collect::<Result<Vec<_>, _>>()?;
    let negated = matches!(operator, Operator::NotEqual | Operator::NotIn);
    let not = if negated { "NOT " } else { "" };
    Ok(format!("e.experiment_id {not}IN ({})", ids.join(", ")))
}

/// Returns the column of an attribute.
fn column(attribute: &str) -> &'static str {
    match attribute {
        "experiment_id" => "e.experiment_id",
        "creation_time" => "e.creation_time",
        "last_update_time" => "e.last_update_time",
        _ => "e.name",
    }
}

fn order(keys: &[SortKey]) -> String {
    if keys.is_empty() {
        return "e.creation_time DESC, e.experiment_id ASC".to_owned();
    }
    let has_id = keys.iter().any(|key| key.field.key == "experiment_id");
    let mut parts: Vec<String> = keys
        .iter()
        .map(|key| format!("{} {}", column(&key.field.key), direction(key)))
        .collect();
    if !has_id {
        parts.push("e.experiment_id DESC".to_owned());
    }
    parts.join(", ")
}

/// Returns the experiments with these ids, in the same order.
pub(super) fn read(
    db: &dyn SqlConnection,
    ids: &[String],
) -> Result<Vec<Experiment>, CatalogError> {
    let numbers: Vec<i64> = ids.iter().filter_map(|id| id.parse().ok()).collect();
    let list = json_list(&numbers);
    let (wanted, join) = (db.dialect().integers("?1"), db.dialect().join());
    let mut found: Vec<Option<Experiment>> = numbers.iter().map(|_| None).collect();
    db.query(
        &format!(
            "SELECT k.key, e.experiment_id, e.name, e.artifact_location, e.lifecycle_stage, e.creation_time,
                    e.last_update_time
             FROM {wanted} {join} experiments AS e ON e.experiment_id = k.value"
        ),
        &[(&list).into()],
        &mut |row| {
            let experiment = Experiment {
                experiment_id: rows::integer(row, 1)?.to_string(),
                name: rows::string(row, 2)?,
                artifact_location: rows::string(row, 3)?,
                lifecycle_stage: LifecycleStage::from_name(&rows::text(row, 4)?),
                creation_time_ms: row.integer(5)?,
                last_update_time_ms: row.integer(6)?,
                tags: BTreeMap::new(),
            };
            if let Some(place) = found.get_mut(rows::position(row, 0)?) {
                *place = Some(experiment);
            }
            Ok(())
        },
    )?;
    db.query(
        &format!(
            "SELECT k.key, t.key, t.value
             FROM {wanted} {join} experiment_tags AS t ON t.experiment_id = k.value"
        ),
        &[(&list).into()],
        &mut |row| {
            if let Some(Some(experiment)) = found.get_mut(rows::position(row, 0)?) {
                let (key, value) = (rows::string(row, 1)?, rows::string(row, 2)?);
                experiment.tags.insert(key, value);
            }
            Ok(())
        },
    )?;
    Ok(found.into_iter().flatten().collect())
}

/// Renames an experiment.
pub(super) fn rename(db: &dyn SqlConnection, id: &str, name: &str) -> Result<(), CatalogError> {
    let experiment = require_active(db, id)?;
    if experiment.name != name {
        require_free_name(db, name)?;
    }
    db.execute(
        "UPDATE experiments SET name = ?2, last_update_time = ?3 WHERE experiment_id = ?1",
        &[experiment.id.into(), name.into(), time::now_ms().into()],
    )?;
    Ok(())
}

/// Deletes an experiment with all its runs. As in MLflow, the runs that were deleted before get a new time of
/// deletion.
pub(super) fn delete(db: &dyn SqlConnection, id: &str) -> Result<(), CatalogError> {
    let experiment = require(db, id)?;
    if experiment.is_deleted {
        return Err(CatalogError::Declined(ClientError::not_found(format!(
            "the experiment `{}` is already deleted",
            experiment.name
        ))));
    }
    let now = time::now_ms();
    db.execute(
        "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ?2 WHERE experiment_id = ?1",
        &[experiment.id.into(), now.into()],
    )?;
    set_stage(db, &experiment, LifecycleStage::Deleted, now)
}

/// Restores an experiment with all its runs. As in MLflow, also with the runs that were deleted before.
pub(super) fn restore(db: &dyn SqlConnection, id: &str) -> Result<(), CatalogError> {
    let experiment = require(db, id)?;
    if !experiment.is_deleted {
        return Err(CatalogError::Declined(ClientError::not_found(format!(
            "the experiment `{}` is not deleted",
            experiment.name
        ))));
    }
    db.execute(
        "UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL WHERE experiment_id = ?1",
        &[experiment.id.into()],
    )?;
    set_stage(db, &experiment, LifecycleStage::Active, time::now_ms())
}

fn set_stage(
    db: &dyn SqlConnection,
    experiment: &ExperimentState,
    stage: LifecycleStage,
    now_ms: i64,
) -> Result<(), CatalogError> {
    db.execute(
        "UPDATE experiments SET lifecycle_stage = ?2, last_update_time = ?3
         WHERE experiment_id = ?1",
        &[experiment.id.into(), stage.as_str().into(), now_ms.into()],
    )?;
    Ok(())
}

/// Sets a tag that was [checked](check_tag).
pub(super) fn set_tag(
    db: &dyn SqlConnection,
    id: &str,
    key: &str,
    value: &str,
) -> Result<(), CatalogError> {
    let experiment = require_active(db, id)?;
    db.execute(
        "INSERT INTO experiment_tags (experiment_id, key, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (key, experiment_id) DO UPDATE SET value = excluded.value",
        &[experiment.id.into(), key.into(), value.into()],
    )?;
    Ok(())
}

/// Deletes a tag.
pub(super) fn delete_tag(db: &dyn SqlConnection, id: &str, key: &str) -> Result<(), CatalogError> {
    let experiment = require_active(db, id)?;
    let deleted = db.execute(
        "DELETE FROM experiment_tags WHERE experiment_id = ?1 AND key = ?2",
        &[experiment.id.into(), key.into()],
    )?;
    if deleted == 0 {
        return Err(CatalogError::Declined(ClientError::not_found(format!(
            "the experiment `{}` has no tag `{key}`",
            experiment.name
        ))));
    }
    Ok(())
}
