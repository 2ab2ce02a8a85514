//! [`BestParamObserver`]: an observer that logs the best param, too.

use argmin::core::observers::Observe;
use argmin::core::{Error, KV, State};
use serde::Serialize;

use crate::MlflowObserver;

/// Observer that logs what [`MlflowObserver`] logs and, at the end, the best param. Made by
/// [`MlflowObserver::with_best_param`], which has an example.
#[derive(Clone, Debug)]
#[must_use = "an observer logs when it is added to an executor by `add_observer`"]
pub struct BestParamObserver(pub(crate) MlflowObserver);

impl<I: State> Observe<I> for BestParamObserver
where
    I::Param: Serialize,
{
    fn observe_init(&mut self, name: &str, state: &I, kv: &KV) -> Result<(), Error> {
        self.0.observe_init(name, state, kv)
    }

    fn observe_iter(&mut self, state: &I, kv: &KV) -> Result<(), Error> {
        self.0.observe_iter(state, kv)
    }

    fn observe_final(&mut self, state: &I) -> Result<(), Error> {
        if let Some(param) = state.get_best_param()
            && let Some((run, artifact)) = self.0.run_and_key("best_param.json")
        {
            run.log_dict(param, &artifact);
        }
        self.0.observe_final(state)
    }
}
