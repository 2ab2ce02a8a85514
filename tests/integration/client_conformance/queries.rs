//! Searches, made as a text and with the typed builder: both have to find what Python finds, in the same
//! order.

use std::collections::BTreeMap;

use mlflow::search::{Filter, ParamField, param, tag};
use mlflow::{ClientError, Goal, blocking};
use serde_json::{Value, json};

use super::cases;
use super::python::Python;
use super::query::{Case, Form, Query, difference};
use super::{client_of, copy_of, list, records, sample, sample_server, text, uri_of};
use crate::support::rng::Rng;

/// All queries to a sample, and the expected answers.
type Expected = (Vec<Query>, Vec<Value>);

/// Returns all queries to the file, and the expected answers.
fn expected() -> &'static Expected {
    static EXPECTED: std::sync::OnceLock<Expected> = std::sync::OnceLock::new();
    // Python has its own copy: another process may hold a lock on the sample.
    EXPECTED.get_or_init(|| expect(&uri_of(&copy_of(sample()))))
}

/// Returns all queries to a database that holds a sample, and the expected answers.
pub(super) fn expect(uri: &str) -> Expected {
    let ids = Python::shared().ask(&json!({"request": "ids", "uri": uri}));
    let ids: BTreeMap<String, String> = serde_json::from_value(ids).expect("ids");
    let run_ids: Vec<String> = ids
        .into_iter()
        .filter(|(name, _)| name.starts_with("run-"))
        .map(|(_, id)| id)
        .collect();
    let queries = cases::all_queries(&run_ids);
    let asked: Vec<Value> = queries.iter().map(Query::for_python).collect();
    let answers = Python::shared().ask(&json!({"request": "answer", "uri": uri, "queries": asked}));
    (queries, list(&answers).to_vec())
}

/// Returns Python's records of all active runs of active experiments, the latest start first.
fn active_runs() -> Vec<Value> {
    let all = ask([("runs", "")]);
    let find = |id: &Value| {
        let found = list(&records::expected()["runs"])
            .iter()
            .find(|run| run["run_id"] == *id);
        found.expect("the run").clone()
    };
    list(&all[0]["found"]).iter().map(find).collect()
}

#[test]
fn a_param_is_compared_as_a_number() {
    let runs = active_runs();
    let texts: Vec<&Value> = runs
        .iter()
        .map(|run| &run["params"]["lr"])
        .filter(|lr| lr.is_string())
        .collect();
    let floats = Python::shared().ask(&json!({"request": "floats", "texts": texts}));
    let number = |run: &Value| {
        let bits = floats[run["params"]["lr"].as_str()?].as_str()?;
        Some(f64::from_bits(u64::from_str_radix(bits, 16).expect("hex")))
    };
    type Holds = fn(&f64, &f64) -> bool;
    type Compare = fn(ParamField, f64) -> Filter;
    let operators: [(&str, Holds, Compare); 4] = [
        (">", f64::gt, ParamField::gt),
        (">=", f64::ge, ParamField::ge),
        ("<", f64::lt, ParamField::lt),
        ("<=", f64::le, ParamField::le),
    ];
    let (file, server) = (
        client_of(&uri_of(&copy_of(sample()))),
        client_of(sample_server().url()),
    );
    for limit in [0.1, 9.0, -5.0, 0.0, 1e300, 9_007_199_254_740_992.0] {
        for (operator, compare, typed) in operators {
            let wanted: Vec<&str> = runs
                .iter()
                .filter(|run| number(run).is_some_and(|lr| compare(&lr, &limit)))
                .map(|run| text(&run["run_id"]))
                .collect();
            let case = Case {
                text: format!("params.lr {operator} {limit}"),
                typed: Some(typed(param("lr"), limit)),
            };
            let refused = ask([("runs", case.text.as_str())]);
            assert!(
                refused[0]["error"].is_string(),
                "MLflow reads {}",
                case.text
            );
            for client in [&file, &server] {
                for form in [Form::Text, Form::Typed] {
                    let found = Query::filtered("runs", &case)
                        .answer(client, form)
                        .expect("an answer");
                    assert_eq!(found, wanted, "{form:?}: {}", case.text);
                }
            }
        }
    }
}

