//! `cleanup`: deletes old runs, after a question.

use jiff::Timestamp;
use mlflow::RunStatus;
use mlflow::blocking::Client;
use mlflow::entities::Run;
use mlflow::search::attribute;

use super::question;
use super::runs::ID_CHARS;
use crate::arguments::Cleanup;
use crate::failure::Failure;
use crate::output::{Output, format};

const MS_PER_DAY: i64 = 86_400_000;
/// Number of runs that are listed before the question.
const MAX_LISTED: usize = 20;

/// Deletes runs that ended long ago.
pub(crate) fn run(client: &Client, output: Output, options: &Cleanup) -> Result<(), Failure> {
    if options.choice.deleted {
        return Err(Failure::Usage(
            "--deleted: these runs are deleted already".to_owned(),
        ));
    }
    let oldest = Timestamp::now().as_millisecond() - i64::from(options.days) * MS_PER_DAY;
    // A run that goes on may keep the end of its earlier part, and servers write 0 for no end.
    let has_ended = attribute::status().ne(RunStatus::Running.as_str())
        & attribute::status().ne(RunStatus::Scheduled.as_str())
        & attribute::end_time().gt(0)
        & attribute::end_time().lt(oldest);
    let none: [&str; 0] = [];
    let search = super::search(&options.choice)
        .filter(has_ended)
        .limit(options.max.saturating_add(1))
        .metrics(none)
        .params(none)
        .tags(none);
    let runs: Vec<Run> = client.search_runs(search).collect::<Result<_, _>>()?;
    if runs.len() > options.max {
        return Err(Failure::Other(format!(
            "more than {} runs match: nothing was deleted. Choose fewer by --filter, or raise --max",
            options.max
        )));
    }
    if output.json && (options.dry_run || runs.is_empty()) {
        return output.json(&runs);
    }
    if runs.is_empty() {
        output.remark(format_args!(
            "no run ended more than {} days ago",
            options.days
        ));
        return Ok(());
    }
    if !output.json {
        list(output, &runs)?;
    }
    if options.dry_run {
        output.remark(format_args!("{} runs would be deleted", runs.len()));
        return Ok(());
    }
    if !options.yes {
        let asked = format!("Delete {} runs?", runs.len());
        question::confirm(&asked, "give --yes to delete, or --dry-run to look")?;
    }
    for (deleted, run) in runs.iter().enumerate() {
        client.delete_run(&*run.run_id).map_err(|error| {
            Failure::from(error).with_remark(&format!("{deleted} runs were deleted before this"))
        })?;
    }
    if output.json {
        return output.json(&runs);
    }
    output.remark(format_args!(
        "{} runs deleted. They are hidden, and can be restored: `cargo mlflow runs --deleted` lists them",
        runs.len()
    ));
    Ok(())
}

fn list(output: Output, runs: &[Run]) -> Result<(), Failure> {
    for run in runs.iter().take(MAX_LISTED) {
        let id: String = run.run_id.chars().take(ID_CHARS).collect();
        let ended = run.end_time_ms.map(format::ago).unwrap_or_default();
        output.line(format_args!(
            "{id}  {}  {}  ended {ended}",
            run.name, run.status
        ))?;
    }
    if runs.len() > MAX_LISTED {
        output.line(format_args!("… and {} more", runs.len() - MAX_LISTED))?;
    }
    Ok(())
}
