//! Checks of datasets as inputs of runs.

use mlflow::store::{InputDataset, Tag};

use super::{Expected, Subject, is_rejected, start, tag};
use crate::support::seen::SeenInput;

/// Returns a dataset, of which everything but name and digest depends on `variant`.
pub(super) fn dataset(name: &str, digest: &str, variant: &str) -> InputDataset {
    InputDataset {
        name: name.to_owned(),
        digest: digest.to_owned(),
        source_type: "local".to_owned(),
        source: format!(r#"{{"uri": "{variant}.csv"}}"#),
        schema: Some(format!(
            r#"{{"mlflow_colspec": [{{"type": "double", "name": "{variant}", "required": true}}]}}"#
        )),
        profile: Some(r#"{"num_rows": 3}"#.to_owned()),
        tags: vec![
            tag("of", variant),
            tag("mlflow.data.context", &format!("context of {variant}")),
        ],
    }
}

pub(super) fn seen(input: &InputDataset) -> SeenInput {
    let tags = input.tags.iter().cloned();
    SeenInput {
        name: input.name.clone(),
        digest: input.digest.clone(),
        source_type: input.source_type.clone(),
        source: input.source.clone(),
        schema: input.schema.clone(),
        profile: input.profile.clone(),
        tags: tags.map(|Tag { key, value }| (key, value)).collect(),
    }
}

pub(super) async fn datasets(subject: &dyn Subject, expected: &mut Expected) {
    let (first, mut first_seen) = start(subject, "first user of datasets").await;
    let (second, mut second_seen) = start(subject, "second user of datasets").await;
    let store = subject.store();
    let full = dataset("träin 名前.csv", "d1", "a");
    let bare = InputDataset {
        schema: None,
        profile: None,
        tags: Vec::new(),
        ..dataset("bare", "d1", "a")
    };
    let same_name = dataset("träin 名前.csv", "d2", "b");
    for inputs in [
        vec![full.clone(), bare.clone()],
        // A repeat changes nothing, whatever it says about the dataset and its use.
        vec![full.clone()],
        vec![dataset("träin 名前.csv", "d1", "c"), same_name.clone()],
        vec![],
    ] {
        let logged = store.log_inputs(&first, &inputs).await;
        logged.expect("inputs");
    }
    first_seen.inputs = [&full, &bare, &same_name].map(seen).to_vec();

    // The experiment has the dataset already: its description counts, with the tags of the new use.
    let other_use = dataset("träin 名前.csv", "d1", "d");
    let logged = store
        .log_inputs(&second, std::slice::from_ref(&other_use))
        .await;
    logged.expect("an input");
    second_seen.inputs = vec![seen(&InputDataset {
        tags: other_use.tags,
        ..full
    })];
    expected.push((first.run_id, first_seen));
    expected.push((second.run_id, second_seen));
}

pub(super) async fn a_text_that_is_too_long_is_rejected(
    subject: &dyn Subject,
    expected: &mut Expected,
) {
    let (run, mut run_seen) = start(subject, "long texts of datasets").await;
    let store = subject.store();
    let good = dataset("n", "d", "a");
    let long = |length: usize| "é".repeat(length);
    let tagged = |key: String, value: String| InputDataset {
        tags: vec![Tag { key, value }],
        ..good.clone()
    };
    let named = |name: String| InputDataset {
        name,
        ..good.clone()
    };
    let digested = |digest: String| InputDataset {
        digest,
        ..good.clone()
    };
    for bad in [
        named(long(501)),
        digested(long(37)),
        InputDataset {
            source: long(65_536),
            ..good.clone()
        },
        InputDataset {
            schema: Some(long(1_048_576)),
            ..good.clone()
        },
        tagged(long(256), String::new()),
        tagged(String::new(), long(501)),
    ] {
        is_rejected(store.log_inputs(&run, &[good.clone(), bad]).await, "");
    }
    let longest = InputDataset {
        source: long(65_535),
        digest: long(36),
        name: long(500),
        ..tagged(long(255), long(500))
    };
    let logged = store.log_inputs(&run, std::slice::from_ref(&longest)).await;
    logged.expect("the longest texts");
    run_seen.inputs = vec![seen(&longest)];
    expected.push((run.run_id, run_seen));
}
