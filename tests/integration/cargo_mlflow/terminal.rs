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
        assert_eq!(shown.contains("no room for"), runs < 2, "{width}: {shown}");
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
