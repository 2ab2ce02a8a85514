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

use mlflow::blocking::Client;
use serde::Serialize;

use self::discovery::Source;
use self::table::Pass;
use self::writer::{ImportedRun, Importer};
use crate::arguments::Import;
use crate::failure::Failure;
use crate::output::{Output, format};

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
    let sources = discovery::find(&options.paths, options.format)?;
    let bytes = sources.iter().map(Source::bytes).sum();
    let importer = Importer::new(
        client,
        output,
        options.experiment.clone(),
        options.dry_run,
        bytes,
    )?;
    let imported = import_all(&sources, &importer);
    let (runs, remarks, damaged_files) = importer.into_results();
    // An error without any result stands alone.
    if !runs.is_empty() || imported.is_ok() {
        show(output, &runs, &remarks, damaged_files, options.dry_run)?;
    }
    imported?;
    if damaged_files > 0 {
        return Err(Failure::Other(format!(
            "{} could not be read in full; all else is imported",
            format::counted(damaged_files, "file")
        )));
    }
    Ok(())
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

fn show(
    output: Output,
    runs: &[ImportedRun],
    remarks: &[String],
    damaged_files: u64,
    is_dry_run: bool,
) -> Result<(), Failure> {
    if output.json {
        return output.json(&Report {
            runs,
            remarks,
            damaged_files,
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
        let id = match &run.run_id {
            Some(id) => format!("{}  ", id.get(..8).unwrap_or(id)),
            None => String::new(),
        };
        output.line(format_args!(
            "{id}{} / {}: {}",
            run.experiment,
            run.name,
            parts.join(", ")
        ))?;
    }
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
            "{runs} with {points} imported, {} of them new",
            format::count(new)
        )
    });
    Ok(())
}
