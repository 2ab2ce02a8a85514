//! The configuration file `mlflow.toml`, as programs and the command line use it, and the page that lists all settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::command_line::cargo_mlflow;
use crate::support::fake_server::{FakeServer, Reply};
use crate::support::program::{Ended, Folder};

const PLAIN: &str = env!("CARGO_BIN_EXE_plain");

/// Runs the program `plain` in a folder of the project, without the variables of other tests.
fn run_plain_in(folder: &Folder, below: &str, environment: &[(&str, &str)]) -> Ended {
    let directory = folder.path().join(below);
    fs::create_dir_all(&directory).unwrap();
    let arguments = ["--chdir", directory.to_str().unwrap(), PLAIN];
    folder.run("env", &arguments, environment)
}

fn write_config(folder: &Folder, text: &str) -> PathBuf {
    let path = folder.path().join("mlflow.toml");
    fs::write(&path, text).unwrap();
    path
}

/// Returns the number of runs in the SQLite file of the folder.
fn count_runs(folder: &Folder, condition: &str) -> i64 {
    let query = format!(
        "SELECT COUNT(*) FROM runs JOIN experiments USING (experiment_id) WHERE {condition}"
    );
    { folder.database().query_row(&query, [], |row| row.get(0)) }.unwrap()
}

#[test]
fn a_program_below_the_file_logs_to_the_store_beside_the_file() {
    let folder = Folder::new();
    write_config(
        &folder,
        "[default]\ntracking_uri = 'sqlite:///mlflow.db'\nexperiment_name = 'wine'\n",
    );
    let ended = run_plain_in(&folder, "src/bin", &[]);
    assert!(ended.success, "{}", ended.stderr);
    assert!(!ended.stderr.contains("mlflow.toml"), "{}", ended.stderr);
    assert_eq!(count_runs(&folder, "experiments.name = 'wine'"), 1);
    // The command line finds the file, too.
    let runs = folder.run(
        cargo_mlflow(),
        &["runs", "--experiment", "wine", "--json"],
        &[],
    );
    assert_eq!(runs.code, Some(0), "{}", runs.stderr);
    assert!(runs.stdout.contains("\"loss\""), "{}", runs.stdout);
}

#[test]
fn the_environment_chooses_the_section_and_the_secret_is_sent() {
    let folder = Folder::new();
    let server = FakeServer::start(|request, _| {
        let is_in =
            request.headers.get("authorization").map(String::as_str) == Some("Bearer tok3n");
        let (status, body) = if is_in {
            (200, r#"{"experiments": []}"#)
        } else {
            (401, "who?")
        };
        Reply::Answer(status, String::new(), body.to_owned())
    });
    let file = write_config(
        &folder,
        &format!(
            "[default]\nexperiment_name = 'wine'\n[production]\ntracking_uri = '{}'\n\
             tracking_token = {{ env = 'WINE_TOKEN' }}\n",
            server.url()
        ),
    );
    let environment = [("MLFLOW_ENV", "production"), ("WINE_TOKEN", "tok3n")];
    let ended = folder.run(cargo_mlflow(), &["doctor", "--json"], &environment);
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(report["store"]["uri"], server.url().as_str());
    assert_eq!(report["store"]["authenticated"], true, "{report:#}");
    let settings = report["configuration"]["settings"].as_array().unwrap();
    let token = { settings.iter() }
        .find(|setting| setting["name"] == "MLFLOW_TRACKING_TOKEN")
        .expect("it is listed");
    assert_eq!(token["value"], "[redacted]");
    assert_eq!(token["source"], "config_file");
    assert_eq!(token["file"], file.to_str().unwrap());
    let table = folder.run(cargo_mlflow(), &["doctor"], &environment);
    let shown = table.stdout.replace(['\n', ' '], "");
    assert!(shown.contains("mlflow.toml"), "{}", table.stdout);
    assert!(!format!("{}{}{}", ended.stdout, table.stdout, table.stderr).contains("tok3n"));
}

/// A typing mistake in the file must neither lose a run nor send it to another store.
#[test]
fn values_wait_while_the_file_is_broken_and_are_delivered_when_it_is_mended() {
    let folder = Folder::new();
    let file = write_config(&folder, "[default]\ntracking_uri = sqlite:///mlflow.db\n");
    let ended = run_plain_in(&folder, "src", &[]);
    assert!(ended.success);
    let told = { ended.stderr.lines() }.any(|line| {
        line.contains("mlflow.toml")
            && line.contains("line 2")
            && line.contains("values wait in the journal")
    });
    assert!(told, "{}", ended.stderr);
    assert!(
        !folder.path().join("src/mlflow.db").exists(),
        "no other store"
    );
    assert_eq!(folder.journals_left(), 1);

    write_config(&folder, "[default]\ntracking_uri = 'sqlite:///mlflow.db'\n");
    let from = file.to_str().unwrap();
    let to = format!("sqlite:///{}", folder.path().join("mlflow.db").display());
    let sync = folder.run(cargo_mlflow(), &["sync", "--from", from, "--to", &to], &[]);
    assert_eq!(sync.code, Some(0), "{}{}", sync.stdout, sync.stderr);
    assert_eq!(
        count_runs(&folder, "runs.name = 'plain' AND status = 'FINISHED'"),
        1
    );
    assert_eq!(folder.journals_left(), 0);
}

#[test]
fn each_bad_entry_is_one_line_and_the_rest_is_used() {
    let folder = Folder::new();
    write_config(
        &folder,
        "[default]\nexperiment_nam = 'x'\nexperiment_name = 'wine'\ntracking_token = 'hunter2'\ntracking_uri = 'sqlite:///mlflow.db'\n",
    );
    let ended = run_plain_in(&folder, "src", &[]);
    let lines: Vec<_> = { ended.stderr.lines() }
        .filter(|line| line.contains("mlflow.toml"))
        .collect();
    assert_eq!(lines.len(), 2, "{}", ended.stderr);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("line 2: `experiment_nam`")
                && line.contains("is `experiment_name` meant?"))
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("line 4, tracking_token")
                && line.contains("{ env = \"NAME\" }"))
    );
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    assert_eq!(count_runs(&folder, "experiments.name = 'wine'"), 1);
}

