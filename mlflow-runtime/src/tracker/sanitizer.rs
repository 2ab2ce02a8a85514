//! Sanitizer of texts: the last step before a text enters the journal.
//!
//! Invariants: no text of a run enters the journal with a credential that the rules recognize, under the name of a secret,
//! with a NUL, longer than MLflow stores it, or under a key that MLflow refuses. A changed text logs one warning for its
//! kind and key. Three things stay as they are: artifacts, which are the user's files; the keys of metrics,
//! which the journal checks; and experiment names, because a changed name would name another experiment.

use std::borrow::Cow;
use std::fmt;
use std::sync::Mutex;

use mlflow_rules::{Edge, REDACTED, is_secret_value};

use crate::capture::{Text, TextEnd};
use crate::journal::record::{Event, RunStart};
use crate::model::key_names::{KeyNames, ResolvedName};
use crate::model::limits::{self, mask_key};
use crate::model::{Param, Tag};
use crate::sync::lock;
use crate::warnings::{self, WarningLog};

/// Sanitizer of one tracker, with a log of the warnings that were already given.
#[derive(Default)]
pub(crate) struct Sanitizer {
    warning_log: Mutex<WarningLog>,
    /// Names that replace the param keys that MLflow refuses.
    pub(crate) param_names: KeyNames,
    /// Names that replace the tag keys that MLflow refuses.
    tag_names: KeyNames,
}

/// Returns true if the value of a param or tag that is logged by hand is redacted because of its name.
fn is_redacted_by_name(key: &str, value: &str) -> bool {
    !value.is_empty() && value != REDACTED && is_secret_value(key, value)
}

/// Redacts the value of a param or tag that is logged by hand, if its name is a secret's, with one warning for each key. What
/// the attribute names explicitly is logged as it is, see [`tracked`](macro@crate::tracked#secrets).
pub(crate) fn redact_by_name(kind: &str, key: &str, value: &mut String) {
    if !is_redacted_by_name(key, value) {
        return;
    }
    REDACTED.clone_into(value);
    warnings::warn_user(format_args!(
        "{kind} {key:?}: its value is logged as {REDACTED}, because this is the name of a secret; a value that is none needs another name"
    ));
}

impl Sanitizer {
    /// Logs a warning, once for each kind and key.
    pub(crate) fn warn_once(&self, kind: &'static str, key: &str, what: fmt::Arguments<'_>) {
        if let Some(end) = self.admit_warning(kind, key) {
            warnings::warn_without_dedup(format!("{kind} {key:?}: {what}{end}"));
        }
    }

