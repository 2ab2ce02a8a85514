//! `cargo mlflow journal`: what waits is shown as it is, and only `drop` and `resend` change anything.

use std::fs;

use serde_json::{Value, json};

use super::{
    NOWHERE, contents, damage, journals, json, leave_killed, only_name, run, run_offline,
    start_offline,
};
use crate::support::program::Folder;

/// Values of each kind, on one run.
const SCRIPT: [&str; 6] = [
    "start fit",
    "param lr 0.1",
    "tag stage dev",
    "points loss 0 100",
    "text notes.txt hello",
    "points accuracy 0 10",
];

#[test]
fn what_a_process_has_logged_is_counted_by_run_while_it_lives_and_after_it_was_killed() {
    let folder = Folder::new();
    let live = start_offline(&folder, NOWHERE, &SCRIPT);
    let check = |state: &str| {
        let listed = journals(&folder);
        assert_eq!(listed.len(), 1);
        let journal = &listed[0];
        assert_eq!(journal["state"], state);
        assert_eq!(journal["destination"], NOWHERE);
        assert_eq!(journal["waiting_values"], 114);
        assert_eq!(journal["is_of_this_host"], true);
        let run = &journal["runs"][0];
        for (field, value) in [
            ("name", json!("fit")),
            ("experiment_id", json!("0")),
            ("points", json!(110)),
            ("params", json!(1)),
            ("tags", json!(1)),
            ("artifacts", json!(1)),
            ("artifact_bytes", json!(5)),
            ("start_waits", json!(true)),
            ("start_params", json!(0)),
            ("end_waits", json!(false)),
            ("status", Value::Null),
        ] {
            assert_eq!(run[field], value, "{field}: {run:#}");
        }
        // The machine, the program and the build are tags of the start.
        assert!(run["start_tags"].as_u64() > Some(5), "{run:#}");
        journal["process_id"].clone()
    };
    assert_eq!(check("live"), live.id());
    live.kill();
    check("orphaned");
    let table = run(&folder, &["journal", "ls"]);
    assert!(table.stdout.contains("orphaned"), "{}", table.stdout);
    let command = format!("MLFLOW_TRACKING_URI={NOWHERE} cargo mlflow sync");
    assert!(table.stdout.contains(&command), "{}", table.stdout);
}

/// The line at the end of a process, `health` and the list agree.
#[test]
fn the_list_counts_as_the_process_itself_does() {
    let folder = Folder::new();
    let script = [&SCRIPT[..], &["end fit", "health", "abort"]].concat();
    let ended = run_offline(&folder, NOWHERE, &script);
    assert_eq!(
        ended.stdout.trim_end(),
        "health queued 115 blocked 0 rejected 0 dropped 0"
    );
    assert_eq!(super::waiting(&folder), 115);
    let journal = &journals(&folder)[0];
    assert_eq!(journal["runs"][0]["status"], "FINISHED");
}

