//! Searches in the server's terms: filter, order and pages.
//!
//! - A comparison that MLflow's language cannot express is applied here, to the records that were received. A
//!   page may then be short or empty although there are further pages.
//! - A text that this library cannot read is sent as it is, as the server may know more of the language. If
//!   the server refuses the text, the error is the one of this library, which marks the place.
//! - MLflow's pages are offsets and no snapshot. A record that is created or deleted between two pages moves
//!   the others, so that one of them is returned twice or not at all.

use super::api::Api;
use crate::search::{
    Comparison, Field, Filter, Operator, OrderBy, SearchError, Searchable, Subject, matches_all,
};
use crate::store::rest::error::{Cause, RequestError};
use crate::store::{ClientError, Continuation, Page};

/// Smallest number of records that are requested if some of them may be removed here.
const MIN_FILTERED_PAGE: usize = 250;

/// First release whose filters know `IS NULL`: major and minor number.
const IS_NULL_SINCE: (u64, u64) = (3, 11);

/// Filter and order of a search, split into the server's part and ours.
pub(super) struct Query {
    /// Filter in MLflow's language; empty if everything matches.
    pub(super) filter: String,
    /// Orders in MLflow's language.
    pub(super) order_by: Vec<String>,
    /// Comparisons that the server cannot apply.
    local: Vec<Comparison>,
    /// Error of the first text that was sent without having been read.
    unread: Option<SearchError>,
    /// True if the filter contains `IS NULL` or `IS NOT NULL`.
    asks_presence: bool,
}

impl Query {
    /// Creates the query of a search for `subject`.
    ///
    /// # Errors
    /// [`ClientError::Search`] if the search does not know a comparison or an order that was not given as a
    /// text, [`ClientError::Invalid`] if an order cannot be expressed.
    pub(super) fn new(
        filter: &Filter,
        order_by: &[OrderBy],
        subject: Subject,
    ) -> Result<Self, ClientError> {
        let (comparisons, unread) = filter.split_unread(subject)?;
        let (expressible, local): (Vec<_>, Vec<_>) = comparisons
            .into_iter()
            .partition(Comparison::is_expressible);
        let asks_presence = expressible.iter().any(|comparison| {
            matches!(comparison.operator, Operator::IsNull | Operator::IsNotNull)
        });
        let texts = unread.iter().map(|(text, _)| (*text).to_owned());
        let clauses: Vec<_> = expressible
            .iter()
            .map(ToString::to_string)
            .chain(texts)
            .collect();
        let mut query = Self {
            filter: clauses.join(" AND "),
            order_by: Vec::with_capacity(order_by.len()),
            local,
            unread: unread.into_iter().next().map(|(_, error)| error),
            asks_presence,
        };
        let mut fields: Vec<Field> = Vec::new();
        for order in order_by {
            query.push_order(order, subject, &mut fields)?;
        }
        Ok(query)
    }

    /// Adds an order, unless the results are ordered by its field already: the server fails if a field is
    /// named twice.
    fn push_order(
        &mut self,
        order: &OrderBy,
        subject: Subject,
        fields: &mut Vec<Field>,
    ) -> Result<(), ClientError> {
        match (order.sort_key(subject), order.text()) {
            (Ok(key), _) => {
                if key.field.key.contains(['`', '"', '\'']) {
                    return Err(ClientError::invalid(format!(
                        "{} cannot be ordered by `{}`: MLflow's language has no way to write a key with quotes in an order; order by another field",
                        subject.plural(),
                        key.field.key
                    )));
                }
                if !fields.contains(&key.field) {
                    self.order_by.push(key.to_string());
                    fields.push(key.field);
                }
            }
            (Err(error), Some(text)) => {
                self.order_by.push(text.to_owned());
                self.unread.get_or_insert(error);
            }
            (Err(error), None) => return Err(error.into()),
        }
        Ok(())
    }

