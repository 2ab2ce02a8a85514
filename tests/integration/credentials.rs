//! Values that look like credentials: they are masked wherever they are logged.

use std::fs;
use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::path::Path;

use mlflow::testing::fake;
use mlflow::{StoreError, start_run, tracked};

use crate::support::mlflow::free_port;
use crate::support::program::Folder;
use crate::support::warnings;

const LEAKY: &str = env!("CARGO_BIN_EXE_leaky");

/// Returns a made-up token. The token is put together at run time, so that no secret scanner takes it for a
/// real one.
fn token() -> String {
    ["gh", "p_", &"FakeValue1".repeat(4)].concat()
}

#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

#[test]
fn params_and_tags_are_masked_whichever_way_they_are_logged() {
    #[derive(serde::Serialize)]
    struct Config {
        endpoint: String,
        keys: Vec<String>,
    }
    #[tracked(
        run_name = "fit-{argument}",
        description = format!("uses {argument}"),
        tags(source = format!("https://me:{argument}@host/data")),
        params(explicit = argument)
    )]
    fn train(argument: &str, config: &Config) {
        let _ = config;
        mlflow::log_param("function", argument);
        mlflow::log_params(&Config {
            endpoint: argument.to_owned(),
            keys: vec![argument.to_owned()],
        });
        mlflow::set_tag(
            "function",
            format!("curl -H 'Authorization: Bearer {argument}'"),
        );
    }
    let fake = fake();
    let token = token();
    train(
        &token,
        &Config {
            endpoint: format!("postgres://me:{token}@host/db"),
            keys: vec!["a".to_owned(), token.clone()],
        },
    );
    let run = mlflow::start_run()
        .name(format!("{token} by hand"))
        .param("builder", format!("--key={token} --rows=3"))
        .tag("builder", &token)
        .start();
    assert_eq!(run.name(), "[redacted] by hand");
    drop(run);
    let runs = fake.runs();
    assert_eq!(runs[0].name, "fit-[redacted]");
    for (key, value) in [
        ("argument", "[redacted]"),
        ("config.endpoint", "postgres://[redacted]@host/db"),
        ("config.keys", "[a, [redacted]]"),
        ("explicit", "[redacted]"),
        ("function", "[redacted]"),
        ("endpoint", "[redacted]"),
        ("keys", "[[redacted]]"),
    ] {
        assert_eq!(runs[0].params[key], value, "{key}");
    }
    for (key, value) in [
        ("mlflow.note.content", "uses [redacted]"),
        ("source", "https://[redacted]@host/data"),
        ("function", "curl -H 'Authorization: Bearer [redacted]'"),
    ] {
        assert_eq!(runs[0].tags[key], value, "{key}");
    }
    assert_eq!(runs[1].name, "[redacted] by hand");
    assert_eq!(runs[1].params["builder"], "--key=[redacted] --rows=3");
    assert_eq!(runs[1].tags["builder"], "[redacted]");
    assert!(!format!("{runs:?}").contains(&token));
}

#[test]
fn errors_their_causes_and_panics_are_masked() {
    #[derive(Debug)]
    struct Failed(Refused);
    impl std::fmt::Display for Failed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "cannot log in: {}", self.0)
        }
    }
    impl std::error::Error for Failed {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    #[tracked(skip_all)]
    fn fails(token: &str) -> Result<(), Failed> {
        Err(Failed(Refused(format!("{token} is no key"))))
    }
    #[tracked(skip_all)]
    fn panics(token: &str) {
        panic!("{token} is no key")
    }
    let fake = fake();
    let token = token();
    let error = fails(&token).unwrap_err();
    assert!(
        error.to_string().contains(&token),
        "the error is the caller's"
    );
    let payload = catch_unwind(|| panics(&token)).unwrap_err();
    assert!(payload.downcast_ref::<String>().unwrap().contains(&token));
    let runs = fake.runs();
    assert_eq!(
        runs[0].tags["error.message"],
        "cannot log in: [redacted] is no key"
    );
    assert_eq!(runs[0].tags["error.chain"], "1: [redacted] is no key");
    assert_eq!(runs[1].tags["error.message"], "[redacted] is no key");
    assert!(!format!("{runs:?}").contains(&token));
}

