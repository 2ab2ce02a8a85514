//! Annotated functions of every shape, in a crate as strict as possible: without a prelude, with lints
//! forbidden, and with clippy's pedantic and nursery lints. No lint may find anything in the code to
//! which the attributes expand. CI denies warnings.
#![no_implicit_prelude]

/// Type with methods to annotate.
#[derive(::core::fmt::Debug, ::core::clone::Clone)]
pub struct Model {
    /// The weights.
    pub weights: ::std::vec::Vec<f64>,
}

/// Alias of a boxed future.
pub type Job<'a, T> = ::core::pin::Pin<
    ::std::boxed::Box<dyn ::core::future::Future<Output = T> + ::core::marker::Send + 'a>,
>;

/// Fits.
///
/// # Errors
/// If the rate is negative.
#[::mlflow::tracked(
    experiment = "strict",
    run_name = "{rate}-{timestamp}",
    tags(kind = "plain", "dotted.key" = rate),
    params(twice = rate * 2.0),
    hash(data),
    redact(label)
)]
pub fn fit(
    rate: f64,
    data: &[f64],
    label: &str,
) -> ::core::result::Result<f64, ::std::string::String> {
    if rate < 0.0 {
        return ::core::result::Result::Err(::std::borrow::ToOwned::to_owned(label));
    }
    ::core::result::Result::Ok(data.first().map_or(rate, |first| first * rate))
}

/// Destructures its arguments in patterns.
#[::mlflow::tracked(metrics("first", "second"))]
#[must_use]
pub fn patterns((a, mut b): (f64, f64), [c, ..]: [f64; 2], Model { weights }: Model) -> (f64, f64) {
    b += c;
    for weight in weights {
        b += weight;
    }
    (a, b)
}

/// Is asynchronous.
#[::mlflow::tracked]
pub async fn load(text: &str, rounds: usize) -> ::core::option::Option<usize> {
    ::core::future::ready(()).await;
    text.len().checked_mul(rounds)
}

/// Is asynchronous and returns a closure.
#[::mlflow::tracked]
pub async fn measure(
    mut start: usize,
    texts: ::std::vec::Vec<usize>,
    more: ::std::vec::Vec<usize>,
) -> impl ::core::ops::Fn(&str) -> usize {
    start += texts.len() + more.len();
    ::core::future::ready(()).await;
    move |text| text.len() + start
}

/// Returns a future.
#[::mlflow::tracked]
pub fn later(n: u8) -> impl ::core::future::Future<Output = u8> + ::core::marker::Send {
    async move { n }
}

/// Returns a boxed future.
#[::mlflow::tracked]
#[must_use]
pub fn job(n: u8) -> Job<'static, u8> {
    ::std::boxed::Box::pin(async move { n })
}

/// Is generic.
#[::mlflow::tracked]
pub fn generic<T, const N: usize>(values: [T; N]) -> ::core::option::Option<T>
where
    T: ::core::cmp::PartialOrd + ::core::fmt::Debug,
{
    let mut largest = ::core::option::Option::None;
    for value in values {
        if largest.as_ref().is_none_or(|seen| value > *seen) {
            largest = ::core::option::Option::Some(value);
        }
    }
    largest
}

/// Never returns.
#[::mlflow::tracked]
pub fn fail(code: u8) -> ! {
    ::std::process::exit(::core::convert::From::from(code))
}

impl Model {
    /// Borrows.
    #[::mlflow::tracked]
    #[must_use]
    pub fn score(&self, scale: f64) -> f64 {
        let mut sum = 0.0;
        for weight in &self.weights {
            sum += weight;
        }
        sum * scale
    }

    /// Lends.
    #[::mlflow::tracked]
    pub fn weights_mut(&mut self) -> &mut ::std::vec::Vec<f64> {
        &mut self.weights
    }

    /// Consumes.
    #[::mlflow::tracked]
    #[must_use]
    pub async fn trained(mut self, rate: f64) -> Self {
        self.step(rate);
        self
    }

    /// Is timed.
    #[::mlflow::timed]
    fn step(&mut self, rate: f64) {
        ::mlflow::metric!("rate", rate, step = 1);
        for weight in &mut self.weights {
            *weight *= rate;
        }
    }

