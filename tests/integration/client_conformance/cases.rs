//! Searches of all kinds of records: every operator on every kind of field, orders, views and limits.

use mlflow::search::{
    Filter, IntegerField, ListedTextField, NumberField, OrderBy, ViewType, attribute, dataset,
    metric, param, tag,
};

use super::query::{Case, Query};
use crate::support::rng::Rng;

/// Texts of which a filter's language or a pattern could take something for its own.
const TEXTS: &[&str] = &[
    "plain",
    "it's",
    "say \"hi\"",
    "back\\slash",
    "back\\\\slash",
    "100%",
    "under_score",
    "",
    "ünï-çødé 日本 🦀",
    "line\nfeed",
    "a; DROP TABLE runs --",
    "(x, y)",
    "[a-z]*?",
    "`ticks`",
    " spaces around ",
    "prod",
    "it''s",
    "no such text",
];
const PATTERNS: &[&str] = &[
    "%",
    "_",
    "",
    "plain",
    "PLAIN",
    "p%n",
    "%A%",
    "%'%",
    "%\"%",
    "100%",
    "under_score",
    "UNDER\\_%",
    "%\\%",
    "%ü%",
    "%Ü%",
    "ÜNÏ%",
    "[a-z]%",
    "*",
    "?lain",
    "__a__",
    "%feed",
    "%\n%",
    "%日本%",
    "%🦀",
    "% ",
];

/// Returns all searches. `run_ids` are ids of some runs.
pub(super) fn all_queries(run_ids: &[String]) -> Vec<Query> {
    let mut queries = run_queries(run_ids);
    queries.extend(other_queries(run_ids));
    queries
}

/// Returns the text in quotes, or `None` if MLflow has no way to quote it.
fn quoted(text: &str) -> Option<String> {
    if !text.contains('\'') {
        Some(format!("'{text}'"))
    } else if !text.contains('"') {
        Some(format!("\"{text}\""))
    } else {
        None
    }
}

/// Method of a field that makes a filter.
type Compare<F, V> = fn(F, V) -> Filter;

fn numeric(field: &str, typed: impl Fn() -> NumberField, values: &[&str]) -> Vec<Case> {
    let operators: [(&str, Compare<NumberField, f64>); 6] = [
        ("=", NumberField::eq),
        ("!=", NumberField::ne),
        (">", NumberField::gt),
        (">=", NumberField::ge),
        ("<", NumberField::lt),
        ("<=", NumberField::le),
    ];
    let mut cases = Vec::new();
    for value in values {
        for (operator, compare) in operators {
            cases.push(Case {
                text: format!("{field} {operator} {value}"),
                typed: Some(compare(typed(), value.parse().expect("a number"))),
            });
        }
    }
    cases
}

fn integers(field: &str, typed: impl Fn() -> IntegerField, values: &[i64]) -> Vec<Case> {
    let operators: [(&str, Compare<IntegerField, i64>); 6] = [
        ("=", IntegerField::eq),
        ("!=", IntegerField::ne),
        (">", IntegerField::gt),
        (">=", IntegerField::ge),
        ("<", IntegerField::lt),
        ("<=", IntegerField::le),
    ];
    let mut cases = Vec::new();
    for value in values {
        for (operator, compare) in operators {
            cases.push(Case {
                text: format!("{field} {operator} {value}"),
                typed: Some(compare(typed(), *value)),
            });
        }
    }
    cases
}

type TextComparison<'f> = Box<dyn Fn(&str, &str) -> Filter + 'f>;

/// Writes the comparisons of a field that is made by `$typed` and has the methods of `TextField`.
macro_rules! texts {
    ($field:expr, $typed:expr, $texts:expr, $patterns:expr) => {{
        let compare: TextComparison<'_> = Box::new(move |operator, text| match operator {
            "=" => $typed.eq(text),
            "!=" => $typed.ne(text),
            "LIKE" => $typed.like(text),
            _ => $typed.ilike(text),
        });
        textual($field, &compare, $texts, $patterns)
    }};
}

