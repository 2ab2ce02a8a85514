//! Arguments of the attribute `#[tracked]`.

use mlflow::tracked;

use super::recorder::{RunStatus, block_on, fake, last_metrics, only_run, params, runs_apart};

#[derive(serde::Serialize)]
struct Scores {
    rmse: f64,
    deep: Deep,
    note: &'static str,
}

#[derive(serde::Serialize)]
struct Deep {
    r2: f32,
    ok: bool,
}

#[test]
fn a_plain_function() {
    /// Fits.
    ///
    /// Slowly.
    #[tracked(experiment = "wine", tags(model = "elastic-net", "dotted.key" = alpha * 2.0))]
    fn train(alpha: f64, l1_ratio: f64, name: &str) -> Result<Scores, std::io::Error> {
        let _ = (l1_ratio, name);
        Ok(Scores {
            rmse: alpha,
            deep: Deep { r2: 0.5, ok: true },
            note: "x",
        })
    }
    let fake = fake();
    assert_eq!(train(0.25, 0.1, "n").expect("ok").note, "x");
    let run = only_run(&fake);
    assert_eq!(run.experiment, "wine");
    assert_eq!(run.status, RunStatus::Finished);
    assert_eq!(
        params(&run),
        [("alpha", "0.25"), ("l1_ratio", "0.1"), ("name", "n")]
    );
    assert_eq!(
        last_metrics(&run),
        [("deep.ok", 1.0), ("deep.r2", 0.5), ("rmse", 0.25)]
    );
    let digits = run
        .name
        .strip_prefix("train-")
        .expect("the function's name first");
    assert_eq!(digits.len(), "20260101-000000-1f0c3b".len(), "{digits}");
    let tag = |key: &str| run.tags.get(key).map(String::as_str);
    assert_eq!(tag("model"), Some("elastic-net"));
    assert_eq!(tag("dotted.key"), Some("0.5"));
    assert_eq!(tag("mlflow.note.content"), Some("Fits.\n\nSlowly."));
    assert_eq!(
        tag("code.function"),
        Some(concat!(module_path!(), "::train"))
    );
    assert_eq!(tag("service.name"), Some(env!("CARGO_PKG_NAME")));
    assert_eq!(tag("service.version"), Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn where_the_function_stands() {
    let line = line!() + 2;
    #[tracked]
    fn located() {}
    let fake = fake();
    located();
    let run = only_run(&fake);
    assert_eq!(run.tags["code.filepath"], file!());
    assert_eq!(run.tags["code.lineno"], line.to_string());
}

#[test]
fn which_arguments_are_params() {
    #[tracked(skip(b), params(sum = a + b, c = "given"))]
    fn skipped(a: i32, b: i32, c: i32) {
        let _ = c;
    }
    #[tracked(skip_all, params(a))]
    fn only_named(a: i32, b: i32) {
        let _ = b;
    }
    struct Model;
    impl Model {
        #[tracked]
        fn fit(&self, r#type: &str) -> f64 {
            let _ = r#type;
            1.5
        }
    }
    let fake = fake();
    skipped(1, 2, 3);
    only_named(1, 2);
    Model.fit("x");
    let runs = fake.runs();
    assert_eq!(params(&runs[0]), [("a", "1"), ("c", "given"), ("sum", "3")]);
    assert_eq!(params(&runs[1]), [("a", "1")]);
    assert_eq!(params(&runs[2]), [("type", "x")]);
    assert_eq!(last_metrics(&runs[2]), [("fit", 1.5)]);
}

#[test]
fn names_of_returned_values() {
    #[tracked(metric = "loss")]
    fn bare() -> Option<f32> {
        Some(0.5)
    }
    #[tracked(metrics("precision", "recall"))]
    fn pair() -> Result<(f64, f64), String> {
        Ok((0.25, 0.75))
    }
    #[tracked]
    fn unnamed() -> (f64, i32) {
        (0.25, 2)
    }
    #[tracked(skip_return)]
    fn unlogged() -> Result<f64, String> {
        Err("but failed".to_owned())
    }
    let fake = fake();
    let _ = (bare(), pair(), unnamed(), unlogged());
    let runs = fake.runs();
    assert_eq!(last_metrics(&runs[0]), [("loss", 0.5)]);
    assert_eq!(
        last_metrics(&runs[1]),
        [("precision", 0.25), ("recall", 0.75)]
    );
    assert_eq!(
        last_metrics(&runs[2]),
        [("unnamed.0", 0.25), ("unnamed.1", 2.0)]
    );
    assert_eq!(last_metrics(&runs[3]), []);
    assert_eq!(runs[3].status, RunStatus::Failed);
}

#[test]
fn names_are_filled_in() {
    #[tracked(
        run_name = "{function}-{lr:.2}-{kind}-{api_token}-{{x}}",
        experiment = "{kind}/{env}"
    )]
    fn template(lr: f64, kind: &str, api_token: &str) {
        let _ = (lr, kind, api_token);
    }
    #[tracked(run_name = format!("n{n}"), experiment = name)]
    fn expressions(n: u8, name: String) -> String {
        let _ = n;
        name
    }
    #[tracked(run_name = "{a}+{b}", tags(sum = a + b))]
    fn pattern((a, b): (i32, i32)) {
        let _ = (a, b);
    }
    let fake = fake();
    template(0.12345, "sgd", "hunter2");
    assert_eq!(expressions(7, "dynamic".to_owned()), "dynamic");
    pattern((1, 2));
    let runs = fake.runs();
    assert_eq!(runs[0].name, "template-0.12-sgd-[redacted]-{x}");
    let env = std::env::var("MLFLOW_ENV")
        .ok()
        .filter(|env| !env.is_empty());
    let env = env.as_deref().unwrap_or("default");
    assert_eq!(runs[0].experiment, format!("sgd/{env}"));
    assert_eq!(
        (runs[1].name.as_str(), runs[1].experiment.as_str()),
        ("n7", "dynamic")
    );
    assert_eq!(runs[2].name, "1+2");
    assert_eq!(runs[2].tags["sum"], "3");
}

