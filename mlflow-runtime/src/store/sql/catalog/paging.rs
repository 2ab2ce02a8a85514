//! Pages of a search: the ids of all matching records are found once, and the records are read page by page.

use crate::store::sql::error::CatalogError;
use crate::store::{ClientError, Continuation, Page, RemainingIds};

/// Reads one page. `find` returns the ids of all matching records, and is called for the first page alone.
/// `read` returns the records with these ids, without those that were deleted since.
pub(super) fn read_page<T>(
    from: Option<Continuation>,
    page_size: usize,
    find: impl FnOnce() -> Result<Vec<String>, CatalogError>,
    read: impl FnOnce(&[String]) -> Result<Vec<T>, CatalogError>,
) -> Result<Page<T>, CatalogError> {
    let ids = match from {
        None => RemainingIds::new(find()?),
        Some(Continuation::Remaining(ids)) => ids,
        Some(Continuation::Token { .. }) => {
            return Err(CatalogError::Declined(ClientError::invalid(
                "the search began at a server and cannot go on in a database: begin it again",
            )));
        }
    };
    let (page, next) = ids.next_page(page_size);
    let items = if page.is_empty() {
        Vec::new()
    } else {
        read(page)?
    };
    Ok(Page { items, next })
}
