//! Logged models of others as inputs and outputs of a run.

use crate::model::{ArtifactKind, limits};
use crate::run::handle::LiveRun;

impl LiveRun<'_> {
    /// Logs a model that exists as an output of the run.
    pub(in crate::run) fn log_output(&self, model_id: &str, step: i64) {
        if self.accepts_model_id(ArtifactKind::ModelOutput, model_id) {
            let step = step.to_string();
            self.log_artifact_bytes(ArtifactKind::ModelOutput, step.as_bytes(), model_id);
        }
    }

    /// Logs a model that exists as an input of the run.
    pub(in crate::run) fn log_model_input(&self, model_id: &str) {
        if self.accepts_model_id(ArtifactKind::ModelInput, model_id) {
            self.log_artifact_bytes(ArtifactKind::ModelInput, &[], model_id);
        }
    }

    /// Returns true if a logged model may have this id; else logs a warning.
    fn accepts_model_id(&self, kind: ArtifactKind, id: &str) -> bool {
        let is_id = limits::is_model_id(id);
        if !is_id {
            self.tracker.warn_rejected(
                kind.noun(),
                id,
                format_args!("it is no id of a logged model, which begins with m-; log_model logs a new model"),
            );
        }
        is_id
    }
}
