//! Tests of the configuration file through [`Config::explain`](crate::Config::explain): what is chosen, where it is from, and
//! what is said of entries that cannot be used.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::ConfigFile;
use crate::config::resolver::Resolver;
use crate::config::{Config, Setting, SettingSource};

/// Directory of a test, which is removed at the end.
struct Project(PathBuf);

impl Project {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("mlflow-config-{}-{name}", std::process::id()));
        fs::create_dir_all(directory.join("src/deep")).unwrap();
        Self(directory)
    }

    fn with_file(name: &str, text: &str) -> Self {
        let project = Self::new(name);
        fs::write(project.file(), text).unwrap();
        project
    }

    fn file(&self) -> PathBuf {
        self.0.join("mlflow.toml")
    }

    /// Explains the settings of a program that runs in a directory of the project.
    fn explain_in(
        &self,
        directory: &str,
        config: &Config,
        environment: &[(&str, &str)],
    ) -> Vec<Setting> {
        let lookup = |variable: &str| {
            let mut found = environment.iter().filter(|(key, _)| *key == variable);
            found.next().map(|(_, value)| OsString::from(value))
        };
        let file = ConfigFile::find(&lookup, Some(&self.0.join(directory)));
        config.explain_from(Resolver::new(&lookup, file), None, Vec::new())
    }

    fn explain(&self, environment: &[(&str, &str)]) -> Vec<Setting> {
        self.explain_in("src/deep", &Config::new(), environment)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn find<'s>(settings: &'s [Setting], name: &str) -> &'s Setting {
    settings
        .iter()
        .find(|setting| setting.name == name)
        .expect(name)
}

fn value(settings: &[Setting], name: &str) -> Option<String> {
    find(settings, name).value.clone()
}

fn problems(settings: &[Setting]) -> Vec<String> {
    settings
        .iter()
        .flat_map(|setting| setting.problems.clone())
        .collect()
}

#[track_caller]
fn assert_problem(settings: &[Setting], words: &[&str]) {
    let problems = problems(settings);
    let is_told = problems
        .iter()
        .any(|problem| words.iter().all(|word| problem.contains(word)));
    assert!(is_told, "{words:?} in none of {problems:#?}");
}

const PROJECT: &str = r#"
[default]
experiment_name = "wine"
exit_timeout = 2.5
journal_max_bytes = 0x10
capture_console = true

[staging]
tracking_uri = "http://staging:5000"

[production]
tracking_uri = "https://production"
exit_timeout = 20
"#;

#[test]
fn the_file_is_found_above_the_working_directory() {
    let project = Project::with_file("found", PROJECT);
    let settings = project.explain(&[]);
    let source = SettingSource::ConfigFile(project.file());
    for (name, expected) in [
        ("MLFLOW_EXPERIMENT_NAME", "wine"),
        ("MLFLOW_EXIT_TIMEOUT", "2.5"),
        ("MLFLOW_JOURNAL_MAX_BYTES", "16"),
        ("MLFLOW_CAPTURE_CONSOLE", "true"),
    ] {
        let setting = find(&settings, name);
        assert_eq!(setting.value.as_deref(), Some(expected), "{name}");
        assert_eq!(setting.source, source, "{name}");
    }
    let file = find(&settings, "MLFLOW_CONFIG_FILE");
    assert_eq!(file.value, Some(project.file().display().to_string()));
    assert_eq!(file.source, SettingSource::Default);
    assert_eq!(problems(&settings), [""; 0]);
}

#[test]
fn the_section_of_the_environment_wins_over_the_default_one() {
    let project = Project::with_file("sections", PROJECT);
    let settings = project.explain(&[("MLFLOW_ENV", "production")]);
    assert_eq!(
        value(&settings, "MLFLOW_TRACKING_URI").as_deref(),
        Some("https://production")
    );
    assert_eq!(
        value(&settings, "MLFLOW_EXIT_TIMEOUT").as_deref(),
        Some("20")
    );
    assert_eq!(
        value(&settings, "MLFLOW_EXPERIMENT_NAME").as_deref(),
        Some("wine")
    );
    let settings = project.explain(&[("MLFLOW_ENV", "staging")]);
    assert_eq!(
        value(&settings, "MLFLOW_TRACKING_URI").as_deref(),
        Some("http://staging:5000")
    );
    assert_eq!(
        value(&settings, "MLFLOW_EXIT_TIMEOUT").as_deref(),
        Some("2.5")
    );
}

