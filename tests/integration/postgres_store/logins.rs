//! Users and passwords: found as by PostgreSQL's own clients, and never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mlflow::store::{ExperimentRef, Store, StoreError};

use super::{Database, NUMBERS, is_blocked, open};
use crate::support::block_on;
use crate::support::postgres::{LOCKED_USER, PASSWORD};
use crate::support::program::{Ended, Folder};

/// Creates a database that belongs to the user who needs a password.
fn locked() -> Option<Database<'static>> {
    let database = Database::create()?;
    let give = format!("alter database {} owner to {LOCKED_USER}", database.name);
    database.server.query("postgres", &give);
    Some(database)
}

/// Runs a program that logs a run of ten points, in a folder that is the home, too.
fn log(folder: &Folder, uri: &str, variables: &[(&str, &str)]) -> Ended {
    let home = folder.path().to_str().expect("UTF-8");
    let mut all = vec![("MLFLOW_TRACKING_URI", uri), ("HOME", home)];
    all.extend(variables);
    let ended = folder.run(NUMBERS, &["run", "10", "2"], &all);
    assert!(ended.success, "{}", ended.stderr);
    for output in [&ended.stdout, &ended.stderr] {
        assert!(!output.contains(PASSWORD), "{output}");
    }
    ended
}

fn write_password_file(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

/// Asserts that no file below the folder contains the password, except for the files that a test has written.
fn keeps_the_password_to_itself(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            keeps_the_password_to_itself(&path);
        } else if !path.ends_with(".pgpass") {
            let bytes = fs::read(&path).expect("a file");
            let password = PASSWORD.as_bytes();
            let is_there = bytes.windows(password.len()).any(|part| part == password);
            assert!(!is_there, "{path:?}");
        }
    }
}

#[test]
fn a_password_is_found_wherever_psql_finds_it() {
    let Some(database) = locked() else { return };
    let folder = Folder::new();
    let port = database.server.port();
    let name = &database.name;
    let file = folder.path().join("passwords");
    fs::create_dir(&file).expect("a folder");
    let file = file.join(".pgpass");
    write_password_file(
        &file,
        &format!(
            "# comment\nother:*:*:*:wrong\n127.0.0.1:{port}:{name}:{LOCKED_USER}:{PASSWORD}\n"
        ),
        0o600,
    );
    let file = file.to_str().expect("UTF-8");
    let plain = database.uri_with(LOCKED_USER, "");
    let with_password = database.uri_with(&format!("{LOCKED_USER}:{PASSWORD}"), "");
    let ways = [
        (with_password.clone(), vec![]),
        (with_password, vec![("PGPASSWORD", "wrong")]),
        (
            database.uri_with(LOCKED_USER, &format!("?password={PASSWORD}")),
            vec![],
        ),
        (plain.clone(), vec![("PGPASSWORD", PASSWORD)]),
        (plain.clone(), vec![("PGPASSFILE", file)]),
        (
            database.uri_with("", ""),
            vec![("PGUSER", LOCKED_USER), ("PGPASSWORD", PASSWORD)],
        ),
        (
            database.uri_with(LOCKED_USER, &format!("?passfile={file}")),
            vec![],
        ),
    ];
    let count = ways.len();
    for (uri, variables) in ways {
        let ended = log(&folder, &uri, &variables);
        assert_eq!(
            folder.journals_left(),
            0,
            "{uri} {variables:?}: {}",
            ended.stderr
        );
    }
    write_password_file(
        &folder.path().join(".pgpass"),
        &format!("*:*:*:{LOCKED_USER}:{PASSWORD}"),
        0o600,
    );
    log(&folder, &plain, &[]);
    assert_eq!(folder.journals_left(), 0);
    let runs = "select count(*) from runs where status = 'FINISHED'";
    assert_eq!(database.ask(runs), (count + 1).to_string());
    keeps_the_password_to_itself(folder.path());
}

#[test]
fn values_wait_until_the_password_is_right() {
    let Some(database) = locked() else { return };
    let folder = Folder::new();
    let uri = database.uri_with(LOCKED_USER, "");
    let home = folder.path().join(".pgpass");
    write_password_file(&home, &format!("*:*:*:*:{PASSWORD}"), 0o644);
    let origin = format!(
        "postgresql://127.0.0.1:{}/{}",
        database.server.port(),
        database.name
    );
    for (variables, words) in [
        (vec![], ["asks for a password", "chmod 600"]),
        (
            vec![("PGPASSWORD", "wrong")],
            ["password authentication failed", "PGPASSWORD"],
        ),
    ] {
        let ended = log(&folder, &uri, &variables);
        let warnings = ended.warnings().join("\n");
        for word in words.iter().chain([&origin.as_str(), &LOCKED_USER]) {
            assert!(warnings.contains(word), "{word}: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("wrong"), "{}", ended.stderr);
    }
    assert!(folder.journals_left() >= 2);
    write_password_file(&home, &format!("*:*:*:*:{PASSWORD}"), 0o600);
    let ended = log(&folder, &uri, &[]);
    assert_eq!(folder.journals_left(), 0, "{}", ended.stderr);
    assert_eq!(
        database.ask("select count(*) from runs where status = 'FINISHED'"),
        "3"
    );
    keeps_the_password_to_itself(folder.path());
}

#[test]
fn what_a_person_has_to_do_is_said() {
    let Some(database) = locked() else { return };
    let experiment = ExperimentRef::Name("e".to_owned());
    let locked = format!("{LOCKED_USER}:{PASSWORD}");
    block_on(async {
        let wrong = open(&database.uri_with(&format!("{LOCKED_USER}:wrong"), ""));
        is_blocked(
            wrong.experiment(&experiment).await,
            &[
                "password authentication failed",
                "tracking URI",
                LOCKED_USER,
            ],
        );
        let info = wrong.info().await.expect("an answer");
        assert_eq!(info.authenticated, Some(false));

        let missing = Database {
            server: database.server,
            name: "nowhere".to_owned(),
        };
        is_blocked(
            missing.store().experiment(&experiment).await,
            &["\"nowhere\" does not exist", "createdb"],
        );

        // Somebody else's database: PostgreSQL 15 lets only the owner create tables.
        let foreign = Database::on(database.server);
        if foreign.ask("select current_setting('server_version_num')::int >= 150000") == "t" {
            let refused = open(&foreign.uri_with(&locked, ""));
            is_blocked(
                refused.experiment(&experiment).await,
                &["permission denied for schema public", "Grant", LOCKED_USER],
            );
        }

        let unknown = open(&database.uri_with("nobody_known", ""));
        is_blocked(
            unknown.experiment(&experiment).await,
            &["role \"nobody_known\" does not exist"],
        );

        let odd = open(&database.uri_with(&locked, "?channel_binding=sometimes"));
        is_blocked(odd.experiment(&experiment).await, &["`channel_binding`"]);

        let nobody = open("postgresql://u:hunter2@127.0.0.1:1/m");
        match nobody.experiment(&experiment).await {
            Err(StoreError::Unavailable { reason, .. }) => {
                assert!(reason.contains("postgresql://127.0.0.1:1/m"), "{reason}");
                assert!(reason.contains("refused"), "{reason}");
            }
            other => panic!("{other:?}"),
        }

        let store = open(&database.uri_with(&locked, ""));
        store.experiment(&experiment).await.expect("an experiment");
        let info = store.info().await.expect("an answer");
        assert_eq!(info.authenticated, Some(true));
        assert_eq!(info.version.as_deref(), Some("7f2a7d5fae7d"));
        assert!(info.clock_difference_ms.is_some_and(|ms| ms.abs() < 5_000));
    });
}