#[test]
fn a_private_key_goes_as_a_whole() {
    let fake = fake();
    let run = mlflow::start_run().start();
    let dashes = "-----";
    let open = format!("a {dashes}BEGIN PRIVATE KEY{dashes}\nMIIFAKE\n");
    run.log_param("closed", format!("{open}{dashes}END PRIVATE KEY{dashes} b"));
    run.log_param("open", &open);
    run.log_param("cut", format!("{open}{}", "MIIFAKE\n".repeat(1000)));
    drop(run);
    fake.assert_param("closed", "a [redacted] b");
    fake.assert_param("open", "a [redacted]");
    fake.assert_param("cut", "a [redacted]…");
}

#[test]
fn ordinary_values_experiments_and_contents_of_artifacts_stay() {
    let fake = fake();
    let token = token();
    let run = mlflow::start_run().experiment(&token).start();
    let ordinary = [
        ("library", "sk-learn"),
        ("model", "hf_transformer"),
        ("data", "s3://bucket/key"),
        ("commit", "0123456789abcdef0123456789abcdef01234567"),
    ];
    for (key, value) in ordinary {
        run.log_param(key, value);
    }
    run.log_text(&token, "notes.txt");
    drop(run);
    let run = &fake.runs()[0];
    assert_eq!(run.experiment, token);
    for (key, value) in ordinary {
        assert_eq!(run.params[key], value);
    }
    assert_eq!(run.artifacts["notes.txt"], token.as_bytes());
}

/// Regression: they were stored as they are.
#[test]
fn names_of_metrics_and_paths_of_artifacts_are_masked() {
    let fake = fake();
    let token = token();
    let run = mlflow::start_run().start();
    run.log_metric(&token, 1.0);
    run.log_metric("loss", 1.0);
    run.log_text("x", &format!("of/{token}.txt"));
    drop(run);
    let run = &fake.runs()[0];
    assert_eq!(run.metrics.keys().collect::<Vec<_>>(), ["loss", "redacted"]);
    let paths: Vec<_> = run.artifacts.keys().collect();
    assert_eq!(paths.len(), 1);
    assert!(
        paths[0].starts_with("of/redacted_") && paths[0].ends_with(".txt"),
        "{paths:?}"
    );
}

#[test]
fn a_key_of_a_map_is_masked_too() {
    let fake = fake();
    let run = mlflow::start_run().start();
    run.log_params(&std::collections::BTreeMap::from([
        (token(), "me"),
        ("plain".into(), "you"),
    ]));
    run.set_tag(&token(), "mine");
    drop(run);
    let run = &fake.runs()[0];
    assert_eq!(run.params["redacted"], "me");
    assert_eq!(run.params["plain"], "you");
    assert_eq!(run.tags["redacted"], "mine");
}

#[test]
fn the_first_masked_value_is_one_warning_without_the_value() {
    let fake = fake();
    let token = token();
    let (_, warnings) = warnings::capture(|| {
        let run = mlflow::start_run().start();
        run.log_param("notes", format!("with {token}"));
        run.set_tag("other", &token);
        run.log_param("third", "https://me:hunter2@host");
        drop(run);
        fake.runs()
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("param \"notes\""), "{warnings:?}");
    assert!(warnings[0].contains("a GitHub token"), "{warnings:?}");
    assert!(!warnings[0].contains(&token), "{warnings:?}");
}

#[test]
fn no_file_of_the_journal_holds_a_credential() {
    let folder = Folder::new();
    let token = token();
    let password = "hunter2hunter2";
    let output = folder
        .command(LEAKY)
        .arg0(format!("train --key={token}"))
        .arg(&token)
        .env(
            "MLFLOW_TRACKING_URI",
            format!("http://me:{password}@127.0.0.1:9"),
        )
        .output()
        .unwrap();
    assert!(!output.status.success(), "it aborts");
    let mut bytes = Vec::new();
    collect(&folder.journal(), &mut bytes);
    for there in [
        "[redacted] was refused",
        "train --key=[redacted]",
        "by_user.redacted",
    ] {
        assert!(holds(&bytes, there), "the journal has no {there}");
    }
    // The journal holds no part of the token, either.
    assert!(!holds(&bytes, &token[..8]));
    assert!(!holds(&bytes, password));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for line in stderr.lines().filter(|line| line.contains("WARN mlflow")) {
        assert!(!line.contains(&token), "{line}");
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn collect(directory: &Path, bytes: &mut Vec<u8>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, bytes);
        } else {
            bytes.extend(fs::read(path).unwrap());
        }
    }
}