fn textual(
    field: &str,
    compare: &TextComparison<'_>,
    texts: &[&str],
    patterns: &[&str],
) -> Vec<Case> {
    let exact = texts.iter().flat_map(|text| [("=", *text), ("!=", *text)]);
    let similar = patterns
        .iter()
        .flat_map(|text| [("LIKE", *text), ("ILIKE", *text)]);
    let mut cases = Vec::new();
    for (operator, text) in exact.chain(similar) {
        if let Some(quoted) = quoted(text) {
            cases.push(Case {
                text: format!("{field} {operator} {quoted}"),
                typed: Some(compare(operator, text)),
            });
        }
    }
    cases
}

/// Writes the comparisons of a field, which the function `$typed` makes, with lists.
macro_rules! listed {
    ($field:expr, $typed:expr, $lists:expr $(,)?) => {{
        let lists: &[&[&str]] = $lists;
        let cases = lists.iter().flat_map(|list| {
            let quoted: Vec<_> = { list.iter() }
                .map(|text| quoted(text).expect("one quote"))
                .collect();
            let quoted = quoted.join(", ");
            [
                Case {
                    text: format!("{} IN ({quoted})", $field),
                    typed: Some($typed().one_of(list.iter().copied())),
                },
                Case {
                    text: format!("{} NOT IN ({quoted})", $field),
                    typed: Some($typed().none_of(list.iter().copied())),
                },
            ]
        });
        cases.collect::<Vec<_>>()
    }};
}

/// Writes the two comparisons of a field with NULL.
macro_rules! presence {
    ($field:expr, $typed:expr) => {
        vec![
            Case {
                text: format!("{} IS NULL", $field),
                typed: Some($typed.is_null()),
            },
            Case {
                text: format!("{} IS NOT NULL", $field),
                typed: Some($typed.is_not_null()),
            },
        ]
    };
}

