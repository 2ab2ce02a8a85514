//! Colours. `anstream` removes them where nobody sees them.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use mlflow::RunStatus;

fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Returns the text of an error's beginning.
pub(crate) fn error(text: impl Display) -> String {
    styled(AnsiColor::Red.on_default().bold(), text)
}

/// Returns the text of a warning's beginning.
pub(crate) fn warning(text: impl Display) -> String {
    styled(AnsiColor::Yellow.on_default().bold(), text)
}

/// Returns a text that says that all is well.
pub(crate) fn good(text: impl Display) -> String {
    styled(AnsiColor::Green.on_default(), text)
}

/// Returns a heading.
pub(crate) fn heading(text: impl Display) -> String {
    styled(Style::new().bold(), text)
}

/// Returns a text of little weight.
pub(crate) fn dim(text: impl Display) -> String {
    styled(Style::new().dimmed(), text)
}

/// Returns the colour of a status.
pub(crate) fn status_color(status: RunStatus) -> Option<comfy_table::Color> {
    match status {
        RunStatus::Running | RunStatus::Scheduled => Some(comfy_table::Color::Cyan),
        RunStatus::Finished => Some(comfy_table::Color::Green),
        RunStatus::Failed => Some(comfy_table::Color::Red),
        RunStatus::Killed => Some(comfy_table::Color::Yellow),
        _ => None,
    }
}
