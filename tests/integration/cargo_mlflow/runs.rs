//! Commands that read and change runs: the same on a SQLite file and on a real server.

use std::fs;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{SCRIPTED, run};
use crate::support::command_line::cargo_mlflow;
use crate::support::mlflow::{Server, python};
use crate::support::program::{Ended, Folder};

/// Order in which the runs of the demo are always the same: the parent, which has no such param, is the last.
const ORDER: &str = "params.learning_rate ASC";

/// Folder in which `demo` was run, once into a file and once into a server.
pub(super) struct Demo {
    pub(super) folder: Folder,
    pub(super) server: &'static Server,
}

impl Demo {
    pub(super) fn shared() -> &'static Self {
        static DEMO: OnceLock<Demo> = OnceLock::new();
        DEMO.get_or_init(|| {
            let demo = Self {
                folder: Folder::for_hours(),
                server: Server::shared(),
            };
            for ended in demo.both(&["demo"]) {
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            }
            demo
        })
    }

    /// Returns the arguments that choose the file, and those that choose the server.
    pub(super) fn uris(&self) -> [Vec<&str>; 2] {
        [vec![], vec!["--tracking-uri", self.server.url()]]
    }

    /// Runs a command for the file and for the server.
    pub(super) fn both(&self, arguments: &[&str]) -> [Ended; 2] {
        let uri = ["--tracking-uri", self.server.url()];
        [
            run(&self.folder, arguments),
            run(&self.folder, &[arguments, &uri].concat()),
        ]
    }

    /// Runs a command for both, and returns what both print.
    #[track_caller]
    fn output(&self, arguments: &[&str]) -> String {
        let [file, server] = self.both(arguments);
        assert_eq!(file.code, Some(0), "{}", file.stderr);
        assert_eq!(server.code, Some(0), "{}", server.stderr);
        assert_eq!(stable(&file.stdout), stable(&server.stdout));
        stable(&file.stdout)
    }

    /// Runs a command that fails for both, and returns the exit code and the error.
    #[track_caller]
    fn failure(&self, arguments: &[&str]) -> (i32, String) {
        let [file, server] = self.both(arguments);
        assert_eq!(file.stdout, "");
        assert_eq!((file.code, &file.stderr), (server.code, &server.stderr));
        (file.code.expect("an exit"), file.stderr)
    }
}

/// Returns the output with all that differs from one demo to the next replaced: ids, times and durations, and with them
/// the width of columns.
fn stable(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut stable = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let next = words.get(index + 1).copied().unwrap_or_default();
            let is_id = matches!(word.len(), 8 | 32) && word.bytes().all(|b| b.is_ascii_hexdigit());
            // A date or a time of day.
            let is_date = word.len() >= 8 && {
                let parts: Vec<&str> = word.split(['-', ':']).collect();
                parts.len() == 3 && parts.iter().all(|part| part.parse::<u16>().is_ok())
            };
            let is_number = word.trim_start_matches('(').parse::<u64>().is_ok();
            let is_time = is_number && matches!(next, "s" | "ms" | "min");
            stable.push(if is_id {
                "[id]"
            } else if is_date {
                "[date]"
            } else if is_time {
                "[n]"
            } else if matches!(*word, "s" | "ms" | "min") {
                "[unit]"
            } else {
                word
            });
        }
        stable.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn runs_are_listed_with_the_columns_that_fit() {
    insta::assert_snapshot!(Demo::shared().output(&["runs", "-e", "demo", "-o", ORDER]));
    let chosen = [
        "runs",
        "-e",
        "demo",
        "-o",
        ORDER,
        "-n",
        "2",
        "-c",
        "params.seed,metrics.val/loss,tags.model",
    ];
    insta::assert_snapshot!(Demo::shared().output(&chosen));
}

#[test]
fn attributes_are_columns_too() {
    let demo = Demo::shared();
    let columns = "run_id,user,start,end,duration,status,experiment";
    let choice = ["runs", "-e", "demo", "-o", ORDER, "-n", "1", "-c", columns];
    let output = demo.output(&choice);
    let (header, row) = output.split_once('\n').unwrap();
    assert_eq!(
        header,
        "ID NAME RUN ID USER START END DURATION STATUS EXPERIMENT"
    );
    let words: Vec<&str> = row.split(' ').collect();
    assert_eq!(words[..3], ["[id]", "lr-0.01", "[id]"]);
    assert_eq!(words[4..8], ["[date]"; 4]);
    assert_eq!(words[8..], ["[n]", "[unit]", "FINISHED", "demo"]);
    // The id is whole.
    for ended in demo.both(&choice) {
        assert_eq!(
            ended
                .stdout
                .lines()
                .nth(1)
                .unwrap()
                .split_whitespace()
                .nth(2)
                .unwrap()
                .len(),
            32
        );
    }
}