/// Returns the comparisons of runs that both languages know. `run_ids` are ids of some runs.
fn run_cases(run_ids: &[String]) -> Vec<Case> {
    let mut cases = Vec::new();
    let values = [
        "0.5",
        "0",
        "-1.5",
        "1e-1",
        "3",
        "0.30000000000000004",
        "1.7976931348623157e308",
    ];
    cases.extend(numeric("metrics.loss", || metric("loss"), &values));
    for (field, key) in [
        ("metrics.`val/loss`", "val/loss"),
        ("metric.`val loss`", "val loss"),
        ("metrics.\"val-loss\"", "val-loss"),
        ("metrics.val.loss", "val.loss"),
        ("metrics.`größe`", "größe"),
        ("metrics.extremes", "extremes"),
        ("metrics.missing", "missing"),
    ] {
        cases.extend(numeric(field, || metric(key), &values[..2]));
    }
    cases.extend(texts!("params.text", param("text"), TEXTS, PATTERNS));
    cases.extend(texts!(
        "tags.note",
        tag("note"),
        &TEXTS[..12],
        &PATTERNS[..12]
    ));
    for (field, key) in [
        ("`odd key/a-b.c`", "odd key/a-b.c"),
        ("\"odd key/a-b.c\"", "odd key/a-b.c"),
        ("missing", "missing"),
        ("größe", "größe"),
        ("`größe`", "größe"),
        ("mlflow.parentRunId", "mlflow.parentRunId"),
        ("`mlflow.runName`", "mlflow.runName"),
    ] {
        let (as_tag, as_param) = (format!("tag.{field}"), format!("parameter.{field}"));
        cases.extend(texts!(
            &as_tag,
            tag(key),
            &["value 3", "renamed"],
            &["VALUE%", "RUN-0_"]
        ));
        cases.extend(texts!(&as_param, param(key), &["value 2"], &["VALUE%"]));
        cases.extend(presence!(as_tag, tag(key)));
        cases.extend(presence!(as_param, param(key)));
    }
    cases.extend(presence!("params.lr", param("lr")));
    cases.extend(presence!("tags.note", tag("note")));
    let numbers_as_texts = ["0.1", "0.10", "10", "", "nan", " 7 ", "9007199254740993"];
    cases.extend(texts!(
        "params.lr",
        param("lr"),
        &numbers_as_texts,
        &["%.%", "1%"]
    ));

    let statuses = [
        "FINISHED",
        "FAILED",
        "KILLED",
        "RUNNING",
        "SCHEDULED",
        "finished",
        "x",
    ];
    let patterns = ["F%", "f%", "%ED"];
    cases.extend(texts!("status", attribute::status(), &statuses, &patterns));
    cases.extend(texts!(
        "attributes.status",
        attribute::status(),
        &statuses[..1],
        &[]
    ));
    let names = ["run-03", "child-1", "RUN-03", "renamed", "renamed before"];
    cases.extend(texts!(
        "run_name",
        attribute::run_name(),
        &names,
        &["run-0_", "RUN-0_", "%d"]
    ));
    for field in [
        "attribute.run_name",
        "attributes.`run name`",
        "attr.\"Run name\"",
        "run.`Run Name`",
    ] {
        cases.extend(texts!(
            field,
            attribute::run_name(),
            &names[..1],
            &["RUN-0_"]
        ));
    }
    cases.extend(texts!(
        "user_id",
        attribute::user_id(),
        &["ada", "Ada", "O'Neil"],
        &["a%", "%'%"]
    ));
    cases.extend(texts!(
        "artifact_uri",
        attribute::artifact_uri(),
        &["/nowhere"],
        &["%experiment-1/%", "%EXPERIMENT-1/%"]
    ));
    let some: Vec<&str> = run_ids.iter().step_by(7).map(String::as_str).collect();
    let prefix: String = some[0].chars().take(2).chain(['%']).collect();
    let first = [some[0], "no such id"];
    cases.extend(texts!(
        "run_id",
        attribute::run_id(),
        &first,
        &[prefix.as_str(), "%"]
    ));
    cases.extend(listed!(
        "run_id",
        attribute::run_id,
        &[&some, &some[..1], &["x"], &["it's", "y"]],
    ));
    cases.extend(listed!("attributes.run_id", attribute::run_id, &[&some]));

    let times = [0, 1_700_000_003_000, 1_700_000_030_001, -1];
    cases.extend(integers("start_time", attribute::start_time, &times));
    for field in ["attributes.start_time", "created", "attribute.Created"] {
        cases.extend(integers(field, attribute::start_time, &times[1..2]));
    }
    cases.extend(integers(
        "end_time",
        attribute::end_time,
        &[0, 1_700_000_031_000, 1_700_000_003_501],
    ));

    let lists: &[&[&str]] = &[
        &["train", "Train"],
        &["test's"],
        &["x"],
        &["training", "d2"],
    ];
    for (field, typed) in [
        ("datasets.name", dataset::name as fn() -> ListedTextField),
        ("dataset.digest", dataset::digest),
        ("datasets.context", dataset::context),
    ] {
        let values = ["train", "test's", "d%_", "training"];
        cases.extend(texts!(field, typed(), &values, &["T%", "d_", "%ing"]));
        cases.extend(listed!(field, typed, lists));
    }
    cases
}

