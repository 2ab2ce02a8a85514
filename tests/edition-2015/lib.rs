//! Tests of the macros in a crate of the oldest edition, in which a path starts at the root of the crate. One
//! module gives the names that the macros need, such as `Option`, to types of its own.

#[cfg(test)]
extern crate mlflow;

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use mlflow::testing::{fake, Fake};
    use mlflow::{timed, tracked};

    #[tracked(experiment = "old", run_name = "{a:.1}", tags(twice = a * 2.0), hash(data))]
    fn fit(a: f64, (b, _): (u8, u8), data: &[f64]) -> Result<f64, String> {
        load(data.len());
        mlflow::metric!("rate", a, step = 1);
        Ok(a + f64::from(b))
    }

    #[timed(name = "load")]
    fn load(rows: usize) -> usize {
        rows
    }

    #[tracked]
    fn later(a: u8) -> Pin<Box<dyn Future<Output = u8>>> {
        Box::pin(std::future::ready(a))
    }

    #[tracked]
    fn opaque(a: u8) -> impl Future<Output = u8> {
        std::future::ready(a)
    }

    #[tracked]
    fn iterated(a: u8) -> impl Iterator<Item = u8> {
        0..a
    }

    #[tracked]
    #[allow(anonymous_parameters)]
    fn never(a: u8) -> ! {
        panic!("{}", a)
    }

    fn names(fake: &Fake) -> Vec<String> {
        fake.runs().into_iter().map(|run| run.name).collect()
    }

    #[test]
    fn paths_began_at_the_root() {
        let fake = fake();
        assert_eq!(fit(0.5, (1, 2), &[1.0]), Ok(1.5));
        drop((later(1), opaque(1)));
        assert_eq!(iterated(3).count(), 3);
        assert!(std::panic::catch_unwind(|| never(1)).is_err());
        drop(mlflow::start_run!().name("by hand").start());
        let _ = mlflow::git_diff!();
        let run = &fake.runs()[0];
        assert_eq!((&*run.name, &*run.experiment), ("0.5", "old"));
        assert_eq!(run.params["b"], "1");
        assert!(run.metrics.contains_key("time/load") && run.metrics.contains_key("rate"));
        assert_eq!(names(&fake).len(), 4, "{:?}", names(&fake));
    }

    /// Types named like types of the language and the standard library. The macros must not use these types.
    #[allow(non_camel_case_types, dead_code)]
    mod renamed {
        type u8 = String;
        struct f64;
        struct str;
        struct bool;
        struct usize;
        struct Option;
        struct Some;
        struct Result;
        struct Vec;

        #[::mlflow::tracked(tags(a = a), run_name = "{a:?}-{timestamp}", metric = "m")]
        pub(super) fn fit(a: u8) -> u8 {
            a
        }

        #[::mlflow::timed]
        pub(super) fn load(a: u8) -> u8 {
            let _ = ::mlflow::git_diff!();
            ::mlflow::metric!("a", 1.0, step = 1);
            ::mlflow::metrics!(step = 1, "b" => 1.0);
            a
        }
    }

    #[test]
    fn a_type_of_the_users_was_taken_for_the_languages() {
        let fake = fake();
        assert_eq!(renamed::fit("a".to_owned()), "a");
        let _run = mlflow::start_run!().start();
        assert_eq!(renamed::load("b".to_owned()), "b");
        assert!(fake.runs()[1].metrics.contains_key("b"));
    }
}