/// Script that logs a run `with-data` with two datasets, to the store `argv[1]` and the experiment `argv[2]`.
const LOG_DATASETS: &str = r#"
import sys, mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment(sys.argv[2])
with mlflow.start_run(run_name="with-data"):
    frame = pandas.DataFrame({"a": [1, 2]})
    mlflow.log_input(mlflow.data.from_pandas(frame, source="https://example.com/wine.csv", name="wine"), "training")
    mlflow.log_input(mlflow.data.from_pandas(frame, source="/data/more.csv", name="more"))
"#;

#[test]
fn runs_of_several_experiments_are_told_apart_and_datasets_are_shown() {
    let server = Server::shared().url();
    let folder = Folder::new();
    let file = super::file_uri(&folder, "mlflow.db");
    let experiment = format!("data-{}", uuid::Uuid::new_v4());
    let shown = [&file, server].map(|uri| {
        python(LOG_DATASETS, &[uri, &experiment]);
        python(LOG_DATASETS, &[uri, &format!("{experiment}-b")]);
        let one = ["-e", &experiment, "--tracking-uri", uri];
        let two = ["-e", &format!("{experiment}-b")];
        let alone = run(&folder, &[&["runs"], &one[..]].concat());
        assert!(!alone.stdout.contains("EXPERIMENT"), "{}", alone.stdout);
        let both = run(&folder, &[&["runs"], &one[..], &two].concat());
        let mut lines = both.stdout.lines();
        let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(
            header[..5],
            ["ID", "NAME", "EXPERIMENT", "STATUS", "STARTED"]
        );
        let experiments: Vec<&str> = lines
            .map(|line| line.split_whitespace().nth(2).unwrap())
            .collect();
        assert_eq!(experiments.len(), 2);
        // The beginning of a long name is shown.
        assert!(
            experiments
                .iter()
                .all(|shown| shown.starts_with(&experiment[..30])),
            "{experiments:?}"
        );
        let shown = run(&folder, &[&["show", "with-data"], &one[..]].concat());
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        let datasets = shown.stdout.split("Datasets\n").nth(1).expect("datasets");
        let lines = datasets.lines().take_while(|line| !line.is_empty());
        let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        words.collect::<Vec<_>>()
    });
    assert_eq!(shown[0], shown[1]);
    assert_eq!(shown[0][0], "NAME DIGEST CONTEXT KIND SOURCE");
    assert!(
        shown[0][1].starts_with("more ")
            && shown[0][1].ends_with(" local /data/more.csv")
            && shown[0][2].starts_with("wine ")
            && shown[0][2].ends_with(" training http https://example.com/wine.csv"),
        "{:#?}",
        shown[0]
    );
}