#[test]
fn the_environment_is_filled_in() {
    const SELF: &str = "macros::arguments::the_environment_is_filled_in";
    #[tracked(experiment = "wine/{env}")]
    fn train() {}
    if runs_apart(SELF, &[("MLFLOW_ENV", "staging")]) {
        runs_apart(SELF, &[("MLFLOW_ENV", "")]);
        // Regression: a blank value was left out as a tag, but used as part of a name.
        runs_apart(SELF, &[("MLFLOW_ENV", " ")]);
        return;
    }
    let fake = fake();
    train();
    let is_set = std::env::var("MLFLOW_ENV").as_deref() == Ok("staging");
    let expected = if is_set {
        "wine/staging"
    } else {
        "wine/default"
    };
    assert_eq!(only_run(&fake).experiment, expected);
}

#[test]
fn what_must_not_be_seen() {
    #[tracked(redact(salary), hash(data), params(auth = "explicit"))]
    fn secretive(salary: f64, data: &[u8], api_key: &str, auth: &str, max_tokens: u32) {
        let _ = (salary, data, api_key, auth, max_tokens);
    }
    let fake = fake();
    secretive(1e6, b"abc", "hunter2", "hunter3", 5);
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let expected = [
        ("api_key", "[redacted]"),
        ("auth", "explicit"),
        ("data_hash", sha256),
        ("max_tokens", "5"),
        ("salary", "[redacted]"),
    ];
    assert_eq!(params(&only_run(&fake)), expected);
}

#[test]
fn description_and_run_id() {
    /// Not this.
    #[tracked(description = format!("for {a}"), run_id = "0123")]
    fn resumed(a: i32) {
        let _ = a;
    }
    let fake = fake();
    resumed(1);
    let run = only_run(&fake);
    assert_eq!(run.tags["mlflow.note.content"], "for 1");
    assert_eq!(run.id, "0123");
}

#[test]
fn a_run_id_that_may_be_missing() {
    #[tracked(run_id = id)]
    fn owned(id: Option<String>) {
        let _ = id;
    }
    #[tracked(run_id = id)]
    fn lent(id: &Option<&'static str>) {
        let _ = id;
    }
    #[tracked(run_id = id.as_deref().filter(|id| !id.is_empty()))]
    fn derived(id: Option<String>) {
        let _ = id;
    }
    let fake = fake();
    owned(None);
    lent(&None);
    derived(Some(String::new()));
    owned(Some("0123".to_owned()));
    lent(&Some("4567"));
    derived(Some("89ab".to_owned()));
    let runs = fake.runs();
    let ids: Vec<&str> = runs.iter().map(|run| run.id.as_str()).collect();
    assert_eq!(ids[3..], ["0123", "4567", "89ab"]);
    assert!(runs[..3].iter().all(|run| run.id.len() == 32), "{ids:?}");
    // An argument that gives the run's id is not logged as a param: its value would be different in each run.
    assert_eq!(params(&runs[3]), []);
    assert_eq!(params(&runs[5]), [("id", "89ab")]);
}

