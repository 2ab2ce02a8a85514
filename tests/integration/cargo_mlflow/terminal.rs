//! A terminal of a chosen width, in which the command line is started, and what it shows there.

use std::collections::BTreeSet;

use super::{NOWHERE, cargo_mlflow, json, leave_killed, run};
use crate::support::mlflow::{python, python_command};
use crate::support::program::{Ended, Folder};

/// Script that starts the command `argv[3:]` in a pseudo-terminal of `argv[1]` columns and `argv[2]` lines, and
/// prints what the command writes to it: stdout and stderr alike.
const SCRIPT: &str = r#"
import fcntl, os, pty, struct, sys, termios
process, terminal = pty.fork()
if process == 0:
    size = struct.pack("HHHH", int(sys.argv[2]), int(sys.argv[1]), 0, 0)
    fcntl.ioctl(1, termios.TIOCSWINSZ, size)
    os.execv(sys.argv[3], sys.argv[3:])
output = b""
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    output += part
_, status = os.waitpid(process, 0)
sys.stdout.buffer.write(output.replace(b"\r\n", b"\n"))
sys.exit(os.waitstatus_to_exitcode(status))
"#;

/// Runs a command of `cargo mlflow` in the folder, on a terminal with `width` columns and 24 lines. What the
/// command writes to stdout and stderr is in `stdout`.
pub(super) fn run_on_terminal(
    folder: &Folder,
    width: usize,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Ended {
    let width = width.to_string();
    let python = python_command();
    let python = python.get_program().to_str().expect("UTF-8");
    let script = ["-c", SCRIPT, &width, "24", cargo_mlflow()];
    folder.run(python, &[&script[..], arguments].concat(), environment)
}

/// Columns of terminals in which tables are shown.
const WIDTHS: [usize; 5] = [40, 50, 66, 80, 120];

/// Returns the words of a text, but for numbers, which may be ages.
fn words(text: &str) -> BTreeSet<&str> {
    let words = text.split_whitespace();
    words.filter(|word| word.parse::<f64>().is_err()).collect()
}

/// Checks that what a command writes on terminals of all widths fits, and that each word in it is whole, or was cut
/// and marked.
#[track_caller]
fn check_widths(folder: &Folder, arguments: &[&str]) {
    let wide = run(folder, arguments);
    assert_eq!(wide.code, Some(0), "{}", wide.stderr);
    let everything = wide.stdout + &wide.stderr;
    let known = words(&everything);
    for width in WIDTHS {
        let shown = run_on_terminal(folder, width, arguments, &[("NO_COLOR", "1")]);
        assert_eq!(shown.code, Some(0), "{}", shown.stdout);
        for line in shown.stdout.lines() {
            assert!(
                line.chars().count() <= width,
                "{width} {arguments:?}: {line:?}\n{}",
                shown.stdout
            );
        }
        for word in words(&shown.stdout) {
            let is_whole = known.contains(word) || word.contains('…');
            assert!(
                is_whole,
                "{width} {arguments:?}: {word:?}\n{}",
                shown.stdout
            );
        }
    }
}

/// Script that logs two runs with long names of everything to the file `argv[1]`.
const LOG_LONG_NAMES: &str = r#"
import os, sys, mlflow
os.chdir(os.path.dirname(sys.argv[1]))
mlflow.set_tracking_uri("sqlite:///" + sys.argv[1])
for index in range(2):
    mlflow.set_experiment(f"an experiment with a long name {index}")
    with mlflow.start_run(run_name=f"a run with a long name, number {index}"):
        mlflow.log_params({"optimizer": f"stochastic gradient descent {index}", "layers": index})
        mlflow.log_metrics({"validation/loss": index + 0.123456, "accuracy": 1 - index / 7})
        mlflow.set_tag("remark", "some words that do not fit into a narrow column " * 2)
        mlflow.log_text("x", "a folder/with a file of a long name.txt")
"#;

#[test]
fn tables_fit_narrow_terminals_without_broken_words() {
    let folder = Folder::new();
    let file = folder.path().join("mlflow.db");
    python(LOG_LONG_NAMES, &[file.to_str().unwrap()]);
    for arguments in [
        &["runs"][..],
        &[
            "runs",
            "-c",
            "experiment,status,tags.remark,metrics.accuracy",
        ],
        &["experiments"],
        &["artifacts", "ls", "last"],
    ] {
        check_widths(&folder, arguments);
    }
    // How many runs do not fit is a remark that a wide terminal does not have.
    for width in WIDTHS {
        let shown = run_on_terminal(&folder, width, &["compare"], &[("NO_COLOR", "1")]).stdout;
        assert!(
            shown
                .lines()
                .all(|line| line.chars().count() <= width.max(70)),
            "{shown}"
        );
        let runs = shown.lines().next().unwrap().matches("a run").count();
        // Where not even one has a column, their values are lines.
        let has_lines = shown.matches("\n a run").count() > 1;
        let has_hidden = shown.contains("no room for");
        assert_eq!(has_hidden, runs < 2 && !has_lines, "{width}: {shown}");
    }
}

#[test]
fn the_reason_of_a_journal_is_readable_on_narrow_terminals() {
    let folder = Folder::new();
    leave_killed(&folder, "killed", NOWHERE);
    let ls = ["journal", "ls"];
    let reason = &json(&folder, &ls)[0]["reason"];
    let reason = reason.as_str().unwrap();
    assert!(reason.ends_with("cargo mlflow sync` ships it"), "{reason}");
    for width in WIDTHS {
        let shown = run_on_terminal(&folder, width, &ls, &[("NO_COLOR", "1")]).stdout;
        let joined = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(joined.contains(reason), "{width}:\n{shown}");
        // A single word, the URI, may be longer than the line.
        let is_too_long = |line: &&str| line.chars().count() > width && line.trim().contains(' ');
        assert_eq!(shown.lines().find(is_too_long), None, "{width}:\n{shown}");
    }
}

/// Changes the names of all runs of the demo, and logs the name as param, tag and experiment, too.
fn demo_with_names(folder: &Folder, name: &str) {
    assert_eq!(run(folder, &["demo"]).code, Some(0));
    let database = rusqlite::Connection::open(folder.path().join("mlflow.db")).unwrap();
    for change in [
        "update runs set name = ?1",
        "update tags set value = ?1 where key = 'mlflow.runName'",
        "update experiments set name = ?1 where name = 'demo'",
        "insert into params select 'p' || ?1, ?1, run_uuid from runs",
        "insert into tags select 't' || ?1, ?1, run_uuid from runs",
        "insert or replace into tags select 'mlflow.note.content', ?1, run_uuid from runs",
        "update latest_metrics set key = 'm' || ?1 where key = 'val/loss'",
        "update metrics set key = 'm' || ?1 where key = 'val/loss'",
    ] {
        database.execute(change, [name]).unwrap();
    }
}

/// Commands that print names and values of a store.
const PRINTING: [&[&str]; 8] = [
    &["runs"],
    &["runs", "-c", "user,metrics.m,tags.mlflow.note.content"],
    &["show", "last"],
    &["compare", "--all"],
    &["experiments"],
    &["inspect", "last"],
    &["inspect", "last", "--summary"],
    &["cleanup", "--days", "0", "--dry-run"],
];

#[test]
fn characters_that_nobody_sees_do_not_reach_the_terminal() {
    let folder = Folder::new();
    let hidden = [
        '\u{1b}',
        '\u{9b}',
        '\u{7}',
        '\r',
        '\u{202e}',
        '\u{2066}',
        '\u{200b}',
        '\u{200f}',
        '\u{feff}',
        '\u{2028}',
        '\u{e0041}',
    ];
    let name = { hidden.iter() }
        .map(|char| format!("a{char}"))
        .collect::<String>()
        + "[8mend";
    demo_with_names(&folder, &name);
    for arguments in PRINTING {
        let ended = run(&folder, arguments);
        let shown = ended.stdout + &ended.stderr;
        let found = hidden.iter().find(|char| shown.contains(**char));
        assert_eq!(found, None, "{arguments:?}: {shown:?}");
    }
    // Programs read every character.
    assert_eq!(json(&folder, &["runs"])[0]["name"], name.as_str());
}

#[test]
fn a_long_name_is_cut_wherever_a_person_reads_it() {
    let folder = Folder::new();
    let name = "long".repeat(60);
    demo_with_names(&folder, &name);
    for arguments in PRINTING {
        let ended = run(&folder, arguments);
        let shown = ended.stdout + &ended.stderr;
        assert!(
            shown.contains("longlong") && shown.contains('…'),
            "{arguments:?}: {shown}"
        );
        // A note is a text of its own.
        let lines = shown.lines().filter(|line| *line != name);
        let whole = lines.filter(|line| line.contains(&name)).count();
        assert_eq!(whole, 0, "{arguments:?}: {shown}");
    }
}

#[test]
fn colours_that_were_asked_for_are_written_whatever_the_environment_says() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    for arguments in [
        &["runs"][..],
        &["show", "last"],
        &["compare"],
        &["plot", "val/loss"],
    ] {
        let arguments = [arguments, &["--color", "always"]].concat();
        let shown = |environment: &[(&str, &str)]| {
            let ended = folder.run(cargo_mlflow(), &arguments, environment);
            ended.stdout.matches('\u{1b}').count()
        };
        let coloured = shown(&[]);
        assert!(coloured > 0, "{arguments:?}");
        assert_eq!(shown(&[("NO_COLOR", "1")]), coloured, "{arguments:?}");
    }
}

