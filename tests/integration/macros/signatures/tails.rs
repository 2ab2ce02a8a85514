//! Last expression of a body: the temporaries in it are dropped at the same time as in the plain function.
//! This is after the locals before edition 2024, and before the locals since.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use mlflow::testing::fake;

use super::block_on;

type Log = Rc<RefCell<Vec<&'static str>>>;
type Job = Pin<Box<dyn Future<Output = usize>>>;
struct Size(usize);

/// Value that records its drop in the log and in the run that is current then.
struct Noisy(&'static str, Log);

impl Drop for Noisy {
    fn drop(&mut self) {
        mlflow::log_metric(self.0, 1.0);
        self.1.borrow_mut().push(self.0);
    }
}

impl Noisy {
    fn make(&self, name: &'static str) -> Self {
        Self(name, Rc::clone(&self.1))
    }

    fn get(&self) -> Option<&&'static str> {
        Some(&self.0)
    }

    fn size(&self) -> usize {
        self.0.len()
    }
}

/// Defines a module with one set of functions: plain, tracked or timed.
macro_rules! functions {
    ($module:ident $(, #[$attribute:meta])?) => {
        mod $module {
            use super::*;

            impl Noisy {
                $(#[$attribute])?
                pub(super) fn $module(self, (a, _): (Noisy, u8)) -> usize {
                    let _local = a.make("local");
                    self.make("temporary").size()
                }
            }

            $(#[$attribute])?
            pub(super) fn borrowed(a: &Noisy) -> usize {
                let _local = a.make("local");
                a.make("temporary").size()
            }

            $(#[$attribute])?
            pub(super) fn owned(a: Noisy, b: Noisy) -> usize {
                let _local = a.make("local");
                b.make("temporary").size() + 1
            }

            $(#[$attribute])?
            pub(super) fn pattern(a: Noisy, (b, _): (Noisy, u8)) -> Option<usize> {
                let _local = a.make("local");
                Some(b.make("temporary").size())
            }

            $(#[$attribute])?
            pub(super) fn scrutinee(a: Noisy, (b, _): (Noisy, u8)) -> usize {
                let _local = a.make("local");
                match b.make("temporary").get() {
                    Some(name) => name.len() + b.make("arm").size(),
                    None => 0,
                }
            }

            $(#[$attribute])?
            pub(super) fn if_let(a: Noisy, b: Noisy) -> usize {
                let _local = a.make("local");
                if let Some(name) = b.make("temporary").get() {
                    name.len() + b.make("arm").size()
                } else {
                    0
                }
            }

            $(#[$attribute])?
            pub(super) fn block(a: Noisy, (b, _): (Noisy, u8)) -> usize {
                let _local = a.make("local");
                {
                    let _inner = a.make("inner");
                    b.make("temporary").size()
                }
            }

            $(#[$attribute])?
            pub(super) fn question_mark(a: Noisy, (b, _): (Noisy, u8)) -> Result<usize, String> {
                let _local = a.make("local");
                Ok(b.make("temporary").get().ok_or("none")?.len())
            }

            $(#[$attribute])?
            pub(super) fn returned(a: Noisy, (b, _): (Noisy, u8)) -> usize {
                let _local = a.make("local");
                return b.make("temporary").size();
            }

            $(#[$attribute])?
            pub(super) fn nothing(a: Noisy, (b, _): (Noisy, u8)) {
                let _local = a.make("local");
                assert!(b.make("temporary").size() > 0)
            }

            $(#[$attribute])?
            pub(super) fn opaque(a: Noisy, (b, _): (Noisy, u8)) -> impl Into<usize> {
                let _local = a.make("local");
                b.make("temporary").size()
            }

            $(#[$attribute])?
            pub(super) fn a_struct(a: Noisy, (b, _): (Noisy, u8)) -> Size {
                let _local = a.make("local");
                Size(b.make("temporary").size())
            }

            $(#[$attribute])?
            #[track_caller]
            pub(super) fn located(a: Noisy, (b, _): (Noisy, u8)) -> usize {
                let _local = a.make("local");
                b.make("temporary").size()
            }

            $(#[$attribute])?
            pub(super) async fn later(a: Noisy, b: Noisy) -> usize {
                let _local = a.make("local");
                std::future::ready(()).await;
                b.make("temporary").size()
            }

            $(#[$attribute])?
            pub(super) async fn later_pattern(a: Noisy, (b, _): (Noisy, u8)) -> usize {
                let _local = a.make("local");
                std::future::ready(()).await;
                b.make("temporary").size()
            }

            $(#[$attribute])?
            pub(super) async fn later_opaque(a: Noisy, (b, _): (Noisy, u8)) -> impl Into<usize> {
                let _local = a.make("local");
                std::future::ready(()).await;
                b.make("temporary").size()
            }

            $(#[$attribute])?
            pub(super) async fn later_struct(a: Noisy, (b, _): (Noisy, u8), c: Noisy) -> Size {
                let _local = a.make("local");
                std::future::ready(()).await;
                if c.size() > 1 {
                    return Size(0);
                }
                Size(b.make("temporary").size())
            }

            // Under the attributes, the function stays an `async fn`.
            $(#[$attribute])?
            #[mlflow::timed]
            pub(super) async fn kept(a: Noisy, (b, _): (Noisy, u8)) -> usize {
                let _local = a.make("local");
                std::future::ready(()).await;
                b.make("temporary").size()
            }

            $(#[$attribute])?
            pub(super) fn future(a: Noisy, (b, _): (Noisy, u8)) -> impl Future<Output = usize> {
                let _local = a.make("local");
                std::future::ready(b.make("temporary").size())
            }

            $(#[$attribute])?
            pub(super) fn boxed(a: Noisy, (b, _): (Noisy, u8)) -> Pin<Box<dyn Future<Output = usize>>> {
                let _local = a.make("local");
                Box::pin(std::future::ready(b.make("temporary").size()))
            }

            $(#[$attribute])?
            pub(super) fn job(a: Noisy, (b, _): (Noisy, u8)) -> Job {
                let _local = a.make("local");
                Box::pin(std::future::ready(b.make("temporary").size()))
            }
        }
    };
}

functions!(plain);
functions!(tracked, #[mlflow::tracked]);
functions!(timed, #[mlflow::timed]);

fn drops<T>(call: impl FnOnce(&dyn Fn(&'static str) -> Noisy) -> T) -> Vec<&'static str> {
    let log = Log::default();
    call(&|name| Noisy(name, Rc::clone(&log)));
    log.take()
}

macro_rules! same_drops {
    (|$new:ident, $module:ident| $call:expr) => {{
        let expected = {
            use plain as $module;
            drops(|$new| $call)
        };
        assert!(expected.contains(&"temporary"));
        let fake = fake();
        let got = {
            use tracked as $module;
            drops(|$new| $call)
        };
        assert_eq!(got, expected, "tracked {}", stringify!($call));
        // The run ends only after all values of the body are dropped.
        fake.assert_metric_logged("temporary");
        fake.assert_metric_logged("local");
        let run = mlflow::start_run().start();
        let got = {
            use timed as $module;
            drops(|$new| $call)
        };
        assert_eq!(got, expected, "timed {}", stringify!($call));
        drop(run);
    }};
}

#[test]
fn what_the_last_expression_borrows_from_goes_when_it_goes_in_the_plain_function() {
    same_drops!(|new, m| m::borrowed(&new("a")));
    same_drops!(|new, m| m::owned(new("a"), new("b")));
    same_drops!(|new, m| m::pattern(new("a"), (new("b"), 1)));
    same_drops!(|new, m| m::scrutinee(new("a"), (new("b"), 1)));
    same_drops!(|new, m| m::if_let(new("a"), new("b")));
    same_drops!(|new, m| m::block(new("a"), (new("b"), 1)));
    same_drops!(|new, m| m::question_mark(new("a"), (new("b"), 1)));
    same_drops!(|new, m| m::returned(new("a"), (new("b"), 1)));
    same_drops!(|new, m| m::nothing(new("a"), (new("b"), 1)));
    same_drops!(|new, m| m::opaque(new("a"), (new("b"), 1)).into());
    same_drops!(|new, m| m::a_struct(new("a"), (new("b"), 1)).0);
    same_drops!(|new, m| m::located(new("a"), (new("b"), 1)));
    let _fake = fake();
    let expected = drops(|new| new("self").plain((new("a"), 1)));
    assert_eq!(drops(|new| new("self").tracked((new("a"), 1))), expected);
    assert_eq!(drops(|new| new("self").timed((new("a"), 1))), expected);
}

#[test]
fn so_does_that_of_a_future() {
    same_drops!(|new, m| block_on(m::later(new("a"), new("b"))));
    same_drops!(|new, m| block_on(m::later_pattern(new("a"), (new("b"), 1))));
    same_drops!(|new, m| block_on(m::later_opaque(new("a"), (new("b"), 1))).into());
    same_drops!(|new, m| block_on(m::later_struct(new("a"), (new("b"), 1), new("c"))).0);
    same_drops!(|new, m| block_on(m::kept(new("a"), (new("b"), 1))));
}

/// The bodies of these functions run before the run starts.
#[test]
fn so_does_that_of_what_returns_a_future() {
    for made in [
        |new: &dyn Fn(&'static str) -> Noisy| block_on(plain::future(new("a"), (new("b"), 1))),
        |new: &dyn Fn(&'static str) -> Noisy| block_on(plain::boxed(new("a"), (new("b"), 1))),
        |new: &dyn Fn(&'static str) -> Noisy| block_on(plain::job(new("a"), (new("b"), 1))),
    ] {
        let expected = drops(made);
        let _fake = fake();
        for made in [
            |new: &dyn Fn(&'static str) -> Noisy| {
                block_on(tracked::future(new("a"), (new("b"), 1)))
            },
            |new: &dyn Fn(&'static str) -> Noisy| block_on(tracked::boxed(new("a"), (new("b"), 1))),
            |new: &dyn Fn(&'static str) -> Noisy| block_on(tracked::job(new("a"), (new("b"), 1))),
            |new: &dyn Fn(&'static str) -> Noisy| block_on(timed::future(new("a"), (new("b"), 1))),
            |new: &dyn Fn(&'static str) -> Noisy| block_on(timed::boxed(new("a"), (new("b"), 1))),
            |new: &dyn Fn(&'static str) -> Noisy| block_on(timed::job(new("a"), (new("b"), 1))),
        ] {
            assert_eq!(drops(made), expected);
        }
    }
}
