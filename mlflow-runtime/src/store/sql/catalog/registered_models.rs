//! Registered models: reading, searching and changing them.

use std::collections::BTreeMap;

use super::comparison::{Bindings, direction, distinct_keys};
use super::workspace::{primary_key, workspace_condition};
use crate::entities::{NewRegisteredModel, RegisteredModel};
use crate::model::limits::REGISTRY_TAG_VALUE_CHARS;
use crate::model::tag_keys;
use crate::search::{Comparison, FieldKind, SearchRegisteredModels, Subject};
use crate::store::catalog::leave_out_prompts;
use crate::store::sql::dialect::json_list;
use crate::store::sql::error::CatalogError;
use crate::store::sql::query::{query_all, query_one, query_optional};
use crate::store::sql::{SqlConnection, SqlValue, rows};
use crate::store::{ClientError, validate};
use crate::time;

/// Checks a tag of a registered model or of a model version.
pub(super) fn check_tag(key: &str, value: &str) -> Result<(), ClientError> {
    Ok(validate::check_tag(key, value, REGISTRY_TAG_VALUE_CHARS)?)
}

/// Checks the tags of a new registered model or model version.
pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ClientError> {
    tags.iter()
        .try_for_each(|(key, value)| check_tag(key, value))
}

/// Creates a registered model, and returns it.
pub(super) fn create(
    db: &dyn SqlConnection,
    new: &NewRegisteredModel,
) -> Result<RegisteredModel, CatalogError> {
    require_free_name(db, &new.name)?;
    db.execute(
        "INSERT INTO registered_models (name, creation_time, last_updated_time, description)
         VALUES (?1, ?2, ?2, ?3)",
        &[
            (&new.name).into(),
            time::now_ms().into(),
            new.description.as_ref().into(),
        ],
    )?;
    let tags: Vec<SqlValue<'_>> = { new.tags.iter() }
        .flat_map(|(key, value)| [(&new.name).into(), key.into(), value.into()])
        .collect();
    db.execute_many(
        "INSERT INTO registered_model_tags (name, key, value) VALUES (?1, ?2, ?3)",
        &tags,
        3,
    )?;
    get(db, &new.name)
}

fn require_free_name(db: &dyn SqlConnection, name: &str) -> Result<(), CatalogError> {
    if !exists(db, name)? {
        return Ok(());
    }
    let workspace = workspace_condition(db, "registered_model_tags")?;
    let is_prompt: bool = query_one(
        db,
        &format!(
            "SELECT EXISTS (SELECT 1 FROM registered_model_tags
                            WHERE name = ?1 AND key = ?2 AND value = 'true' AND {workspace})"
        ),
        &[name.into(), tag_keys::IS_PROMPT.into()],
        |row| rows::flag(row, 0),
    )?;
    let kind = if is_prompt {
        "prompt"
    } else {
        "registered model"
    };
    Err(CatalogError::Declined(ClientError::already_exists(
        format!("there is already a {kind} `{name}`: use it, or choose another name"),
    )))
}

