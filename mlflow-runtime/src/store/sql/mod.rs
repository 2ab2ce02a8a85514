//! Mapping of MLflow's schema: what a store in an SQL database does, written once for all databases.
//!
//! - The mapping knows no driver. It speaks to a [`SqlConnection`], and all texts that differ between databases
//!   stand in [`Dialect`].
//! - The mapping begins and ends no transaction: each of its functions runs inside one that the database has begun
//!   and will end.
//! - The database is shared with MLflow, which may read, write or migrate it at any moment. Therefore columns are
//!   always named, and nothing about the schema is remembered between transactions.
//! - No value is ever a part of a statement's text: values are bound.
//!
//! A database implements [`Database`], and has all of the traits `Store`, `Catalog` and `Registry` by that.

mod catalog;
mod connection;
mod database;
mod dialect;
mod error;
mod log_batch;
mod log_inputs;
mod logging;
mod metric_row;
mod models;
mod owned_values;
mod query;
mod rows;
mod run_group;
mod runs;

pub(super) use connection::{RunPoint, SqlConnection, SqlRow, SqlValue};
pub(super) use database::{Database, Purpose};
pub(super) use dialect::Dialect;
pub(super) use error::{SqlError, WorkError};
pub(super) use log_batch::write_batch;
pub(super) use metric_row::MetricRow;
#[cfg(feature = "postgres")]
pub(super) use owned_values::{OwnedBatch, OwnedGroupedRun};
pub(super) use run_group::write_runs;
pub(super) use runs::{insert_experiment, schema_revision};
