//! Registration of a model as it is recorded: the parts of it that MLflow accepts.

use super::Model;
use crate::model::{Tag, limits};
use crate::run::handle::LiveRun;

/// Registration of a model, without the parts that MLflow refuses.
#[derive(Default)]
pub(super) struct RecordedRegistration {
    /// Name of the registered model; `None` if the model is not registered.
    pub(super) name: Option<String>,
    pub(super) aliases: Vec<String>,
    pub(super) tags: Vec<Tag>,
}

impl LiveRun<'_> {
    /// Returns the registration of a model, and logs a warning with the model's name for each part that MLflow
    /// refuses.
    pub(super) fn registration(&self, name: &str, model: &Model) -> RecordedRegistration {
        let Model {
            registered_name,
            aliases,
            version_tags,
            ..
        } = model;
        let leave_out = |what: std::fmt::Arguments<'_>| {
            let tracker = self.tracker;
            tracker.warn_left_out("model registration", name, what);
        };
        let Some(registered) = registered_name else {
            let has_parts = !(aliases.is_empty() && version_tags.is_empty());
            if has_parts {
                leave_out(format_args!(
                    "its aliases and the tags of its version are left out: the model is not registered; name the registered model with register_as"
                ));
            }
            return RecordedRegistration::default();
        };
        if let Some(fault) = limits::find_registered_name_fault(registered) {
            leave_out(format_args!(
                "it is left out: the name {registered:?} {fault}"
            ));
            return RecordedRegistration::default();
        }
        let is_legal = |alias: &&String| {
            let fault = limits::find_new_alias_fault(alias);
            if let Some(fault) = fault {
                leave_out(format_args!(
                    "the alias {alias:?} is left out: it {fault}; choose another"
                ));
            }
            fault.is_none()
        };
        RecordedRegistration {
            name: Some(registered.clone()),
            aliases: aliases.iter().filter(is_legal).cloned().collect(),
            tags: self.model_tags(
                "model version tag",
                name,
                version_tags,
                limits::REGISTRY_TAG_VALUE_CHARS,
            ),
        }
    }
}
