//! `import`: brings the runs of other trackers into the store.
//!
//! Each format is a module that reads files and hands points, params, tags and artifacts to a
//! [`RunWriter`](writer::RunWriter). Invariants: see [`writer`]. The files are only read.

mod discovery;
#[cfg(feature = "parquet")]
mod neptune;
mod progress;
mod table;
mod tensorboard;
mod trackio;
mod values;
mod wandb;
mod writer;

use std::path::PathBuf;

use mlflow::blocking::Client;
use serde::Serialize;

use self::discovery::{Found, Source};
use self::table::Pass;
use self::writer::{ImportedRun, Importer, Results};
use crate::arguments::Import;
use crate::failure::Failure;
use crate::output::table::shorten;
use crate::output::{Output, format};

/// Number of tables that are named in the line about those that are left out.
const MAX_NAMED_TABLES: usize = 3;
/// Greatest number of characters of a name in a line.
const MAX_NAME_CHARS: usize = 120;

/// Result of an import, as JSON holds it.
#[derive(Serialize)]
struct Report<'r> {
    runs: &'r [ImportedRun],
    remarks: &'r [String],
    damaged_files: u64,
    dry_run: bool,
}

/// Imports what lies at the paths.
pub(crate) fn run(client: &Client, output: Output, options: &Import) -> Result<(), Failure> {
    let Found {
        sources,
        left_out_tables,
    } = discovery::find(&options.paths, options.format)?;
    let importer = Importer::new(
        client,
        output,
        options.experiment.clone(),
        options.dry_run,
        &sources,
    )?;
    tell_left_out(&left_out_tables, &importer);
    let imported = import_all(&sources, &importer);
    let is_interrupted = importer.check_interrupt().is_err();
    let results = importer.into_results();
    let Results {
        runs,
        damaged_files,
        left_running,
        ..
    } = &results;
    let damaged_files = *damaged_files;
    let has_result = !runs.is_empty() || damaged_files > 0 || output.json;
    // An error without any result stands alone.
    if !runs.is_empty() || (imported.is_ok() && has_result) {
        show(output, &results, options.dry_run)?;
    }
    imported.map_err(|failure| match left_running {
        0 if runs.is_empty() && !is_interrupted => failure,
        0 => failure.with_remark("What was stored so far stays, and the same command goes on"),
        running => failure.with_remark(&format!(
            "What was stored so far stays, and the same command goes on; until then, {} {} RUNNING",
            format::counted(*running, "run"),
            if *running == 1 { "stays" } else { "stay" }
        )),
    })?;
    if runs.is_empty() && damaged_files == 0 {
        return Err(Failure::NotFound(
            "nothing was imported, as there are no runs".to_owned(),
        ));
    }
    if damaged_files > 0 {
        return Err(Failure::Other(format!(
            "{} could not be read in full; all else is imported",
            format::counted(damaged_files, "file")
        )));
    }
    Ok(())
}

/// Writes a line about tables that are left out.
fn tell_left_out(tables: &[PathBuf], importer: &Importer<'_>) {
    let named = tables.iter().take(MAX_NAMED_TABLES);
    let mut names: Vec<String> = named.map(|path| path.display().to_string()).collect();
    if tables.len() > MAX_NAMED_TABLES {
        names.push("…".to_owned());
    }
    if !names.is_empty() {
        importer.remark(format!(
            "left out: {} beside the files of a tracker, which mostly hold results of the same runs ({}). To import a \
             table, name it, or give --format csv",
            format::counted(tables.len() as u64, "table"),
            names.join(", ")
        ));
    }
}

/// Imports all sources. One that cannot be read costs no other.
fn import_all(sources: &[Source], importer: &Importer<'_>) -> Result<(), Failure> {
    for pass in [Pass::Runs, Pass::Points, Pass::LatestValues] {
        for source in sources {
            match import_source(source, pass, importer) {
                Err(failure @ (Failure::Io(..) | Failure::Usage(_))) if sources.len() > 1 => {
                    importer.skip(source.path(), &failure);
                }
                imported => imported?,
            }
        }
    }
    Ok(())
}

fn import_source(source: &Source, pass: Pass, importer: &Importer<'_>) -> Result<(), Failure> {
    match source {
        Source::Table(table) => table::import(table, pass, importer),
        _ if pass != Pass::Points => Ok(()),
        #[cfg(feature = "parquet")]
        Source::Neptune(parts) => neptune::import(parts, importer),
        Source::Trackio(file) => trackio::import(file, importer),
        Source::Wandb(file) => wandb::import(file, importer),
        Source::TensorBoard(folder) => tensorboard::import(folder, importer),
    }
}

fn show(output: Output, results: &Results, is_dry_run: bool) -> Result<(), Failure> {
    let Results {
        runs,
        remarks,
        damaged_files,
        ..
    } = results;
    if output.json {
        return output.json(&Report {
            runs,
            remarks,
            damaged_files: *damaged_files,
            dry_run: is_dry_run,
        });
    }
    for run in runs {
        let mut parts = vec![format::counted(run.points, "point")];
        if run.run_id.is_some() && run.new_points != run.points {
            parts.push(format!("{} of them new", format::count(run.new_points)));
        }
        if run.params > 0 {
            parts.push(format::counted(run.params, "param"));
        }
        if run.artifacts > 0 {
            parts.push(format::counted(run.artifacts, "artifact"));
        }
        if !run.complete {
            parts.push("not to the end".to_owned());
        }
        let id = match &run.run_id {
            Some(id) => format!("{}  ", id.get(..8).unwrap_or(id)),
            None => String::new(),
        };
        output.line(format_args!(
            "{id}{} / {}: {}",
            shorten(&run.experiment, MAX_NAME_CHARS),
            shorten(&run.name, MAX_NAME_CHARS),
            parts.join(", ")
        ))?;
    }
    let incomplete = runs.iter().filter(|run| !run.complete).count();
    let incomplete = match incomplete as u64 {
        0 => String::new(),
        count => format!("; {} not to the end", format::counted(count, "run")),
    };
    let total = runs.iter().map(|run| run.points).sum();
    let new = runs.iter().map(|run| run.new_points).sum();
    let (runs, points) = (
        format::counted(runs.len() as u64, "run"),
        format::counted(total, "point"),
    );
    output.remark(if is_dry_run {
        format!("{runs} with {points} would be imported")
    } else {
        format!(
            "{runs} with {points} imported, {} of them new{incomplete}",
            format::count(new)
        )
    });
    Ok(())
}