#[test]
fn a_mistyped_environment_is_told_with_the_nearest_one() {
    let project = Project::with_file("environment", PROJECT);
    let settings = project.explain(&[("MLFLOW_ENV", "producton")]);
    assert_eq!(
        value(&settings, "MLFLOW_EXPERIMENT_NAME").as_deref(),
        Some("wine")
    );
    assert_problem(
        &settings,
        &["MLFLOW_ENV=\"producton\"", "is [production] meant?"],
    );
    // A file without environments says nothing about them.
    let plain = Project::with_file("plain", "[default]\nexit_timeout = 1\n");
    assert_eq!(problems(&plain.explain(&[("MLFLOW_ENV", "ci")])), [""; 0]);
}

#[test]
fn variables_and_the_program_win_over_the_file() {
    let project = Project::with_file("order", PROJECT);
    let environment = [
        ("MLFLOW_EXIT_TIMEOUT", "7"),
        ("MLFLOW_JOURNAL_MAX_BYTES", "many"),
    ];
    let config = Config::new().experiment("code");
    let settings = project.explain_in("src", &config, &environment);
    assert_eq!(
        value(&settings, "MLFLOW_EXIT_TIMEOUT").as_deref(),
        Some("7")
    );
    assert_eq!(
        value(&settings, "MLFLOW_EXPERIMENT_NAME").as_deref(),
        Some("code")
    );
    // A variable that cannot be used leaves the choice to the file.
    assert_eq!(
        value(&settings, "MLFLOW_JOURNAL_MAX_BYTES").as_deref(),
        Some("16")
    );
    assert_problem(&settings, &["MLFLOW_JOURNAL_MAX_BYTES=\"many\""]);
    // The name takes precedence over the id, but not that of the file over that of the environment.
    let by_id = project.explain(&[("MLFLOW_EXPERIMENT_ID", "7")]);
    assert_eq!(value(&by_id, "MLFLOW_EXPERIMENT_NAME"), None);
    assert_eq!(value(&by_id, "MLFLOW_EXPERIMENT_ID").as_deref(), Some("7"));
}

#[test]
fn secrets_are_taken_by_reference_alone() {
    let project = Project::with_file(
        "secrets",
        "[default]\ntracking_username = 'ada'\ntracking_password = 'hunter2'\ntracking_token.env = 'WINE_TOKEN'\n\
         tracking_headers = 'x-key=hunter3'\n",
    );
    let settings = project.explain(&[("WINE_TOKEN", "tok3n")]);
    assert_eq!(
        value(&settings, "MLFLOW_TRACKING_TOKEN").as_deref(),
        Some("[redacted]")
    );
    assert_eq!(value(&settings, "MLFLOW_TRACKING_PASSWORD"), None);
    assert_eq!(value(&settings, "MLFLOW_TRACKING_HEADERS"), None);
    assert_problem(
        &settings,
        &["line 3, tracking_password", "write { env = \"NAME\" }"],
    );
    assert_problem(&settings, &["line 5, tracking_headers"]);
    let shown = format!("{settings:?}");
    assert!(
        !shown.contains("hunter") && !shown.contains("tok3n"),
        "{shown}"
    );
    // A reference to nothing is told.
    let unset = project.explain(&[]);
    assert_problem(&unset, &["line 4, tracking_token", "WINE_TOKEN is not set"]);
}

#[test]
fn a_login_of_the_environment_is_not_mixed_with_another_of_the_file() {
    let by_password =
        "[default]\ntracking_username = 'ada'\ntracking_password = { env = 'WINE_PASSWORD' }\n";
    let project = Project::with_file("login", by_password);
    let token = [
        ("WINE_PASSWORD", "hunter2"),
        ("MLFLOW_TRACKING_TOKEN", "tok3n"),
    ];
    let settings = project.explain(&token);
    assert_eq!(
        value(&settings, "MLFLOW_TRACKING_PASSWORD"),
        None,
        "it would win over the token"
    );
    let password = project.explain(&[("MLFLOW_TRACKING_PASSWORD", "hunter2")]);
    assert_eq!(
        value(&password, "MLFLOW_TRACKING_USERNAME").as_deref(),
        Some("ada")
    );

    let project = Project::with_file(
        "token",
        "[default]\ntracking_token = { env = 'WINE_TOKEN' }\n",
    );
    let file = [
        ("WINE_TOKEN", "tok3n"),
        ("MLFLOW_TRACKING_TOKEN_FILE", "/run/token"),
    ];
    let settings = project.explain(&file);
    assert_eq!(
        value(&settings, "MLFLOW_TRACKING_TOKEN"),
        None,
        "it would win over the file of the token"
    );
    let password = [
        ("WINE_TOKEN", "tok3n"),
        ("MLFLOW_TRACKING_PASSWORD", "hunter2"),
    ];
    assert_eq!(
        value(&project.explain(&password), "MLFLOW_TRACKING_TOKEN"),
        None
    );
}

