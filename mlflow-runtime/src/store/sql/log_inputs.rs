//! Writing of datasets as inputs of a run: the rows that MLflow's own client writes.
//!
//! - An experiment has one row in `datasets` for each name and digest.
//! - A row in `inputs` connects the dataset with a run, and has tags in `input_tags`. An existing connection
//!   stays as it is.

use super::connection::{SqlConnection, SqlValue};
use super::error::SqlError;
use super::query::query_optional;
use super::{rows, runs};
use crate::store::InputDataset;

/// Writes datasets, which were checked, as inputs of the run.
pub(super) fn write_inputs(
    db: &dyn SqlConnection,
    run_id: &str,
    inputs: &[InputDataset],
) -> Result<(), SqlError> {
    let run = runs::require_active_run(db, run_id)?;
    let experiment = runs::experiment_number(&run.experiment_id)?;
    for input in inputs {
        let dataset_id = find_or_insert_dataset(db, experiment, input)?;
        connect_dataset(db, run_id, &dataset_id, input)?;
    }
    Ok(())
}

/// Returns the id of the experiment's dataset with this name and digest, and inserts the dataset if it is
/// missing.
fn find_or_insert_dataset(
    db: &dyn SqlConnection,
    experiment: i64,
    input: &InputDataset,
) -> Result<String, SqlError> {
    let InputDataset {
        name,
        digest,
        source_type,
        source,
        schema,
        profile,
        tags: _,
    } = input;
    let found = query_optional(
        db,
        "SELECT dataset_uuid FROM datasets WHERE experiment_id = CAST(?1 AS BIGINT) AND name = ?2 AND digest = ?3",
        &[experiment.into(), name.into(), digest.into()],
        |row| rows::string(row, 0),
    )?;
    if let Some(id) = found {
        return Ok(id);
    }
    let id = runs::new_id();
    db.execute(
        "INSERT INTO datasets
             (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source, dataset_schema,
              dataset_profile)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            (&id).into(),
            experiment.into(),
            name.into(),
            digest.into(),
            source_type.into(),
            source.into(),
            schema.as_ref().into(),
            profile.as_ref().into(),
        ],
    )?;
    Ok(id)
}

/// Connects the dataset with the run, unless they are connected already. Newer databases have the column
/// `inputs.step`, whose default is right for a dataset.
fn connect_dataset(
    db: &dyn SqlConnection,
    run_id: &str,
    dataset_id: &str,
    input: &InputDataset,
) -> Result<(), SqlError> {
    let input_id = runs::new_id();
    let inserted = db.execute(
        "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id)
         VALUES (?1, 'DATASET', ?2, 'RUN', ?3) ON CONFLICT DO NOTHING",
        &[(&input_id).into(), dataset_id.into(), run_id.into()],
    )?;
    if inserted == 0 {
        return Ok(());
    }
    let tags: Vec<SqlValue<'_>> = { input.tags.iter() }
        .flat_map(|tag| [(&input_id).into(), (&tag.key).into(), (&tag.value).into()])
        .collect();
    db.execute_many(
        "INSERT INTO input_tags (input_uuid, name, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (input_uuid, name) DO UPDATE SET value = excluded.value",
        &tags,
        3,
    )?;
    Ok(())
}
