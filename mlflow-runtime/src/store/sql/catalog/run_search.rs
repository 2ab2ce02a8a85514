//! Search of runs: which runs match, and in which order, as one statement.
//!
//! Like MLflow's own, the statement reads metrics in `latest_metrics`, where NaN is a zero with a mark. NaN
//! comes behind all numbers, and runs without the field come last, in both directions. Runs that are equal by
//! the given order follow each other by start, the latest first, and then by id.
//!
//! A param that is compared with a number is the one comparison that MLflow does not know. The statement
//! returns the param's text, which is then compared as [`matches_all`] does it.

use super::comparison::{Bindings, direction, distinct_keys};
use super::experiments;
use super::workspace::workspace_condition;
use crate::model::tag_keys;
use crate::search::{
    Comparison, Field, FieldKind, FieldValue, Operand, Operator, SearchRuns, Searchable, SortKey,
    Subject, matches_all,
};
use crate::store::sql::error::CatalogError;
use crate::store::sql::{Dialect, SqlConnection, SqlError, SqlRow, rows};

/// Returns the ids of the runs that match, in order.
pub(super) fn find_ids(
    db: &dyn SqlConnection,
    search: &SearchRuns,
) -> Result<Vec<String>, CatalogError> {
    let keys = search.order_by.iter();
    let keys = keys.map(|order| order.sort_key(Subject::Runs));
    let keys = distinct_keys(keys.collect::<Result<_, _>>()?);
    let comparisons = search.filter.comparisons(Subject::Runs)?;

    let mut select = RunSelect::new(db.dialect());
    select.restrict_to_experiments(db, search)?;
    select.conditions.push(experiments::stage_condition(
        "r.lifecycle_stage",
        search.view,
    ));
    for comparison in comparisons {
        select.add_comparison(comparison);
    }
    select.add_order(&keys);
    let limit = search.limit.unwrap_or(usize::MAX);
    select.run(db, limit)
}

/// Statement that selects the ids of runs.
struct RunSelect {
    bindings: Bindings,
    joins: String,
    /// Number of tables in `joins`.
    joined: usize,
    conditions: Vec<String>,
    order: Vec<String>,
    /// Comparisons of params with numbers. The text of each param is a column of the result.
    number_params: Vec<NumberParam>,
}

/// Comparison of a param with a number.
struct NumberParam {
    column: String,
    comparison: Comparison,
}

impl RunSelect {
    fn new(dialect: Dialect) -> Self {
        Self {
            bindings: Bindings::new(dialect),
            joins: String::new(),
            joined: 0,
            conditions: Vec::new(),
            order: Vec::new(),
            number_params: Vec::new(),
        }
    }

    fn restrict_to_experiments(
        &mut self,
        db: &dyn SqlConnection,
        search: &SearchRuns,
    ) -> Result<(), CatalogError> {
        let ids = if search.experiments.is_empty() {
            let workspace = workspace_condition(db, "experiments")?;
            format!(
                "(SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'active' AND {workspace})"
            )
        } else {
            let ids = search.experiments.iter();
            let ids = ids.map(|experiment| experiments::find_id(db, experiment));
            let ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
            self.bindings.bind_integers(&ids)
        };
        self.conditions.push(format!("r.experiment_id IN {ids}"));
        Ok(())
    }

    /// Adds a table of keys and values. Returns the name that the table has in the statement.
    fn join(&mut self, kind: &str, table: &str, key: &str) -> String {
        self.joined += 1;
        let name = format!("j{}", self.joined);
        let key = self.bindings.bind(key.to_owned());
        self.joins.push_str(&format!(
            " {kind} {table} AS {name} ON {name}.run_uuid = r.run_uuid AND {name}.key = {key}"
        ));
        name
    }

    fn add_comparison(&mut self, comparison: Comparison) {
        let Comparison {
            field,
            operator,
            operand,
        } = &comparison;
        let operator = *operator;
        let condition = match field.kind {
            FieldKind::Param if operand.number().is_some() => {
                let table = self.join("JOIN", "params", &field.key);
                self.number_params.push(NumberParam {
                    column: format!("{table}.value"),
                    comparison,
                });
                return;
            }
            FieldKind::Metric => {
                let value = self.bindings.compare_number("t.value", operator, operand);
                let value = match operator {
                    Operator::NotEqual => format!("({value} OR t.is_nan)"),
                    _ => format!("{value} AND NOT t.is_nan"),
                };
                self.exists("latest_metrics", &field.key, Some(&value))
            }
            FieldKind::Param => self.compare_key_value("params", &field.key, operator, operand),
            FieldKind::Tag => self.compare_key_value("tags", &field.key, operator, operand),
            FieldKind::Attribute if field.key == "run_name" => {
                // The column `name` is empty in runs of very old MLflow releases.
                self.compare_key_value("tags", tag_keys::RUN_NAME, operator, operand)
            }
            FieldKind::Attribute => {
                let column = attribute_column(&field.key);
                match field.key.as_str() {
                    "start_time" | "end_time" => {
                        self.bindings.compare_number(column, operator, operand)
                    }
                    _ => self.bindings.compare_text(column, operator, operand),
                }
            }
            FieldKind::Dataset => self.compare_dataset(&field.key, operator, operand),
        };
        self.conditions.push(condition);
    }

