//! The one integration binary: a module per topic, against the real thing.

mod bad_input;
mod end_to_end;
mod fake;
mod macros;
mod outage;
mod rest_faults;
mod rest_server;
mod sqlite_file;
mod store_conformance;
mod support;