/// Regression: `{config.lr}` was not accepted as a placeholder in a name.
#[test]
fn a_field_in_a_name() {
    struct Config {
        lr: f64,
        model: (u8, Model),
        api_token: &'static str,
    }
    struct Model {
        r#type: &'static str,
    }
    #[tracked(
        experiment = "wine/{config.model.1.r#type}",
        run_name = "{config.lr:.3}-{config.model.0}-{config.api_token}-{b.lr}-{c.lr}",
        skip_all
    )]
    fn fit(config: &Config, (b, _): (&Config, u8), c: Config) {
        let _ = (config, b, c);
    }
    let config = |lr| Config {
        lr,
        model: (3, Model { r#type: "net" }),
        api_token: "hunter2",
    };
    let fake = fake();
    fit(&config(0.5), (&config(0.25), 1), config(2.0));
    assert_eq!(config(0.0).api_token, "hunter2");
    let run = only_run(&fake);
    assert_eq!(run.name, "0.500-3-[redacted]-0.25-2.0");
    assert_eq!(run.experiment, "wine/net");
}

/// Regression: the run was named `a-……`.
#[test]
fn a_name_that_cannot_be_formatted_is_the_default() {
    struct Broken;
    impl std::fmt::Display for Broken {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    struct Panics;
    impl std::fmt::Display for Panics {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("in a name")
        }
    }
    #[tracked(run_name = "a-{a}", experiment = "wine-{a}", skip_all)]
    fn filled_in(a: Broken) {
        let _ = a;
    }
    #[tracked(run_name = a, experiment = a, skip_all)]
    fn given(a: Broken) {
        let _ = a;
    }
    #[tracked(run_name = "a-{a}", experiment = a, skip_all)]
    fn panics(a: Panics) {
        let _ = a;
    }
    let fake = fake();
    filled_in(Broken);
    given(Broken);
    panics(Panics);
    drop(mlflow::start_run().experiment("whole").start());
    let runs = fake.runs();
    let names: Vec<_> = runs.iter().map(|run| run.name.split('-').next()).collect();
    assert_eq!(
        names,
        [
            Some("filled_in"),
            Some("given"),
            Some("panics"),
            Some("run")
        ]
    );
    let experiments: Vec<_> = runs.iter().map(|run| run.experiment.as_str()).collect();
    assert_eq!(experiments, ["Default", "Default", "Default", "whole"]);
}

#[test]
fn children_and_roots() {
    #[tracked]
    fn child() {}
    #[tracked(root)]
    fn alone() {}
    #[tracked]
    async fn task() {}
    #[tracked]
    async fn opaque() -> impl Fn(&str) -> usize + Send {
        |text| text.len()
    }
    #[tracked]
    async fn parent() {
        child();
        alone();
        // The parent of a child run is determined where the future is created, not where it is polled.
        let (future, other) = (task(), opaque());
        std::thread::spawn(move || (block_on(future), block_on(other)("ab")))
            .join()
            .expect("no panic");
    }
    let fake = fake();
    block_on(parent());
    child();
    let runs = fake.runs();
    let parents = |function: &str| -> Vec<_> {
        let named = runs.iter().filter(|run| run.name.starts_with(function));
        named.map(|run| run.parent.as_deref()).collect()
    };
    let parent = Some(runs[0].id.as_str());
    assert_eq!(parents("parent-"), [None]);
    assert_eq!(parents("child-"), [parent, None]);
    assert_eq!(parents("alone-"), [None]);
    assert_eq!(parents("task-"), [parent]);
    assert_eq!(parents("opaque-"), [parent]);
}

#[test]
fn another_path_to_the_library() {
    mod facade {
        pub(crate) mod tracking {
            pub(crate) use mlflow::__private;
        }
    }
    #[tracked(crate = facade::tracking)]
    fn renamed(a: i32) -> i32 {
        a
    }
    let fake = fake();
    renamed(3);
    assert_eq!(last_metrics(&only_run(&fake)), [("renamed", 3.0)]);
}

/// The body works without data, but some expressions in the attribute panic.
#[test]
fn an_expression_that_panics_took_the_function_along() {
    #[tracked(
        tags(first = data[0], rows = data.len()),
        params(last = data[data.len() - 1], twice = data.len() * 2),
        run_name = data[0].to_string(),
        description = format!("{}", data[1]),
    )]
    fn train(data: &[f64]) -> f64 {
        data.iter().sum()
    }
    let fake = fake();
    assert_eq!(train(&[]), -0.0);
    let run = only_run(&fake);
    assert_eq!(run.status, RunStatus::Finished);
    assert!(run.name.starts_with("train-"), "{}", run.name);
    assert_eq!(run.tags["rows"], "0");
    assert_eq!(run.params["twice"], "0");
    assert!(!run.tags.contains_key("first"));
    assert!(!run.params.contains_key("last"));
    assert_eq!(run.tags.get("error.type"), None);
}