fn exists(db: &dyn SqlConnection, name: &str) -> Result<bool, CatalogError> {
    let workspace = workspace_condition(db, "registered_models")?;
    let found = query_optional(
        db,
        &format!("SELECT 1 FROM registered_models WHERE name = ?1 AND {workspace}"),
        &[name.into()],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

fn missing_error(name: &str) -> CatalogError {
    CatalogError::Declined(ClientError::not_found(format!(
        "there is no registered model `{name}`"
    )))
}

/// Checks that the registered model exists.
pub(super) fn require(db: &dyn SqlConnection, name: &str) -> Result<(), CatalogError> {
    if exists(db, name)? {
        Ok(())
    } else {
        Err(missing_error(name))
    }
}

/// Returns a registered model.
pub(super) fn get(db: &dyn SqlConnection, name: &str) -> Result<RegisteredModel, CatalogError> {
    let model = read(db, &[name.to_owned()])?.pop();
    model.ok_or_else(|| missing_error(name))
}

/// Returns the names of the registered models that match, in order.
pub(super) fn find_names(
    db: &dyn SqlConnection,
    search: &SearchRegisteredModels,
) -> Result<Vec<String>, CatalogError> {
    let workspace = workspace_condition(db, "registered_models")?;
    let keys = search.order_by.iter();
    let keys = keys.map(|order| order.sort_key(Subject::RegisteredModels));
    let keys = distinct_keys(keys.collect::<Result<_, _>>()?);
    let mut comparisons = search.filter.comparisons(Subject::RegisteredModels)?;
    let mut bindings = Bindings::new(db.dialect());
    let mut conditions = vec![workspace.to_owned()];
    if leave_out_prompts(&mut comparisons) {
        let key = bindings.bind(tag_keys::IS_PROMPT.to_owned());
        conditions.push(format!(
            "NOT EXISTS (SELECT 1 FROM registered_model_tags AS t
                         WHERE t.name = m.name AND t.key = {key} AND t.value = 'true' AND {workspace})"
        ));
    }
    for comparison in comparisons {
        let Comparison {
            field,
            operator,
            operand,
        } = comparison;
        conditions.push(if field.kind == FieldKind::Tag {
            let key = bindings.bind(field.key);
            let value = bindings.compare_text("t.value", operator, &operand);
            format!(
                "EXISTS (SELECT 1 FROM registered_model_tags AS t
                         WHERE t.name = m.name AND t.key = {key} AND {value} AND {workspace})"
            )
        } else {
            bindings.compare_text("m.name", operator, &operand)
        });
    }
    let mut order: Vec<String> = Vec::new();
    for key in &keys {
        let column = match key.field.key.as_str() {
            "last_updated_timestamp" => "m.last_updated_time",
            _ => "m.name",
        };
        order.push(format!("{column} {}", direction(key)));
    }
    order.push("m.name".to_owned());
    let names = query_all(
        db,
        &format!(
            "SELECT m.name FROM registered_models AS m WHERE {} ORDER BY {}",
            conditions.join(" AND "),
            order.join(", ")
        ),
        bindings.values(),
        |row| rows::string(row, 0),
    )?;
    Ok(names)
}

/// Returns the registered models with these names, in the same order, without those that do not exist.
pub(super) fn read(
    db: &dyn SqlConnection,
    names: &[String],
) -> Result<Vec<RegisteredModel>, CatalogError> {
    let workspace = workspace_condition(db, "registered_models")?;
    let list = json_list(names);
    let (wanted, join) = (db.dialect().texts("?1"), db.dialect().join());
    let mut models: Vec<Option<RegisteredModel>> = names.iter().map(|_| None).collect();
    db.query(
        &format!(
            "SELECT k.key, m.name, m.creation_time, m.last_updated_time, m.description
             FROM {wanted} {join} registered_models AS m ON m.name = k.value AND {workspace}"
        ),
        &[(&list).into()],
        &mut |row| {
            let model = RegisteredModel {
                name: rows::string(row, 1)?,
                creation_time_ms: row.integer(2)?,
                last_updated_time_ms: row.integer(3)?,
                description: rows::string(row, 4)?,
                tags: BTreeMap::new(),
                aliases: BTreeMap::new(),
            };
            if let Some(place) = models.get_mut(rows::position(row, 0)?) {
                *place = Some(model);
            }
            Ok(())
        },
    )?;
    db.query(
        &format!(
            "SELECT k.key, t.key, t.value
             FROM {wanted} {join} registered_model_tags AS t ON t.name = k.value AND {workspace}"
        ),
        &[(&list).into()],
        &mut |row| {
            if let Some(Some(model)) = models.get_mut(rows::position(row, 0)?) {
                let (key, value) = (rows::string(row, 1)?, rows::string(row, 2)?);
                model.tags.insert(key, value);
            }
            Ok(())
        },
    )?;
    db.query(
        &format!(
            "SELECT k.key, a.alias, a.version
             FROM {wanted} {join} registered_model_aliases AS a ON a.name = k.value AND {workspace}"
        ),
        &[(&list).into()],
        &mut |row| {
            if let Some(Some(model)) = models.get_mut(rows::position(row, 0)?) {
                let version = rows::unsigned(row, 2)?;
                model.aliases.insert(rows::string(row, 1)?, version);
            }
            Ok(())
        },
    )?;
    Ok(models.into_iter().flatten().collect())
}

