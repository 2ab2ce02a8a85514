//! `cleanup`: deletes old runs, after a question. Deleted runs are hidden; with `--permanent`, they are gone.

use jiff::Timestamp;
use mlflow::blocking::Client;
use mlflow::entities::Run;
use mlflow::search::attribute;
use mlflow::{ClientError, RunStatus};

use super::question;
use super::runs::{ID_CHARS, MAX_NAME_CHARS};
use crate::arguments::Cleanup;
use crate::failure::Failure;
use crate::output::record::records;
use crate::output::table::shorten;
use crate::output::{Output, format};

const MS_PER_DAY: i64 = 86_400_000;
/// Number of runs that are listed before the question.
const MAX_LISTED: usize = 20;

/// Deletes runs that ended long ago.
pub(crate) fn run(client: &Client, output: Output, options: &Cleanup) -> Result<(), Failure> {
    check(client, options)?;
    let runs = old_runs(client, options, output.json)?;
    if runs.len() > options.max {
        return Err(Failure::Other(format!(
            "more than {} {}: nothing was deleted. Choose fewer by --filter, or raise --max",
            format::counted(options.max as u64, "run"),
            if options.max == 1 { "matches" } else { "match" }
        )));
    }
    if output.json && (options.dry_run || runs.is_empty()) {
        return output.json(&records(&runs));
    }
    if runs.is_empty() {
        output.remark(format_args!(
            "no {}run ended more than {} ago",
            if options.choice.deleted {
                "deleted "
            } else {
                ""
            },
            format::counted(options.days.into(), "day")
        ));
        return Ok(());
    }
    if !output.json {
        list(output, &runs)?;
    }
    let counted = format::counted(runs.len() as u64, "run");
    let for_good = if options.permanent { " for good" } else { "" };
    if options.dry_run {
        output.remark(format_args!("{counted} would be deleted{for_good}"));
        return Ok(());
    }
    if !options.yes {
        let asked = if options.permanent {
            format!("Delete {counted} for good, with all artifacts? Nothing can restore them.")
        } else {
            format!("Delete {counted}?")
        };
        question::confirm(&asked, "give --yes to delete, or --dry-run to look")?;
    }
    let mut deleted = Vec::new();
    for run in runs {
        let is_deleted = delete(client, &run, options.permanent).map_err(|error| {
            Failure::from(error).with_remark(&format!(
                "{} deleted{for_good} before this",
                format::counted(deleted.len() as u64, "run")
            ))
        })?;
        if is_deleted {
            deleted.push(run);
        } else {
            output.remark(format_args!(
                "the run {} `{}` is left out: it has changed since it was listed",
                run.run_id,
                shorten(&run.name, MAX_NAME_CHARS)
            ));
        }
    }
    if output.json {
        return output.json(&records(&deleted));
    }
    let counted = format::counted(deleted.len() as u64, "run");
    if options.permanent {
        output.remark(format_args!(
            "{counted} deleted for good. The file keeps its size, and reuses the space"
        ));
    } else {
        output.remark(format_args!(
            "{counted} deleted. They are hidden: `cargo mlflow runs --deleted` lists them, and `cargo mlflow restore` \
             restores them"
        ));
    }
    Ok(())
}

/// Checks that the store and the choice allow what is asked for.
fn check(client: &Client, options: &Cleanup) -> Result<(), Failure> {
    if options.choice.deleted && !options.permanent {
        return Err(Failure::Usage(
            "--deleted: these runs are deleted already. --permanent deletes them for good"
                .to_owned(),
        ));
    }
    let is_database = ["sqlite:", "postgresql:"]
        .iter()
        .any(|scheme| client.uri().starts_with(scheme));
    if options.permanent && !is_database {
        return Err(Failure::Usage(format!(
            "--permanent: {} offers no call that deletes runs for good. Run `mlflow gc` where its database can be \
             reached",
            client.uri()
        )));
    }
    Ok(())
}

/// Returns the chosen runs that ended long enough ago, at most one more than may be deleted. Only programs see the values
/// of the runs.
fn old_runs(client: &Client, options: &Cleanup, with_values: bool) -> Result<Vec<Run>, Failure> {
    let newest = Timestamp::now().as_millisecond() - i64::from(options.days) * MS_PER_DAY;
    let mut search = super::search(&options.choice);
    if !with_values {
        let none: [&str; 0] = [];
        search = search.metrics(none).params(none).tags(none);
    }
    let limit = options.max.saturating_add(1);
    if options.choice.deleted {
        // A run that was deleted while it ran may never have ended.
        let is_old = |run: &Run| {
            let ended = run.end_time_ms.filter(|ms| *ms > 0);
            ended.or(run.start_time_ms).is_none_or(|ms| ms < newest)
        };
        return Ok(client
            .search_runs(search)
            .filter(|found| found.as_ref().map_or(true, is_old))
            .take(limit)
            .collect::<Result<_, _>>()?);
    }
    // A run that goes on may keep the end of its earlier part, and servers write 0 for no end.
    let has_ended = attribute::status().ne(RunStatus::Running.as_str())
        & attribute::status().ne(RunStatus::Scheduled.as_str())
        & attribute::end_time().gt(0)
        & attribute::end_time().lt(newest);
    let search = search.filter(has_ended).limit(limit);
    Ok(client.search_runs(search).collect::<Result<_, _>>()?)
}

/// Deletes a run. Returns false if the run is no longer as it was listed: it may have been resumed, restored or
/// deleted while a person was asked.
fn delete(client: &Client, run: &Run, is_permanent: bool) -> Result<bool, ClientError> {
    let state = |run: &Run| (run.status, run.end_time_ms, run.is_deleted());
    match client.run(&*run.run_id) {
        Ok(now) if state(&now) == state(run) => {}
        Ok(_) | Err(ClientError::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error),
    }
    if !run.is_deleted() {
        client.delete_run(&*run.run_id)?;
    }
    if is_permanent {
        client.delete_run_permanently(&*run.run_id)?;
    }
    Ok(true)
}

fn list(output: Output, runs: &[Run]) -> Result<(), Failure> {
    for run in runs.iter().take(MAX_LISTED) {
        let id: String = run.run_id.chars().take(ID_CHARS).collect();
        let ended = run.end_time_ms.map(format::ago).unwrap_or_default();
        output.line(format_args!(
            "{id}  {}  {}  ended {ended}",
            shorten(&run.name, MAX_NAME_CHARS),
            run.status
        ))?;
    }
    if runs.len() > MAX_LISTED {
        output.line(format_args!("… and {} more", runs.len() - MAX_LISTED))?;
    }
    Ok(())
}