fn experiment_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let names = [
        "wine",
        "WINE",
        "Default",
        "trash",
        "Odd / näme: 50%_'q\" \\",
    ];
    let patterns = ["w%", "W%", "%\\%", "%50%_'%", "%ä%", "%Ä%", "_ine", "%"];
    cases.extend(texts!("name", attribute::name(), &names, &patterns));
    cases.extend(texts!(
        "attribute.name",
        attribute::name(),
        &names[..1],
        &patterns[..1]
    ));
    for (field, key) in [
        ("tags.team", "team"),
        ("tag.note", "note"),
        ("tags.`odd key/a-b.c`", "odd key/a-b.c"),
        ("tags.\"odd key/a-b.c\"", "odd key/a-b.c"),
        ("tags.empty", "empty"),
        ("tags.missing", "missing"),
    ] {
        cases.extend(texts!(
            field,
            tag(key),
            &["cellar", "it's", ""],
            &["C%", "%'%"]
        ));
        cases.extend(presence!(field, tag(key)));
    }
    for value in ["1", "0", "99", "1000000"] {
        cases.push(Case {
            text: format!("experiment_id = '{value}'"),
            typed: Some(attribute::experiment_id().eq(value)),
        });
        cases.push(Case {
            text: format!("experiment_id != '{value}'"),
            typed: Some(attribute::experiment_id().ne(value)),
        });
    }
    let lists: &[&[&str]] = &[&["1", "3"], &["2"], &["99"]];
    cases.extend(listed!("experiment_id", attribute::experiment_id, lists));
    let times = [0, 1_700_000_000_000, 4_000_000_000_000];
    cases.extend(integers("creation_time", attribute::creation_time, &times));
    cases.extend(integers(
        "last_update_time",
        attribute::last_update_time,
        &times,
    ));
    cases
}

/// Returns the comparisons that registered models and model versions have in common.
fn registry_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let names = [
        "model-a",
        "Model B",
        "it's",
        "modell ü%_",
        "greeting",
        "deleted",
    ];
    let patterns = ["m%", "M%", "MODEL%", "modell_ü%", "%'%", "%Ü%", "%"];
    cases.extend(texts!("name", attribute::name(), &names, &patterns));
    cases.extend(texts!(
        "attribute.name",
        attribute::name(),
        &names[..1],
        &patterns[..1]
    ));
    cases.extend(listed!(
        "name",
        attribute::name,
        &[&["model-a", "it's"], &["x"], &["Model B"]],
    ));
    for (field, key) in [
        ("tags.stage", "stage"),
        ("tag.note", "note"),
        ("tags.`odd key/a-b.c`", "odd key/a-b.c"),
        ("tags.missing", "missing"),
    ] {
        cases.extend(texts!(
            field,
            tag(key),
            &["prod", "it's", "ü"],
            &["P%", "100%"]
        ));
    }
    cases
}

fn version_cases(run_ids: &[String]) -> Vec<Case> {
    let mut cases = registry_cases();
    cases.extend(integers(
        "version_number",
        attribute::version_number,
        &[0, 1, 2, 4, -1],
    ));
    let sources = ["s3://bucket/1/ü%_A", "s3://bucket/0/ü%_a"];
    let patterns = ["s3%", "S3%", "%ü\\%%", "%_A", "%Ü%"];
    cases.extend(texts!(
        "source_path",
        attribute::source_path(),
        &sources,
        &patterns
    ));
    let ids: Vec<&str> = run_ids.iter().map(String::as_str).collect();
    cases.extend(texts!(
        "run_id",
        attribute::run_id(),
        &[ids[0], "x", ""],
        &["%", "0%"]
    ));
    cases.extend(listed!("run_id", attribute::run_id, &[&ids[..2], &["x"]]));
    cases
}