    /// Returns the number of records to request for a page of `wanted` ones. Where some of them are removed
    /// here, a search for a single record would otherwise need a request for each candidate.
    pub(super) fn page_size(&self, wanted: usize) -> usize {
        if self.local.is_empty() {
            wanted.max(1)
        } else {
            wanted.max(MIN_FILTERED_PAGE)
        }
    }

    /// Removes the records that do not match the comparisons which the server could not apply.
    pub(super) fn retain<R: Searchable>(&self, records: &mut Vec<R>) {
        records.retain(|record| matches_all(record, &self.local));
    }

    /// Converts the failure of the search `asked`.
    pub(super) async fn explain(
        &self,
        api: Api<'_>,
        asked: &str,
        failure: RequestError,
    ) -> ClientError {
        let reason = match (failure, &self.unread) {
            // Some releases fail at what they do not know, instead of refusing it.
            (
                RequestError::Refused { status: 400, .. }
                | RequestError::Known(Cause::ServerFault, _),
                Some(error),
            ) => return error.clone().into(),
            (
                RequestError::Refused {
                    status: 400,
                    reason,
                    ..
                },
                None,
            ) if self.asks_presence => reason,
            (other, _) => return api.explain(asked, other).await,
        };
        match api.version().await {
            Some(version) if knows_is_null(&version) == Some(false) => {
                ClientError::unsupported(format!(
                    "{asked}: the server runs MLflow {version}, whose filters do not know IS NULL and IS NOT NULL: \
                     MLflow does since 3.11. Upgrade the server, or leave the comparison out. {reason}"
                ))
            }
            _ => ClientError::invalid(reason),
        }
    }
}

/// Returns true if the filters of an MLflow release know `IS NULL`; `None` if `version` is not the version
/// of a release.
fn knows_is_null(version: &str) -> Option<bool> {
    let mut numbers = version.split('.').map(str::parse);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((major, minor) >= IS_NULL_SINCE)
}

/// Place at which a page begins.
pub(super) struct Place {
    /// Token of the server; empty at the beginning.
    pub(super) token: String,
    /// Ids of the searched experiments; `None` at the beginning.
    pub(super) experiment_ids: Option<Vec<String>>,
}

impl Place {
    /// Reads the place that an earlier page ended with.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] if another store made `from`.
    pub(super) fn new(from: Option<Continuation>) -> Result<Self, ClientError> {
        match from {
            None => Ok(Self {
                token: String::new(),
                experiment_ids: None,
            }),
            Some(Continuation::Token {
                token,
                experiment_ids,
            }) => Ok(Self {
                token,
                experiment_ids: Some(experiment_ids),
            }),
            Some(Continuation::Remaining(_)) => Err(ClientError::invalid(
                "a search cannot go on with the place of another store: begin the search anew",
            )),
        }
    }

    /// Creates the page that began here and ends at `next_token`. A token that is repeated ends the search.
    pub(super) fn page<T>(self, items: Vec<T>, next_token: String) -> Page<T> {
        let goes_on = !next_token.is_empty() && next_token != self.token;
        Page {
            items,
            next: goes_on.then(|| Continuation::Token {
                token: next_token,
                experiment_ids: self.experiment_ids.unwrap_or_default(),
            }),
        }
    }
}