#[test]
fn the_best_run_is_the_first_of_mlflows_order_with_a_finite_value() {
    let query = |order: &str| {
        let (metric, _) = order.split_once(' ').expect("a metric and a direction");
        Query {
            filter: format!("{metric} > {} AND {metric} < {}", f64::MIN, f64::MAX),
            order: vec![order.to_owned()],
            experiments: vec!["wine"],
            limit: Some(1),
            ..Query::new("runs")
        }
    };
    let orders = [
        "metrics.loss ASC",
        "metrics.loss DESC",
        "metrics.`val/loss` ASC",
        "metrics.`val/loss` DESC",
    ];
    let asked: Vec<Value> = orders
        .iter()
        .map(|order| query(order).for_python())
        .collect();
    let request = json!({"request": "answer", "uri": uri_of(&copy_of(sample())), "queries": asked});
    let answers = Python::shared().ask(&request);
    for client in [
        client_of(&uri_of(&copy_of(sample()))),
        client_of(sample_server().url()),
    ] {
        let best = |key: &str, goal: Goal| client.best_run("wine", key, goal).expect("an answer");
        for (index, (key, goal)) in [
            ("loss", Goal::Minimize),
            ("loss", Goal::Maximize),
            ("val/loss", Goal::Minimize),
            ("val/loss", Goal::Maximize),
        ]
        .into_iter()
        .enumerate()
        {
            let found = best(key, goal).expect("a run");
            assert_eq!(
                json!([found.run_id]),
                answers[index]["found"],
                "{key} {goal:?}"
            );
        }
        assert_eq!(best("no such key", Goal::Minimize), None);
        let missing = client.best_run("no such experiment", "loss", Goal::Minimize);
        assert!(
            matches!(missing, Err(ClientError::NotFound { .. })),
            "{missing:?}"
        );
    }
}

#[test]
fn texts_that_mlflow_cannot_quote_are_found_all_the_same() {
    let runs = active_runs();
    let (file, server) = (
        client_of(&uri_of(&copy_of(sample()))),
        client_of(sample_server().url()),
    );
    let mut found_any = 0;
    for value in ["both ' and \"", "ends with \\", "\\' risky", "'\"", "\\"] {
        for (kind, typed) in [
            ("params", param("text").eq(value)),
            ("tags", tag("note").eq(value)),
        ] {
            let key = if kind == "params" { "text" } else { "note" };
            let wanted: Vec<&str> = runs
                .iter()
                .filter(|run| run[kind][key] == value)
                .map(|run| text(&run["run_id"]))
                .collect();
            found_any += wanted.len();
            let case = Case {
                text: String::new(),
                typed: Some(typed),
            };
            for client in [&file, &server] {
                let found = Query::filtered("runs", &case).answer(client, Form::Typed);
                assert_eq!(found.expect("an answer"), wanted, "{kind} {value}");
            }
        }
    }
    assert!(found_any > 6, "{found_any}");
}

/// Filters that MLflow refuses, each with the same filter as MLflow reads it.
const OTHER_SPELLINGS: &[(&str, &str, &str)] = &[
    ("runs", "metrics.loss <> 0.5", "metrics.loss != 0.5"),
    (
        "runs",
        "params.text IS  NOT  NULL",
        "params.text IS NOT NULL",
    ),
    ("runs", "   ", ""),
    ("experiments", "attributes.name = 'wine'", "name = 'wine'"),
    ("experiments", "name like 'W%'", "name LIKE 'W%'"),
    (
        "registered_models",
        "attributes.name = 'model-a'",
        "name = 'model-a'",
    ),
    (
        "model_versions",
        "attributes.name = 'model-a'",
        "name = 'model-a'",
    ),
];

/// Filters that MLflow reads although they are not in its language as documented. A server still answers
/// them.
const LOOSE: &[(&str, &str)] = &[
    ("runs", "metrics.loss > 0.5 metrics.loss < 0.1"),
    ("runs", "metrics.loss > 0.5 AND"),
    ("runs", "AND metrics.loss > 0.5"),
    ("runs", "metrics.'loss' > 0.5"),
    ("runs", "run_id IN ('a' 'b')"),
    ("model_versions", "version_number = '1'"),
];

