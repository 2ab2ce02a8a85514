//! The owner of a journal: this process, or a process that has ended.

use std::sync::Arc;

use crate::journal::Journal;
use crate::journal::directory::Directory;
use crate::shipper::run_link::RunLinks;

/// Owner of a journal: this process, or a terminated one.
pub(crate) enum JournalOwner {
    Live {
        journal: Arc<Journal>,
        links: Arc<RunLinks>,
    },
    Orphan {
        directory: Directory,
    },
}