/// Sends a search for `size` records. If the answer is too long, ever fewer records are requested.
pub(super) async fn send_shrinking<T>(
    mut size: usize,
    send: impl AsyncFn(usize) -> Result<T, RequestError>,
) -> Result<T, RequestError> {
    loop {
        match send(size).await {
            Err(RequestError::Known(Cause::LongAnswer, _)) if size > 1 => size /= 2,
            sent => return sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{attribute, metric, param, tag};
    use crate::store::RemainingIds;

    fn query(filter: impl Into<Filter>, orders: &[OrderBy]) -> Result<Query, ClientError> {
        Query::new(&filter.into(), orders, Subject::Runs)
    }

    #[test]
    fn the_server_gets_what_its_language_can_express() {
        let filter = metric("rmse").lt(0.7)
            & param("lr").gt(0.1)
            & tag("t").eq("both ' and \"")
            & Filter::from("status = 'FINISHED' AND params.a > 5");
        let query = query(filter, &[]).expect("a query");
        assert_eq!(query.filter, "metrics.`rmse` < 0.7 AND status = 'FINISHED'");
        let local: Vec<_> = query.local.iter().map(ToString::to_string).collect();
        assert_eq!(local.len(), 3, "{local:?}");
        assert!(query.unread.is_none() && !query.asks_presence);
        assert_eq!(query.page_size(1), MIN_FILTERED_PAGE);
        assert_eq!(query.page_size(1000), 1000);
        assert!(
            super::Query::new(&Filter::default(), &[], Subject::Runs)
                .is_ok_and(|query| query.filter.is_empty())
        );
    }

    #[test]
    fn a_text_of_a_newer_language_is_sent_as_it_is() {
        let filter = Filter::from("metrics.a SOUNDS_LIKE 5") & param("p").is_null();
        let orders = [OrderBy::from("magic DESC"), OrderBy::from("start_time")];
        let query = query(filter, &orders).expect("a query");
        assert_eq!(
            query.filter,
            "params.`p` IS NULL AND metrics.a SOUNDS_LIKE 5"
        );
        assert_eq!(query.order_by, ["magic DESC", "start_time ASC"]);
        assert!(
            query
                .unread
                .is_some_and(|error| error.to_string().contains("SOUNDS_LIKE"))
        );
        assert!(query.asks_presence);
    }

    #[test]
    fn a_comparison_that_no_server_knows_is_an_error() {
        let refused = query(attribute::source_path().eq("x"), &[]);
        assert!(matches!(refused, Err(ClientError::Search(_))));
        let refused = query("", &[attribute::source_path().asc()]);
        assert!(matches!(refused, Err(ClientError::Search(_))));
    }

    #[test]
    fn an_order_names_each_field_once_and_no_quote() {
        let orders = [
            metric("a b").desc(),
            OrderBy::from("metrics.`a b`"),
            tag("t").asc(),
        ];
        let query_of = query("", &orders).expect("a query");
        assert_eq!(query_of.order_by, ["metrics.`a b` DESC", "tags.`t` ASC"]);
        for key in ["a`b", "a\"b", "a'b"] {
            let refused = query("", &[metric(key).asc()]);
            assert!(matches!(refused, Err(ClientError::Invalid { .. })), "{key}");
        }
    }

    #[test]
    fn releases_before_3_11_are_known() {
        for (version, knows) in [
            ("2.22.5", Some(false)),
            ("3.10.1", Some(false)),
            ("3.11.0", Some(true)),
            ("3.17.2", Some(true)),
            ("4.0.0rc1", Some(true)),
            ("3", None),
            ("x", None),
        ] {
            assert_eq!(knows_is_null(version), knows, "{version}");
        }
    }

    #[test]
    fn a_repeated_token_ends_the_search() {
        let from = |token: &str| {
            Place::new(Some(Continuation::Token {
                token: token.to_owned(),
                experiment_ids: vec!["1".to_owned()],
            }))
            .expect("a place")
        };
        let next = |place: Place, token: &str| place.page(vec![1], token.to_owned()).next;
        assert_eq!(next(from("a"), "a"), None);
        assert_eq!(next(from("a"), ""), None);
        let expected = Continuation::Token {
            token: "b".to_owned(),
            experiment_ids: vec!["1".to_owned()],
        };
        assert_eq!(next(from("a"), "b"), Some(expected));
        let foreign = Place::new(Some(Continuation::Remaining(RemainingIds::new(Vec::new()))));
        assert!(matches!(foreign, Err(ClientError::Invalid { .. })));
    }
}
