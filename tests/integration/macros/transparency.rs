//! Transparency of the attributes: a tracked function keeps the drop order, the caller's location, the size
//! of futures and `Send` of the plain function.

use std::cell::RefCell;
use std::mem::size_of_val;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;

use mlflow::{start_run, timed, tracked};

use super::recorder::{block_on, fake};

type Log = Rc<RefCell<Vec<&'static str>>>;

struct Noisy(&'static str, Log);

impl Drop for Noisy {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

fn dropped<T>(_: T) {}

/// Defines a module with one set of functions, plain or under an attribute.
macro_rules! functions {
    ($module:ident $(, #[$attribute:meta])?) => {
        mod $module {
            use super::*;

            impl Noisy {
                $(#[$attribute])?
                pub(super) fn $module(self, a: Noisy, mut b: Noisy) {
                    b.0 = "b, changed";
                    let _local = Noisy("local", Rc::clone(&b.1));
                    let _ = &a;
                }
            }

            $(#[$attribute])?
            pub(super) fn plain_names(a: Noisy, _b: Noisy, c: Noisy) {
                let _local = Noisy("local", Rc::clone(&a.1));
                drop(c);
            }

            $(#[$attribute])?
            pub(super) fn patterns(a: Noisy, (b, _): (Noisy, Noisy), _: Noisy, d: Noisy, [e, ..]: [Noisy; 2]) {
                let _ = (&a, &b, &d, &e);
            }

            $(#[$attribute])?
            pub(super) fn moved_in_part(a: (Noisy, Noisy), b: Noisy) -> Noisy {
                let _ = b;
                a.0
            }

            $(#[$attribute])?
            pub(super) async fn later(a: Noisy, _: Noisy, (c, _): (Noisy, Noisy), mut d: Noisy) {
                d.0 = "d, changed";
                let _local = Noisy("local", Rc::clone(&a.1));
                std::future::ready(()).await;
                drop(c);
            }

            $(#[$attribute])?
            pub(super) async fn later_by_name(a: Noisy, mut b: Noisy, c: u8, d: Noisy) {
                b.0 = "b, changed";
                std::future::ready(c).await;
                let _ = (&a, &d);
            }

            $(#[$attribute])?
            pub(super) fn panics(a: Noisy, b: Noisy) {
                let _local = Noisy("local", Rc::clone(&b.1));
                if a.0 == "a" {
                    panic!("on purpose");
                }
            }

            $(#[$attribute])?
            pub(super) fn boxed(a: Noisy, (b, _): (Noisy, Noisy), _c: Noisy) -> Pin<Box<dyn Future<Output = ()>>> {
                let _local = Noisy("local", Rc::clone(&a.1));
                Box::pin(async move { drop(b) })
            }

            $(#[$attribute])?
            pub(super) fn by_another_name(a: Noisy, (b, _): (Noisy, Noisy), _c: Noisy) -> Job {
                let _local = Noisy("local", Rc::clone(&a.1));
                Box::pin(async move { drop(b) })
            }

            $(#[$attribute])?
            pub(super) fn no_future_after_all(a: Noisy, b: Noisy, _c: Noisy) -> Mine {
                let _local = Noisy("local", Rc::clone(&b.1));
                let _ = &a;
                Mine
            }

            $(#[$attribute])?
            pub(super) fn returns_a_future(a: Noisy, (b, _): (Noisy, Noisy), _c: Noisy) -> impl Future<Output = ()> {
                let _local = Noisy("local", Rc::clone(&a.1));
                async move { drop(b) }
            }

            $(#[$attribute])?
            pub(super) fn returns_a_closure(a: Noisy, (b, _): (Noisy, Noisy), _c: Noisy) -> impl Fn(&str) -> usize {
                let _ = (&a, &b);
                |text| text.len()
            }

            $(#[$attribute])?
            pub(super) fn returns_what_is(a: Noisy, (b, _): (Noisy, Noisy), _c: Noisy) -> impl IntoIterator<Item = u8> {
                let _ = (&a, &b);
                Vec::new()
            }

            $(#[$attribute])?
            pub(super) async fn kept(
                a: Noisy,
                b: Noisy,
                _c: Noisy,
            ) -> impl Fn(&str) -> usize {
                let _ = (&a, &b);
                std::future::ready(()).await;
                |text: &str| text.len()
            }

            $(#[$attribute])?
            #[track_caller]
            pub(super) fn located() -> &'static Location<'static> {
                Location::caller()
            }

            $(#[$attribute])?
            pub(super) async fn sized(a: [u64; 3]) -> u64 {
                std::future::ready(()).await;
                a[0]
            }

            $(#[$attribute])?
            pub(super) async fn sized_opaque(a: [u64; 3]) -> impl Into<u64> {
                std::future::ready(()).await;
                a[0]
            }
        }
    };
}

functions!(plain);
functions!(tracked_, #[tracked]);
functions!(timed_, #[timed]);

type Job = Pin<Box<dyn Future<Output = ()>>>;
struct Mine;

fn drops(run: impl FnOnce(&dyn Fn(&'static str) -> Noisy)) -> Vec<&'static str> {
    let log = Log::default();
    run(&|name| Noisy(name, Rc::clone(&log)));
    log.take()
}

macro_rules! same_drops {
    (|$new:ident, $module:ident| $call:expr) => {{
        let expected = {
            use plain as $module;
            drops(|$new| {
                dropped($call);
            })
        };
        assert!(!expected.is_empty());
        let _fake = fake();
        let tracked = {
            use tracked_ as $module;
            drops(|$new| {
                dropped($call);
            })
        };
        assert_eq!(tracked, expected);
        let _run = start_run().start();
        let timed = {
            use timed_ as $module;
            drops(|$new| {
                dropped($call);
            })
        };
        assert_eq!(timed, expected);
    }};
}

#[test]
fn drop_order() {
    same_drops!(|new, m| m::plain_names(new("a"), new("b"), new("c")));
    same_drops!(|new, m| m::patterns(
        new("a"),
        (new("b"), new("b2")),
        new("c"),
        new("d"),
        [new("e"), new("e2")]
    ));
    same_drops!(|new, m| m::moved_in_part((new("a"), new("a2")), new("b")));
    let expected = drops(|new| new("self").plain(new("a"), new("b")));
    assert_eq!(
        drops(|new| new("self").tracked_(new("a"), new("b"))),
        expected
    );
    assert_eq!(
        drops(|new| new("self").timed_(new("a"), new("b"))),
        expected
    );
}

#[test]
fn drop_order_of_a_future() {
    same_drops!(|new, m| block_on(m::later(
        new("a"),
        new("b"),
        (new("c"), new("c2")),
        new("d")
    )));
    // The second future is dropped before it is polled.
    same_drops!(|new, m| m::later(new("a"), new("b"), (new("c"), new("c2")), new("d")));
}

/// Regression: a future that was never polled dropped its arguments in the order of one that has ended.
#[test]
fn drop_order_of_a_future_that_is_never_polled() {
    same_drops!(|new, m| block_on(m::later_by_name(new("a"), new("b"), 1, new("d"))));
    same_drops!(|new, m| m::later_by_name(new("a"), new("b"), 1, new("d")));
}

/// Regression: `#[timed]` moved the body without its arguments, which were then dropped in the order of their
/// first use.
#[test]
fn timed_drop_order_of_what_may_be_a_future() {
    same_drops!(|new, m| m::no_future_after_all(new("a"), new("b"), new("c")));
    same_drops!(|new, m| m::boxed(new("a"), (new("b"), new("b2")), new("c")));
    same_drops!(|new, m| block_on(m::boxed(new("a"), (new("b"), new("b2")), new("c"))));
    same_drops!(|new, m| m::by_another_name(new("a"), (new("b"), new("b2")), new("c")));
    same_drops!(|new, m| block_on(m::by_another_name(
        new("a"),
        (new("b"), new("b2")),
        new("c")
    )));
    same_drops!(|new, m| m::returns_a_future(new("a"), (new("b"), new("b2")), new("c")));
    same_drops!(|new, m| block_on(m::returns_a_future(
        new("a"),
        (new("b"), new("b2")),
        new("c")
    )));
}

#[test]
fn drop_order_of_the_other_shapes() {
    same_drops!(|new, m| m::returns_a_closure(new("a"), (new("b"), new("b2")), new("c")));
    same_drops!(|new, m| m::returns_what_is(new("a"), (new("b"), new("b2")), new("c")));
    same_drops!(|new, m| block_on(m::kept(new("a"), new("b"), new("c"))));
    same_drops!(|new, m| m::kept(new("a"), new("b"), new("c")));
}

#[test]
fn drop_order_of_a_panic() {
    same_drops!(|new, m| {
        let (a, b) = (new("a"), new("b"));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| m::panics(a, b)))
    });
}

#[test]
fn the_caller_is_seen() {
    let _fake = fake();
    let (plain, tracked, timed) = (plain::located(), tracked_::located(), timed_::located());
    for located in [tracked, timed] {
        assert_eq!(
            (located.file(), located.line()),
            (plain.file(), plain.line())
        );
    }
}

#[test]
fn futures_stay_small() {
    let (plain, tracked) = (plain::sized([0; 3]), tracked_::sized([0; 3]));
    // The limit allows for a pointer to the call, and padding by the compiler.
    let limit = size_of_val(&plain) + 2 * size_of::<usize>();
    assert!(
        size_of_val(&tracked) <= limit,
        "{} for {}",
        size_of_val(&tracked),
        size_of_val(&plain)
    );
    let (plain_opaque, opaque) = (plain::sized_opaque([0; 3]), tracked_::sized_opaque([0; 3]));
    assert_eq!(size_of_val(&plain_opaque), size_of_val(&plain));
    assert_eq!(size_of_val(&opaque), size_of_val(&tracked));
    // The timer is stored in the future itself.
    let timed = size_of_val(&timed_::sized([0; 3]));
    let limit = size_of_val(&plain) + 10 * size_of::<usize>();
    assert!(timed <= limit, "{timed}");
    assert_eq!(size_of_val(&timed_::sized_opaque([0; 3])), timed);
}
