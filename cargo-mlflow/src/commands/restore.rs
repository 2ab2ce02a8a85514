//! `restore`: takes back the deletion of runs.

use mlflow::blocking::Client;
use mlflow::entities::Run;

use super::runs::{ID_CHARS, MAX_NAME_CHARS};
use crate::arguments::Restore;
use crate::failure::Failure;
use crate::output::record::RunRecord;
use crate::output::table::shorten;
use crate::output::{Output, format};
use crate::selection::select_deleted;

/// Restores runs. If one of them cannot be found, none is restored.
pub(crate) fn run(client: &Client, output: Output, options: &Restore) -> Result<(), Failure> {
    let runs: Vec<Run> = { options.runs.iter() }
        .map(|text| select_deleted(client, &options.experiment, text))
        .collect::<Result<_, _>>()?;
    let (deleted, active): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(Run::is_deleted);
    for (restored, run) in deleted.iter().enumerate() {
        client.restore_run(&*run.run_id).map_err(|error| {
            let restored = format::counted(restored as u64, "run");
            Failure::from(error).with_remark(&format!("{restored} restored before this"))
        })?;
    }
    if output.json {
        let restored = deleted.iter().map(|run| client.run(&*run.run_id));
        output.json_array(restored.map(|found| found.map(RunRecord::new)))?;
        return Ok(());
    }
    for run in &deleted {
        let id: String = run.run_id.chars().take(ID_CHARS).collect();
        output.line(format_args!("{id}  {}", shorten(&run.name, MAX_NAME_CHARS)))?;
    }
    for run in &active {
        output.remark(format_args!("the run {} is not deleted", run.run_id));
    }
    output.remark(format_args!(
        "{} restored",
        format::counted(deleted.len() as u64, "run")
    ));
    Ok(())
}