/// Compares all answers, and panics with all differences. A store that takes long is asked a third of
/// them, each in one form; `MLFLOW_TEST_SEED` chooses which.
pub(super) fn compare_all(
    store: &str,
    client: &blocking::Client,
    takes_long: bool,
    (queries, answers): &Expected,
) {
    assert_eq!(queries.len(), answers.len());
    let mut differences = Vec::new();
    let mut rng = Rng::seeded_or(20_260_102);
    let (mut compared, mut refused, mut empty) = (0, 0, 0);
    for (query, expected) in queries.iter().zip(answers) {
        refused += usize::from(expected["error"].is_string());
        empty += usize::from(expected["found"] == json!([]));
        let mut forms = query.forms();
        if takes_long {
            if rng.below(3) > 0 {
                continue;
            }
            let kept = usize::try_from(rng.below(forms.len() as u64)).expect("an index");
            forms = vec![forms[kept]];
        }
        for form in forms {
            let answer = query.answer(client, form);
            compared += 1;
            if let Some(difference) = difference(expected, &answer) {
                differences.push(format!("{form:?}: {}\n    {difference}", query.describe()));
            }
        }
    }
    eprintln!(
        "{store}: {compared} searches compared; MLflow refuses {refused} and finds nothing for {empty}"
    );
    let count = differences.len();
    assert!(
        differences.is_empty(),
        "{store}: {count} differences\n{}",
        differences.join("\n")
    );
    // Guards against data in which nothing can be found.
    assert!(empty * 2 < queries.len() && refused * 5 < queries.len());
}

/// Returns Python's answers to filters.
fn ask<'t>(filters: impl IntoIterator<Item = (&'static str, &'t str)>) -> Vec<Value> {
    let asked: Vec<Value> = filters
        .into_iter()
        .map(|(subject, text)| {
            let case = Case {
                text: text.to_owned(),
                typed: None,
            };
            Query::filtered(subject, &case).for_python()
        })
        .collect();
    let uri = uri_of(&copy_of(sample()));
    let answers = Python::shared().ask(&json!({"request": "answer", "uri": uri, "queries": asked}));
    list(&answers).to_vec()
}

/// Searches with a text alone.
fn find(
    client: &blocking::Client,
    subject: &'static str,
    text: &str,
) -> Result<Vec<String>, ClientError> {
    let case = Case {
        text: text.to_owned(),
        typed: None,
    };
    Query::filtered(subject, &case).answer(client, Form::Text)
}

#[test]
fn spellings_that_mlflow_refuses_mean_the_usual_one() {
    let given = ask(OTHER_SPELLINGS
        .iter()
        .map(|(subject, given, _)| (*subject, *given)));
    let usual = ask(OTHER_SPELLINGS
        .iter()
        .map(|(subject, _, usual)| (*subject, *usual)));
    let file = client_of(&uri_of(&copy_of(sample())));
    for client in [&file, &client_of(sample_server().url())] {
        for (index, (subject, text, _)) in OTHER_SPELLINGS.iter().enumerate() {
            assert!(given[index]["error"].is_string(), "MLflow reads {text}");
            let found = find(client, subject, text);
            assert_eq!(difference(&usual[index], &found), None, "{text}");
        }
    }
}

#[test]
fn filters_that_mlflow_reads_by_accident_are_refused_without_a_server() {
    let read = ask(LOOSE.iter().copied());
    let (file, server) = (
        client_of(&uri_of(&copy_of(sample()))),
        client_of(sample_server().url()),
    );
    for ((subject, text), read) in LOOSE.iter().zip(&read) {
        let refused = find(&file, subject, text);
        assert!(
            matches!(refused, Err(ClientError::Search(_))),
            "{text}: {refused:?}"
        );
        assert_eq!(
            difference(read, &find(&server, subject, text)),
            None,
            "{text}"
        );
    }
}

#[test]
fn a_sqlite_file_is_searched_as_by_mlflow() {
    let file = client_of(&uri_of(&copy_of(sample())));
    compare_all("sqlite", &file, false, expected());
}

#[test]
fn a_server_is_searched_as_by_mlflow() {
    let server = client_of(sample_server().url());
    compare_all("server", &server, true, expected());
}
