//! [`Query`]: a search as a text and with the typed builder, and how an answer differs from Python's.

use mlflow::search::{
    Filter, OrderBy, SearchExperiments, SearchModelVersions, SearchRegisteredModels, SearchRuns,
    ViewType,
};
use mlflow::{ClientError, blocking};
use serde_json::{Value, json};

use super::{is_of_kind, list, text};

/// Comparison as a text, and with the typed builder.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) text: String,
    pub(super) typed: Option<Filter>,
}

/// Form in which filter and order are given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Text,
    Typed,
}

/// Search of one kind of records.
#[derive(Clone, Default)]
pub(super) struct Query {
    pub(super) subject: &'static str,
    pub(super) filter: String,
    pub(super) typed_filter: Option<Filter>,
    pub(super) order: Vec<String>,
    pub(super) typed_order: Option<Vec<OrderBy>>,
    pub(super) view: ViewType,
    pub(super) experiments: Vec<&'static str>,
    pub(super) limit: Option<usize>,
}

impl Query {
    pub(super) fn new(subject: &'static str) -> Self {
        Self {
            subject,
            ..Self::default()
        }
    }

    pub(super) fn filtered(subject: &'static str, case: &Case) -> Self {
        Self {
            filter: case.text.clone(),
            typed_filter: case.typed.clone(),
            ..Self::new(subject)
        }
    }

    pub(super) fn ordered(subject: &'static str, orders: &[(String, OrderBy)]) -> Self {
        let (order, typed): (Vec<String>, Vec<_>) = orders.iter().cloned().unzip();
        Self {
            order,
            typed_order: Some(typed),
            ..Self::new(subject)
        }
    }

    pub(super) fn for_python(&self) -> Value {
        json!({
            "subject": self.subject,
            "filter": (!self.filter.is_empty()).then_some(&self.filter),
            "order_by": self.order_without_repetition(),
            "view": self.view.as_str(),
            "experiments": self.experiments,
            "limit": self.limit,
        })
    }

    /// Returns the orders without those by a field that an earlier one names: MLflow fails at them, and they
    /// change nothing.
    fn order_without_repetition(&self) -> Vec<&str> {
        let field = |order: &str| {
            let field = order.split(' ').next().unwrap_or_default().to_owned();
            match field.trim_start_matches("attributes.") {
                "created" => "start_time".to_owned(),
                "timestamp" => "last_updated_timestamp".to_owned(),
                field => field.to_owned(),
            }
        };
        let mut fields = Vec::new();
        let mut kept = Vec::new();
        for order in &self.order {
            if !fields.contains(&field(order)) {
                fields.push(field(order));
                kept.push(order.as_str());
            }
        }
        kept
    }

    /// Returns the forms in which the search can be made.
    pub(super) fn forms(&self) -> Vec<Form> {
        let is_typed = self.typed_filter.is_some() || self.typed_order.is_some();
        [Form::Text, Form::Typed][..=usize::from(is_typed)].to_vec()
    }

    /// Makes the search. Returns the ids of the records.
    pub(super) fn answer(
        &self,
        client: &blocking::Client,
        form: Form,
    ) -> Result<Vec<String>, ClientError> {
        let mut filter = Filter::from(self.filter.as_str());
        let mut order: Vec<OrderBy> = self
            .order
            .iter()
            .map(|order| order.as_str().into())
            .collect();
        if form == Form::Typed {
            filter = self.typed_filter.clone().unwrap_or(filter);
            order = self.typed_order.clone().unwrap_or(order);
        }
        macro_rules! find {
            ($search:expr, $call:ident, $identity:expr) => {{
                let mut search = $search.filter(filter);
                for order in order {
                    search = search.order_by(order);
                }
                if let Some(limit) = self.limit {
                    search = search.limit(limit);
                }
                client
                    .$call(search)
                    .map(|found| found.map($identity))
                    .collect()
            }};
        }
        match self.subject {
            "runs" => {
                let mut search = SearchRuns::new().view(self.view);
                for name in &self.experiments {
                    search = search.experiment(*name);
                }
                find!(search, search_runs, |run| run.run_id)
            }
            "experiments" => {
                let search = SearchExperiments::new().view(self.view);
                find!(search, search_experiments, |experiment| experiment
                    .experiment_id)
            }
            "registered_models" => {
                find!(
                    SearchRegisteredModels::new(),
                    search_registered_models,
                    |model| model.name
                )
            }
            _ => find!(
                SearchModelVersions::new(),
                search_model_versions,
                |version| { format!("{}/{}", version.name, version.version) }
            ),
        }
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "{} WHERE {} ORDER BY {:?} VIEW {} IN {:?} LIMIT {:?}",
            self.subject,
            self.filter,
            self.order,
            self.view.as_str(),
            self.experiments,
            self.limit
        )
    }
}

/// Returns how an answer differs from Python's, or `None` if it does not.
pub(super) fn difference(
    expected: &Value,
    answer: &Result<Vec<String>, ClientError>,
) -> Option<String> {
    match (answer, expected["error"].as_str()) {
        (Ok(found), None) => {
            let wanted: Vec<&str> = list(&expected["found"]).iter().map(text).collect();
            (found != &wanted).then(|| {
                let missing: Vec<_> = wanted
                    .iter()
                    .filter(|id| !found.iter().any(|one| one == *id))
                    .collect();
                let extra: Vec<_> = found
                    .iter()
                    .filter(|id| !wanted.contains(&id.as_str()))
                    .collect();
                format!(
                    "{} found, {} expected; missing {missing:?}, not expected {extra:?}{}",
                    found.len(),
                    wanted.len(),
                    if missing.is_empty() && extra.is_empty() {
                        format!(": another order\n      {found:?}\n      {wanted:?}")
                    } else {
                        String::new()
                    }
                )
            })
        }
        (Ok(found), Some(code)) => Some(format!(
            "{} found, but MLflow says {code}: {}",
            found.len(),
            expected["message"]
        )),
        (Err(error), None) => Some(format!(
            "{} expected, but: {error}",
            list(&expected["found"]).len()
        )),
        (Err(error), Some(code)) => {
            (!is_of_kind(error, code)).then(|| format!("{error:?}, but MLflow says {code}"))
        }
    }
}
