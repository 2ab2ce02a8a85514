//! Reading of journals: from segments to batches of entries, in the order in which they were logged where the
//! order matters.
//!
//! | module | content |
//! |---|---|
//! | [`journal_reader`] | [`JournalReader`](journal_reader::JournalReader): one journal, with its cursors and queues |
//! | [`cursor`] | the read position in one segment |
//! | [`records`] | decoding of records into entries of a batch |
//! | [`order`] | the order in which segments are read |
//! | [`batch`] | [`ReadBatch`](batch::ReadBatch): the entries that were read, grouped by run |
//! | [`run_states`] | what is known of each run of a journal |
//! | [`damage`] | records and files that cannot be read |

pub(super) mod batch;
pub(super) mod cursor;
pub(super) mod damage;
pub(super) mod journal_reader;
pub(super) mod order;
pub(super) mod records;
pub(super) mod run_states;
