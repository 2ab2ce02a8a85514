//! The integration tests: one binary with a module per topic, run against real servers, files and programs.
// Tests unwrap what they expect to be there, and clippy treats their helper functions as ordinary code.
#![allow(clippy::unwrap_used)]

mod architecture;
mod bad_input;
mod cargo_mlflow;
mod checkpoints;
mod client;
mod client_conformance;
mod concurrent_requests;
mod config_file;
mod configs;
#[cfg(feature = "tracing")]
mod console;
mod context;
mod credentials;
mod datasets;
mod disk;
mod documentation;
mod end_to_end;
mod every_failure;
mod exits;
mod fake;
mod faults;
mod forks;
#[cfg(feature = "polars")]
mod frames;
mod full;
#[cfg(feature = "image")]
mod images;
mod login;
mod macros;
mod many_artifacts;
mod many_runs;
mod metrics;
mod model_connections;
mod model_downloads;
mod model_failures;
mod model_metrics;
mod model_registration;
mod models;
mod multipart_uploads;
#[cfg(feature = "object-store")]
mod object_storage;
mod one_bad_apple;
mod other_users;
mod outage;
mod panics;
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_store;
mod power_loss;
mod presigned_uploads;
mod provenance;
mod quoted_texts;
mod ranks;
mod recover;
mod rest_faults;
mod rest_server;
mod resume;
mod secrets;
mod signals;
mod sqlite_file;
mod store_conformance;
mod support;
mod system_metrics;
mod tables;
mod testing_guide;
#[cfg(feature = "thinning")]
mod thinning;
#[cfg(feature = "tracing")]
mod tracing_layer;
mod transport;
mod upload_line;
