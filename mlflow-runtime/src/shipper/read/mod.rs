//! Reading of journals: from segments to batches of entries, in the order in which they were logged where the
//! order matters.
//!
//! | module | content |
//! |---|---|
//! | [`journal_reader`] | [`JournalReader`](journal_reader::JournalReader): one journal, with its cursors and queues |
//! | [`cursor`] | the read position in one segment |
//! | [`records`] | decoding of records into entries of a batch |
//! | [`order`] | the order in which segments are read |
//! | [`parking`], [`deferring`], [`thinning`], [`console_logs`] | what the reader moves to the [queues](super::queue), and back |
//! | [`damage`], [`damage_report`] | records and files that cannot be read |

pub(super) mod console_logs;
pub(super) mod cursor;
pub(super) mod damage;
pub(super) mod damage_report;
pub(super) mod deferring;
pub(super) mod journal_reader;
pub(super) mod order;
pub(super) mod parking;
pub(super) mod records;
pub(super) mod thinning;