    /// Is timed while it waits.
    #[::mlflow::timed(name = "wait")]
    pub async fn wait(&self) -> usize {
        ::core::future::ready(()).await;
        self.weights.len()
    }
}

/// Takes nothing.
#[::mlflow::tracked]
pub fn unit(_: ()) {}

/// Takes nothing, in an asynchronous function.
#[::mlflow::tracked]
pub async fn unit_later(_: (), _nothing: ()) {}

/// Takes a pattern with a part that is not used.
#[::mlflow::tracked]
#[must_use]
pub fn part((a, _b): (u8, u8)) -> u8 {
    a
}

/// Takes a pattern with a part that is not used, in an asynchronous function.
#[::mlflow::tracked]
pub async fn part_later((a, _b): (u8, u8), _c: u8) -> u8 {
    a
}

/// Returns a boxed future as its output.
#[::mlflow::tracked]
pub async fn yields_a_handle(
    a: u8,
) -> ::core::pin::Pin<
    ::std::boxed::Box<dyn ::core::future::Future<Output = u8> + ::core::marker::Send>,
> {
    ::std::boxed::Box::pin(::core::future::ready(a))
}

/// Returns a boxed future as its output, by the alias [`Job`].
#[::mlflow::tracked]
pub async fn yields_a_job(_: u8) -> Job<'static, u8> {
    ::std::boxed::Box::pin(::core::future::ready(1))
}

/// Returns a future of the named type `Ready`.
#[::mlflow::tracked]
#[inline]
pub async fn yields_what_is_ready(a: u8) -> ::core::future::Ready<u8> {
    ::core::future::ready(a)
}

/// Returns a future, from a function that stays an `async fn` because of its second attribute.
#[::mlflow::tracked]
#[::mlflow::timed]
pub async fn kept_and_yields(a: u8) -> ::core::future::Ready<u8> {
    ::core::future::ready(a)
}

/// Returns a future of an opaque type.
#[::mlflow::tracked]
pub async fn yields_what_is_opaque(a: u8) -> impl ::core::future::Future<Output = u8> {
    ::core::future::ready(a)
}

/// Is not implemented yet.
///
/// # Panics
/// Always.
#[::mlflow::tracked]
pub async fn to_be_written(_a: u8) -> Model {
    ::std::panic!("later")
}

/// Never ends.
#[::mlflow::tracked]
pub async fn serves(a: u8) -> Model {
    loop {
        ::core::future::ready(a).await;
    }
}

/// Exits the process if its argument is empty.
#[::mlflow::tracked]
#[::mlflow::timed]
pub async fn leaves(a: ::std::vec::Vec<f64>) -> Model {
    if a.is_empty() {
        ::std::process::exit(1);
    }
    Model { weights: a }
}

/// Future that is ready at once.
#[derive(::core::fmt::Debug)]
pub struct Later(u8);

impl ::core::future::Future for Later {
    type Output = u8;

    fn poll(
        self: ::core::pin::Pin<&mut Self>,
        _: &mut ::core::task::Context<'_>,
    ) -> ::core::task::Poll<u8> {
        ::core::task::Poll::Ready(self.0)
    }
}

/// Source of a value that may be a future.
pub trait Gives {
    /// Type of the value.
    type Given;
    /// Returns the value.
    fn give(self) -> Self::Given;
}

impl Later {
    /// Returns a new value, which is a future.
    #[::mlflow::tracked]
    pub async fn open(a: u8) -> Self {
        Self(a)
    }

    /// Lends the value, which is a future.
    #[::mlflow::tracked]
    pub async fn lend(&mut self) -> &mut Self {
        self
    }
}

/// Returns the value of a source.
#[::mlflow::tracked(skip_all)]
pub async fn given<T: Gives>(giver: T) -> <T as Gives>::Given {
    giver.give()
}

/// Returns a future of a named type in a box.
#[::mlflow::tracked]
pub async fn in_a_box(a: u8) -> ::std::boxed::Box<Later> {
    ::std::boxed::Box::new(Later(a))
}

/// Destructures a type with a deprecated field. Only the argument allows the use of the field.
#[::mlflow::tracked]
#[must_use]
pub fn old(#[allow(deprecated)] Mixed { new, old }: Mixed) -> u8 {
    new.wrapping_add(old)
}

