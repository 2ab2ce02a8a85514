//! Tests against real MLflow servers, the real MLflow Python client, and servers that misbehave.

mod rest_faults;
mod rest_server;
mod sqlite_file;
mod store_conformance;
mod support;
