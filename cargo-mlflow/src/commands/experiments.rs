//! `experiments`: the experiments of the store.

use mlflow::blocking::Client;
use mlflow::search::{SearchExperiments, ViewType};

use crate::arguments::Experiments;
use crate::failure::Failure;
use crate::output::table::{number_cell, shorten, table, to_text};
use crate::output::{Output, format};

/// Greatest number of characters of a name.
const MAX_NAME_CHARS: usize = 60;

/// Lists the experiments.
pub(crate) fn run(client: &Client, output: Output, options: &Experiments) -> Result<(), Failure> {
    let mut search = SearchExperiments::new();
    if let Some(filter) = &options.filter {
        search = search.filter(filter.as_str());
    }
    if options.deleted {
        search = search.view(ViewType::DeletedOnly);
    }
    let found = client.search_experiments(search);
    if output.json {
        output.json_array(found)?;
        return Ok(());
    }
    let mut rows = table(output, &["ID", "NAME", "CREATED", "CHANGED", "TAGS"]);
    for experiment in found {
        let experiment = experiment?;
        let ago = |ms: Option<i64>| ms.map(format::ago).unwrap_or_default();
        let tags: Vec<_> = experiment
            .tags
            .iter()
            .filter(|(key, _)| !key.starts_with("mlflow."))
            .map(|(key, value)| format!("{}={}", shorten(key, 30), shorten(value, 30)))
            .collect();
        rows.add_row(vec![
            number_cell(&experiment.experiment_id),
            shorten(&experiment.name, MAX_NAME_CHARS).into(),
            ago(experiment.creation_time_ms).into(),
            ago(experiment.last_update_time_ms).into(),
            tags.join(" ").into(),
        ]);
    }
    if rows.is_empty() {
        output.remark("no experiments");
        return Ok(());
    }
    output.line(to_text(&rows))
}
