//! [`Resolver`]: the choice among the sources of each setting, and the record of what was chosen.
//!
//! Invariants:
//!
//! - The sources of a setting are looked at in the order configured value, variable, configuration file,
//!   credentials file, default. The first value that can be used is chosen, and no later source is looked at.
//! - A value that was looked at and cannot be used leaves a warning in the record, and so does a value that is
//!   used although something is wrong with it.
//! - The record holds no password and no token.
//!
//! The settings of the process are made from what the resolver chooses, so the record agrees with them.

use std::env;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mlflow_rules::REDACTED;

use super::config_file::{self, ConfigFile, EntryFault};
use super::credentials_file::{CredentialsFile, FileCredentials};
use super::setting::SettingSource;
use crate::config::destination::Destination;
use crate::env_vars::{self, SettingLookup};
use crate::journal::user_files::JournalLocation;
use crate::model::{ExperimentRef, PointRate};
use crate::secret::Secret;
use crate::warnings::UserWarning;

/// Choice among the sources of settings.
pub(super) struct Resolver<'e> {
    lookup: SettingLookup<'e>,
    file: Option<ConfigFile>,
    record: Vec<ChosenSetting>,
}

/// Value of a setting, or of a variable that is no setting and was looked at.
pub(super) struct ChosenSetting {
    pub(super) variable: &'static str,
    /// Value as it is shown; `None` if there is none.
    pub(super) value: Option<String>,
    pub(super) source: SettingSource,
    pub(super) warnings: Vec<UserWarning>,
}

/// Setting whose sources are being looked at.
#[must_use = "the choice is recorded by the methods that end it"]
pub(super) struct Choice<'r, 'e, T> {
    resolver: &'r mut Resolver<'e>,
    variable: &'static str,
    chosen: Option<(T, SettingSource)>,
    warnings: Vec<UserWarning>,
    /// True if the tracking URI holds what is used in place of the setting.
    is_in_uri: bool,
    /// True if an entry of the configuration file would go against a setting that takes precedence.
    ignores_file: bool,
}

impl<'e> Resolver<'e> {
    /// Creates a resolver that reads the environment and the configuration file of the process.
    pub(super) fn of_process() -> Resolver<'static> {
        let lookup: SettingLookup<'static> = &|variable| env::var_os(variable);
        let directory = env::current_dir().ok();
        Resolver::new(lookup, ConfigFile::find(lookup, directory.as_deref()))
    }

    /// Creates a resolver that reads variables with `lookup`, and entries of the configuration file, if there is one.
    pub(super) fn new(lookup: SettingLookup<'e>, file: Option<ConfigFile>) -> Self {
        let mut resolver = Self {
            lookup,
            file,
            record: Vec::new(),
        };
        resolver.record_file();
        resolver
    }

    /// Records which configuration file is read.
    fn record_file(&mut self) {
        let path = self.file.as_ref().map(|file| file.path().to_owned());
        let shown = path.as_ref().map(SettingValue::to_shown);
        self.choose(config_file::VARIABLE)
            .look_at(SettingSource::Variable(config_file::VARIABLE), |lookup| {
                match env_vars::read_setting(lookup, config_file::VARIABLE) {
                    Ok(named) => path.filter(|_| named.is_some()).map(Ok),
                    Err(warning) => Some(Err(warning)),
                }
            })
            .or_unset_shown_as(shown.as_deref());
    }

    /// Begins the choice of the setting that `variable` sets.
    pub(super) fn choose<T: SettingValue>(&mut self, variable: &'static str) -> Choice<'_, 'e, T> {
        Choice {
            resolver: self,
            variable,
            chosen: None,
            warnings: Vec::new(),
            is_in_uri: false,
            ignores_file: false,
        }
    }

    /// Returns true if one of the variables has a value.
    pub(super) fn is_any_set(&self, variables: &[&'static str]) -> bool {
        let mut variables = variables.iter();
        variables.any(|variable| env_vars::read_setting(self.lookup, variable) != Ok(None))
    }

    /// Returns true if a variable is set, even if its value is empty.
    pub(super) fn is_set(&self, variable: &'static str) -> bool {
        (self.lookup)(variable).is_some()
    }

    /// Returns the value of a variable that is no setting.
    pub(super) fn read(&mut self, variable: &'static str) -> Option<String> {
        env_vars::read_setting(self.lookup, variable).unwrap_or_else(|warning| {
            self.warn(variable, warning);
            None
        })
    }

    /// Records a warning about a variable that is no setting, once.
    pub(super) fn warn(&mut self, variable: &'static str, warning: UserWarning) {
        if self.record.iter().all(|known| known.variable != variable) {
            self.record.push(ChosenSetting {
                variable,
                value: None,
                source: SettingSource::Default,
                warnings: vec![warning],
            });
        }
    }

    /// Returns all that was chosen. The warnings about the configuration file are those of `MLFLOW_CONFIG_FILE`: only now
    /// is it known which of its entries are settings.
    pub(super) fn into_record(mut self) -> Vec<ChosenSetting> {
        let warnings = self.file.as_mut().map(ConfigFile::take_warnings);
        let mut of_file =
            { self.record.iter_mut() }.find(|setting| setting.variable == config_file::VARIABLE);
        if let (Some(warnings), Some(of_file)) = (warnings, of_file.as_mut()) {
            of_file.warnings.extend(warnings);
        }
        self.record
    }
}