/// Setting in the table of the library's documentation.
struct Row {
    variables: Vec<String>,
    meaning: String,
    default: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the table of variables in the documentation of the library, which a unit test compares with the settings.
fn rows() -> Vec<Row> {
    let page = fs::read_to_string(root().join("mlflow-runtime/src/lib.rs")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let rows: Vec<_> = rows
        .filter_map(|row| {
            let (variables, rest) = row.split_once(" | ")?;
            let (meaning, default) = rest.trim_end_matches('|').trim_end().rsplit_once(" |")?;
            let variables = variables
                .split(", ")
                .map(|name| name.trim_matches('`').to_owned());
            Some(Row {
                variables: variables.collect(),
                meaning: meaning.to_owned(),
                default: default.trim().to_owned(),
            })
        })
        .collect();
    assert!(rows.len() > 25, "{}", rows.len());
    rows
}

/// Returns the names of the methods of `Config` whose documentation names a variable as theirs, by the variable.
fn setters() -> BTreeMap<String, String> {
    fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    sources(&root().join("mlflow-runtime/src/config"), &mut files);
    let mut setters = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut doc = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("///") {
                doc.push_str(if words.is_empty() { "\n" } else { words });
            } else if let Some(signature) = line.strip_prefix("pub fn ") {
                let name = signature.split(['(', '<']).next().unwrap();
                // The variables of a setter stand in parentheses in its first paragraph; others are only mentioned.
                let first = doc.split('\n').next().unwrap_or_default();
                for inside in first.split("(`").skip(1) {
                    let inside = inside.split(')').next().unwrap_or_default();
                    let words =
                        inside.split(|c: char| !c.is_ascii_uppercase() && c != '_' && c != '4');
                    for variable in words.filter(|word| word.starts_with("MLFLOW_")) {
                        setters.insert(variable.to_owned(), name.to_owned());
                    }
                }
                doc.clear();
            } else if !line.starts_with('#') {
                doc.clear();
            }
        }
    }
    assert!(setters.len() > 25, "{setters:?}");
    setters
}

/// Returns a meaning or a default with links that lead somewhere outside of the library's documentation, too.
fn with_outside_links(text: &str) -> String {
    text.replace("(crate#configuration-file)", "(#the-file)")
        .replace("(#configuration-file)", "(#the-file)")
        .replace(
            "[`distributed`]",
            "[threads, tasks and ranks](threads-tasks-ranks.md)",
        )
        .replace("[`", "`")
        .replace("`]", "`")
}

/// Returns the table of all settings.
fn table() -> String {
    const NOT_IN_FILE: [&str; 5] = [
        "MLFLOW_CONFIG_FILE",
        "MLFLOW_RUN_ID",
        "MLFLOW_RENDEZVOUS_ID",
        "MLFLOW_ENV",
        "MLFLOW_RUN_CONTEXT",
    ];
    let setters = setters();
    let mut table = String::from(
        "| variable | in `mlflow.toml` | method of `Config` | meaning | default |\n|---|---|---|---|---|\n",
    );
    for row in rows() {
        let each = |name: &dyn Fn(&String) -> Option<String>| {
            let names: Vec<_> = row.variables.iter().filter_map(name).collect();
            let mut unique = names.clone();
            unique.dedup();
            unique.join(", ")
        };
        let variables = each(&|variable| Some(format!("`{variable}`")));
        let keys = each(&|variable| {
            let key = variable.strip_prefix("MLFLOW_")?.to_lowercase();
            (!NOT_IN_FILE.contains(&variable.as_str())).then(|| format!("`{key}`"))
        });
        let methods = each(&|variable| Some(format!("`{}`", setters.get(variable)?)));
        let meaning = with_outside_links(&row.meaning);
        let default = with_outside_links(&row.default);
        table.push_str(&format!(
            "| {variables} | {keys} | {methods} | {meaning} | {default} |\n"
        ));
    }
    table
}

/// The table of the page is made from the code. `MLFLOW_TEST_UPDATE=1` writes it anew.
#[test]
fn the_page_lists_every_setting_as_the_code_has_it() {
    const BEGIN: &str = "<!-- The table is written by `MLFLOW_TEST_UPDATE=1 cargo test -p mlflow-tests --test integration config_file`. -->\n";
    const END: &str = "<!-- End of the table. -->\n";
    let path = root().join("docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the mark before the table");
    let (written, after) = rest.split_once(END).expect("the mark behind the table");
    let table = table();
    if std::env::var_os("MLFLOW_TEST_UPDATE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(written, table, "run the command in the page");
}
