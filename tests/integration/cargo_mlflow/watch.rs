//! `cargo mlflow watch`, driven in a pseudo-terminal: runs that are trained, were killed, or have ended.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use super::runs::Demo;
use super::{NOWHERE, SCRIPTED, leave_killed, run, start_offline};
use crate::support::command_line::cargo_mlflow;
use crate::support::program::Folder;
use crate::support::terminal::Terminal;

/// Size of the terminal, in columns and lines.
const SIZE: (u16, u16) = (100, 30);

fn watch(folder: &Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Terminal {
    let arguments = [&["watch"], arguments].concat();
    Terminal::start(folder, cargo_mlflow(), &arguments, environment, SIZE)
}

/// Leaves the program by its key, and asserts that it ends well.
#[track_caller]
fn leave(mut terminal: Terminal) {
    terminal.press("q");
    let (status, left) = terminal.end();
    assert_eq!(status.code(), Some(0), "{left}");
    assert_eq!(left.trim(), "");
}

/// Returns the screen with all that differs from one run to the next replaced.
fn stable(screen: &str) -> String {
    let lines = screen.lines().map(|line| {
        let words = line.split(' ').map(|word| {
            let is_id = word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_id { "[id]" } else { word }
        });
        let line = words.collect::<Vec<_>>().join(" ");
        match line.split_once(" · ") {
            // The duration stands in the head.
            Some((begin, rest)) if rest.contains(" points") => {
                let points = rest.rsplit(" · ").find(|part| part.ends_with(" points"));
                format!("{begin} · … {}", points.unwrap_or_default())
            }
            _ => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_run_that_is_trained_is_watched_until_its_end() {
    let folder = Folder::new();
    let script = [
        "start growing",
        "param lr 0.1",
        "points loss 0 50",
        "wait ready",
        "points loss 50 100",
        "points accuracy 0 10",
        "wait ready",
        "end growing",
        "flush 60",
    ];
    let mut training = folder.start(SCRIPTED, &script, &[]);
    training.wait_for_stdout("ready");
    let terminal = watch(&folder, &[], &[]);
    terminal.wait_for_all(&["50 points", "● RUNNING growing", "loss  49"]);
    training.tell();
    training.wait_for_stdout("ready");
    terminal.wait_for_all(&["110 points", "accuracy  9", "loss  99"]);
    training.tell();
    terminal.wait_for("✔ FINISHED growing");
    let ended = training.end();
    assert!(ended.stdout.contains("flushed true"), "{}", ended.stderr);
    // Everything was delivered by now, and no point counts twice.
    let delivered =
        |screen: &str| screen.contains("110 points") && !screen.contains("not in the store");
    terminal.wait_until(delivered);
    leave(terminal);
}

#[test]
fn a_run_that_is_killed_while_it_is_watched_is_abandoned() {
    let folder = Folder::new();
    let script = ["start victim", "points loss 0 100"];
    let training = start_offline(&folder, NOWHERE, &script);
    let offline = [("MLFLOW_TRACKING_URI", NOWHERE)];
    let terminal = watch(&folder, &[], &offline);
    terminal.wait_for("● RUNNING victim");
    training.kill();
    terminal.wait_for_all(&[
        "✘ ABANDONED victim",
        "100 points",
        "`cargo mlflow sync` ships the rest",
    ]);
    leave(terminal);
}

#[test]
fn a_killed_run_is_watched_from_its_journal_although_no_store_answers() {
    let folder = Folder::new();
    leave_killed(&folder, "dead", NOWHERE);
    let offline = [("MLFLOW_TRACKING_URI", NOWHERE)];
    let mut terminal = watch(&folder, &["dead"], &offline);
    terminal.wait_for_all(&[
        "only journals are read",
        "✘ ABANDONED dead",
        "100 not in the store yet",
    ]);
    terminal.press("4");
    terminal.wait_for_all(&[
        "PARAMS",
        "lr  0.1",
        "loss  99 at step 99 · min 0 · max 99 · 100 points",
    ]);
    leave(terminal);
    assert_eq!(folder.journals_left(), 1, "looking ships nothing");
}

/// The credentials of the environment belong to the configured server alone.
#[test]
fn the_server_of_another_destination_is_not_asked() {
    let folder = Folder::new();
    leave_killed(&folder, "dead", NOWHERE);
    let terminal = watch(&folder, &["dead"], &[]);
    terminal.wait_for("its store is not the configured one");
    leave(terminal);
}

/// Regression: the last point of a metric is the one with the greatest step. Points with smaller ones, as after a restart
/// from a checkpoint, did not appear until then.
#[test]
fn points_with_smaller_steps_appear_while_a_run_is_watched() {
    let folder = Folder::new();
    let script = [
        "start resumed",
        "points loss 50 100",
        "points accuracy 0 10",
        "flush 60",
        "wait ready",
        "points loss 0 30",
        "flush 60",
        "wait ready",
    ];
    let mut training = folder.start(SCRIPTED, &script, &[]);
    training.wait_for_stdout("ready");
    // Another machine has no journal of the run, and the store alone.
    let elsewhere = folder.path().join("elsewhere");
    let elsewhere = [("MLFLOW_JOURNAL_DIR", elsewhere.to_str().unwrap())];
    let terminal = watch(&folder, &[], &elsewhere);
    terminal.wait_for_all(&["RUNNING resumed", "60 points"]);
    training.tell();
    training.wait_for_stdout("ready");
    terminal.wait_for("90 points");
    leave(terminal);
    training.tell();
    training.end();
}

/// Regression: the chart was empty, and nobody knew why.
#[test]
fn a_value_that_no_axis_has_a_place_for_is_told() {
    let folder = Folder::new();
    let script = [
        "start odd",
        "values infinite -inf 0 1",
        "values overflow 1e300 0 1",
        "points spike 0 20",
        "values spike 1e299 20 21",
    ];
    let training = start_offline(&folder, NOWHERE, &script);
    let mut terminal = watch(&folder, &["odd"], &[]);
    let screen = terminal.wait_for_all(&["1 NaN/inf", "1 not drawn", "1 beyond the axis"]);
    assert_eq!(screen.matches("no finite value").count(), 2, "{screen}");
    terminal.press("/spike\r");
    terminal.wait_until(|screen| screen.contains("filter `spike`") && screen.contains("│20┤"));
    leave(terminal);
    training.kill();
}

/// Regression: at 80 columns, the end of the first and of the last line was cut.
#[test]
fn nothing_is_cut_in_the_middle_on_a_small_terminal() {
    let folder = Folder::new();
    let name = "a-run-with-quite-a-long-name-of-forty-two-letters";
    leave_killed(&folder, name, NOWHERE);
    let offline = [("MLFLOW_TRACKING_URI", NOWHERE)];
    let mut terminal = watch(&folder, &[name], &offline);
    terminal.wait_for("✘ ABANDONED");
    terminal.resize(80, 24);
    terminal.wait_until(|screen| {
        let head = screen.lines().next().unwrap_or_default();
        let foot = screen.lines().last().unwrap_or_default();
        head.ends_with("100 not in the store yet") && foot.ends_with("? keys · q leave")
    });
    terminal.resize(30, 8);
    terminal.press("?");
    terminal.wait_for("↑ ↓");
    terminal.press("\x1b[F");
    terminal.wait_for("q Esc leave");
    terminal.press("q");
    terminal.wait_until(|screen| !screen.contains("↑ ↓"));
    leave(terminal);
}

/// Regression: the seventh run and all behind it had no name on the screen.
#[test]
fn runs_without_a_line_of_their_own_are_named() {
    let folder = Folder::new();
    let names: Vec<String> = (0..9).map(|number| format!("run-{number}")).collect();
    let mut script = Vec::new();
    for name in &names {
        script.extend([format!("start {name}"), "points loss 0 5".to_owned()]);
    }
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    let training = start_offline(&folder, NOWHERE, &script);
    let chosen: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut terminal = watch(&folder, &chosen, &[]);
    terminal.wait_for_all(&["g run-6  h run-7  i run-8", "RUNNING run-5"]);
    terminal.press("[");
    terminal.wait_for_all(&["a run-0  b run-1  c run-2", "›i ● RUNNING run-8"]);
    leave(terminal);
    training.kill();
}

#[test]
fn curves_look_the_same_from_a_file_and_from_a_server() {
    let demo = Demo::shared();
    let server = [("MLFLOW_TRACKING_URI", demo.server.url())];
    let arguments = ["lr-0.1", "lr-0.3", "-e", "demo"];
    let screens = [&[][..], &server].map(|environment| {
        let mut terminal = watch(&demo.folder, &arguments, environment);
        terminal.wait_until(|screen| {
            screen.matches("180 points").count() == 2 && screen.contains("val/loss")
        });
        terminal.press("\r");
        let zoomed = terminal.wait_until(|screen| !screen.contains("val/loss"));
        leave(terminal);
        stable(&zoomed)
    });
    assert_eq!(screens[0], screens[1]);
    insta::assert_snapshot!(screens[0]);
}

#[test]
fn keys_choose_what_is_shown() {
    let demo = Demo::shared();
    let arguments = ["lr-0.1", "lr-0.3", "-e", "demo"];
    let mut terminal = watch(&demo.folder, &arguments, &[]);
    terminal.wait_until(|screen| {
        screen.matches("180 points").count() == 2 && screen.contains("val/loss")
    });
    assert!(terminal.has_colors());
    terminal.press("/val\r");
    terminal.wait_until(|screen| {
        let has = |text: &str| screen.contains(text);
        has("val/loss") && has("filter `val`") && !has("train/loss")
    });
    terminal.press("/\x1b");
    terminal.wait_for("train/loss");
    for (key, mark) in [("x", "x: seconds"), ("g", "log"), ("s", "smooth 0.6")] {
        terminal.press(key);
        terminal.wait_for(mark);
    }
    terminal.press("xgsss");
    terminal.wait_until(|screen| !screen.contains("x: seconds") && !screen.contains("smooth"));
    terminal.press(" ");
    terminal.wait_for("(hidden)");
    terminal.press(" ");
    terminal.wait_until(|screen| !screen.contains("(hidden)"));
    terminal.press("\x1b[C");
    terminal.wait_for("▶ val/accuracy");
    terminal.press("\r");
    terminal.wait_until(|screen| !screen.contains("val/loss"));
    terminal.press("\x1b");
    terminal.wait_for("val/loss");
    terminal.press("2");
    terminal.wait_for("no metrics yet");
    terminal.press("?");
    terminal.wait_for("logarithmic vertical axis");
    terminal.press("?");
    terminal.wait_until(|screen| !screen.contains("logarithmic vertical axis"));
    terminal.press("\t");
    terminal.wait_for("no console log");
    terminal.press("4]");
    terminal.wait_for_all(&["details of lr-0.3", "learning_rate  0.3"]);
    terminal.press("G\x1b[F");
    terminal.wait_for("mlflow.user");
    terminal.press("\x03");
    assert_eq!(terminal.end().0.code(), Some(0));
}

#[test]
fn the_console_of_a_process_is_shown_without_its_secrets() {
    let folder = Folder::new();
    let environment = [
        ("MLFLOW_CAPTURE_CONSOLE", "true"),
        ("MLFLOW_TRACKING_URI", NOWHERE),
    ];
    let script = [
        "start talking",
        "health",
        "wait AKIAIOSFODNN7EXAMPLE",
        "wait ready",
    ];
    let mut training = folder.start(SCRIPTED, &script, &environment);
    training.wait_for_stdout("AKIAIOSFODNN7EXAMPLE");
    training.tell();
    training.wait_for_stdout("ready");
    let mut terminal = watch(&folder, &["talking"], &[]);
    terminal.wait_for("RUNNING talking");
    terminal.press("3");
    let screen = terminal.wait_for_all(&["[redacted]", "health queued"]);
    assert!(!screen.contains("AKIA"), "{screen}");
    leave(terminal);
    training.tell();
    training.end();
}

#[test]
fn the_terminal_is_as_before_after_a_signal() {
    let folder = Folder::new();
    leave_killed(&folder, "dead", NOWHERE);
    // A shell shows the codes 129, 130, 131 and 143.
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
        let terminal = watch(&folder, &["dead"], &[]);
        terminal.wait_for("ABANDONED dead");
        terminal.signal(signal);
        terminal.wait_until_left();
        let (status, _) = terminal.end();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{signal:?}");
    }
}

/// Regression: only Ctrl-Z restored the terminal. After a signal from outside, the shell had a raw one.
#[test]
fn the_terminal_is_as_before_while_the_program_is_stopped() {
    let folder = Folder::new();
    leave_killed(&folder, "dead", NOWHERE);
    let mut terminal = watch(&folder, &["dead"], &[]);
    terminal.wait_for("ABANDONED dead");
    for is_key in [false, true, false] {
        if is_key {
            terminal.press("\x1a");
        } else {
            terminal.signal(Signal::TSTP);
        }
        terminal.wait_until_left();
        terminal.wait_until_stopped();
        terminal.signal(Signal::CONT);
        terminal.wait_for("ABANDONED dead");
    }
    // Nothing can be done before this one, but the screen is drawn anew.
    terminal.signal(Signal::STOP);
    terminal.wait_until_stopped();
    terminal.signal(Signal::CONT);
    terminal.press("4");
    terminal.wait_for("PARAMS");
    leave(terminal);
}

#[test]
fn every_size_of_the_terminal_will_do() {
    let demo = Demo::shared();
    let mut terminal = watch(&demo.folder, &["lr-0.1", "-e", "demo"], &[]);
    terminal.wait_for("180 points");
    for (columns, lines) in [(20, 6), (250, 70), (40, 12)] {
        terminal.resize(columns, lines);
        for page in ["1", "2", "3", "4", "?", "?"] {
            terminal.press(page);
        }
    }
    terminal.resize(SIZE.0, SIZE.1);
    terminal.press("1");
    terminal.wait_for("train/loss");
    leave(terminal);
}

#[test]
fn no_colours_are_drawn_where_nobody_wants_them() {
    let demo = Demo::shared();
    for (arguments, environment) in [
        (&["lr-0.1", "-e", "demo"][..], &[("NO_COLOR", "1")][..]),
        (&["lr-0.1", "-e", "demo", "--color", "never"], &[]),
    ] {
        let terminal = watch(&demo.folder, arguments, environment);
        terminal.wait_for("180 points");
        assert!(!terminal.has_colors());
        leave(terminal);
    }
}

#[test]
fn what_cannot_be_watched_is_one_line_and_an_exit_code() {
    let folder = Folder::new();
    let ended = run(&folder, &["watch"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("`watch` needs a terminal"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("cargo mlflow inspect --follow"),
        "{}",
        ended.stderr
    );
    let terminal = watch(&folder, &[], &[]);
    let (status, left) = terminal.end();
    assert_eq!(status.code(), Some(3), "{left}");
    assert!(left.contains("there is no MLflow database"), "{left}");
}
