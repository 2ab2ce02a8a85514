//! Checkpoints: their names among the artifacts of a run, their forms in the journal, and the file by which a whole
//! checkpoint is recognized in the store.
//!
//! A checkpoint of one file is the artifact `checkpoints/step-7.bin`. One of a folder is the artifact folder
//! `checkpoints/step-7`, or `checkpoints/step-7-v1` if the step was logged before, with a [`CheckpointManifest`] in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Folder among the artifacts of a run that has its checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// Name of the file in the folder of a checkpoint that says if the checkpoint is complete.
pub(crate) const MANIFEST_FILE: &str = "mlflow_checkpoint.json";

/// Beginning of the name of a checkpoint, before its step.
const NAME_PREFIX: &str = "step-";

/// Call that logged a checkpoint, as each artifact of the checkpoint has it in the journal. The names of the fields
/// are a part of the journal's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct CheckpointCall {
    /// Random number of the call.
    pub(crate) id: u64,
    pub(crate) step: i64,
    /// Time of the call, in ms since the Unix epoch.
    pub(crate) logged_ms: i64,
    /// Number of steps whose checkpoints are kept, the newest ones; 0 if all are kept.
    pub(crate) keep: usize,
    /// True if the checkpoint is a folder.
    pub(crate) is_folder: bool,
}

/// Sizes of the files of a checkpoint in bytes, by their paths inside of it. The bytes of the artifact that completes
/// a checkpoint, as JSON. A checkpoint of one file has none.
pub(crate) type CheckpointFiles = BTreeMap<String, u64>;

/// Content of [`MANIFEST_FILE`]. It is written before the first file of the checkpoint, and again after the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckpointManifest {
    /// True if the folder has all files of the checkpoint.
    pub(crate) complete: bool,
    pub(crate) step: i64,
    /// Random number of the call that logged the checkpoint, in hexadecimal digits.
    pub(crate) call: String,
    /// Sizes of the files in bytes, by their paths in the folder; empty until the checkpoint is complete.
    pub(crate) files: CheckpointFiles,
}

impl CheckpointManifest {
    /// Returns the manifest of a checkpoint whose files are being written.
    pub(crate) fn begun(call: &CheckpointCall) -> Self {
        Self {
            complete: false,
            step: call.step,
            call: call.hex_id(),
            files: CheckpointFiles::new(),
        }
    }

    /// Returns the bytes of the file.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // Writing texts and numbers into memory does not fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

impl CheckpointCall {
    /// Returns the random number of the call in hexadecimal digits.
    pub(crate) fn hex_id(&self) -> String {
        format!("{:016x}", self.id)
    }
}

/// Name of a checkpoint among the entries of [`CHECKPOINTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CheckpointName {
    pub(crate) step: i64,
    /// Number of the folder among those of the same step, from 0.
    pub(crate) version: u32,
}

impl CheckpointName {
    /// Returns the path of the folder with this name.
    // Input:  -7, version 0; 7, version 1
    // Output: `checkpoints/step--7`; `checkpoints/step-7-v1`
    pub(crate) fn folder(self) -> String {
        let Self { step, version } = self;
        match version {
            0 => format!("{CHECKPOINTS}/{NAME_PREFIX}{step}"),
            version => format!("{CHECKPOINTS}/{NAME_PREFIX}{step}-v{version}"),
        }
    }

    /// Returns the path of the file with this step, which has an extension or none.
    pub(crate) fn file(step: i64, extension: Option<&str>) -> String {
        let extension = extension.map(|extension| format!(".{extension}"));
        format!(
            "{CHECKPOINTS}/{NAME_PREFIX}{step}{}",
            extension.unwrap_or_default()
        )
    }

    /// Returns the name that the path of an entry has; `None` if this library gives no checkpoint such a name.
    pub(crate) fn parse(path: &str, is_folder: bool) -> Option<Self> {
        let name = path.strip_prefix(CHECKPOINTS)?.strip_prefix('/')?;
        let rest = name.strip_prefix(NAME_PREFIX)?;
        let is_of_number = |at: usize, c: char| c.is_ascii_digit() || at == 0 && c == '-';
        let end = rest
            .char_indices()
            .find(|(at, c)| !is_of_number(*at, *c))
            .map_or(rest.len(), |(at, _)| at);
        let (number, rest) = rest.split_at_checked(end)?;
        let step: i64 = number.parse().ok()?;
        if step.to_string() != number {
            return None;
        }
        let version = match (rest, is_folder) {
            ("", _) => 0,
            (rest, true) => {
                let digits = rest.strip_prefix("-v")?;
                let version: u32 = digits.parse().ok()?;
                (version > 0 && version.to_string() == digits).then_some(version)?
            }
            (rest, false) => rest
                .strip_prefix('.')
                .filter(|extension| !extension.is_empty() && !extension.contains('/'))
                .map(|_| 0)?,
        };
        Some(Self { step, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for step in [0, 7, -7, i64::MAX, i64::MIN] {
            for version in [0, 1, 12] {
                let name = CheckpointName { step, version };
                assert_eq!(CheckpointName::parse(&name.folder(), true), Some(name));
            }
            for extension in [None, Some("bin"), Some("tar.gz")] {
                let path = CheckpointName::file(step, extension);
                let name = CheckpointName { step, version: 0 };
                assert_eq!(CheckpointName::parse(&path, false), Some(name), "{path}");
            }
        }
    }

    #[test]
    fn names_of_others_are_left_alone() {
        for folder in [
            "checkpoints/best",
            "checkpoints/step-",
            "checkpoints/step-007",
            "checkpoints/step-7-notes",
            "checkpoints/step-7-v0",
            "checkpoints/step-7-v01",
            "checkpoints/step-7.bin",
            "checkpoints/step-+7",
            "checkpoints/epoch-7",
            "checkpoints/step-7/inner",
            "other/step-7",
            "checkpoints",
        ] {
            assert_eq!(CheckpointName::parse(folder, true), None, "{folder}");
        }
        for file in [
            "checkpoints/step-7.",
            "checkpoints/step-7-v1",
            "checkpoints/step-7a.bin",
            "checkpoints/step-7.b/c",
            "checkpoints/step-99999999999999999999.bin",
        ] {
            assert_eq!(CheckpointName::parse(file, false), None, "{file}");
        }
    }
}