/// Texts that MLflow refuses, or that it reads in an unexpected way.
const ODD_RUN_FILTERS: &[&str] = &[
    "metrics.loss",
    "metrics.loss >",
    "metrics.loss > 'x'",
    "metrics.loss > \"0.5\"",
    "metrics.loss == 0.5",
    "metrics.loss LIKE '1%'",
    "metrics.loss IN (1, 2)",
    "metrics.loss IS NULL",
    "metrics.loss > 0.5 OR metrics.loss < 0.1",
    "NOT metrics.loss > 0.5",
    "(metrics.loss > 0.5)",
    "metrics.loss > 0.5;",
    "metrics.val/loss > 0.5",
    "metrics.val-loss > 0.5",
    "metrics.loss > -0.5",
    "metrics.loss > +0.5",
    "metrics.loss > .5",
    "metrics.loss > 5.",
    "metrics.loss > 1e0",
    "metrics.loss > 1E-2",
    "metrics.loss > 0x1",
    "metrics.loss > nan",
    "metrics.loss > inf",
    "metrics.loss > 1e999",
    "metrics.loss>0.5",
    "metrics.loss>=0.5 and metrics.loss<=1",
    "METRICS.loss > 0.5",
    "metrics.LOSS > 0.5",
    "metrics . loss > 0.5",
    "0.5 < metrics.loss",
    "loss > 0.5",
    "foo.loss > 0.5",
    "params.text = plain",
    "params.text = 1",
    "params.text > 'a'",
    "params.text IN ('plain')",
    "params.text = 'it''s'",
    "params.text = 'plain' AND params.text = 'plain'",
    "params.text like 'P%'",
    "params.text iLike 'P%'",
    "params.text is not null and tags.note Is Null",
    "params.text = \"plain\"",
    "params.text NOT LIKE 'p%'",
    "param.text = 'plain'",
    "parameters.text = 'plain'",
    "tags.note = 'plain",
    "tags.note != ''",
    "tags.`note` = 'plain'",
    "tags.\"note\" = 'plain'",
    "`tags`.note = 'plain'",
    "tags.a.`b` = 'x'",
    "status = FINISHED",
    "status > 'A'",
    "status IN ('FINISHED')",
    "status IS NULL",
    "run_id IN ()",
    "run_id IN ('a', 1)",
    "run_id IN 'a'",
    "run_id IN ('a',)",
    "run_id in ('a')",
    "start_time > '1'",
    "start_time > 1.5",
    "start_time = 1700000003000.0",
    "start_time LIKE '1%'",
    "end_time IS NULL",
    "experiment_id = '1'",
    "lifecycle_stage = 'active'",
    "datasets.name = 'train' AND datasets.context = 'training'",
    "datasets.name = 'train' AND datasets.context = 'evaluation'",
    "datasets.source = 'x'",
    "datasets.name > 'a'",
    "datasets.name IS NULL",
    "'plain'",
    "1 = 1",
    "tags.note = 'a' -- comment",
    "tags.note /* comment */ = 'plain'",
];

const ODD_EXPERIMENT_FILTERS: &[&str] = &[
    "name",
    "name > 'a'",
    "name IN ('wine')",
    "name = wine",
    "experiment_id = 1",
    "experiment_id > '1'",
    "experiment_id LIKE '1'",
    "experiment_id = 'x'",
    "experiment_id IN ('x', '1')",
    "creation_time = '1'",
    "creation_time > 1.5",
    "tags.team > 'a'",
    "tags.team IN ('cellar')",
    "params.a = 'x'",
    "metrics.a > 1",
    "lifecycle_stage = 'active'",
    "name = 'wine' OR name = 'WINE'",
    "name = 'wine' and tags.team = 'cellar'",
    "name IS NULL",
];

const ODD_REGISTRY_FILTERS: &[&str] = &[
    "name",
    "name > 'a'",
    "name = 1",
    "name IN ()",
    "name IN ('model-a', 1)",
    "tags.stage IS NULL",
    "tags.stage > 'a'",
    "tags.stage IN ('prod')",
    "description = 'x'",
    "creation_timestamp > 1",
    "last_updated_timestamp > 1",
    "params.a = 'x'",
    "name = 'model-a' OR name = 'x'",
    "name like 'MODEL%'",
    "name = 'model-a' AND tags.stage = 'prod'",
    "tags.stage = 'prod' AND tags.note = 'x'",
    "tags.stage = 'prod' AND tags.stage LIKE 'p%'",
    "tags.stage = 'prod' AND tags.stage = 'dev'",
    "tags.`mlflow.prompt.is_prompt` = 'true'",
    "tags.`mlflow.prompt.is_prompt` = 'false'",
    "tags.`mlflow.prompt.is_prompt` != 'true'",
    "version_number > 1 AND name = 'model-a'",
    "version_number LIKE '1'",
    "version_number IN (1)",
    "source_path IN ('x')",
    "run_id = ''",
    "run_id IS NULL",
];

