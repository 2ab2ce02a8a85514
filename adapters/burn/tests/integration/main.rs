//! Trainings and evaluations of Burn that are tracked.

mod checkpoints;
mod evaluation;
mod support;
mod training;
