//! Reads journals: what there is to be done, in the order in which it was logged, as far as that matters.

pub(super) mod batch;
pub(super) mod cursor;
pub(super) mod damage;
pub(super) mod order;
pub(super) mod records;
pub(super) mod run_states;
pub(super) mod source;
