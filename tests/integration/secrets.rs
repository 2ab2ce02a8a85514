//! Generated secrets by every way into a run, and texts that look like secrets and are none.
//!
//! The samples are those of `mlflow-rules`. `MLFLOW_TEST_SEED` sets their seed, which a failure prints.

#[path = "../../mlflow-rules/tests/samples/mod.rs"]
mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlflow::testing::{RecordedRun, fake};
use mlflow::{Dataset, Model, tracked};
use serde::Serialize;

use samples::{Sample, look_alikes, secrets};

fn seed() -> u64 {
    let given = std::env::var("MLFLOW_TEST_SEED").ok();
    given.and_then(|seed| seed.parse().ok()).unwrap_or(18)
}

#[derive(Debug)]
struct Failed(String, Option<Box<Failed>>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

#[derive(Clone, Debug, Serialize)]
struct Settings {
    note: String,
    notes: Vec<String>,
    by_note: BTreeMap<String, u8>,
}

#[tracked(
    run_name = "with {value}",
    description = value,
    tags(attribute = value),
    params(more = format!("also {value}")),
)]
fn fails(value: &str, debugged: Option<&str>, settings: &Settings) -> Result<(), Failed> {
    let _ = debugged;
    mlflow::log_param("by_hand", value);
    mlflow::log_params(settings);
    mlflow::set_tag("by_hand", value);
    mlflow::set_tags([("first", value)]);
    let cause = Failed(value.to_owned(), None);
    Err(Failed(value.to_owned(), Some(Box::new(cause))))
}

#[tracked(skip_all)]
fn panics(value: &str) {
    panic!("{value}");
}

/// Logs a text by the ways on which the rules change nothing but the secret.
fn log_in_values(text: &str) {
    let settings = Settings {
        note: text.to_owned(),
        notes: vec![text.to_owned()],
        by_note: BTreeMap::new(),
    };
    let _ = fails(text, Some(text), &settings);
    let _ = catch_unwind(AssertUnwindSafe(|| panics(text)));
    let run = mlflow::start_run()
        .name(text)
        .param("built", text)
        .tag("built", text)
        .start();
    run.log_input(&Dataset::new("data").source(text), text);
    run.log_model(
        &Model::new("net")
            .bytes("net.bin", [7])
            .param("of_model", text)
            .tag("of_model", text),
    );
}

/// Logs a text by the ways on which it is the name of something. Such names cannot hold everything, so more may change.
fn log_in_names(text: &str) {
    let run = mlflow::start_run().name("names").start();
    run.log_param(text, "value");
    run.log_params(&BTreeMap::from([(text, 1)]));
    run.set_tag(text, "value");
    run.log_metric(text, 0.5);
    run.log_text("x", text);
}

/// Returns everything that a run shows, but its own id.
fn shown(run: &RecordedRun) -> String {
    let RecordedRun {
        params,
        tags,
        name,
        metrics,
        ..
    } = run;
    format!(
        "{name} {params:?} {tags:?} {:?} {:?}",
        metrics.keys(),
        run.artifacts
    )
}

/// Returns the text as `Debug` shows it inside of quotes.
fn escaped(text: &str) -> String {
    let quoted = format!("{text:?}");
    quoted[1..quoted.len() - 1].to_owned()
}

#[test]
fn of_each_secret_nothing_is_left_whichever_way_it_takes() {
    let samples = secrets(seed(), 1);
    let mut failures = Vec::new();
    for sample in &samples {
        let Sample { kind, secret, .. } = sample;
        let fake = fake();
        let text = sample.text();
        log_in_values(&text);
        log_in_names(&text);
        let runs = fake.runs();
        assert_eq!(runs.len(), 4, "{text}");
        for run in &runs {
            let shown = shown(run);
            if [secret, &escaped(secret)]
                .iter()
                .any(|secret| shown.contains(secret.as_str()))
            {
                failures.push(format!("{kind}: {text}\n    {shown}"));
            }
        }
    }
    let kinds: BTreeSet<_> = samples.iter().map(|sample| &sample.kind).collect();
    let values: BTreeSet<_> = samples.iter().map(|sample| &sample.secret).collect();
    println!(
        "seed {}: {} kinds, {} secrets, {} texts",
        seed(),
        kinds.len(),
        values.len(),
        samples.len()
    );
    assert!(values.len() >= 200 && samples.len() >= 1000);
    assert!(
        failures.is_empty(),
        "seed {}, {} of {} texts: {}",
        seed(),
        failures.len(),
        samples.len(),
        failures[..failures.len().min(10)].join("\n")
    );
}

