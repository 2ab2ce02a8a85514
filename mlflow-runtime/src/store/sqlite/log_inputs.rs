//! Writing of datasets as inputs of a run: the rows that MLflow's own client writes.
//!
//! - An experiment has one row in `datasets` for each name and digest.
//! - A row in `inputs` connects the dataset with a run, and has tags in `input_tags`. An existing connection
//!   stays as it is.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, named_params};

use super::error::SqliteError;
use super::{InputDataset, runs};

/// Writes the datasets as inputs of the run, in one transaction.
pub(super) fn write_inputs(
    db: &mut Connection,
    run_id: &str,
    inputs: &[InputDataset],
) -> Result<(), SqliteError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let run = runs::require_active_run(&transaction, run_id)?;
    for input in inputs {
        let dataset_id = find_or_insert_dataset(&transaction, &run.experiment_id, input)?;
        connect_dataset(&transaction, run_id, &dataset_id, input)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Returns the id of the experiment's dataset with this name and digest, and inserts the dataset if it is
/// missing.
fn find_or_insert_dataset(
    transaction: &Transaction<'_>,
    experiment_id: &str,
    input: &InputDataset,
) -> Result<String, SqliteError> {
    let InputDataset {
        name,
        digest,
        source_type,
        source,
        schema,
        profile,
        tags: _,
    } = input;
    let found = transaction
        .prepare_cached(
            "SELECT dataset_uuid FROM datasets WHERE experiment_id = ?1 AND name = ?2 AND digest = ?3",
        )?
        .query_row((experiment_id, name, digest), |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    let id = runs::new_id();
    transaction
        .prepare_cached(
            "INSERT INTO datasets
                 (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source, dataset_schema,
                  dataset_profile)
             VALUES (:id, :experiment, :name, :digest, :source_type, :source, :schema, :profile)",
        )?
        .execute(named_params! {
            ":id": id,
            ":experiment": experiment_id,
            ":name": name,
            ":digest": digest,
            ":source_type": source_type,
            ":source": source,
            ":schema": schema,
            ":profile": profile,
        })?;
    Ok(id)
}

/// Connects the dataset with the run, unless they are connected already. Newer files have the column
/// `inputs.step`, whose default is right for a dataset.
fn connect_dataset(
    transaction: &Transaction<'_>,
    run_id: &str,
    dataset_id: &str,
    input: &InputDataset,
) -> Result<(), SqliteError> {
    let input_id = runs::new_id();
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id)
             VALUES (?1, 'DATASET', ?2, 'RUN', ?3) ON CONFLICT DO NOTHING",
        )?
        .execute((&input_id, dataset_id, run_id))?;
    if inserted == 0 {
        return Ok(());
    }
    let mut insert = transaction.prepare_cached(
        "INSERT INTO input_tags (input_uuid, name, value) VALUES (?1, ?2, ?3)
         ON CONFLICT (input_uuid, name) DO UPDATE SET value = excluded.value",
    )?;
    for tag in &input.tags {
        insert.execute((&input_id, &tag.key, &tag.value))?;
    }
    Ok(())
}