/// Returns the searches for runs.
fn run_queries(run_ids: &[String]) -> Vec<Query> {
    let cases = run_cases(run_ids);
    let mut queries: Vec<Query> = cases
        .iter()
        .map(|case| Query::filtered("runs", case))
        .collect();
    // Pairs and triples of comparisons.
    let mut rng = Rng::seeded_or(20_260_101);
    for count in [2, 3].into_iter().cycle().take(60) {
        let mut one =
            || cases[usize::try_from(rng.below(cases.len() as u64)).expect("an index")].clone();
        let mut joined = one();
        for _ in 1..count {
            let next = one();
            joined = Case {
                text: format!("{} AND {}", joined.text, next.text),
                typed: joined.typed.zip(next.typed).map(|(one, other)| one & other),
            };
        }
        queries.push(Query::filtered("runs", &joined));
    }
    for filter in ODD_RUN_FILTERS {
        let case = Case {
            text: (*filter).to_owned(),
            typed: None,
        };
        queries.push(Query::filtered("runs", &case));
    }
    queries.extend(orders(
        "runs",
        &[
            ("metrics.loss", metric("loss").asc(), metric("loss").desc()),
            (
                "metrics.`val/loss`",
                metric("val/loss").asc(),
                metric("val/loss").desc(),
            ),
            (
                "metrics.\"val-loss\"",
                metric("val-loss").asc(),
                metric("val-loss").desc(),
            ),
            (
                "metrics.val.loss",
                metric("val.loss").asc(),
                metric("val.loss").desc(),
            ),
            (
                "metrics.missing",
                metric("missing").asc(),
                metric("missing").desc(),
            ),
            ("params.lr", param("lr").asc(), param("lr").desc()),
            ("params.text", param("text").asc(), param("text").desc()),
            (
                "params.`odd key/a-b.c`",
                param("odd key/a-b.c").asc(),
                param("odd key/a-b.c").desc(),
            ),
            ("tags.note", tag("note").asc(), tag("note").desc()),
            (
                "tags.mlflow.runName",
                tag("mlflow.runName").asc(),
                tag("mlflow.runName").desc(),
            ),
            (
                "run_id",
                attribute::run_id().asc(),
                attribute::run_id().desc(),
            ),
            (
                "run_name",
                attribute::run_name().asc(),
                attribute::run_name().desc(),
            ),
            (
                "status",
                attribute::status().asc(),
                attribute::status().desc(),
            ),
            (
                "user_id",
                attribute::user_id().asc(),
                attribute::user_id().desc(),
            ),
            (
                "artifact_uri",
                attribute::artifact_uri().asc(),
                attribute::artifact_uri().desc(),
            ),
            (
                "start_time",
                attribute::start_time().asc(),
                attribute::start_time().desc(),
            ),
            (
                "attributes.start_time",
                attribute::start_time().asc(),
                attribute::start_time().desc(),
            ),
            (
                "created",
                attribute::start_time().asc(),
                attribute::start_time().desc(),
            ),
            (
                "end_time",
                attribute::end_time().asc(),
                attribute::end_time().desc(),
            ),
        ],
    ));
    for order in [
        "metrics.loss DESCENDING",
        "loss",
        "datasets.name",
        "experiment_id",
        "lifecycle_stage",
        "metrics.a b c",
        "",
    ] {
        queries.push(Query {
            order: vec![order.to_owned()],
            ..Query::new("runs")
        });
    }
    for view in [ViewType::ActiveOnly, ViewType::DeletedOnly, ViewType::All] {
        for experiments in [
            vec![],
            vec!["wine"],
            vec!["mixed", "wine"],
            vec!["trash"],
            vec!["empty"],
            vec!["wine", "wine"],
        ] {
            for limit in [None, Some(7)] {
                queries.push(Query {
                    view,
                    experiments: experiments.clone(),
                    limit,
                    ..Query::new("runs")
                });
            }
            queries.push(Query {
                view,
                experiments,
                filter: "metrics.loss < 0.6".to_owned(),
                typed_filter: Some(metric("loss").lt(0.6)),
                limit: Some(5),
                order: vec!["metrics.loss DESC".to_owned()],
                typed_order: Some(vec![metric("loss").desc()]),
                ..Query::new("runs")
            });
        }
    }
    queries
}

