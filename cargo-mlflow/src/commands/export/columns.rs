//! Columns of an exported table of runs, which are the same in every format.

use std::collections::BTreeSet;

use mlflow::entities::Run;

use crate::output::record::duration_ms;

/// Column of the table of runs.
pub(super) enum Column {
    /// Attribute that every run has.
    Attribute(&'static str, Kind, fn(&Run) -> Option<Value<'_>>),
    Param(String),
    Metric(String),
    Tag(String),
}

/// Kind of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Integer,
    /// Time, in ms since the Unix epoch.
    Time,
}

/// Value of a column.
pub(super) enum Value<'r> {
    Text(&'r str),
    Number(f64),
    Integer(i64),
    /// Time, in ms since the Unix epoch.
    Time(i64),
}

impl Column {
    /// Returns the columns that these runs need: the attributes, then each param, metric and tag of any run.
    pub(super) fn of(runs: &[Run]) -> Vec<Self> {
        let keys = |of: fn(&Run) -> Vec<&String>| -> BTreeSet<String> {
            runs.iter().flat_map(of).cloned().collect()
        };
        let params = keys(|run| run.params.keys().collect());
        let metrics = keys(|run| run.metrics.keys().collect());
        let tags = keys(|run| run.tags.keys().collect());
        let mut columns = vec![
            Self::Attribute("run_id", Kind::Text, |run| Some(Value::Text(&run.run_id))),
            Self::Attribute("name", Kind::Text, |run| Some(Value::Text(&run.name))),
            Self::Attribute("experiment_id", Kind::Text, |run| {
                Some(Value::Text(&run.experiment_id))
            }),
            Self::Attribute("status", Kind::Text, |run| {
                Some(Value::Text(run.status.as_str()))
            }),
            Self::Attribute("start_time_ms", Kind::Time, |run| {
                run.start_time_ms.map(Value::Time)
            }),
            Self::Attribute("end_time_ms", Kind::Time, |run| {
                run.end_time_ms.map(Value::Time)
            }),
            Self::Attribute("duration_ms", Kind::Integer, |run| {
                duration_ms(run).map(Value::Integer)
            }),
            Self::Attribute("user_id", Kind::Text, |run| Some(Value::Text(&run.user_id))),
            Self::Attribute("artifact_uri", Kind::Text, |run| {
                Some(Value::Text(&run.artifact_uri))
            }),
        ];
        columns.extend(params.into_iter().map(Self::Param));
        columns.extend(metrics.into_iter().map(Self::Metric));
        columns.extend(tags.into_iter().map(Self::Tag));
        columns
    }

    /// Returns the name in the header.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Attribute(name, ..) => (*name).to_owned(),
            Self::Param(key) => format!("params.{key}"),
            Self::Metric(key) => format!("metrics.{key}"),
            Self::Tag(key) => format!("tags.{key}"),
        }
    }

    /// Returns the kind of the values.
    #[cfg_attr(
        not(feature = "parquet"),
        expect(dead_code, reason = "CSV has no types")
    )]
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Attribute(_, kind, _) => *kind,
            Self::Metric(_) => Kind::Number,
            Self::Param(_) | Self::Tag(_) => Kind::Text,
        }
    }

    /// Returns the value of a run; `None` if the run has none.
    pub(super) fn value<'r>(&self, run: &'r Run) -> Option<Value<'r>> {
        match self {
            Self::Attribute(_, _, of) => of(run),
            Self::Param(key) => run.param(key).map(Value::Text),
            Self::Metric(key) => run.metric(key).map(Value::Number),
            Self::Tag(key) => run.tag(key).map(Value::Text),
        }
    }
}
