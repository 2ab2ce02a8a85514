//! [`Dialect`]: the texts of SQL that differ between databases.
//!
//! All other statements are written so that every database understands them: an integer that is compared with a
//! column is `CAST(?1 AS BIGINT)`, as a column may be narrower than the value, and a conflict that leads to an update
//! names its columns.

/// Database whose SQL is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Dialect {
    Sqlite,
    #[cfg_attr(
        not(feature = "postgres"),
        allow(dead_code, reason = "only a store in PostgreSQL speaks it")
    )]
    Postgres,
}

impl Dialect {
    /// Returns a table `k` with the elements of a JSON list of texts: `k.key` is the position, from 0, and `k.value`
    /// the text.
    pub(super) fn texts(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({parameter}) AS k"),
            Self::Postgres => postgres_list("json_array_elements_text", "l.value", parameter),
        }
    }

    /// Returns a table `k` with the elements of a JSON list of integers, like that of [`texts`](Self::texts).
    pub(super) fn integers(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({parameter}) AS k"),
            Self::Postgres => {
                let value = "CAST(l.value AS bigint)";
                postgres_list("json_array_elements_text", value, parameter)
            }
        }
    }

    /// Returns a table `k` with the elements of a JSON list of pairs of a text and an integer: `k.key` is the position,
    /// from 0. The pair has a [text](Self::pair_text) and an [integer](Self::pair_integer).
    pub(super) fn pairs(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({parameter}) AS k"),
            Self::Postgres => postgres_list("json_array_elements", "l.value", parameter),
        }
    }

    /// Returns the text of a [pair](Self::pairs).
    pub(super) fn pair_text(self) -> &'static str {
        match self {
            Self::Sqlite | Self::Postgres => "k.value ->> 0",
        }
    }

    /// Returns the integer of a [pair](Self::pairs).
    pub(super) fn pair_integer(self) -> &'static str {
        match self {
            Self::Sqlite => "k.value ->> 1",
            Self::Postgres => "CAST(k.value ->> 1 AS bigint)",
        }
    }

    /// Returns a query for the elements of a JSON list of texts.
    pub(super) fn text_elements(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("SELECT value FROM json_each({parameter})"),
            Self::Postgres => {
                format!("SELECT json_array_elements_text(CAST(CAST({parameter} AS text) AS json))")
            }
        }
    }

    /// Returns a query for the elements of a JSON list of integers.
    pub(super) fn integer_elements(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("SELECT value FROM json_each({parameter})"),
            Self::Postgres => format!(
                "SELECT CAST(json_array_elements_text(CAST(CAST({parameter} AS text) AS json)) AS bigint)"
            ),
        }
    }

    /// Returns the words that join a table to those before it, in this order. SQLite has to be told the order of a
    /// list and a table: the table is large, and has an index.
    pub(super) fn join(self) -> &'static str {
        match self {
            Self::Sqlite => "CROSS JOIN",
            Self::Postgres => "JOIN",
        }
    }

    /// Returns the query for the id of the next experiment. In SQLite, the ids of MLflow's own files begin with 0. In
    /// PostgreSQL, MLflow takes its ids from the sequence, too.
    pub(super) fn next_experiment_id(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT COALESCE(MAX(experiment_id) + 1, 0) FROM experiments",
            Self::Postgres => {
                "SELECT nextval(pg_get_serial_sequence('experiments', 'experiment_id'))"
            }
        }
    }
}

/// Returns a list as the JSON that [`Dialect::texts`] and the others take. One parameter holds the whole list, as
/// databases limit the number of parameters.
pub(super) fn json_list<T: Clone + Into<serde_json::Value>>(elements: &[T]) -> String {
    serde_json::Value::from(elements).to_string()
}

/// Returns a table `k` with the elements of a JSON list and their positions.
fn postgres_list(elements: &str, value: &str, parameter: &str) -> String {
    // The inner cast makes the parameter a text.
    format!(
        "(SELECT l.position - 1 AS key, {value} AS value
          FROM {elements}(CAST(CAST({parameter} AS text) AS json)) WITH ORDINALITY AS l(value, position)) AS k"
    )
}
