//! Profiles in the configuration file of Databricks, `~/.databrickscfg`.
//!
//! Invariants: the file is read at each call, as a token may be renewed in it. No error shows a part of a login.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use configparser::ini::Ini;

/// Profile, by its name in a file.
#[derive(Clone, Debug)]
pub(crate) struct DatabricksProfile {
    pub(crate) file: PathBuf,
    pub(crate) name: String,
    /// Host that the profile named at first. A token of another host is not for it.
    pub(crate) host: String,
}

/// Values of a profile.
pub(crate) struct ProfileValues {
    file: Ini,
    name: String,
}

impl DatabricksProfile {
    /// Reads the values of the profile. The error is worded as the end of a sentence.
    pub(crate) fn read(&self) -> Result<ProfileValues, String> {
        let path = self.file.display();
        let text = fs::read_to_string(&self.file)
            .map_err(|error| format!("no login of Databricks is found: {path}: {error}"))?;
        let mut file = Ini::new_cs();
        file.set_comment_symbols(&['#', ';']);
        file.set_inline_comment_symbols(Some(&[]));
        // The parser's error may quote a part of a token.
        let text = text.trim_start_matches('\u{feff}').to_owned();
        if file.read(text).is_err() {
            return Err(format!(
                "no login of Databricks is found: {path} is no INI file"
            ));
        }
        if !file.sections().contains(&self.name) {
            return Err(format!("{path} has no profile {:?}", self.name));
        }
        let name = self.name.clone();
        Ok(ProfileValues { file, name })
    }

    /// Reads the token of the profile.
    pub(crate) fn read_token(&self) -> Result<String, String> {
        let values = self.read()?;
        if values.get("host").as_ref() != Some(&self.host) {
            return Err(format!(
                "{self} names another host now, whose token is not sent to {}; start the program again for the new host",
                self.host
            ));
        }
        let token = values.get("token");
        token.ok_or_else(|| format!("{self} has no token"))
    }
}

impl fmt::Display for DatabricksProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the profile {:?} in {}", self.name, self.file.display())
    }
}

impl ProfileValues {
    /// Returns a value; `None` if it is missing or empty.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let value = self.file.get(&self.name, key);
        value.filter(|value| !value.trim().is_empty())
    }
}