#[test]
fn runs_are_chosen_by_filters() {
    let demo = Demo::shared();
    let names = |filter: &str| {
        let output = demo.output(&[
            "runs",
            "-e",
            "demo",
            "-o",
            ORDER,
            "-f",
            filter,
            "-c",
            "params.seed",
        ]);
        let names = output
            .lines()
            .skip(1)
            .map(|line| line.split(' ').nth(1).unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names("params.learning_rate > 0.1"),
        ["lr-0.3", "lr-1", "lr-300"]
    );
    assert_eq!(names("status = 'FAILED'"), ["lr-300"]);
    assert_eq!(
        names("metrics.`val/loss` < 0.38 AND tags.model LIKE 'logistic%'"),
        ["lr-0.1", "lr-1"]
    );
    assert_eq!(names("tags.model IS NULL"), ["sweep"]);
}

#[test]
fn a_run_is_shown_with_all_it_has() {
    let shown = Demo::shared().output(&["show", "best:val/loss", "-e", "demo"]);
    // The start, the user and the program are others on each machine.
    let lines = shown.lines().filter(|line| {
        !["started", "user", "source", "parent"]
            .iter()
            .any(|field| line.starts_with(field))
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn runs_are_compared_by_what_differs() {
    let demo = Demo::shared();
    let both = demo.both(&["compare", "lr-1", "lr-300", "lr-0.1", "-e", "demo"]);
    let [file, server] = both.map(|ended| {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let text = stable(&ended.stdout);
        // Runs of a few ms may all take as long.
        let lines = text.lines().filter(|line| !line.starts_with("duration"));
        lines.collect::<Vec<_>>().join("\n")
    });
    assert_eq!(file, server);
    insta::assert_snapshot!(file);
}

#[test]
fn a_metric_is_drawn_in_the_terminal_and_as_pictures() {
    let demo = Demo::shared();
    let chart = demo.output(&["plot", "val/loss", "lr-1", "lr-0.1", "-e", "demo"]);
    let is_braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
    assert!(
        chart.contains(is_braille) && chart.contains("lr-0.1"),
        "{chart}"
    );
    let lines: Vec<&str> = chart.lines().collect();
    assert_eq!(lines[0], "val/loss over step");
    let [_, curves @ .., _, ticks, legend] = lines.as_slice() else {
        panic!("{chart}");
    };
    assert_eq!(*ticks, "0 20 40 60");
    // The legend is below the curves, and a letter behind each curve names it.
    assert_eq!(*legend, "a lr-1 b lr-0.1");
    for letter in ['a', 'b'] {
        let ends = curves.iter().filter(|line| line.ends_with(letter));
        assert_eq!(ends.count(), 1, "{chart}");
    }

    demo.output(&[
        "plot",
        "val/loss",
        "-e",
        "demo",
        "--svg",
        "chart.svg",
        "--png",
        "chart.png",
    ]);
    let svg = fs::read_to_string(demo.folder.path().join("chart.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("lr-0.03"), "{svg}");
    let png = fs::read(demo.folder.path().join("chart.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
}

#[test]
fn artifacts_are_listed_and_fetched() {
    let demo = Demo::shared();
    assert_eq!(
        demo.output(&["artifacts", "ls", "lr-1"])
            .lines()
            .last()
            .and_then(|line| line.split(' ').next_back()),
        Some("model/weights.txt")
    );
    for uri in [&[][..], &["--tracking-uri", demo.server.url()]] {
        let get = ["artifacts", "get", "lr-1", "model", "--to", "got"];
        let ended = run(&demo.folder, &[&get[..], uri].concat());
        assert_eq!(ended.stdout, "got/model\n", "{}", ended.stderr);
        let weights = demo.folder.path().join("got/model/weights.txt");
        let content = fs::read_to_string(&weights).unwrap();
        assert!(
            content.starts_with('[') && content.ends_with("]\n"),
            "{content}"
        );
        fs::remove_file(weights).unwrap();
    }
}

#[test]
fn artifacts_that_are_fetched_overwrite_no_file() {
    let demo = Demo::shared();
    let kept = demo.folder.path().join("kept/model/weights.txt");
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    for uri in [&[][..], &["--tracking-uri", demo.server.url()]] {
        for (path, shown) in [
            ("", "kept"),
            ("model", "kept/model"),
            ("model/weights.txt", "kept/model/weights.txt"),
        ] {
            fs::write(&kept, "mine").unwrap();
            let get = ["artifacts", "get", "lr-1", path, "--to", "kept"];
            let refused = run(&demo.folder, &[&get[..], uri].concat());
            assert_eq!(
                (
                    refused.code,
                    refused.stdout.as_str(),
                    refused.stderr.as_str()
                ),
                (
                    Some(1),
                    "",
                    "error: the file kept/model/weights.txt exists already: nothing was written. --force overwrites, \
                     and --to names another directory\n"
                ),
                "{path}"
            );
            assert_eq!(fs::read_to_string(&kept).unwrap(), "mine");
            let forced = run(&demo.folder, &[&get[..], &["--force"], uri].concat());
            assert_eq!(forced.stdout, format!("{shown}\n"), "{}", forced.stderr);
            let bytes = fs::metadata(&kept).unwrap().len();
            assert_eq!(
                forced.stderr,
                format!("1 file with {bytes} B written to kept\n")
            );
        }
    }
    let here = run(&demo.folder, &["artifacts", "get", "lr-0.1"]);
    assert_eq!(here.stdout, ".\n", "{}", here.stderr);
}

#[test]
fn a_metric_that_no_run_has_is_named_with_those_that_there_are() {
    let demo = Demo::shared();
    for arguments in [
        &[
            "export", "-e", "demo", "-m", "nosuch", "--output", "none.csv",
        ][..],
        &["export", "-e", "demo", "-m", "nosuch", "--json"],
        &["inspect", "lr-1", "-m", "nosuch", "--summary", "--json"],
        &["inspect", "lr-1", "-m", "nosuch"],
        &["plot", "nosuch", "-e", "demo"],
    ] {
        for uri in [&[][..], &["--tracking-uri", demo.server.url()]] {
            let ended = run(&demo.folder, &[arguments, uri].concat());
            assert_eq!(ended.code, Some(3), "{arguments:?}: {}", ended.stderr);
            let text = "the metric `nosuch`: the run";
            assert!(ended.stderr.contains(text), "{}", ended.stderr);
            let text = " train/loss, val/accuracy, val/loss\n";
            assert!(ended.stderr.ends_with(text), "{}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        }
    }
    assert!(!demo.folder.path().join("none.csv").exists());
    // What the runs have is written, and a line tells of the rest.
    for arguments in [
        &["export", "-e", "demo", "-m", "val/loss,nosuch"][..],
        &["inspect", "lr-1", "-m", "val/loss,nosuch"],
    ] {
        let ended = run(&demo.folder, arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("val/loss"), "{}", ended.stdout);
        assert!(
            ended.stderr.contains("`nosuch`: the run"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn an_experiment_that_is_missing_is_told_in_the_same_words_by_every_store() {
    let demo = Demo::shared();
    for name in ["it's", "no such"] {
        for uri in [&[][..], &["--tracking-uri", demo.server.url()]] {
            let ended = run(&demo.folder, &[&["runs", "-e", name], uri].concat());
            assert_eq!(ended.code, Some(3), "{}", ended.stderr);
            assert_eq!(
                ended.stderr,
                format!("error: there is no experiment `{name}`\n")
            );
        }
    }
}

#[test]
fn runs_and_points_are_exported() {
    let demo = Demo::shared();
    let choice = [
        "export",
        "-e",
        "demo",
        "-o",
        ORDER,
        "-f",
        "params.learning_rate >= 1",
    ];
    for ended in demo.both(&choice) {
        let mut lines = ended.stdout.lines();
        let header = lines.next().unwrap();
        assert!(
            header.starts_with("run_id,name,experiment_id,status,"),
            "{header}"
        );
        assert!(
            header.contains(",params.learning_rate,params.seed,metrics.train/loss,"),
            "{header}"
        );
        assert_eq!(lines.count(), 2);
        assert_eq!(ended.stderr, "2 runs\n");
    }
    for ended in demo.both(&[&choice[..], &["-m", "train/loss", "--json"]].concat()) {
        let points: Value = serde_json::from_str(&ended.stdout).unwrap();
        let points = points.as_array().unwrap();
        assert_eq!(
            points.len(),
            61,
            "60 of one run, and NaN of the one that diverged"
        );
        assert_eq!(points[59]["step"], 59);
        assert_eq!(points[60]["value"], "NaN");
    }
}

#[test]
fn json_holds_what_the_tables_show() {
    let demo = Demo::shared();
    for ended in demo.both(&["runs", "-e", "demo", "-o", ORDER, "--json"]) {
        let runs: Value = serde_json::from_str(&ended.stdout).unwrap();
        let runs = runs.as_array().unwrap();
        assert_eq!(runs.len(), 7);
        assert_eq!(runs[0]["name"], "lr-0.01");
        assert_eq!(runs[0]["params"]["seed"], "1");
        assert_eq!(runs[5]["status"], "FAILED");
        assert_eq!(runs[5]["metrics"]["train/loss"]["value"], "NaN");
        assert_eq!(ended.stderr, "");
    }
    for ended in demo.both(&["compare", "lr-1", "lr-300", "-e", "demo", "--json"]) {
        let compared: Value = serde_json::from_str(&ended.stdout).unwrap();
        let rows = compared["rows"].as_array().unwrap();
        let best = rows.iter().find(|row| row["key"] == "train/loss").unwrap();
        assert_eq!(best["best"], 0);
    }
    for ended in demo.both(&["experiments", "--json", "-f", "name = 'demo'"]) {
        let experiments: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(experiments[0]["name"], "demo");
        assert_eq!(experiments.as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn durations_are_numbers_with_the_unit_in_their_name() {
    let demo = Demo::shared();
    let parsed = |ended: &Ended| -> Value {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let chosen = ["-e", "demo", "-f", "run_name = 'lr-1'"];
    for uri in &demo.uris() {
        let with = |arguments: &[&str]| run(&demo.folder, &[arguments, uri].concat());
        let runs = parsed(&with(&[&["runs", "--json"][..], &chosen].concat()));
        let number = |run: &Value, key: &str| run[key].as_i64().expect("a number");
        let duration = number(&runs[0], "duration_ms");
        let [start, end] = ["start_time_ms", "end_time_ms"].map(|key| number(&runs[0], key));
        assert_eq!(duration, end - start);
        let shown = parsed(&with(&["show", "lr-1", "-e", "demo", "--json"]));
        assert_eq!(number(&shown, "duration_ms"), duration);
        let exported = parsed(&with(&[&["export", "--json"][..], &chosen].concat()));
        assert_eq!(exported[0], runs[0]);
        let csv = with(&[&["export"][..], &chosen].concat()).stdout;
        let (header, row) = csv.split_once('\n').unwrap();
        let column = header
            .split(',')
            .position(|name| name == "duration_ms")
            .unwrap();
        assert_eq!(row.split(',').nth(column), Some(&*duration.to_string()));
        let compared = parsed(&with(&[
            "compare", "lr-1", "lr-300", "-e", "demo", "--all", "--json",
        ]));
        let rows = compared["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["key"] == "duration_ms").unwrap();
        assert_eq!(row["values"][0], duration);
    }
}

#[test]
fn a_run_is_named_in_many_ways() {
    let demo = Demo::shared();
    let [file, _] = demo.both(&["show", "lr-1", "-e", "demo", "--json"]);
    let shown: Value = serde_json::from_str(&file.stdout).unwrap();
    let id = shown["run_id"].as_str().unwrap();
    for name in [id, &id[..10], "lr-1", "min:val/loss", "best:val/loss"] {
        let again = run(&demo.folder, &["show", name, "-e", "demo", "--json"]);
        assert_eq!(again.stdout, file.stdout, "{name}: {}", again.stderr);
    }
    let worst = run(
        &demo.folder,
        &["show", "max:val/loss", "-e", "demo", "--json"],
    );
    assert_ne!(worst.stdout, file.stdout);
}

#[test]
fn what_cannot_be_done_is_one_line_and_an_exit_code() {
    let demo = Demo::shared();
    for (arguments, code, text) in [
        (
            &["show", "nobody", "-e", "demo"][..],
            3,
            "there is no run with the id or name `nobody`",
        ),
        (
            &["show", "best:seed", "-e", "demo"],
            2,
            "write `min:seed` or `max:seed`",
        ),
        (
            &["show", "min:seed", "-e", "demo"],
            3,
            "no run has a finite number for the metric `seed`",
        ),
        (&["runs", "-e", "nowhere"], 3, "nowhere"),
        (
            &["plot", "loss", "-e", "demo"],
            3,
            "the runs have train/loss, val/accuracy, val/loss",
        ),
        (
            &["runs", "-c", "loss"],
            2,
            "expected metrics.KEY, params.KEY, tags.KEY, or one of experiment, status, run_id,",
        ),
        (
            &["cleanup", "--days", "0", "-e", "demo", "--max", "1"],
            1,
            "more than 1 run matches: nothing was deleted",
        ),
        (
            &["artifacts", "ls", "lr-1", "nowhere", "-e", "demo"],
            3,
            "has no folder `nowhere`",
        ),
        (
            &["cleanup", "--days", "0", "-e", "demo"],
            2,
            "give --yes to delete",
        ),
        (&["compare", "lr-1", "-e", "demo"], 3, "fewer than two runs"),
    ] {
        let [file, server] = demo.both(arguments);
        assert_eq!(
            (file.code, server.code),
            (Some(code), Some(code)),
            "{}{}",
            file.stderr,
            server.stderr
        );
        assert!(
            file.stderr.contains(text) && server.stderr.contains(text),
            "{}{}",
            file.stderr,
            server.stderr
        );
    }
    let (code, error) = demo.failure(&["runs", "-f", "metrics.`val/loss` = 0.1 OR status = 'x'"]);
    assert_eq!(code, 2);
    assert_eq!(
        error,
        "error: the filter cannot be read: MLflow's filters have no OR; make one search for each side\n    \
         metrics.`val/loss` = 0.1 OR status = 'x'\n                             ^\n"
    );
    let nobody = run(&demo.folder, &["runs", "--tracking-uri", super::NOWHERE]);
    assert_eq!(nobody.code, Some(5), "{}", nobody.stderr);
    assert!(
        nobody.stderr.contains("refused") && nobody.stderr.contains(super::NOWHERE),
        "{}",
        nobody.stderr
    );
    let failed = run(&demo.folder, &["runs", "--json", "-e", "nowhere"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(3), ""));
}

#[test]
fn several_runs_of_one_name_are_not_guessed_among() {
    let folder = Folder::new();
    for _ in 0..2 {
        assert_eq!(run(&folder, &["demo"]).code, Some(0));
    }
    let ended = run(&folder, &["show", "lr-1"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("more than one run is meant by `lr-1`"),
        "{}",
        ended.stderr
    );
    let listed = ended
        .stderr
        .lines()
        .filter(|line| line.contains("  lr-1  "));
    assert_eq!(listed.count(), 2, "{}", ended.stderr);
}

#[test]
fn old_runs_are_deleted_and_hidden() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let kept = run(&folder, &["cleanup", "--days", "1", "--yes"]);
    assert_eq!(kept.code, Some(0));
    assert!(
        kept.stderr.contains("no run ended more than 1 day ago"),
        "{}",
        kept.stderr
    );

    let failed = ["cleanup", "--days", "0", "-f", "status = 'FAILED'"];
    let looked = run(&folder, &[&failed[..], &["--dry-run"]].concat());
    assert!(
        looked.stdout.contains("lr-300") && !looked.stdout.contains("lr-1 "),
        "{}",
        looked.stdout
    );
    let deleted = run(&folder, &[&failed[..], &["--yes"]].concat());
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    let names = |arguments: &[&str]| {
        let listed = run(&folder, &[arguments, &["--json"]].concat());
        let runs: Value = serde_json::from_str(&listed.stdout).unwrap();
        let names = runs
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&["runs", "--deleted"]), ["lr-300"]);
    assert_eq!(names(&["runs"]).len(), 6);
}

/// Creates an experiment with the deleted runs `lost-1` and `lost-2` and the active run `kept` in the shared server,
/// and returns its name.
fn experiment_with_deleted_runs(server: &Server) -> String {
    let experiment = format!("restored-{}", uuid::Uuid::new_v4());
    let api = server.api();
    let created = api.post("experiments/create", &json!({ "name": experiment }));
    let id = created["experiment_id"].as_str().unwrap();
    for (start, name) in (1..).zip(["lost-1", "lost-2", "kept"]) {
        let body = json!({ "experiment_id": id, "run_name": name, "start_time": start });
        let created = api.post("runs/create", &body);
        if name != "kept" {
            let body = json!({ "run_id": created["run"]["info"]["run_id"] });
            api.post("runs/delete", &body);
        }
    }
    experiment
}

#[test]
fn deleted_runs_are_shown_and_restored() {
    let server = Server::shared();
    let experiment = experiment_with_deleted_runs(server);
    let folder = Folder::new();
    // The same runs in a file.
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let prepared = folder.database().execute_batch(&format!(
        "UPDATE experiments SET name = '{experiment}' WHERE name = 'demo';
         DELETE FROM params; DELETE FROM tags; DELETE FROM metrics; DELETE FROM latest_metrics;
         DELETE FROM runs WHERE name NOT IN ('lr-0.01', 'lr-0.03', 'lr-0.1');
         UPDATE runs SET lifecycle_stage = 'deleted', name = 'lost-1' WHERE name = 'lr-0.01';
         UPDATE runs SET lifecycle_stage = 'deleted', name = 'lost-2' WHERE name = 'lr-0.03';
         UPDATE runs SET name = 'kept' WHERE name = 'lr-0.1';
         INSERT INTO tags (key, value, run_uuid) SELECT 'mlflow.runName', name, run_uuid FROM runs;"
    ));
    assert_eq!(prepared, Ok(()));
    for uri in [&[][..], &["--tracking-uri", server.url()]] {
        let with =
            |arguments: &[&str]| run(&folder, &[arguments, &["-e", &experiment], uri].concat());
        let runs = |arguments: &[&str]| -> Vec<Value> {
            let ended = with(&[arguments, &["--json"]].concat());
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            serde_json::from_str(&ended.stdout).unwrap()
        };
        let names = |arguments: &[&str]| {
            let mut names: Vec<_> = runs(arguments)
                .iter()
                .map(|run| run["name"].as_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&["runs", "--deleted"]), ["lost-1", "lost-2"]);
        // Without `--deleted`, a name means an active run.
        assert_eq!(with(&["show", "lost-1"]).code, Some(3));
        let shown = with(&["show", "lost-1", "--deleted"]);
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        assert!(shown.stdout.contains("(deleted)"), "{}", shown.stdout);
        // If one run cannot be found, none is restored.
        let failed = with(&["restore", "lost-1", "nobody"]);
        assert_eq!(failed.code, Some(3));
        assert!(
            failed
                .stderr
                .contains("there is no deleted run with the id or name `nobody`"),
            "{}",
            failed.stderr
        );
        assert_eq!(names(&["runs"]), ["kept"]);
        let lost = runs(&["runs", "--deleted"]);
        let lost = lost.iter().find(|run| run["name"] == "lost-2").unwrap();
        let beginning = &lost["run_id"].as_str().unwrap()[..12];
        let restored = with(&["restore", "lost-1", beginning]);
        assert_eq!(restored.code, Some(0), "{}", restored.stderr);
        assert!(
            restored.stdout.contains("lost-1") && restored.stderr.contains("2 runs restored"),
            "{}{}",
            restored.stdout,
            restored.stderr
        );
        assert_eq!(names(&["runs"]), ["kept", "lost-1", "lost-2"]);
        let again = with(&["restore", lost["run_id"].as_str().unwrap()]);
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        assert!(again.stderr.contains("is not deleted"), "{}", again.stderr);
    }
}

/// Script that logs the runs `down`, `up` and `good` to the store `argv[1]` and the experiment `argv[2]`. The loss
/// of the first two is infinite.
const LOG_INFINITIES: &str = r#"
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment(sys.argv[2])
for name, loss in [("down", float("-inf")), ("up", float("inf")), ("good", 0.5)]:
    with mlflow.start_run(run_name=name):
        mlflow.log_metric("loss", loss)
        if name != "good":
            mlflow.log_metric("lost", loss)
"#;

#[test]
fn infinities_are_shown_and_never_the_best() {
    let server = Server::shared().url();
    let folder = Folder::new();
    let file = super::file_uri(&folder, "mlflow.db");
    let experiment = format!("infinite-{}", uuid::Uuid::new_v4());
    for uri in [&file, server] {
        python(LOG_INFINITIES, &[uri, &experiment]);
        let with = |arguments: &[&str]| {
            let choice = ["-e", &experiment, "--tracking-uri", uri];
            run(&folder, &[arguments, &choice].concat())
        };
        for best in ["best:loss", "min:loss", "max:loss"] {
            let shown = with(&["show", best]);
            assert_eq!(shown.code, Some(0), "{}", shown.stderr);
            assert!(
                shown.stdout.starts_with("good\n"),
                "{best}: {}",
                shown.stdout
            );
        }
        let none = with(&["show", "max:lost"]);
        assert_eq!(none.code, Some(3));
        assert!(
            none.stderr.contains("no run has a finite number"),
            "{}",
            none.stderr
        );
        let listed = with(&["runs", "-o", "metrics.loss ASC", "-c", "metrics.loss"]).stdout;
        let shown: Vec<&str> = { listed.lines().skip(1) }
            .map(|line| line.split_whitespace().next_back().unwrap())
            .collect();
        assert_eq!(shown, ["-inf", "0.5", "inf"]);
        let shown = with(&["show", "down"]).stdout;
        assert!(shown.contains("-inf") && !shown.contains("e308"), "{shown}");
        let compared = with(&["compare", "down", "up", "good"]).stdout;
        assert!(
            compared.contains("-inf ")
                && compared.contains("0.5 *")
                && !compared.contains("-inf *"),
            "{compared}"
        );
        // Programs get what the store holds.
        let json = with(&["show", "up", "--json"]).stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["metrics"]["loss"]["value"], f64::MAX);
        let drawn = with(&["plot", "loss", "down", "up", "good"]);
        assert!(!drawn.stdout.contains("e308"), "{}", drawn.stdout);
    }
}

/// A run that goes on may keep the end of its earlier part.
#[test]
fn a_run_that_goes_on_is_never_cleaned_up() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let file = rusqlite::Connection::open(folder.path().join("mlflow.db")).unwrap();
    let changed = file.execute(
        "UPDATE runs SET status = 'RUNNING', end_time = 0 WHERE name = 'lr-1'",
        [],
    );
    assert_eq!(changed, Ok(1));
    let changed = file.execute(
        "UPDATE runs SET status = 'RUNNING' WHERE name = 'lr-0.1'",
        [],
    );
    assert_eq!(changed, Ok(1));
    let looked = run(&folder, &["cleanup", "--days", "0", "--dry-run", "--json"]);
    let runs: Value = serde_json::from_str(&looked.stdout).unwrap();
    let names: Vec<_> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["name"].as_str())
        .collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(
        !names.contains(&Some("lr-1")) && !names.contains(&Some("lr-0.1")),
        "{names:?}"
    );
}

#[test]
fn a_failed_export_leaves_the_earlier_file_as_it_is() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let file = folder.path().join("runs.csv");
    fs::write(&file, "earlier").unwrap();
    let failed = run(
        &folder,
        &["export", "-f", "nonsense", "--output", "runs.csv"],
    );
    assert_eq!(failed.code, Some(2), "{}", failed.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), "earlier");
    let done = run(&folder, &["export", "--output", "runs.csv"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 8);
    // What is no plain file stays what it is.
    std::os::unix::fs::symlink("runs.csv", folder.path().join("link.csv")).unwrap();
    let through = run(&folder, &["export", "--output", "link.csv"]);
    assert_eq!(through.code, Some(0), "{}", through.stderr);
    assert!(folder.path().join("link.csv").is_symlink());
    let parts = fs::read_dir(folder.path()).unwrap().flatten();
    assert_eq!(
        parts
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "part"))
            .count(),
        0
    );
}

#[test]
fn the_name_of_a_run_cannot_control_the_terminal() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    let file = rusqlite::Connection::open(folder.path().join("mlflow.db")).unwrap();
    let name = "evil\u{1b}]0;title\u{7}";
    assert_eq!(
        file.execute("UPDATE runs SET name = ?1 WHERE name = 'lr-1'", [name]),
        Ok(1)
    );
    for arguments in [
        &["runs"][..],
        &["show", "best:val/loss"],
        &["compare"],
        &["plot", "val/loss"],
    ] {
        let ended = run(&folder, &[arguments, &["--color", "always"]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            !ended.stdout.contains("\u{1b}]") && !ended.stdout.contains('\u{7}'),
            "{}",
            ended.stdout
        );
    }
}

#[test]
fn a_folder_without_a_file_says_so_and_gets_none() {
    let folder = Folder::new();
    let ended = run(&folder, &["runs"]);
    assert_eq!(ended.code, Some(3));
    assert!(
        ended.stderr.contains("there is no MLflow database"),
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_name_alone_shows_the_help() {
    let folder = Folder::new();
    for (arguments, usage) in [
        (&[][..], "Usage: cargo mlflow [OPTIONS] <COMMAND>"),
        (
            &["journal"],
            "Usage: cargo mlflow journal [OPTIONS] <COMMAND>",
        ),
    ] {
        let ended = run(&folder, arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""));
        assert!(ended.stdout.contains(usage), "{}", ended.stdout);
    }
    let wrong = run(&folder, &["nonsense"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""));
    assert!(
        wrong.stderr.contains("unrecognized subcommand"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn cargo_calls_the_program_with_its_own_name_first() {
    let folder = Folder::new();
    let plain = run(&folder, &["completions", "bash"]);
    assert_eq!(plain.code, Some(0));
    assert!(plain.stdout.contains("cargo-mlflow"));
    let by_cargo = folder.run(cargo_mlflow(), &["mlflow", "completions", "bash"], &[]);
    assert_eq!(by_cargo.stdout, plain.stdout);
}

#[test]
fn curves_that_are_not_examined_are_named() {
    let folder = Folder::new();
    let script = [
        "start a",
        "points a/loss 0 1",
        "points b/loss 0 1",
        "points c/loss 0 1",
        "end a",
    ];
    assert!(folder.run(SCRIPTED, &script, &[]).success);
    // Another client logs many points, all without a step.
    let added = folder.database().execute(
        "with recursive number(i) as (select 1 union all select i + 1 from number where i < 60000) \
         insert into metrics (key, value, timestamp, run_uuid, step, is_nan) \
         select key, i, timestamp + i, run_uuid, 0, 0 from latest_metrics, number",
        [],
    );
    assert_eq!(added.unwrap(), 180_000);
    let shown = super::json(&folder, &["show", "a"]);
    assert_eq!(shown["not_examined"], json!(["c/loss"]));
    let shown = run(&folder, &["show", "a"]);
    assert!(
        shown.stderr.contains("not examined: the curves of c/loss"),
        "{}",
        shown.stderr
    );
}
