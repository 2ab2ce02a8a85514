//! Messages of failed assertions: the expected values beside the logged ones.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mlflow::testing::{Fake, fake};

fn said(assertion: impl FnOnce()) -> String {
    let failure = catch_unwind(AssertUnwindSafe(assertion)).unwrap_err();
    failure.downcast_ref::<String>().unwrap().clone()
}

/// Returns a fake that has recorded two runs, one of which failed.
fn logged() -> Fake {
    let fake = fake();
    let fit = mlflow::start_run()
        .experiment("wine")
        .name("fit")
        .param("alpha", 0.5)
        .param("model", "net")
        .tag("stage", "dev")
        .start();
    for step in 0..20 {
        fit.log_metric_at("loss", f64::from(step) / 4.0, i64::from(step));
    }
    fit.log_metric("accuracy", f64::NAN);
    fit.log_text("a,b\n1,2\n", "table.csv");
    drop(fit);
    let other = mlflow::start_run().experiment("wine").name("other").start();
    other.finish(mlflow::RunStatus::Failed);
    fake
}

/// Returns a fake that has recorded one run with one param and one point.
fn one() -> Fake {
    let fake = fake();
    let run = mlflow::start_run().name("fit").param("alpha", 0.5).start();
    run.log_metric_at("loss", 0.25, 3);
    drop(run);
    fake
}

/// Returns a fake that has recorded one run with a table.
fn with_table() -> Fake {
    let fake = fake();
    let run = mlflow::start_run().name("fit").start();
    run.log_table(
        (0..20).map(|row| (format!("{row} + 2"), row + 2)),
        "eval.json",
    );
    drop(run);
    fake
}

macro_rules! snapshots {
    ($($name:ident: $logged:ident, |$fake:ident| $assertion:expr;)*) => {$(
        #[test]
        fn $name() {
            let $fake = $logged();
            insta::assert_snapshot!(said(|| $assertion));
        }
    )*};
}

snapshots! {
    experiment_created: logged, |fake| fake.assert_experiment_created("whine");
    experiment_created_without_any: fake, |fake| fake.assert_experiment_created("wine");
    run_finished: logged, |fake| fake.assert_run_finished("other");
    run_failed: logged, |fake| fake.assert_run_failed("fit");
    run_killed_of_an_unknown_name: logged, |fake| fake.assert_run_killed("train");
    param_of_another_value: logged, |fake| fake.assert_param("alpha", "0.6");
    param_that_is_missing: one, |fake| fake.assert_param("beta", "0.6");
    param_that_is_missing_in_many: logged, |fake| fake.assert_param("beta", "0.6");
    tag_of_another_value: logged, |fake| fake.assert_tag("stage", "production");
    tag_that_is_missing: one, |fake| fake.assert_tag("stage", "production");
    tag_of_the_environment: one, |fake| fake.assert_tag("mlflow.source.type", "NOTEBOOK");
    metric_logged: one, |fake| fake.assert_metric_logged("accuracy");
    artifact_that_is_missing: one, |fake| fake.assert_artifact_logged("model.bin");
    table_of_other_rows: with_table, |fake| fake.assert_table("eval.json", &[("2 + 2", 4.0)]);
    table_that_is_missing: one, |fake| fake.assert_table("eval.json", &[("2 + 2", 4.0)]);
    metric_of_other_points: one, |fake| fake.assert_metric("loss", &[(3, 0.5), (4, 0.25)]);
    metric_that_is_missing: one, |fake| fake.assert_metric("accuracy", &[(0, f64::NAN)]);
    metric_that_differs_in_the_middle: logged, |fake| {
        let points: Vec<_> = (0..20).map(|step| (step, if step == 11 { 7.0 } else { step as f64 / 4.0 })).collect();
        fake.assert_metric("loss", &points);
    };
    metric_with_a_point_too_many: logged, |fake| {
        let points: Vec<_> = (0..19).map(|step| (step, step as f64 / 4.0)).collect();
        fake.assert_metric("loss", &points);
    };
    nothing_logged: one, |fake| fake.assert_nothing_logged();
    no_run_at_all: fake, |fake| fake.assert_run_finished("fit");
}

#[test]
fn of_many_runs_the_nearest_are_shown() {
    let fake = fake();
    for number in 0..40 {
        drop(mlflow::start_run().name(format!("run-{number}")).start());
    }
    drop(mlflow::start_run().name("fit").param("alpha", 0.5).start());
    let text = said(|| fake.assert_param("alpha", "0.6"));
    assert!(text.contains("+   param alpha = \"0.5\""), "{text}");
    assert!(text.ends_with("  … and 25 more runs\n"), "{text}");
}
