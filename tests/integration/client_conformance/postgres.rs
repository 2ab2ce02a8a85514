//! PostgreSQL database with the data that `create` of `answers.py` describes. The ids are others than those of the file, so
//! Python gives the answers on this database.

use std::sync::OnceLock;

use serde_json::json;

use super::python::Python;
use super::{administration, client_of, logging, queries, records};
use crate::support::postgres::Postgres;

/// Server, and the name of the database with the sample. No test changes its data.
fn sample() -> Option<&'static (&'static Postgres, String)> {
    static SAMPLE: OnceLock<Option<(&'static Postgres, String)>> = OnceLock::new();
    let made = SAMPLE.get_or_init(|| {
        let server = Postgres::shared()?;
        let name = server.create_database();
        let python = Python::shared();
        let root = python.directory().join("artifacts of postgres");
        python.ask(&json!({"request": "create", "uri": server.uri_of(&name), "root": root}));
        Some((server, name))
    });
    made.as_ref()
}

/// Returns the URI of a copy of the sample, or `None` if PostgreSQL is not installed.
fn copy() -> Option<String> {
    let (server, name) = sample()?;
    Some(server.uri_of(&server.copy_database(name)))
}

#[test]
fn all_records_of_a_database_are_those_of_mlflow() {
    if let Some(uri) = copy() {
        let expected = Python::shared().ask(&json!({"request": "read", "uri": uri}));
        records::compare_all(&client_of(&uri), &expected);
    }
}

#[test]
fn a_database_is_searched_as_by_mlflow() {
    if let Some(uri) = copy() {
        queries::compare_all("postgres", &client_of(&uri), false, &queries::expect(&uri));
    }
}

#[test]
fn a_database_is_administrated_as_by_mlflow() {
    if let (Some(mlflows), Some(ours)) = (copy(), copy()) {
        let expected = administration::expect(&mlflows);
        administration::compare_administration("postgres", client_of(&ours), &ours, &expected);
    }
}

#[test]
fn what_is_logged_to_a_database_is_as_mlflow_logs_it() {
    if let (Some(mlflows), Some(ours)) = (copy(), copy()) {
        logging::compare("postgres", &ours, &logging::expect(&mlflows));
    }
}