#[test]
fn one_bad_entry_stops_no_other() {
    let project = Project::with_file(
        "entries",
        "lose = 1\n[default]\nexit_timeout = 'soon'\nexperiment_nam = 'wine'\nrun_id = 'abc'\nenabled = [true]\n\
         tracking_enabled = [true]\nhttp_request_timeout = 3\nhttp_request_max_retries = 2026-01-01\n",
    );
    let settings = project.explain(&[]);
    assert_eq!(
        value(&settings, "MLFLOW_HTTP_REQUEST_TIMEOUT").as_deref(),
        Some("3")
    );
    assert_eq!(
        value(&settings, "MLFLOW_EXIT_TIMEOUT").as_deref(),
        Some("5"),
        "the default"
    );
    assert_problem(&settings, &["line 1: `lose` is no setting and is ignored"]);
    assert_problem(
        &settings,
        &["line 3, exit_timeout", "expected a number of seconds"],
    );
    assert_problem(
        &settings,
        &[
            "line 4: `experiment_nam` is no setting",
            "is `experiment_name` meant?",
        ],
    );
    assert_problem(
        &settings,
        &[
            "line 5, run_id",
            "belongs to one process; set MLFLOW_RUN_ID",
        ],
    );
    assert_problem(&settings, &["line 6: `enabled` is no setting"]);
    assert_problem(
        &settings,
        &["line 7, tracking_enabled", "is an array", "expected a text"],
    );
    assert_problem(
        &settings,
        &["line 9, http_request_max_retries", "is a time"],
    );
    assert_eq!(problems(&settings).len(), 7, "{:#?}", problems(&settings));
}

/// An unreadable tracking URI must not lead to the default store: values wait.
#[test]
fn a_file_that_cannot_be_read_leaves_the_tracking_uri_unknown() {
    let broken = "[default]\ntracking_uri = \"https://production\"\ntracking_token = hunter2\n";
    let project = Project::with_file("broken", broken);
    let settings = project.explain(&[]);
    let uri = find(&settings, "MLFLOW_TRACKING_URI");
    assert_eq!(uri.source, SettingSource::ConfigFile(project.file()));
    assert_problem(
        &settings,
        &[
            "mlflow.toml",
            "line 3 is not TOML",
            "values wait in the journal",
        ],
    );
    assert_problem(
        &settings,
        &["mlflow.toml cannot be used and is ignored: line 3"],
    );
    assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
    // A store that is named elsewhere is not in doubt.
    let named = project.explain(&[("MLFLOW_TRACKING_URI", "http://env")]);
    assert_eq!(
        value(&named, "MLFLOW_TRACKING_URI").as_deref(),
        Some("http://env")
    );
    assert_eq!(problems(&named).len(), 1);

    for (name, text) in [
        ("array", "[default]\ntracking_uri = ['http://a']\n"),
        ("unset", "[default]\ntracking_uri = { env = 'NOT_SET' }\n"),
        (
            "password",
            "[default]\ntracking_uri = 'https://me:hunter2@h'\n",
        ),
        ("scheme", "[default]\ntracking_uri = 'redis://h'\n"),
    ] {
        let project = Project::with_file(name, text);
        let settings = project.explain(&[]);
        assert_problem(&settings, &["tracking URI", "values wait in the journal"]);
        let destination = value(&settings, "MLFLOW_TRACKING_URI").expect(name);
        assert!(!destination.contains("sqlite"), "{name}: {destination}");
        assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
    }
}

#[test]
fn a_named_file_is_read_wherever_it_is_and_a_missing_one_is_told() {
    let project = Project::with_file("named", PROJECT);
    let elsewhere = Project::new("elsewhere");
    let named = project.file().display().to_string();
    let settings = elsewhere.explain(&[("MLFLOW_CONFIG_FILE", &named)]);
    assert_eq!(
        value(&settings, "MLFLOW_EXPERIMENT_NAME").as_deref(),
        Some("wine")
    );
    let variable = SettingSource::Variable("MLFLOW_CONFIG_FILE");
    assert_eq!(find(&settings, "MLFLOW_CONFIG_FILE").source, variable);
    let missing = elsewhere.explain(&[("MLFLOW_CONFIG_FILE", "/nowhere/mlflow.toml")]);
    assert_problem(
        &missing,
        &["/nowhere/mlflow.toml cannot be used", "No such file"],
    );
    // An empty file in place of that of the project: no settings, no complaint.
    let none = project.explain(&[("MLFLOW_CONFIG_FILE", "/dev/null")]);
    assert_eq!(value(&none, "MLFLOW_EXPERIMENT_NAME"), None);
    assert_eq!(problems(&none), [""; 0]);
}