#[test]
fn looking_changes_nothing() {
    let folder = Folder::new();
    leave_killed(&folder, "a", NOWHERE);
    let name = only_name(&folder);
    let before = contents(&folder);
    for arguments in [
        &["journal", "ls"][..],
        &["journal", "show", &name, "--entries", "5"],
        &["journal", "verify"],
        &["journal", "export", &name],
        &["sync", "--dry-run"],
        &["sync", "--dry-run", "--to", "sqlite:///other.db"],
    ] {
        let ended = run(&folder, arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        assert_eq!(contents(&folder), before, "{arguments:?}");
    }
    assert!(!folder.path().join("other.db").exists());
}

#[test]
fn a_journal_is_chosen_by_its_path_or_the_beginning_of_its_name() {
    let folder = Folder::new();
    leave_killed(&folder, "a", NOWHERE);
    let name = only_name(&folder);
    let path = folder.journal().join(&name);
    for text in [&name[..6], &name, path.to_str().unwrap()] {
        let shown = json(&folder, &["journal", "show", text, "--entries", "2"]);
        assert_eq!(shown["name"], name.as_str());
        assert_eq!(shown["entries"][0]["type"], "start");
        assert_eq!(shown["entries"][1]["key"], "lr");
    }
    for text in ["zzz", "/no/such/place", "", "."] {
        let ended = run(&folder, &["journal", "show", text]);
        assert_eq!(ended.code, Some(3), "{text}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("cargo mlflow journal ls"),
            "{}",
            ended.stderr
        );
    }
    let second = path.with_file_name(format!("{}-copy", &name[..8]));
    fs::create_dir(&second).unwrap();
    fs::write(second.join("lock"), "").unwrap();
    let ended = run(&folder, &["journal", "show", &name[..8]]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains(&name), "{}", ended.stderr);
    assert_eq!(run(&folder, &["journal", "show", &name]).code, Some(0));
}

#[test]
fn every_entry_is_exported_as_a_line_of_json() {
    let folder = Folder::new();
    let script = [&SCRIPT[..], &["end fit", "abort"]].concat();
    run_offline(&folder, NOWHERE, &script);
    let name = only_name(&folder);
    let ended = run(
        &folder,
        &["journal", "export", &name[..8], "--output", "out.jsonl"],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    let lines: Vec<Value> = { lines.lines() }
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 115);
    let of_type = |kind: &str| { lines.iter() }.filter(|line| line["type"] == kind).count();
    let counts = ["start", "param", "tag", "point", "artifact", "end"].map(of_type);
    assert_eq!(counts, [1, 1, 1, 110, 1, 1]);
    let steps: Vec<_> = { lines.iter() }
        .filter(|line| line["key"] == "loss")
        .map(|line| {
            (
                line["step"].as_i64().unwrap(),
                line["value"].as_f64().unwrap(),
            )
        })
        .collect();
    let expected: Vec<_> = (0..100)
        .map(|step| (i64::from(step), f64::from(step)))
        .collect();
    assert_eq!(steps, expected);
    assert!(lines.iter().all(|line| line["is_settled"] == false));
}

/// Regression: everything that has bytes was shown as an artifact, so that nobody saw why it waits.
#[test]
fn artifacts_are_shown_and_exported_with_their_kind() {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("weights")).unwrap();
    fs::write(folder.path().join("weights/a.bin"), "12345").unwrap();
    let checkpoint = format!("checkpoint 7 {}", folder.path().join("weights").display());
    let script = [
        "start fit",
        "text notes.txt hello",
        "rows eval.json 0 3",
        "picture red.png 2",
        &checkpoint,
        "abort",
    ];
    run_offline(&folder, NOWHERE, &script);
    let name = only_name(&folder);
    let shown = run(&folder, &["journal", "show", &name, "--entries", "9"]);
    for line in [
        "artifact notes.txt, 5 B",
        "3 rows of the table eval.json, ",
        "image red.png, 12 B",
        "file checkpoints/step-7/a.bin of the checkpoint of step 7, 5 B",
        "end of the checkpoint checkpoints/step-7 of step 7",
    ] {
        assert!(shown.stdout.contains(line), "{line}: {}", shown.stdout);
    }
    let exported = run(&folder, &["journal", "export", &name]);
    let kinds: Vec<_> = { exported.stdout.lines() }
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|entry| entry["type"] == "artifact")
        .map(|entry| json!([entry["kind"], entry["rows"], entry["step"]]))
        .collect();
    let expected = [
        json!(["file", null, null]),
        json!(["table_rows", 3, null]),
        json!(["image", null, null]),
        json!(["checkpoint_file", null, 7]),
        json!(["checkpoint_end", null, 7]),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn damage_is_found_and_the_rest_can_still_be_read() {
    let folder = Folder::new();
    leave_killed(&folder, "a", NOWHERE);
    let whole = run(&folder, &["journal", "verify"]);
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    damage(&folder);
    let ended = run(&folder, &["journal", "verify"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("1 journal of 1 damaged"),
        "{}",
        ended.stderr
    );
    let checked = run(&folder, &["journal", "verify", "--json"]);
    let checked: Value = serde_json::from_str(&checked.stdout).expect("JSON");
    let readable = checked[0]["waiting_values"].as_u64().unwrap();
    assert!((96..102).contains(&readable), "{checked:#}");
    assert!(
        checked[0]["damage"]["files"][0]["skipped_bytes"]
            .as_u64()
            .unwrap()
            >= 100
    );
    let name = only_name(&folder);
    let exported = run(&folder, &["journal", "export", &name]);
    assert_eq!(exported.code, Some(1), "{}", exported.stderr);
    assert_eq!(exported.stdout.lines().count() as u64, readable);
}

#[test]
fn only_the_journal_of_a_process_that_has_ended_is_deleted() {
    let folder = Folder::new();
    let mut live = start_offline(&folder, NOWHERE, &["start a", "points loss 0 10"]);
    let name = only_name(&folder);
    let refused = run(&folder, &["journal", "drop", &name, "--yes"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("running process"),
        "{}",
        refused.stderr
    );
    assert_eq!(folder.journals_left(), 1);
    live.tell();
    assert!(live.end().success);

    let asked = run(&folder, &["journal", "drop", &name]);
    assert_eq!(asked.code, Some(2), "{}", asked.stderr);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    assert_eq!(folder.journals_left(), 1);
    let dropped = run(&folder, &["journal", "drop", &name, "--yes"]);
    assert_eq!(dropped.code, Some(0), "{}", dropped.stderr);
    assert_eq!(folder.journals_left(), 0);
    assert_eq!(
        run(&folder, &["journal", "drop", &name, "--yes"]).code,
        Some(3)
    );
}

#[test]
fn what_the_store_has_refused_is_listed_and_sent_again() {
    let folder = Folder::new();
    let script = [
        "start fit",
        "param lr 0.1",
        "flush 60",
        "param lr 0.2",
        "flush 60",
        "end fit",
    ];
    let logged = folder.run(super::SCRIPTED, &script, &[]);
    assert!(logged.success, "{}", logged.stderr);
    let listed = journals(&folder);
    assert_eq!(listed.len(), 1, "{listed:#?}");
    assert_eq!(listed[0]["state"], "rejected");
    assert_eq!(listed[0]["runs"][0]["params"], 1);
    let again = json(&folder, &["journal", "resend"]);
    assert_eq!(
        (&again["delivered"], &again["rejected"]),
        (&json!(0), &json!(1))
    );

    let deleted = folder
        .database()
        .execute("delete from params where key = 'lr'", []);
    assert_eq!(deleted, Ok(1));
    let sent = json(&folder, &["journal", "resend"]);
    assert_eq!(
        (&sent["delivered"], &sent["rejected"]),
        (&json!(1), &json!(0))
    );
    assert_eq!((folder.journals_left(), folder.rejected_left()), (0, 0));
    let nothing = run(&folder, &["journal", "resend"]);
    assert_eq!(nothing.code, Some(0));
    assert!(
        nothing.stderr.contains("refused nothing"),
        "{}",
        nothing.stderr
    );
}
