//! Completions, as shells use them.

use std::fs;
use std::process::Command;

use super::run;
use crate::support::program::Folder;

/// Script that reads the completions `$1` and prints what bash offers for the command line in the further arguments.
/// The program `cargo` has completions already, which offer `before`.
const COMPLETE_IN_BASH: &str = r#"
before() { COMPREPLY=(before); }
complete -F before cargo
# A second time, as a shell reads its settings again.
source "$1"; source "$1"; shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
[[ $(complete -p "$1") =~ -F\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
echo "${COMPREPLY[@]}"
"#;

#[test]
fn bash_completes_both_forms_of_the_command() {
    let folder = Folder::new();
    let completions = folder.path().join("completions.bash");
    fs::write(&completions, run(&folder, &["completions", "bash"]).stdout).unwrap();
    let offered = |line: &str| {
        let output = Command::new("bash")
            .args(["--norc", "-c", COMPLETE_IN_BASH, "bash"])
            .arg(&completions)
            .args(line.split(' '))
            .output()
            .expect("bash");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(complaints, "", "{line}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    };
    for form in ["cargo-mlflow", "cargo mlflow", "cargo +stable mlflow"] {
        for (line, words) in [
            ("runs", "runs"),
            ("comp", "compare completions"),
            ("export --form", "--format"),
            ("journal ver", "verify"),
            ("cleanup --perm", "--permanent"),
        ] {
            assert_eq!(offered(&format!("{form} {line}")), words, "{form} {line}");
        }
        let formats = offered(&format!("{form} export --format "));
        assert!(formats.starts_with("csv json"), "{formats}");
    }
    // What Cargo completes is left alone.
    for line in [
        "cargo buil",
        "cargo build --re",
        "cargo mlflo",
        "cargo +stable mlflo",
        "cargo +sta",
    ] {
        assert_eq!(offered(line), "before", "{line}");
    }
}

/// Fish asks `cargo` for the completions, of which those of `cargo mlflow` are a part. A machine without fish tests
/// nothing.
#[test]
fn fish_completes_both_forms_of_the_command() {
    let folder = Folder::new();
    let completions = folder.path().join("completions.fish");
    fs::write(&completions, run(&folder, &["completions", "fish"]).stdout).unwrap();
    let offered = |line: &str| {
        let script = "source $argv[1]; complete -C $argv[2]";
        let output = Command::new("fish")
            .args(["--no-config", "-c", script])
            .arg(&completions)
            .arg(line)
            .env("HOME", folder.path())
            .output();
        let output = output.ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        let words = text.lines().filter_map(|line| line.split('\t').next());
        Some(words.map(str::to_owned).collect::<Vec<_>>())
    };
    if offered("cargo-mlflow runs").is_none() {
        eprintln!("not tested: there is no fish");
        return;
    }
    for form in ["cargo-mlflow", "cargo mlflow", "cargo +stable mlflow"] {
        for (line, words) in [("run", &["runs"][..]), ("journal ver", &["verify"])] {
            let line = format!("{form} {line}");
            assert_eq!(offered(&line).unwrap(), words, "{line}");
        }
    }
}
