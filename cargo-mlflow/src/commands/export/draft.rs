//! [`Draft`]: the file that an export writes before it takes the name that it is to have.
//!
//! Invariants: a draft has a name of its own in the folder of its target, and replaces no file. It is removed unless it
//! takes its name, also when Ctrl-C ends the program.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::{process, thread};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// File that is written beside its target.
pub(super) struct Draft {
    path: PathBuf,
    is_kept: bool,
}

impl Draft {
    /// Creates a draft for a target, and its file.
    pub(super) fn create(target: &Path) -> io::Result<(Self, File)> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let (path, file) = create_beside(target)?;
        let draft = Self {
            path: path.clone(),
            is_kept: false,
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    // After a rename there is no file of this name.
                    let _ = fs::remove_file(&path);
                    let _ = emulate_default_handler(signal);
                }
            })?;
        Ok((draft, file))
    }

    /// Gives the draft the name of its target.
    pub(super) fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            // The failure that ended the export is told, not this one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a file with a name that no other has.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    let mut number = 0_u32;
    loop {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}-{number}.part", process::id()));
        let path = target.with_file_name(name);
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            created => return created.map(|file| (path, file)),
        }
    }
}
