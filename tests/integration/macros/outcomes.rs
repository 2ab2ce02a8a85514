//! Outcomes of tracked functions: status, error tags and returned metrics of their runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use mlflow::tracked;

use super::recorder::{Fake, RunStatus, block_on, fake, only_run, runs_apart};

fn tag(fake: &Fake, key: &str) -> Option<String> {
    only_run(fake).tags.get(key).cloned()
}

#[derive(Debug)]
struct Outer(std::num::ParseIntError);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bad number")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

type Outcome<T> = Result<T, Outer>;

#[tracked]
fn parse(text: &str) -> Outcome<i32> {
    let number: i32 = text.parse().map_err(Outer)?;
    Ok(number)
}

/// Regression: only the outer type was examined. A run with an inner error was FINISHED, and a number was
/// named `Ok`.
#[test]
fn results_and_options_in_each_other_are_looked_through() {
    type Joined<T> = Result<T, std::num::ParseIntError>;
    #[tracked(metric = "loss")]
    fn maybe(value: Option<Result<f64, String>>) -> Option<Result<f64, String>> {
        value
    }
    #[tracked(metric = "loss")]
    fn joined(value: Result<f64, Outer>) -> Result<Result<f64, Outer>, std::fmt::Error> {
        Ok(value)
    }
    #[tracked(metric = "loss")]
    fn three(value: Option<f64>) -> Result<Joined<Option<f64>>, String> {
        Ok(Ok(value))
    }
    #[tracked(metric = "loss")]
    async fn later(value: Option<f64>) -> Result<Option<f64>, String> {
        Ok(value)
    }
    #[tracked(skip_return)]
    fn skipped() -> Option<Result<f64, String>> {
        Some(Err("no".to_owned()))
    }
    let outer = || Outer("x".parse::<i32>().expect_err("no number"));
    let check = |status: RunStatus, loss: Option<f64>, call: &dyn Fn()| {
        let fake = fake();
        call();
        let run = only_run(&fake);
        assert_eq!(run.status, status, "{run:?}");
        let found: Vec<_> = run
            .metrics
            .iter()
            .map(|(key, points)| (key.as_str(), points[0].value))
            .collect();
        assert_eq!(found, loss.map(|loss| ("loss", loss)).as_slice());
    };
    let (finished, failed) = (RunStatus::Finished, RunStatus::Failed);
    check(finished, Some(0.5), &|| drop(maybe(Some(Ok(0.5)))));
    check(failed, None, &|| drop(maybe(Some(Err("no".to_owned())))));
    check(finished, None, &|| drop(maybe(None)));
    check(finished, Some(0.5), &|| drop(joined(Ok(0.5))));
    check(failed, None, &|| drop(joined(Err(outer()))));
    check(finished, Some(0.5), &|| drop(three(Some(0.5))));
    check(finished, None, &|| drop(three(None)));
    check(finished, Some(0.5), &|| drop(block_on(later(Some(0.5)))));
    check(failed, None, &|| drop(skipped()));
}

#[test]
fn an_exit_code_other_than_success_is_a_failure() {
    use std::process::ExitCode;
    #[tracked]
    fn main(code: u8) -> ExitCode {
        ExitCode::from(code)
    }
    #[tracked]
    fn fallible(code: u8) -> Result<ExitCode, String> {
        Ok(ExitCode::from(code))
    }
    for (code, status) in [
        (0, RunStatus::Finished),
        (1, RunStatus::Failed),
        (7, RunStatus::Failed),
    ] {
        let fake = fake();
        main(code);
        assert!(fallible(code).is_ok());
        let runs = fake.runs();
        assert!(runs.iter().all(|run| run.status == status), "{runs:?}");
        assert!(runs.iter().all(|run| run.metrics.is_empty()), "{runs:?}");
    }
}

/// Regression: the returned number was logged at step 0, behind a curve that ended at step 99. In the MLflow
/// UI, the curve fell back.
#[test]
fn a_returned_number_stands_at_the_last_step_of_its_curve() {
    #[derive(serde::Serialize)]
    struct Fit {
        loss: f64,
        rmse: f64,
    }
    #[tracked]
    fn train(flushes: bool) -> Fit {
        for step in (1..100).rev() {
            mlflow::metric!("loss", 1.0, step = step);
            mlflow::metric!("train", 1.0, step = 7);
            if flushes && step == 50 {
                assert!(mlflow::flush(std::time::Duration::ZERO).complete);
            }
        }
        Fit {
            loss: 0.25,
            rmse: 0.5,
        }
    }
    for flushes in [false, true] {
        let fake = fake();
        train(flushes);
        let run = only_run(&fake);
        let of = |key: &str| {
            let point = run.metrics[key].last().expect("a point");
            (point.step, point.value)
        };
        assert_eq!(of("loss"), (99, 0.25));
        assert_eq!(of("rmse"), (0, 0.5), "it has no curve");
        assert_eq!(run.metrics["loss"].len(), 100);
    }
}

