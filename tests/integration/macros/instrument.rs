//! `#[tracked]` beside `#[tracing::instrument]`.

use std::pin::Pin;
use std::sync::Mutex;

use mlflow::tracked;
use tracing::Span;
use tracing::instrument;
use tracing::subscriber::set_default;
use tracing_subscriber::registry;

use super::recorder::{block_on, fake};

/// Returns the name of the current span, if this thread's subscriber knows the span.
fn span() -> Option<&'static str> {
    Span::current().metadata().map(tracing::Metadata::name)
}

#[instrument]
#[tracked]
fn plain_below(a: u8) -> Option<&'static str> {
    span()
}

#[tracked]
#[instrument]
fn plain_above(a: u8) -> Option<&'static str> {
    span()
}

#[instrument]
#[tracked]
async fn later_below(a: u8) -> Option<&'static str> {
    std::future::ready(()).await;
    span()
}

#[tracked]
#[instrument]
async fn later_above(a: u8) -> Option<&'static str> {
    std::future::ready(()).await;
    span()
}

#[instrument]
#[tracked]
fn boxed_below(a: u8) -> Pin<Box<dyn Future<Output = Option<&'static str>> + Send>> {
    Box::pin(async move { span() })
}

#[instrument]
#[tracked]
fn returned_below(a: u8) -> impl Future<Output = Option<&'static str>> {
    async move { span() }
}

#[tracked]
#[instrument]
fn boxed_above(a: u8) -> Pin<Box<dyn Future<Output = Option<&'static str>> + Send>> {
    Box::pin(async move { span() })
}

#[tracked]
#[instrument]
fn returned_above(a: u8) -> impl Future<Output = Option<&'static str>> {
    async move { span() }
}

struct Model(Mutex<u8>);

#[async_trait::async_trait]
trait Fit {
    async fn below(&self, a: u8) -> Option<&'static str>;
    async fn above(&self, a: u8) -> Option<&'static str>;
}

#[async_trait::async_trait]
impl Fit for Model {
    #[instrument(skip(self))]
    #[tracked]
    async fn below(&self, a: u8) -> Option<&'static str> {
        *self.0.lock().unwrap() += a;
        span()
    }

    #[tracked]
    #[instrument(skip(self))]
    async fn above(&self, a: u8) -> Option<&'static str> {
        *self.0.lock().unwrap() += a;
        span()
    }
}

/// `#[tracked]` above `#[instrument]` hides the block at the end of the body that `instrument` looks for. The
/// span of an `async_trait` method then ends before the method runs.
#[test]
fn below_instrument_the_span_covers_what_runs() {
    let _subscriber = set_default(registry());
    let fake = fake();
    assert_eq!(plain_below(1), Some("plain_below"));
    assert_eq!(plain_above(1), Some("plain_above"));
    let model = Model(Mutex::new(0));
    block_on(async {
        assert_eq!(later_below(1).await, Some("later_below"));
        assert_eq!(later_above(1).await, Some("later_above"));
        assert_eq!(boxed_below(1).await, Some("boxed_below"));
        assert_eq!(returned_below(1).await, Some("returned_below"));
        assert_eq!(model.below(1).await, Some("below"));
        // The guide documents these cases.
        assert_eq!(model.above(1).await, None);
        assert_eq!(boxed_above(1).await, None);
        assert_eq!(returned_above(1).await, None);
    });
    let runs = fake.runs();
    assert_eq!(runs.len(), 10);
    assert!(runs.iter().all(|run| run.params["a"] == "1"));
}
