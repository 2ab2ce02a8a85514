//! [`SearchResults`]: the records that a search finds, page by page.
//!
//! Invariants: a record is returned once, even if the pages of a server shift because others write meanwhile.
//! No page is requested before the records of the former page are taken, and none after an error.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;

use crate::entities::{Experiment, ModelVersion, RegisteredModel, Run};
use crate::store::{ClientError, Continuation, Page};

type PageFuture<T> = Pin<Box<dyn Future<Output = Result<Page<T>, ClientError>> + Send>>;
type FetchPage<T> = Arc<dyn Fn(Option<Continuation>, usize) -> PageFuture<T> + Send + Sync>;

/// Record that a search returns. See [`SearchResults`] for an example.
pub trait SearchRecord: sealed::Sealed + Unpin + Send + 'static {}

mod sealed {
    pub trait Sealed {
        /// Text that no other record of the same search has.
        fn identity(&self) -> String;
    }
}

use sealed::Sealed;

impl Sealed for Run {
    fn identity(&self) -> String {
        self.run_id.clone()
    }
}

impl Sealed for Experiment {
    fn identity(&self) -> String {
        self.experiment_id.clone()
    }
}

impl Sealed for RegisteredModel {
    fn identity(&self) -> String {
        self.name.clone()
    }
}

impl Sealed for ModelVersion {
    fn identity(&self) -> String {
        format!("{}/{}", self.version, self.name)
    }
}

impl SearchRecord for Run {}
impl SearchRecord for Experiment {}
impl SearchRecord for RegisteredModel {}
impl SearchRecord for ModelVersion {}

/// Records that a search of a [`Client`](super::Client) finds: a [`Stream`], whose pages are requested when
/// they are needed. Nothing is requested before the first record is.
///
/// The methods have the names of `futures::TryStreamExt`, so that the stream is used in the same way with and
/// without that crate.
///
/// ```
/// use mlflow::search::SearchRuns;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mlflow::ClientError> {
/// # let fake = mlflow::testing::fake();
/// let client = mlflow::Client::new();
/// let mut runs = client.search_runs(SearchRuns::new());
/// while let Some(run) = runs.try_next().await? {
///     println!("{}", run.name);
/// }
/// let first_ten = client.search_runs(SearchRuns::new().limit(10)).try_collect().await?;
/// # assert!(first_ten.is_empty());
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is requested before the first record is"]
pub struct SearchResults<T> {
    fetch: FetchPage<T>,
    page_size: usize,
    /// Number of records that may still be returned.
    remaining: usize,
    position: Position<T>,
    page: VecDeque<T>,
    /// Identities of the returned records, if the pages of the store may shift.
    returned: HashSet<String>,
}

enum Position<T> {
    /// Place from which the next page is requested.
    Before(Option<Continuation>),
    Requested(PageFuture<T>),
    End,
}

impl<T> fmt::Debug for SearchResults<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchResults").finish_non_exhaustive()
    }
}

impl<T: SearchRecord> SearchResults<T> {
    /// Creates the results of a search, whose pages `fetch` requests.
    pub(super) fn new(fetch: FetchPage<T>, page_size: usize, limit: Option<usize>) -> Self {
        Self {
            fetch,
            page_size,
            remaining: limit.unwrap_or(usize::MAX),
            position: Position::Before(None),
            page: VecDeque::new(),
            returned: HashSet::new(),
        }
    }

    /// Returns the next record, or `None` behind the last one. See [`SearchResults`] for an example.
    ///
    /// # Errors
    /// The error of the request. After an error, the stream ends.
    pub async fn try_next(&mut self) -> Result<Option<T>, ClientError> {
        poll_fn(|context| self.poll_record(context))
            .await
            .transpose()
    }

    /// Returns all records that are left, in the order of the search. See [`SearchResults`] for an example.
    ///
    /// # Errors
    /// The error of the first request that failed.
    pub async fn try_collect(mut self) -> Result<Vec<T>, ClientError> {
        let mut all = Vec::new();
        while let Some(record) = self.try_next().await? {
            all.push(record);
        }
        Ok(all)
    }

    fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T, ClientError>>> {
        loop {
            if self.remaining == 0 {
                return Poll::Ready(None);
            }
            if let Some(record) = self.page.pop_front() {
                self.remaining -= 1;
                return Poll::Ready(Some(Ok(record)));
            }
            match &mut self.position {
                Position::End => return Poll::Ready(None),
                Position::Before(from) => {
                    let size = self.page_size.min(self.remaining);
                    self.position = Position::Requested((self.fetch)(from.take(), size));
                }
                Position::Requested(page) => {
                    let page = ready!(page.as_mut().poll(context));
                    self.position = Position::End;
                    match page {
                        Ok(page) => self.take_page(page),
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                }
            }
        }
    }

    fn take_page(&mut self, Page { items, next }: Page<T>) {
        // The pages of a server are offsets: a record that is inserted meanwhile moves others to the next.
        let pages_may_shift =
            matches!(next, Some(Continuation::Token { .. })) || !self.returned.is_empty();
        self.page = items
            .into_iter()
            .filter(|record| !pages_may_shift || self.returned.insert(record.identity()))
            .collect();
        self.position = match next {
            Some(next) => Position::Before(Some(next)),
            None => Position::End,
        };
    }
}

impl<T: SearchRecord> Stream for SearchResults<T> {
    type Item = Result<T, ClientError>;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<T, ClientError>>> {
        self.get_mut().poll_record(context)
    }
}