/// Program that logs texts by every way, and where what it wrote is looked for.
#[cfg(feature = "tracing")]
mod bytes {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::Write as _;
    use std::path::Path;
    use std::process::Stdio;
    use std::sync::Arc;

    use rusqlite::Connection;

    use super::{Sample, escaped, secrets, seed};
    use crate::support::command_line::cargo_mlflow;
    use crate::support::fake_mlflow::FakeMlflow;
    use crate::support::fake_server::FakeServer;
    use crate::support::program::{Folder, one, with_default_signals};

    const EVERY_WAY: &str = env!("CARGO_BIN_EXE_every_way");

    /// Shortest secret that is looked for among all bytes. A shorter one may be a part of another text.
    const MIN_SECRET_BYTES: usize = 8;

    /// Runs the program with the texts of all samples; returns what it printed on stderr.
    fn log_all(
        folder: &Folder,
        samples: &[Sample],
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Vec<u8> {
        let mut command = folder.command(EVERY_WAY);
        with_default_signals(&mut command);
        let mut program = command
            .args(arguments)
            .env("MLFLOW_EXIT_TIMEOUT", "120")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut stdin = program.stdin.take().expect("a pipe");
        let texts: Vec<_> = samples.iter().map(Sample::text).collect();
        let writer = std::thread::spawn(move || stdin.write_all(texts.join("\0").as_bytes()));
        let output = program.wait_with_output().expect("its end");
        writer.join().expect("no panic").expect("all texts");
        assert_eq!(
            output.status.success(),
            arguments.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stderr
    }

    /// Returns one text for each secret, in the next of its surroundings each time.
    fn one_text_each(seed: u64, each: usize) -> Vec<Sample> {
        let mut by_secret: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for sample in secrets(seed, each) {
            by_secret
                .entry(sample.secret.clone())
                .or_default()
                .push(sample);
        }
        let samples: Vec<_> = { by_secret.into_values().enumerate() }
            .map(|(number, samples)| samples[number % samples.len()].clone())
            .collect();
        assert!(samples.len() >= 200, "{}", samples.len());
        samples
    }

    /// Adds the names and the bytes of all files below a directory.
    fn collect(directory: &Path, bytes: &mut Vec<u8>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            bytes.extend(path.as_os_str().as_encoded_bytes());
            if path.is_dir() {
                collect(&path, bytes);
            } else {
                bytes.extend(fs::read(path).expect("a file"));
            }
        }
    }

    /// Returns all texts in the tables of a database.
    fn values_of(database: &Connection) -> Vec<u8> {
        let mut tables =
            { database.prepare("select name from sqlite_master where type = 'table'") }
                .expect("a query");
        let tables = tables
            .query_map([], |row| row.get::<_, String>(0))
            .expect("tables");
        let mut bytes = Vec::new();
        for table in tables {
            let query = format!("select * from \"{}\"", table.expect("a name"));
            let mut rows = database.prepare(&query).expect("a query");
            let columns = rows.column_count();
            let mut rows = rows.query([]).expect("rows");
            while let Some(row) = rows.next().expect("a row") {
                for column in 0..columns {
                    if let Ok(text) = row.get::<_, String>(column) {
                        bytes.extend(text.as_bytes());
                        bytes.push(0);
                    }
                }
            }
        }
        bytes
    }

    /// Returns the secrets that some bytes hold, as they are or as JSON and `Debug` write them.
    fn found_in<'s>(bytes: &[u8], samples: &'s [Sample]) -> Vec<&'s Sample> {
        let text = String::from_utf8_lossy(bytes);
        let decoded = percent_decoded(&text);
        let holds = |secret: &str| text.contains(secret) || decoded.contains(secret);
        { samples.iter() }
            .filter(|sample| sample.secret.len() >= MIN_SECRET_BYTES)
            .filter(|sample| {
                let json = serde_json::to_string(&sample.secret).expect("JSON");
                [
                    &*sample.secret,
                    &escaped(&sample.secret),
                    &json[1..json.len() - 1],
                ]
                .into_iter()
                .any(holds)
            })
            .collect()
    }

    /// Returns the text as it was before it became a part of a URL.
    fn percent_decoded(text: &str) -> String {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            let digits = tail
                .get(..2)
                .and_then(|digits| std::str::from_utf8(digits).ok());
            let byte = digits
                .filter(|_| *first == b'%')
                .and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(byte.unwrap_or(*first));
            rest = if byte.is_some() { &tail[2..] } else { tail };
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn assert_none(place: &str, bytes: &[u8], samples: &[Sample]) {
        assert!(
            bytes.len() > 10_000,
            "{place} has only {} bytes",
            bytes.len()
        );
        let found = found_in(bytes, samples);
        let shown: Vec<_> = { found.iter().take(10) }
            .map(|sample| format!("{}: {}", sample.kind, sample.text()))
            .collect();
        assert!(
            found.is_empty(),
            "seed {}: {place} holds {} of {} secrets: {}",
            seed(),
            found.len(),
            samples.len(),
            shown.join("\n")
        );
    }

    #[test]
    fn no_file_of_a_run_holds_a_secret_whichever_way_it_took() {
        let samples = one_text_each(seed(), 1);
        let folder = Folder::new();
        let stderr = log_all(
            &folder,
            &samples,
            &[],
            &[("MLFLOW_CAPTURE_CONSOLE", "true")],
        );
        assert_none("what was printed on stderr", &stderr, &samples);
        let mut bytes = Vec::new();
        collect(folder.path(), &mut bytes);
        // A long value lies on several pages of the file.
        bytes.extend(values_of(&folder.database()));
        assert_none("the database with its artifacts", &bytes, &samples);
        // Every way was taken for each text.
        let count = |query: &str| one::<i64>(&folder.database(), query);
        let texts = i64::try_from(samples.len()).expect("a number");
        for (query, least) in [
            ("select count(*) from runs", 4 * texts),
            ("select count(*) from inputs", texts),
            (
                "select count(*) from params where value like '%[redacted]%'",
                7 * texts,
            ),
            (
                "select count(*) from tags where value like '%[redacted]%'",
                8 * texts,
            ),
            ("select count(*) from metrics where key != 'loss'", texts),
            (
                "select count(*) from latest_metrics where key = 'loss'",
                texts,
            ),
        ] {
            let found = count(query);
            assert!(found >= least, "{query}: {found} instead of {least}");
        }
        for command in [
            &["runs", "--limit", "0", "--json"][..],
            &["doctor", "--json"],
        ] {
            let listed = folder.run(cargo_mlflow(), command, &[]);
            assert!(listed.success, "{}", listed.stderr);
            let shown = [listed.stdout, listed.stderr].concat();
            let found = found_in(shown.as_bytes(), &samples);
            assert!(found.is_empty(), "{command:?}: {found:?}");
        }
    }

    #[test]
    fn no_byte_of_a_journal_that_a_crash_left_is_one_of_a_secret() {
        let samples = one_text_each(seed() + 1, 2);
        let folder = Folder::new();
        let uri = [("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")];
        let stderr = log_all(&folder, &samples, &["abort"], &uri);
        assert!(found_in(&stderr, &samples).is_empty());
        let mut bytes = Vec::new();
        collect(&folder.journal(), &mut bytes);
        assert_none("the journal", &bytes, &samples);
    }

    #[test]
    fn no_request_holds_a_secret_whichever_way_it_took() {
        let samples = one_text_each(seed() + 2, 1);
        let mlflow = Arc::new(FakeMlflow::default());
        let server = FakeServer::start(move |request, _| mlflow.answer(request));
        let folder = Folder::new();
        let url = server.url();
        let environment = [
            ("MLFLOW_TRACKING_URI", &*url),
            ("MLFLOW_CAPTURE_CONSOLE", "true"),
        ];
        log_all(&folder, &samples, &[], &environment);
        let mut bytes = Vec::new();
        for request in server.requests() {
            bytes.extend(format!("{} {:?}\n", request.line, request.headers).as_bytes());
            bytes.extend(&request.body);
        }
        assert_none("what the server received", &bytes, &samples);
    }
}