/// Renames a registered model. Its versions, tags and aliases follow by their foreign keys.
pub(super) fn rename(
    db: &dyn SqlConnection,
    name: &str,
    new_name: &str,
) -> Result<(), CatalogError> {
    require(db, name)?;
    if name != new_name {
        require_free_name(db, new_name)?;
    }
    let workspace = workspace_condition(db, "registered_models")?;
    let now = time::now_ms();
    db.execute(
        &format!(
            "UPDATE registered_models SET name = ?2, last_updated_time = ?3
             WHERE name = ?1 AND {workspace}"
        ),
        &[name.into(), new_name.into(), now.into()],
    )?;
    db.execute(
        &format!(
            "UPDATE model_versions SET last_updated_time = ?2 WHERE name = ?1 AND {workspace}"
        ),
        &[new_name.into(), now.into()],
    )?;
    Ok(())
}

/// Sets the description of a registered model.
pub(super) fn describe(
    db: &dyn SqlConnection,
    name: &str,
    description: &str,
) -> Result<(), CatalogError> {
    require(db, name)?;
    let workspace = workspace_condition(db, "registered_models")?;
    db.execute(
        &format!(
            "UPDATE registered_models SET description = ?2, last_updated_time = ?3
             WHERE name = ?1 AND {workspace}"
        ),
        &[name.into(), description.into(), time::now_ms().into()],
    )?;
    Ok(())
}

/// Records that a version of the model has changed now.
pub(super) fn touch(db: &dyn SqlConnection, name: &str, now_ms: i64) -> Result<(), CatalogError> {
    let workspace = workspace_condition(db, "registered_models")?;
    db.execute(
        &format!(
            "UPDATE registered_models SET last_updated_time = ?2 WHERE name = ?1 AND {workspace}"
        ),
        &[name.into(), now_ms.into()],
    )?;
    Ok(())
}

/// Deletes a registered model with everything that belongs to it.
pub(super) fn delete(db: &dyn SqlConnection, name: &str) -> Result<(), CatalogError> {
    require(db, name)?;
    let workspace = workspace_condition(db, "registered_models")?;
    // Each table after those that refer to it.
    for table in [
        "model_version_tags",
        "model_versions",
        "registered_model_tags",
        "registered_model_aliases",
        "registered_models",
    ] {
        db.execute(
            &format!("DELETE FROM {table} WHERE name = ?1 AND {workspace}"),
            &[name.into()],
        )?;
    }
    Ok(())
}

/// Sets a tag that was [checked](check_tag).
pub(super) fn set_tag(
    db: &dyn SqlConnection,
    name: &str,
    key: &str,
    value: &str,
) -> Result<(), CatalogError> {
    require(db, name)?;
    let columns = primary_key(db, "registered_model_tags", "key, name")?;
    db.execute(
        &format!(
            "INSERT INTO registered_model_tags (name, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT ({columns}) DO UPDATE SET value = excluded.value"
        ),
        &[name.into(), key.into(), value.into()],
    )?;
    Ok(())
}

/// Deletes a tag, if the model has it.
pub(super) fn delete_tag(
    db: &dyn SqlConnection,
    name: &str,
    key: &str,
) -> Result<(), CatalogError> {
    require(db, name)?;
    let workspace = workspace_condition(db, "registered_model_tags")?;
    db.execute(
        &format!("DELETE FROM registered_model_tags WHERE name = ?1 AND key = ?2 AND {workspace}"),
        &[name.into(), key.into()],
    )?;
    Ok(())
}
