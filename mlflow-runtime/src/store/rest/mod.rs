//! x
#![allow(missing_docs)]
pub struct RestStore;
pub struct RestOptions;
pub struct Credentials;