#[test]
fn no_look_alike_is_changed_whichever_way_it_takes() {
    let texts = look_alikes(seed());
    println!("seed {}: {} look-alikes", seed(), texts.len());
    assert!(texts.len() >= 300);
    let mut failures = Vec::new();
    for text in &texts {
        let fake = fake();
        log_in_values(text);
        for run in fake.runs() {
            if shown(&run).contains("redacted") && !text.contains("redacted") {
                failures.push(format!("{text}\n    {}", shown(&run)));
            }
            for (key, value) in run.params.iter().chain(&run.tags) {
                let is_whole =
                    ["by_hand", "note", "built", "first", "attribute"].contains(&key.as_str());
                if is_whole && value != text {
                    failures.push(format!("{text}\n    {key} is {value}"));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "seed {}: {}",
        seed(),
        failures.join("\n")
    );
}

#[test]
fn a_param_or_tag_with_a_secrets_name_is_masked_whichever_way_it_is_logged() {
    #[derive(Serialize)]
    struct Settings {
        db_password: &'static str,
        max_tokens: u32,
    }
    let fake = fake();
    let run = mlflow::start_run()
        .param("api_key", "a b")
        .tag("session", "a b")
        .start();
    run.log_param("db_password", "a b");
    run.set_tag("auth.token", "a b");
    run.log_params(&Settings {
        db_password: "a b",
        max_tokens: 5,
    });
    for (name, value) in [
        ("max_tokens_2", "7"),
        ("tokenizer", "bpe"),
        ("author", "ada"),
        ("primary_key", "id"),
    ] {
        run.log_param(name, value);
    }
    for (name, value) in [("session", "3"), ("pat", "10"), ("token_healing", "False")] {
        run.log_param(name, value);
    }
    run.log_param("password", "");
    drop(run);
    let run = &fake.runs()[0];
    for key in ["api_key", "db_password"] {
        assert_eq!(run.params[key], "[redacted]", "{key}");
    }
    for key in ["session", "auth.token"] {
        assert_eq!(run.tags[key], "[redacted]", "{key}");
    }
    let kept = [
        ("max_tokens", "5"),
        ("max_tokens_2", "7"),
        ("tokenizer", "bpe"),
        ("author", "ada"),
        ("primary_key", "id"),
        ("password", ""),
        ("session", "3"),
        ("pat", "10"),
        ("token_healing", "False"),
    ];
    for (key, value) in kept {
        assert_eq!(run.params[key], value, "{key}");
    }
}

#[test]
fn what_debug_shows_of_options_has_no_secret() {
    let secret = ["hunter", "2-k1P9"].concat();
    let uri = format!("http://ada:{secret}@host:5000/p?token={secret}");
    for uri in [
        uri.clone(),
        uri.replace("http", "postgresql"),
        uri.replace("http", "ftp"),
        format!("host=db password={secret}"),
    ] {
        let config = mlflow::Config::new()
            .tracking_uri(&uri)
            .token(&secret)
            .basic_auth("ada", &secret);
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains(&secret), "{shown}");
    }
    let _fake = fake();
    let token = ["gh", "p_", &"FakeValue1".repeat(4)].concat();
    let builder = mlflow::start_run()
        .name(&token)
        .param("db_password", &secret)
        .tag("note", &token)
        .tag(&token, "x");
    let shown = format!("{builder:?}");
    drop(builder.start());
    assert!(
        !shown.contains(&secret) && !shown.contains(&token),
        "{shown}"
    );
}