#[test]
fn a_negative_number_is_taken_for_the_value_of_its_option() {
    let folder = Folder::new();
    for (arguments, text) in [
        (
            &["runs", "--timeout", "-1"][..],
            "invalid value '-1' for '--timeout <SECONDS>': expected a number of seconds",
        ),
        (
            &["runs", "-n", "-5"],
            "invalid value '-5' for '--limit <N>': expected a whole number, 0 or more",
        ),
        (
            &["cleanup", "--days", "-1"],
            "invalid value '-1' for '--days <DAYS>': -1 is not in 0..=4294967295",
        ),
    ] {
        let ended = run(&folder, arguments);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    }
}

#[test]
fn a_comparison_shows_values_on_the_narrowest_terminal() {
    let folder = Folder::new();
    assert_eq!(run(&folder, &["demo"]).code, Some(0));
    for width in [5, 12, 19] {
        let compare = ["compare", "lr-1", "lr-0.1"];
        let shown = run_on_terminal(&folder, width, &compare, &[("NO_COLOR", "1")]);
        assert_eq!(shown.code, Some(0), "{}", shown.stdout);
        let lines: Vec<&str> = shown.stdout.lines().collect();
        let at = { lines.iter() }.position(|line| *line == "learning_rate");
        let at = at.unwrap_or_else(|| panic!("{width}:\n{}", shown.stdout));
        assert_eq!(lines[at + 1..at + 3], [" lr-1: 1.0", " lr-0.1: 0.1"]);
        assert!(!shown.stdout.contains("no room"), "{}", shown.stdout);
    }
}
