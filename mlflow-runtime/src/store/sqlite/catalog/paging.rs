//! Pages of a search: the ids of all matching records are found once, and the records are read page by page.

use std::collections::VecDeque;

use super::CatalogError;
use crate::store::{ClientError, Continuation, Page};

/// Reads one page. `find` returns the ids of all matching records, and is called for the first page alone.
/// `read` returns the records with these ids, without those that were deleted since.
pub(super) fn read_page<T>(
    from: Option<Continuation>,
    page_size: usize,
    find: impl FnOnce() -> Result<VecDeque<String>, CatalogError>,
    read: impl FnOnce(&[String]) -> Result<Vec<T>, CatalogError>,
) -> Result<Page<T>, CatalogError> {
    let mut ids = match from {
        None => find()?,
        Some(Continuation::Remaining(ids)) => ids,
        Some(Continuation::Token { .. }) => {
            return Err(CatalogError::Declined(ClientError::invalid(
                "the search began at a server and cannot go on in a file: begin it again",
            )));
        }
    };
    // A page without any id would come again and again.
    let length = page_size.clamp(1, ids.len().max(1)).min(ids.len());
    let page: Vec<String> = ids.drain(..length).collect();
    let items = if page.is_empty() {
        Vec::new()
    } else {
        read(&page)?
    };
    Ok(Page {
        items,
        next: (!ids.is_empty()).then_some(Continuation::Remaining(ids)),
    })
}
