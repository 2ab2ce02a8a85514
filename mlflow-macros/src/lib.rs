//! Attribute macros of `mlflow-runtime`.
