//! Program of a run: the tags by which MLflow shows who and what has made a model or a dataset.
//!
//! Invariant: the tags are those of the process that logs the model or dataset, which may be another one than the process
//! that has started the run. Tags that the run was given by hand do not count.

use crate::environment;
use crate::model::{Tag, tag_keys};

use super::handle::LiveRun;

/// Keys of the tags, in the order of MLflow's Python client (`mlflow/tracking/context`).
const PROGRAM_TAGS: [&str; 4] = [
    tag_keys::USER,
    tag_keys::SOURCE_NAME,
    tag_keys::SOURCE_TYPE,
    tag_keys::GIT_COMMIT,
];

impl LiveRun<'_> {
    /// Returns the tags for the user, the program and its commit, as far as they are known.
    pub(super) fn program_tags(&self) -> Vec<Tag> {
        let environment = environment::for_process();
        let common = environment.common_tags();
        let of_callsite = self.callsite().map_or(&[][..], |callsite| callsite.tags());
        let user = self.tracker.user().map(|user| Tag {
            key: tag_keys::USER.to_owned(),
            value: user.to_owned(),
        });
        let find = |key: &&str| {
            let own = { of_callsite.iter().chain(&user) }
                .filter(|tag| !environment.is_overridden(&tag.key));
            { own.chain(&*common) }
                .find(|tag| tag.key == **key)
                .cloned()
        };
        PROGRAM_TAGS.iter().filter_map(find).collect()
    }
}