#[test]
fn an_error_fails_the_run() {
    let fake = fake();
    assert!(parse("x").is_err());
    assert_eq!(only_run(&fake).status, RunStatus::Failed);
    assert!(tag(&fake, "error.type").is_some_and(|kind| kind.ends_with("outcomes::Outer")));
    assert_eq!(tag(&fake, "error.message").as_deref(), Some("bad number"));
    assert_eq!(
        tag(&fake, "error.chain").as_deref(),
        Some("1: invalid digit found in string")
    );
}

#[test]
fn a_boxed_error_keeps_its_chain() {
    #[tracked]
    fn boxed() -> Result<(), Box<dyn std::error::Error>> {
        parse_quietly("x")?;
        Ok(())
    }
    fn parse_quietly(text: &str) -> Outcome<i32> {
        text.parse().map_err(Outer)
    }
    let fake = fake();
    assert!(boxed().is_err());
    assert_eq!(tag(&fake, "error.message").as_deref(), Some("bad number"));
    assert_eq!(
        tag(&fake, "error.chain").as_deref(),
        Some("1: invalid digit found in string")
    );
}

#[test]
fn none_finishes_the_run() {
    #[tracked]
    fn nothing() -> Option<f64> {
        None
    }
    let fake = fake();
    assert_eq!(nothing(), None);
    assert_eq!(only_run(&fake).status, RunStatus::Finished);
}

#[test]
fn a_panic_fails_the_run_and_goes_on() {
    #[derive(Debug, PartialEq)]
    struct Payload(u8);
    let line = line!() + 3;
    #[tracked]
    fn text() {
        panic!("number {}", std::hint::black_box(5));
    }
    #[tracked]
    fn payload() {
        std::panic::panic_any(Payload(7));
    }
    #[tracked]
    async fn later() {
        std::future::ready(()).await;
        panic!("in a future");
    }
    #[tracked]
    fn never() -> ! {
        panic!("never returns")
    }
    let caught = fake();
    let error = catch_unwind(text).expect_err("it panics");
    assert_eq!(
        error.downcast_ref::<String>().map(String::as_str),
        Some("number 5")
    );
    assert_eq!(only_run(&caught).status, RunStatus::Failed);
    assert_eq!(tag(&caught, "error.type").as_deref(), Some("panic"));
    assert_eq!(tag(&caught, "error.message").as_deref(), Some("number 5"));
    assert_eq!(
        tag(&caught, "error.location"),
        Some(format!("{}:{line}", file!()))
    );
    drop(caught);

    let caught = fake();
    let error = catch_unwind(payload).expect_err("it panics");
    assert_eq!(error.downcast_ref(), Some(&Payload(7)));
    assert_eq!(tag(&caught, "error.type").as_deref(), Some("panic"));
    drop(caught);

    let caught = fake();
    let _ = catch_unwind(AssertUnwindSafe(|| block_on(later()))).expect_err("it panics");
    assert_eq!(only_run(&caught).status, RunStatus::Failed);
    assert_eq!(
        tag(&caught, "error.message").as_deref(),
        Some("in a future")
    );
    drop(caught);

    let caught = fake();
    let _ = catch_unwind(|| never()).expect_err("it panics");
    assert_eq!(only_run(&caught).status, RunStatus::Failed);
    assert_eq!(
        tag(&caught, "error.message").as_deref(),
        Some("never returns")
    );
}

#[test]
fn a_panic_has_its_place_in_every_run_it_unwinds_through() {
    #[tracked]
    fn parent() {
        child();
    }
    #[tracked]
    fn child() {
        never()
    }
    #[tracked]
    fn never() -> ! {
        panic!("deep inside")
    }
    let fake = fake();
    let _ = catch_unwind(parent).expect_err("it panics");
    let runs = fake.runs();
    assert_eq!(runs.len(), 3);
    let place = &runs[2].tags["error.location"];
    for run in &runs {
        assert_eq!(run.tags.get("error.location"), Some(place), "{}", run.name);
        assert_eq!(
            run.tags.contains_key("error.stacktrace"),
            runs[2].tags.contains_key("error.stacktrace")
        );
    }
}