/// Names of datasets and models come with warnings of their own, which show the name.
#[test]
fn a_name_of_a_dataset_or_model_is_masked_in_the_journal_and_on_stderr() {
    let folder = Folder::new();
    let token = token();
    let weights = folder.path().join("weights.bin");
    fs::write(&weights, "weights").unwrap();
    let weights = weights.display();
    // Nothing listens there, so everything stays in the journal.
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let ended = folder.run(
        env!("CARGO_BIN_EXE_scripted"),
        &[
            "start one",
            &format!("array {token}"),
            &format!("misfit {token}"),
            &format!("model {token} {weights}"),
            &format!("register {token} digits {weights}"),
            "end one",
        ],
        &[
            ("MLFLOW_TRACKING_URI", &nowhere),
            ("MLFLOW_EXIT_TIMEOUT", "1"),
        ],
    );
    assert!(ended.success, "{}", ended.stderr);
    assert!(!ended.stderr.contains(&token), "{}", ended.stderr);
    assert!(ended.stderr.contains("[redacted]"), "{}", ended.stderr);
    assert_eq!(folder.journals_left(), 1);
    let (mut folders, mut files) = (vec![folder.path().to_owned()], 0);
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            assert!(!path.to_string_lossy().contains(&token), "{path:?}");
            if path.is_dir() {
                folders.push(path);
            } else {
                files += 1;
                let bytes = fs::read(&path).unwrap();
                let holds = bytes
                    .windows(token.len())
                    .any(|part| part == token.as_bytes());
                assert!(!holds, "{path:?}");
            }
        }
    }
    assert!(files > 2);
}

/// Regression: such a line was masked for `health`, and not for a subscriber.
#[test]
fn a_line_about_a_refused_value_shows_no_credential() {
    let token = token();
    let fake = fake();
    let run = start_run().start();
    assert_eq!(fake.runs().len(), 1);
    let (_, warnings) = warnings::capture(|| {
        for error in [
            StoreError::Rejected {
                reason: format!("the key {token} is too strange").into(),
            },
            StoreError::Blocked {
                reason: format!("the token {token} has no permission").into(),
                everything: false,
            },
        ] {
            fake.fail_next(error);
            run.log_metric(&token, 1.0);
            run.log_text("text", &token);
            drop(fake.runs());
        }
    });
    let health = mlflow::health();
    assert!(health.rejected > 0, "{health:?}");
    let told = format!("{warnings:?}{health:?}");
    assert!(told.contains("[redacted]"), "{told}");
    assert!(!told.contains(&token), "{told}");
}

/// Kinds of secrets that nobody else has are masked by every way, also by a program that ships what another one has left.
#[test]
#[cfg(feature = "redact")]
fn what_a_pattern_of_the_users_own_matches_is_masked() {
    const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");
    let folder = Folder::new();
    let script = [
        "start r-ACME-0123ABCD",
        "param note key=ACME-0123ABCD",
        "param other ACME-0123",
        "tag t see-ACME-0123ABCD",
        "text notes/ACME-0123ABCD.txt hello",
        "points loss/ACME-0123ABCD 0 2",
    ];
    let pattern = ("MLFLOW_REDACT_PATTERN", "ACME-[0-9A-F]{8}");
    let ended = folder.run(SCRIPTED, &script, &[pattern]);
    assert!(ended.success, "{}", ended.stderr);
    assert!(!ended.stderr.contains("ACME-0123ABCD"), "{}", ended.stderr);
    let database = fs::read(folder.path().join("mlflow.db")).unwrap();
    let holds = |word: &str| {
        database
            .windows(word.len())
            .any(|part| part == word.as_bytes())
    };
    assert!(!holds("ACME-0123ABCD"));
    assert!(holds("key=[redacted]") && holds("ACME-0123"));

    let broken = ("MLFLOW_REDACT_PATTERN", "ACME-[0-9");
    let ended = folder.run(
        SCRIPTED,
        &["start r", "param p password=hunter2"],
        &[broken],
    );
    assert!(ended.success);
    let told = "mlflow: MLFLOW_REDACT_PATTERN, or Config::redact, cannot be used and masks nothing";
    let lines = ended.stderr.lines();
    assert_eq!(
        lines.filter(|line| line.starts_with(told)).count(),
        1,
        "{}",
        ended.stderr
    );
    let database = fs::read(folder.path().join("mlflow.db")).unwrap();
    assert!(!database.windows(7).any(|part| part == b"hunter2"));
}
