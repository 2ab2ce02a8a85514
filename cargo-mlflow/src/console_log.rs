//! The console log of a run among its artifacts.

use mlflow::entities::FileInfo;

/// Folder of a run's artifacts in which console logs are.
pub(crate) const CONSOLE_FOLDER: &str = "logs";

/// Returns the newest of the console logs: a process that continues a run writes `console-TIME-ID.log`.
pub(crate) fn newest_console(files: &[FileInfo]) -> Option<&FileInfo> {
    let name = |file: &FileInfo| file.path.rsplit('/').next().unwrap_or_default().to_owned();
    { files.iter() }
        .filter(|file| name(file).starts_with("console") && name(file).ends_with(".log"))
        .max_by_key(|file| (name(file) != "console.log", name(file)))
}