#[test]
fn the_place_of_an_earlier_panic_is_not_that_of_a_later_one() {
    #[tracked]
    fn hooked() {
        panic!("the same words")
    }
    #[tracked]
    fn resumed() -> ! {
        std::panic::resume_unwind(Box::new("the same words"))
    }
    let fake = fake();
    let _ = catch_unwind(hooked).expect_err("it panics");
    let _ = catch_unwind(|| resumed()).expect_err("it panics");
    let runs = fake.runs();
    assert!(runs[0].tags.contains_key("error.location"));
    assert!(!runs[1].tags.contains_key("error.location"));
}

#[test]
fn a_backtrace_is_a_tag_where_backtraces_are_on() {
    const SELF: &str = "macros::outcomes::a_backtrace_is_a_tag_where_backtraces_are_on";
    #[tracked]
    fn fails() {
        panic!("in fails")
    }
    if runs_apart(SELF, &[("RUST_BACKTRACE", "1")]) {
        runs_apart(SELF, &[("RUST_BACKTRACE", "0")]);
        return;
    }
    let is_on = std::env::var("RUST_BACKTRACE").as_deref() == Ok("1");
    let fake = fake();
    let _ = catch_unwind(fails).expect_err("it panics");
    let backtrace = tag(&fake, "error.stacktrace");
    assert_eq!(backtrace.is_some(), is_on);
    assert!(backtrace.is_none_or(|trace| trace.contains("fails")));
}

#[test]
fn a_hook_set_later_hides_the_place_of_one_panic_only() {
    #[tracked]
    fn fails() {
        panic!("in fails")
    }
    if runs_apart(
        "macros::outcomes::a_hook_set_later_hides_the_place_of_one_panic_only",
        &[],
    ) {
        return;
    }
    let fake = fake();
    let _ = catch_unwind(fails).expect_err("it panics");
    std::panic::set_hook(Box::new(|_| {}));
    for _ in 0..3 {
        let _ = catch_unwind(fails).expect_err("it panics");
    }
    let places = fake.runs();
    let places = places
        .iter()
        .map(|run| run.tags.contains_key("error.location"));
    assert_eq!(places.collect::<Vec<_>>(), [true, false, true, true]);
}

#[test]
fn a_panic_without_a_hook_has_no_place() {
    #[tracked]
    fn resumes() {
        let _ = catch_unwind(|| panic!("caught inside"));
        std::panic::resume_unwind(Box::new("from another thread"));
    }
    let fake = fake();
    let _ = catch_unwind(resumes).expect_err("it panics");
    assert_eq!(
        tag(&fake, "error.message").as_deref(),
        Some("from another thread")
    );
    assert_eq!(tag(&fake, "error.location"), None);
}

#[test]
fn a_dropped_future_is_killed() {
    struct LogsOnDrop;
    impl Drop for LogsOnDrop {
        fn drop(&mut self) {
            mlflow::Run::current()
                .expect("its run is current")
                .log_metric("dropped", 1.0);
        }
    }
    #[tracked]
    async fn waits(guard: LogsOnDrop) {
        std::future::pending::<()>().await;
        drop(guard);
    }
    let fake = fake();
    {
        let mut future = pin!(waits(LogsOnDrop));
        assert_eq!(
            future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop())),
            Poll::Pending
        );
        assert_eq!(only_run(&fake).status, RunStatus::Running);
        assert!(mlflow::Run::current().is_none());
    }
    assert_eq!(only_run(&fake).status, RunStatus::Killed);
    assert_eq!(only_run(&fake).metrics["dropped"].len(), 1);
}

#[test]
fn a_future_that_is_never_polled_is_no_run() {
    #[tracked]
    async fn waits() {}
    let fake = fake();
    drop(waits());
    assert!(fake.runs().is_empty());
}

#[test]
fn a_boxed_future_by_another_name_is_followed_to_its_end() {
    type Job<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;
    type LocalJob = std::pin::Pin<Box<dyn Future<Output = u8>>>;
    struct Plain(u8);
    type NoJob = Plain;
    struct Trainer {
        rate: f64,
    }
    impl Trainer {
        #[tracked]
        fn fit(&self, epochs: u8) -> Job<'_, f64> {
            assert!(mlflow::Run::current().is_none(), "nothing is polled yet");
            Box::pin(async move {
                std::future::ready(()).await;
                mlflow::metric!("loss", 0.5);
                Ok(self.rate * f64::from(epochs))
            })
        }
    }
    #[tracked]
    fn fails<T: Send + 'static>(value: T) -> Job<'static, T> {
        Box::pin(async move {
            let _ = value;
            Err("no".to_owned())
        })
    }
    #[tracked]
    fn local(n: std::rc::Rc<u8>) -> LocalJob {
        Box::pin(async move { *n })
    }
    #[tracked]
    fn no_job(n: u8) -> NoJob {
        mlflow::metric!("loss", n);
        Plain(n)
    }
    let recorded = fake();
    let trainer = Trainer { rate: 0.5 };
    assert_eq!(block_on(trainer.fit(4)), Ok(2.0));
    let run = only_run(&recorded);
    assert_eq!(run.metrics["fit"][0].value, 2.0);
    assert_eq!(run.metrics["loss"][0].value, 0.5);
    assert_eq!(run.params["epochs"], "4");
    drop(recorded);
    let recorded = fake();
    assert!(block_on(fails(1_u8)).is_err());
    recorded.assert_run_failed(&only_run(&recorded).name);
    drop(recorded);
    let recorded = fake();
    assert_eq!(block_on(local(std::rc::Rc::new(3))), 3);
    assert_eq!(only_run(&recorded).metrics["local"][0].value, 3.0);
    drop(recorded);
    let recorded = fake();
    drop(trainer.fit(1));
    assert!(recorded.runs().is_empty(), "never polled, never a run");
    let mut started = trainer.fit(1);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(started.as_mut().poll(&mut context).is_ready());
    drop(started);
    assert_eq!(no_job(2).0, 2);
    let runs = recorded.runs();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[1].metrics["loss"][0].value, 2.0);
}