    /// Returns the text to append to a warning; `None` if the warning must not be issued (again).
    pub(crate) fn admit_warning(&self, kind: &'static str, key: &str) -> Option<&'static str> {
        lock(&self.warning_log).admit(kind, key)
    }

    /// Logs one warning for all values in which a possible credential was masked.
    fn warn_masked(&self, kind: &'static str, key: &str, credential: &str) {
        let admitted = lock(&self.warning_log).admit("masked", "");
        if admitted.is_some() {
            warnings::warn_without_dedup(format!(
                "{kind} {key:?}: text that looks like {credential} was logged as {REDACTED}; later ones are masked without a warning"
            ));
        }
    }

    /// Returns the text, and logs a warning if the text is not complete.
    pub(crate) fn text_or_warn(
        &self,
        kind: &'static str,
        key: &str,
        max: usize,
        value: Text,
    ) -> String {
        if value.end != TextEnd::Complete {
            let masked = mask_key(key);
            let key = masked.as_deref().unwrap_or(key);
            match value.end {
                // The text of a locked value already shows that the value is locked.
                TextEnd::Complete | TextEnd::Locked => {}
                TextEnd::Truncated => self.warn_cut(kind, key, max),
                TextEnd::Failed => self.warn_once(
                    kind,
                    key,
                    format_args!(
                        "its formatting returned an error; the text written before the error is logged"
                    ),
                ),
                TextEnd::Panicked => self.warn_once(
                    kind,
                    key,
                    format_args!("its formatting panicked; the text written before the panic is logged"),
                ),
                TextEnd::TooMany => self.warn_once(
                    kind,
                    key,
                    format_args!(
                        "this field and the following ones are left out: at most {} fields of one argument are logged, and {} by log_params",
                        limits::MAX_FIELDS,
                        limits::MAX_CONFIG_FIELDS
                    ),
                ),
                TextEnd::TooDeep => self.warn_once(
                    kind,
                    key,
                    format_args!("it is left out: it is nested too deeply inside its value"),
                ),
            }
        }
        value.text
    }

    /// Returns the name of a run or an experiment. Returns `None`, with a warning, if the formatting of the
    /// name failed: the default name is better than half a name.
    pub(crate) fn name_or_warn(&self, key: &str, max: usize, name: Text) -> Option<String> {
        let what = match name.end {
            TextEnd::Failed => "returned an error",
            TextEnd::Panicked => "panicked",
            TextEnd::Complete
            | TextEnd::Truncated
            | TextEnd::TooMany
            | TextEnd::TooDeep
            | TextEnd::Locked => {
                return Some(self.text_or_warn("run", key, max, name));
            }
        };
        self.warn_once(
            "run",
            key,
            format_args!("its formatting {what}; the default name is used"),
        );
        None
    }

    /// Logs a warning for a part of a value that would have been a metric and is left out.
    pub(crate) fn warn_missing_metric(&self, key: &str, end: TextEnd) {
        let masked = mask_key(key);
        let key = masked.as_deref().unwrap_or(key);
        let why = match end {
            TextEnd::Complete | TextEnd::Truncated | TextEnd::TooMany => {
                "at most 1000 numbers of one value are logged; `skip_return` logs none of a returned value"
            }
            TextEnd::Locked => {
                "it is behind a lock that other code holds, or that cannot be tried without waiting"
            }
            TextEnd::TooDeep => "it stands too deep inside of the value",
            TextEnd::Failed => "its `Serialize` returned an error",
            TextEnd::Panicked => "its `Serialize` panicked",
        };
        self.warn_once("metric", key, format_args!("it is left out: {why}"));
    }

    /// Returns the event with sanitized texts, ready for the journal.
    pub(crate) fn sanitize_event<'e>(&self, event: Event<'e>) -> Event<'e> {
        match event {
            Event::Start(start) => Event::Start(self.sanitize_start(start)),
            Event::Param(param) => {
                let mut param = param.into_owned();
                redact_by_name("param", &param.key, &mut param.value);
                Event::Param(Cow::Owned(self.sanitize_param(param)))
            }
            Event::Tag(mut tag) => {
                if is_redacted_by_name(&tag.key, &tag.value) {
                    let Tag { key, value } = tag.to_mut();
                    redact_by_name("tag", key, value);
                }
                Event::Tag(self.sanitize_tag(tag))
            }
            Event::Artifact { .. } | Event::End { .. } => event,
        }
    }

    fn sanitize_start<'e>(&self, mut start: Box<RunStart<'e>>) -> Box<RunStart<'e>> {
        // The run's name is sanitized where it is chosen, so that the handle of the run shows the same name.
        let user = self.sanitize_text("run", "user", &start.user, limits::RUN_NAME_CHARS);
        if let Some(user) = user {
            start.user = Cow::Owned(user);
        }
        start.tags = start
            .tags
            .into_iter()
            .map(|tag| self.sanitize_tag(tag))
            .collect();
        let keys = start.params.iter().map(|param| &*param.key);
        self.param_names.reserve(keys);
        start.params = start
            .params
            .into_iter()
            .map(|param| self.sanitize_param(param))
            .collect();
        start
    }

    fn sanitize_param(&self, param: Param) -> Param {
        let key = self
            .sanitize_key(&self.param_names, "param", &param.key)
            .unwrap_or(param.key);
        let value = self
            .sanitize_text("param", &key, &param.value, limits::PARAM_VALUE_CHARS)
            .unwrap_or(param.value);
        Param { key, value }
    }

    fn sanitize_tag<'e>(&self, tag: Cow<'e, Tag>) -> Cow<'e, Tag> {
        let masked = self.sanitize_key(&self.tag_names, "tag", &tag.key);
        let key = masked.as_deref().unwrap_or(&tag.key);
        let value = self.sanitize_text("tag", key, &tag.value, limits::TAG_VALUE_CHARS);
        if masked.is_none() && value.is_none() {
            return tag;
        }
        let tag = tag.into_owned();
        Cow::Owned(Tag {
            key: masked.unwrap_or(tag.key),
            value: value.unwrap_or(tag.value),
        })
    }

    /// Masks a credential in a key, for example in a map whose keys are tokens, and replaces a key that
    /// MLflow refuses. Returns `None` if the key may stay as it is. The key must be masked only once: a
    /// masked key may still look like a credential, because the replacement has no brackets.
    fn sanitize_key(&self, names: &KeyNames, kind: &'static str, key: &str) -> Option<String> {
        let masked = self.mask_key(kind, key);
        let key = masked.as_deref().unwrap_or(key);
        let ResolvedName {
            name,
            warning: news,
        } = names.resolve(key);
        if let Some(news) = news {
            warnings::warn_without_dedup(news.message(kind, key, &name));
        }
        match name {
            Cow::Borrowed(_) => masked,
            Cow::Owned(name) => Some(name),
        }
    }

    /// Masks a credential in a key, with a warning. Returns `None` if the key may stay as it is.
    pub(crate) fn mask_key(&self, kind: &'static str, key: &str) -> Option<String> {
        let masked = mask_key(key)?;
        self.warn_masked(kind, &masked, "a credential");
        Some(masked)
    }

    /// Returns the text masked, cut to `max` characters and without NUL. Returns `None` if the text may stay
    /// as it is.
    pub(crate) fn sanitize_text(
        &self,
        kind: &'static str,
        key: &str,
        text: &str,
        max: usize,
    ) -> Option<String> {
        let masked = mlflow_rules::mask(text, Edge::End);
        if let Some(masked) = &masked {
            self.warn_masked(kind, key, masked.kind);
        }
        let masked = masked.map(|masked| masked.text);
        let (cut, was_cut) = limits::truncate_chars(masked.as_deref().unwrap_or(text).into(), max);
        let without_nul = limits::replace_nul(&cut);
        if without_nul.is_some() {
            self.warn_once(
                kind,
                key,
                format_args!(
                    "its NUL characters are replaced by U+FFFD: not every database holds them"
                ),
            );
        }
        if was_cut {
            self.warn_cut(kind, key, max);
            return without_nul.or(Some(cut.into_owned()));
        }
        without_nul.or(masked)
    }

    /// Logs a warning, once for each kind and key, which a user without a subscriber sees, too: a part is lost.
    fn warn_cut(&self, kind: &'static str, key: &str, max: usize) {
        if let Some(end) = self.admit_warning(kind, key) {
            warnings::warn_without_dedup(format!(
                "{kind} {key:?}: its value was cut: MLflow stores at most {max} characters{end}"
            ));
        }
    }
}