    fn exists(&mut self, table: &str, key: &str, value: Option<&str>) -> String {
        let key = self.bindings.bind(key.to_owned());
        format!(
            "EXISTS (SELECT 1 FROM {table} AS t WHERE t.run_uuid = r.run_uuid AND t.key = {key} AND {})",
            value.unwrap_or("TRUE")
        )
    }

    fn compare_key_value(
        &mut self,
        table: &str,
        key: &str,
        operator: Operator,
        operand: &Operand,
    ) -> String {
        match operator {
            Operator::IsNull => format!("NOT {}", self.exists(table, key, None)),
            Operator::IsNotNull => self.exists(table, key, None),
            _ => {
                let value = self.bindings.compare_text("t.value", operator, operand);
                self.exists(table, key, Some(&value))
            }
        }
    }

    /// Returns the condition that one of the run's datasets matches.
    fn compare_dataset(&mut self, key: &str, operator: Operator, operand: &Operand) -> String {
        let (join, column) = match key {
            "context" => {
                let name = self.bindings.bind(tag_keys::DATASET_CONTEXT.to_owned());
                let join = format!(
                    " JOIN input_tags AS t ON t.input_uuid = i.input_uuid AND t.name = {name}"
                );
                (join, "t.value")
            }
            "digest" => (String::new(), "d.digest"),
            _ => (String::new(), "d.name"),
        };
        let value = self.bindings.compare_text(column, operator, operand);
        format!(
            "EXISTS (SELECT 1 FROM inputs AS i JOIN datasets AS d ON d.dataset_uuid = i.source_id{join}
                     WHERE i.destination_type = 'RUN' AND i.destination_id = r.run_uuid AND {value})"
        )
    }

    fn add_order(&mut self, keys: &[SortKey]) {
        let mut has_start = false;
        for key in keys {
            let direction = direction(key);
            let value = match key.field.kind {
                FieldKind::Metric => {
                    let table = self.join("LEFT JOIN", "latest_metrics", &key.field.key);
                    self.order.push(format!(
                        "CASE WHEN {table}.is_nan THEN 1 WHEN {table}.value IS NULL THEN 2 ELSE 0 END"
                    ));
                    self.order.push(format!("{table}.value {direction}"));
                    continue;
                }
                FieldKind::Param => {
                    format!("{}.value", self.join("LEFT JOIN", "params", &key.field.key))
                }
                FieldKind::Tag => {
                    format!("{}.value", self.join("LEFT JOIN", "tags", &key.field.key))
                }
                FieldKind::Attribute | FieldKind::Dataset => {
                    has_start |= key.field.key == "start_time";
                    attribute_column(&key.field.key).to_owned()
                }
            };
            self.order.push(format!("{value} IS NULL"));
            self.order.push(format!("{value} {direction}"));
        }
        if !has_start {
            self.order.push("r.start_time DESC".to_owned());
        }
        self.order.push("r.run_uuid".to_owned());
    }

    fn run(mut self, db: &dyn SqlConnection, limit: usize) -> Result<Vec<String>, CatalogError> {
        let mut columns = "r.run_uuid".to_owned();
        for param in &self.number_params {
            columns = format!("{columns}, {}", param.column);
        }
        // Runs that are left out afterwards do not count.
        let limit_in_sql = if self.number_params.is_empty() {
            i64::try_from(limit).unwrap_or(i64::MAX)
        } else {
            i64::MAX
        };
        let limit_in_sql = self.bindings.bind(limit_in_sql);
        let mut ids = Vec::new();
        db.query(
            &format!(
                "SELECT {columns} FROM runs AS r{} WHERE {} ORDER BY {} LIMIT {limit_in_sql}",
                self.joins,
                self.conditions.join(" AND "),
                self.order.join(", "),
            ),
            self.bindings.values(),
            &mut |row| {
                if ids.len() < limit && self.number_params_match(row)? {
                    ids.push(rows::string(row, 0)?);
                }
                Ok(())
            },
        )?;
        Ok(ids)
    }

    fn number_params_match(&self, row: &dyn SqlRow) -> Result<bool, SqlError> {
        for (index, param) in self.number_params.iter().enumerate() {
            let text = ParamText(&rows::text(row, index + 1)?);
            if !matches_all(&text, std::slice::from_ref(&param.comparison)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Record with the value of one param.
struct ParamText<'r>(&'r str);

impl Searchable for ParamText<'_> {
    fn field(&self, _field: &Field) -> FieldValue<'_> {
        FieldValue::Text(self.0)
    }
}

/// Returns the column of an attribute.
fn attribute_column(attribute: &str) -> &'static str {
    match attribute {
        "run_name" => "r.name",
        "status" => "r.status",
        "user_id" => "r.user_id",
        "artifact_uri" => "r.artifact_uri",
        "start_time" => "r.start_time",
        "end_time" => "r.end_time",
        _ => "r.run_uuid",
    }
}