/// Regression: only the signature determined the type of the future's value, and the type was not yet
/// inferred when its traits were examined.
#[test]
fn a_returned_future_whose_value_only_the_signature_tells_may_end_with_anything() {
    struct Opaque;
    #[tracked]
    fn fails() -> impl Future<Output = Result<Opaque, String>> {
        async move {
            std::future::ready(()).await;
            Err("no".to_owned())
        }
    }
    #[tracked]
    fn borrows(text: &str) -> impl Future<Output = Option<&str>> {
        async move { text.get(1..) }
    }
    let recorded = fake();
    assert!(block_on(fails()).is_err());
    assert_eq!(tag(&recorded, "error.message").as_deref(), Some("no"));
    drop(recorded);
    let _recorded = fake();
    assert_eq!(block_on(borrows("abc")), Some("bc"));
}

#[test]
fn every_kind_of_future_is_followed_to_its_end() {
    #[tracked]
    fn returned(n: u8) -> impl Future<Output = Result<u8, String>> {
        let n = n + 1;
        async move {
            std::future::ready(()).await;
            Err(format!("after {n}"))
        }
    }
    #[tracked]
    fn boxed<'a>(text: &'a str) -> std::pin::Pin<Box<dyn Future<Output = usize> + Send + 'a>> {
        if text.is_empty() {
            return Box::pin(std::future::ready(0));
        }
        Box::pin(async move { text.len() })
    }
    let recorded = fake();
    assert!(block_on(returned(1)).is_err());
    assert_eq!(tag(&recorded, "error.message").as_deref(), Some("after 2"));
    drop(recorded);
    let recorded = fake();
    assert_eq!(block_on(boxed("abc")), 3);
    assert_eq!(only_run(&recorded).metrics["boxed"][0].value, 3.0);
    drop(recorded);
    let recorded = fake();
    drop(boxed("abc"));
    assert!(recorded.runs().is_empty());
}

type Sent = std::pin::Pin<Box<dyn Future<Output = Result<u8, String>> + Send + Unpin>>;
type Unpinned = Box<dyn Future<Output = Result<u8, String>> + Unpin>;

#[tracked]
fn sent() -> Sent {
    Box::pin(std::future::ready(Err("no".to_owned())))
}

#[tracked]
fn unpinned() -> Unpinned {
    Box::new(std::future::ready(Err("no".to_owned())))
}

#[tracked]
fn unpinned_by_name() -> Box<dyn Future<Output = Result<u8, String>> + Send + Unpin> {
    Box::new(std::future::ready(Err("no".to_owned())))
}

#[test]
fn an_unpin_future_was_taken_for_a_value() {
    let fake = fake();
    drop((sent(), unpinned(), unpinned_by_name()));
    assert!(fake.runs().is_empty(), "never polled");
    let ended = [
        block_on(sent()),
        block_on(unpinned()),
        block_on(unpinned_by_name()),
    ];
    assert!(ended.iter().all(Result::is_err));
    let runs = fake.runs();
    assert_eq!(runs.len(), 3);
    for run in runs {
        assert_eq!(run.tags["error.message"], "no");
    }
}

/// Under `#[track_caller]` the returned value cannot be observed, because no closure may stand between the
/// function and its caller.
#[test]
fn an_error_under_track_caller_is_not_seen() {
    #[tracked]
    #[track_caller]
    fn f() -> Result<u8, String> {
        Err("no".to_owned())
    }
    let fake = fake();
    let _ = f();
    assert_eq!(only_run(&fake).status, RunStatus::Finished);
}