impl<T: SettingValue> Choice<'_, '_, T> {
    /// Looks at a source, unless an earlier one has a value.
    fn look_at(
        mut self,
        source: SettingSource,
        read: impl FnOnce(SettingLookup<'_>) -> Option<Result<T, UserWarning>>,
    ) -> Self {
        if self.chosen.is_none() {
            match read(self.resolver.lookup) {
                Some(Ok(value)) => self.chosen = Some((value, source)),
                Some(Err(warning)) => self.warnings.push(warning),
                None => {}
            }
        }
        self
    }

    /// Looks at the configured value.
    pub(super) fn configured(self, value: Option<T>) -> Self {
        self.configured_as(value, Ok)
    }

    /// Looks at the configured value, which may be one that cannot be used.
    pub(super) fn configured_as<V>(
        self,
        value: Option<V>,
        parse: impl FnOnce(V) -> Result<T, UserWarning>,
    ) -> Self {
        self.look_at(SettingSource::Configured, |_| value.map(parse))
    }

    /// Leaves out the configuration file, if an entry of it would go against a setting that takes precedence.
    pub(super) fn ignoring_file_if(mut self, ignores_file: bool) -> Self {
        self.ignores_file = ignores_file;
        self
    }

    /// Looks at the variable, then at the entry of the configuration file.
    pub(super) fn variable(self, parse: impl FnMut(String) -> Result<T, UserWarning>) -> Self {
        self.variable_or_fault(parse, |_, _| None)
    }

    /// Looks at the variable, then at the entry of the configuration file. What `on_fault` returns for the path and the fault
    /// of a file, or of an entry, that cannot be used is chosen in place of a value.
    pub(super) fn variable_or_fault(
        self,
        mut parse: impl FnMut(String) -> Result<T, UserWarning>,
        on_fault: impl FnOnce(&Path, &str) -> Option<T>,
    ) -> Self {
        let variable = self.variable;
        let source = SettingSource::Variable(variable);
        self.look_at(source, |lookup| {
            let value = env_vars::read_setting(lookup, variable);
            value.map_or_else(|warning| Some(Err(warning)), |value| value.map(&mut parse))
        })
        .look_at_file(parse, on_fault)
    }

    fn look_at_file(
        mut self,
        parse: impl FnOnce(String) -> Result<T, UserWarning>,
        on_fault: impl FnOnce(&Path, &str) -> Option<T>,
    ) -> Self {
        let Resolver { lookup, file, .. } = &mut *self.resolver;
        let Some(file) = file else {
            return self;
        };
        // An earlier source, too, makes the entry a known one.
        let value = file.value_of(self.variable, *lookup);
        if self.chosen.is_some() || self.ignores_file {
            return self;
        }
        let chosen = match value {
            None => None,
            Some(Ok(text)) => match parse(text) {
                Ok(value) => Some(value),
                Err(warning) => {
                    self.warnings.push(file.with_place(self.variable, warning));
                    None
                }
            },
            Some(Err(fault)) => {
                let (EntryFault::Entry(text) | EntryFault::File(text)) = &fault;
                let instead = on_fault(file.path(), text);
                if let (EntryFault::Entry(text), None) = (&fault, &instead) {
                    self.warnings.push(UserWarning::new(format_args!("{text}")));
                }
                instead
            }
        };
        let source = SettingSource::ConfigFile(file.path().to_owned());
        self.chosen = chosen.map(|value| (value, source));
        self
    }

    /// Looks at the first of these variables that is set, which other programs know, too.
    pub(super) fn first_of(
        self,
        variables: &[&'static str],
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Self {
        let lookup = self.resolver.lookup;
        let set = { variables.iter().copied() }
            .find_map(|variable| Some((variable, lookup(variable)?.into_string().ok()?)));
        match set {
            Some((variable, value)) => {
                self.look_at(SettingSource::Variable(variable), |_| parse(&value).map(Ok))
            }
            None => self,
        }
    }

    /// Looks at the variable, which describes the process.
    pub(super) fn description(self, parse: impl FnOnce(String) -> Result<T, UserWarning>) -> Self {
        let variable = self.variable;
        self.look_at(SettingSource::Variable(variable), |lookup| {
            lookup(variable)
                .and_then(env_vars::to_description)
                .map(parse)
        })
    }

    /// Looks at the credentials file. The warning about a file that cannot be used is recorded even if an
    /// earlier source has a value.
    pub(super) fn file(
        mut self,
        file: Option<&CredentialsFile>,
        read: impl FnOnce(&FileCredentials) -> Option<T>,
    ) -> Self {
        match file.map(|file| (&file.path, &file.credentials)) {
            Some((path, Ok(credentials))) => {
                let source = SettingSource::CredentialsFile(path.clone());
                self.look_at(source, |_| read(credentials).map(Ok))
            }
            Some((_, Err(warning))) => {
                self.warnings.push(warning.clone());
                self
            }
            None => self,
        }
    }

    /// Records that the tracking URI holds what is used in place of the setting, if that is so.
    pub(super) fn unless_in_uri(mut self, is_in_uri: bool) -> Self {
        self.is_in_uri = is_in_uri;
        self
    }

    /// Returns the value that is chosen so far, and its source.
    pub(super) fn chosen(&self) -> Option<(&T, &SettingSource)> {
        let (value, source) = self.chosen.as_ref()?;
        Some((value, source))
    }

    /// Records a warning about the value that is chosen so far.
    pub(super) fn with_warning(mut self, warning: Option<UserWarning>) -> Self {
        self.warnings.extend(warning);
        self
    }

    /// Gives up the value that is chosen so far, if there is a warning.
    pub(super) fn unless(mut self, warning: Option<UserWarning>) -> Self {
        if warning.is_some() {
            self.chosen = None;
        }
        self.with_warning(warning)
    }

    /// Ends the choice with a default.
    pub(super) fn or(self, default: T) -> T {
        self.or_else(|_| default)
    }

    /// Ends the choice with a default that is looked up if it is needed.
    pub(super) fn or_else(mut self, default: impl FnOnce(&mut Resolver<'_>) -> T) -> T {
        let (value, source) = match self.chosen.take() {
            Some(chosen) => chosen,
            None => (default(self.resolver), SettingSource::Default),
        };
        self.record(Some(value.to_shown()), source);
        value
    }

    /// Ends the choice. Without a value, the setting is unset.
    pub(super) fn or_unset(self) -> Option<T> {
        self.or_unset_shown_as(None)
    }

    /// Ends the choice. Without a value, the setting is unset, which means the same as the value `shown`.
    pub(super) fn or_unset_shown_as(mut self, shown: Option<&str>) -> Option<T> {
        match self.chosen.take() {
            Some((value, source)) => {
                self.record(Some(value.to_shown()), source);
                Some(value)
            }
            None => {
                self.record(shown.map(str::to_owned), SettingSource::Default);
                None
            }
        }
    }

    fn record(self, value: Option<String>, source: SettingSource) {
        let (value, source) = if self.is_in_uri {
            (Some(REDACTED.to_owned()), SettingSource::TrackingUri)
        } else {
            (value, source)
        };
        self.resolver.record.push(ChosenSetting {
            variable: self.variable,
            value,
            source,
            warnings: self.warnings,
        });
    }
}

/// Value of a setting, and the text by which it is shown.
pub(super) trait SettingValue {
    /// Returns the text, without secrets.
    fn to_shown(&self) -> String;
}

macro_rules! shown_by_display {
    ($($value:ty),+) => {
        $(
            impl SettingValue for $value {
                fn to_shown(&self) -> String {
                    self.to_string()
                }
            }
        )+
    };
}

shown_by_display!(bool, u32, u64, NonZeroU32, PointRate, String);

/// Seconds.
impl SettingValue for Duration {
    fn to_shown(&self) -> String {
        self.as_secs_f64().to_string()
    }
}

impl SettingValue for PathBuf {
    fn to_shown(&self) -> String {
        self.display().to_string()
    }
}

impl SettingValue for JournalLocation {
    fn to_shown(&self) -> String {
        self.path().display().to_string()
    }
}

impl SettingValue for Secret<String> {
    fn to_shown(&self) -> String {
        REDACTED.to_owned()
    }
}

impl SettingValue for ExperimentRef {
    fn to_shown(&self) -> String {
        match self {
            Self::Name(text) | Self::Id(text) => text.clone(),
        }
    }
}

/// URI without credentials. One that cannot be used is shown as it was given.
impl SettingValue for Destination {
    fn to_shown(&self) -> String {
        match self {
            Self::Unusable(unusable) => unusable.given.clone(),
            Self::Rest { .. } | Self::Sqlite { .. } | Self::Postgres { .. } => self.to_string(),
        }
    }
}