#[test]
fn a_file_that_everybody_can_write_is_ignored_unless_it_is_named() {
    let project = Project::with_file("writable", PROJECT);
    fs::set_permissions(project.file(), fs::Permissions::from_mode(0o666)).unwrap();
    let settings = project.explain(&[]);
    assert_eq!(value(&settings, "MLFLOW_EXPERIMENT_NAME"), None);
    assert_problem(
        &settings,
        &[
            "every user can write it",
            "set MLFLOW_CONFIG_FILE to its path",
        ],
    );
    let named = project.file().display().to_string();
    let settings = project.explain(&[("MLFLOW_CONFIG_FILE", &named)]);
    assert_eq!(
        value(&settings, "MLFLOW_EXPERIMENT_NAME").as_deref(),
        Some("wine")
    );
}

#[test]
fn relative_paths_begin_at_the_file() {
    let project = Project::with_file(
        "paths",
        "[default]\ntracking_uri = 'sqlite:///runs.db'\njournal_dir = 'journal'\ntracking_token_file = '/run/token'\n",
    );
    let settings = project.explain(&[]);
    let below = |name: &str| project.0.join(name).display().to_string();
    assert_eq!(
        value(&settings, "MLFLOW_TRACKING_URI"),
        Some(format!("sqlite:///{}", below("runs.db")))
    );
    assert_eq!(
        value(&settings, "MLFLOW_JOURNAL_DIR"),
        Some(below("journal"))
    );
    assert_eq!(
        value(&settings, "MLFLOW_TRACKING_TOKEN_FILE").as_deref(),
        Some("/run/token")
    );
    assert!(Path::new(&below("runs.db")).is_absolute());
}

#[test]
fn a_folder_and_a_file_that_is_too_long_are_told() {
    let project = Project::new("long");
    let named = project.0.display().to_string();
    let folder = project.explain(&[("MLFLOW_CONFIG_FILE", &named)]);
    assert_problem(&folder, &["it is no regular file"]);
    fs::write(project.file(), vec![b' '; (1 << 20) + 1]).unwrap();
    assert_problem(&project.explain(&[]), &["it is longer than 1 MiB"]);
    fs::write(project.file(), b"\xff").unwrap();
    assert_problem(&project.explain(&[]), &["it is not valid UTF-8"]);
    fs::write(project.file(), "\u{feff}[default]\r\nexit_timeout = 3\r\n").unwrap();
    assert_eq!(
        value(&project.explain(&[]), "MLFLOW_EXIT_TIMEOUT").as_deref(),
        Some("3")
    );
}

/// Regression: a tracking URI above the first section was ignored, and the run went to the default store.
#[test]
fn entries_above_the_first_section_hold_everywhere() {
    let project = Project::with_file(
        "above",
        "tracking_uri = 'http://all:5000'\nexit_timeout = 1\ntracking_token = { env = 'WINE_TOKEN' }\n\
         [default]\nexit_timeout = 2\n[staging]\ntracking_uri = 'http://staging:5000'\n",
    );
    let settings = project.explain(&[("WINE_TOKEN", "tok3n")]);
    assert_eq!(
        value(&settings, "MLFLOW_TRACKING_URI").as_deref(),
        Some("http://all:5000")
    );
    assert_eq!(
        value(&settings, "MLFLOW_EXIT_TIMEOUT").as_deref(),
        Some("2")
    );
    assert_eq!(
        value(&settings, "MLFLOW_TRACKING_TOKEN").as_deref(),
        Some("[redacted]")
    );
    assert_eq!(problems(&settings), [""; 0]);
    let staging = project.explain(&[("WINE_TOKEN", "tok3n"), ("MLFLOW_ENV", "staging")]);
    assert_eq!(
        value(&staging, "MLFLOW_TRACKING_URI").as_deref(),
        Some("http://staging:5000")
    );
}

#[test]
fn a_mistyped_default_section_is_told() {
    let project = Project::with_file("mistyped", "[defualt]\nexit_timeout = 1\n");
    let settings = project.explain(&[]);
    assert_problem(
        &settings,
        &[
            "the section [defualt] holds only with MLFLOW_ENV=defualt",
            "is [default] meant?",
        ],
    );
    assert_eq!(
        value(&settings, "MLFLOW_EXIT_TIMEOUT").as_deref(),
        Some("5")
    );
    let plain = Project::with_file("staging-only", "[staging]\nexit_timeout = 1\n");
    assert_eq!(problems(&plain.explain(&[])), [""; 0]);
}