/// Destructures a type with a deprecated field, in an asynchronous function.
#[::mlflow::tracked]
pub async fn old_later(a: u8, #[allow(deprecated)] Mixed { new, old }: Mixed) -> u8 {
    new.wrapping_add(old).wrapping_add(a)
}

/// Type with a deprecated field.
#[derive(::core::fmt::Debug)]
pub struct Mixed {
    /// Current field.
    pub new: u8,
    /// Deprecated field.
    #[deprecated]
    pub old: u8,
}

#[cfg(test)]
mod tests {
    use ::std::assert;
    use ::std::assert_eq;

    use super::{Model, fit, generic, job, later, load, measure, patterns};

    fn runtime() -> ::std::io::Result<::tokio::runtime::Runtime> {
        ::tokio::runtime::Builder::new_current_thread().build()
    }

    /// Regression test: clippy reported the future that each function returns as the value of an `async`
    /// block.
    #[test]
    fn a_function_that_returns_what_can_be_awaited() -> ::std::io::Result<()> {
        let fake = ::mlflow::testing::fake();
        runtime()?.block_on(async {
            assert_eq!(super::yields_a_handle(1).await.await, 1);
            assert_eq!(super::yields_a_job(2).await.await, 1);
            assert_eq!(super::yields_what_is_ready(3).await.await, 3);
            assert_eq!(super::kept_and_yields(4).await.await, 4);
            assert_eq!(super::yields_what_is_opaque(5).await.await, 5);
        });
        assert_eq!(fake.runs().len(), 5);
        ::core::result::Result::Ok(())
    }

    /// Regression test: in the code that logs arguments, clippy reported the use of names such as `_b`, and
    /// the compiler reported the use of deprecated fields.
    #[test]
    fn what_logging_looks_at_is_found_by_no_lint() -> ::std::io::Result<()> {
        let fake = ::mlflow::testing::fake();
        super::unit(());
        assert_eq!(super::part((1, 2)), 1);
        #[allow(deprecated)]
        let mixed = super::Mixed { new: 1, old: 2 };
        assert_eq!(super::old(mixed), 3);
        runtime()?.block_on(async {
            super::unit_later((), ()).await;
            assert_eq!(super::part_later((1, 2), 3).await, 1);
        });
        let runs = fake.runs();
        assert_eq!(runs.len(), 5);
        assert_eq!(runs[1].params["_b"], "2");
        assert_eq!(runs[2].params["old"], "2");
        assert_eq!(runs[4].params["_c"], "3");
        ::core::result::Result::Ok(())
    }

    #[test]
    fn every_shape_is_one_run() -> ::std::io::Result<()> {
        let fake = ::mlflow::testing::fake();
        let mut model = Model {
            weights: ::std::vec![1.0, 2.0],
        };
        assert_eq!(fit(0.5, &[2.0], "l"), ::core::result::Result::Ok(1.0));
        assert!(fit(-1.0, &[], "no").is_err());
        let (first, second) = patterns((1.0, 2.0), [3.0, 0.0], ::core::clone::Clone::clone(&model));
        assert!((first - 1.0).abs() < f64::EPSILON && (second - 8.0).abs() < f64::EPSILON);
        assert_eq!(generic([1, 3, 2]), ::core::option::Option::Some(3));
        assert!((model.score(2.0) - 6.0).abs() < f64::EPSILON);
        model.weights_mut().push(0.0);
        runtime()?.block_on(async {
            assert_eq!(load("ab", 2).await, ::core::option::Option::Some(4));
            assert_eq!(measure(1, ::std::vec![2], ::std::vec![3]).await("ab"), 5);
            assert_eq!(later(1).await + job(2).await, 3);
            assert_eq!(model.trained(0.5).await.wait().await, 3);
        });
        let runs = fake.runs();
        assert_eq!(runs.len(), 11);
        assert_eq!(runs[1].tags["error.message"], "no");
        assert_eq!(runs[0].params["label"], "[redacted]");
        let metrics = &runs[10].metrics;
        assert!(metrics.contains_key("time/step") && !metrics.contains_key("time/wait"));
        ::core::result::Result::Ok(())
    }
}