/// Returns searches with each order, and with several orders.
fn orders(subject: &'static str, fields: &[(&str, OrderBy, OrderBy)]) -> Vec<Query> {
    let mut all = Vec::new();
    for (index, (text, ascending, descending)) in fields.iter().enumerate() {
        let (asc, desc) = [(" ASC", " DESC"), ("", " desc"), (" asc", " Desc")][index % 3];
        all.push((format!("{text}{asc}"), ascending.clone()));
        all.push((format!("{text}{desc}"), descending.clone()));
    }
    let mut queries = Vec::new();
    for (index, first) in all.iter().enumerate() {
        queries.push(Query::ordered(subject, std::slice::from_ref(first)));
        let others = [3, 7].map(|distance| all[(index + distance) % all.len()].clone());
        queries.push(Query {
            limit: Some(5),
            ..Query::ordered(subject, &[[first.clone()].as_slice(), &others].concat())
        });
    }
    queries
}

fn other_queries(run_ids: &[String]) -> Vec<Query> {
    let mut queries = Vec::new();
    let odd = |filter: &&str| Case {
        text: (*filter).to_owned(),
        typed: None,
    };
    let cases = experiment_cases()
        .into_iter()
        .chain(ODD_EXPERIMENT_FILTERS.iter().map(odd));
    for case in cases {
        // Most of them are the same for deleted experiments.
        let view = [ViewType::ActiveOnly, ViewType::All][queries.len() % 2];
        queries.push(Query {
            view,
            ..Query::filtered("experiments", &case)
        });
    }
    queries.extend(orders(
        "experiments",
        &[
            ("name", attribute::name().asc(), attribute::name().desc()),
            (
                "experiment_id",
                attribute::experiment_id().asc(),
                attribute::experiment_id().desc(),
            ),
            (
                "creation_time",
                attribute::creation_time().asc(),
                attribute::creation_time().desc(),
            ),
            (
                "last_update_time",
                attribute::last_update_time().asc(),
                attribute::last_update_time().desc(),
            ),
        ],
    ));
    for view in [ViewType::ActiveOnly, ViewType::DeletedOnly, ViewType::All] {
        for limit in [None, Some(0), Some(2)] {
            queries.push(Query {
                view,
                limit,
                ..Query::new("experiments")
            });
        }
    }
    for order in ["tags.team", "lifecycle_stage", "name UP", ""] {
        queries.push(Query {
            order: vec![order.to_owned()],
            ..Query::new("experiments")
        });
    }
    for (subject, cases) in [
        ("registered_models", registry_cases()),
        ("model_versions", version_cases(run_ids)),
    ] {
        for case in cases
            .into_iter()
            .chain(ODD_REGISTRY_FILTERS.iter().map(odd))
        {
            queries.push(Query::filtered(subject, &case));
        }
        for limit in [None, Some(0), Some(2)] {
            queries.push(Query {
                limit,
                ..Query::new(subject)
            });
        }
        for order in ["tags.stage", "description", "run_id", "name UP", ""] {
            queries.push(Query {
                order: vec![order.to_owned()],
                ..Query::new(subject)
            });
        }
    }
    let updated = || {
        (
            attribute::last_updated_timestamp().asc(),
            attribute::last_updated_timestamp().desc(),
        )
    };
    queries.extend(orders(
        "registered_models",
        &[
            ("name", attribute::name().asc(), attribute::name().desc()),
            ("last_updated_timestamp", updated().0, updated().1),
            ("timestamp", updated().0, updated().1),
        ],
    ));
    queries.extend(orders(
        "model_versions",
        &[
            ("name", attribute::name().asc(), attribute::name().desc()),
            (
                "version_number",
                attribute::version_number().asc(),
                attribute::version_number().desc(),
            ),
            (
                "creation_timestamp",
                attribute::creation_timestamp().asc(),
                attribute::creation_timestamp().desc(),
            ),
            ("last_updated_timestamp", updated().0, updated().1),
        ],
    ));
    queries
}
