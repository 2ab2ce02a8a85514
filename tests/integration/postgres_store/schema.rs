//! Tables: created where there are none, as MLflow's own migrations make them, and left alone otherwise.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use mlflow::store::{ExperimentRef, Store, StoreError};

use super::{Database, is_blocked, open, start_run};
use crate::support::block_on;
use crate::support::mlflow::python;

/// Revision of the tables that the store creates.
const REVISION: &str = "7f2a7d5fae7d";

/// Lets MLflow's migrations make an empty database of a revision.
const MIGRATE: &str = r#"
import sys
from alembic import command
from mlflow.store.db import utils
engine = utils.create_sqlalchemy_engine(sys.argv[1])
if sys.argv[3:] == ["new"]:
    utils.InitialBase.metadata.create_all(engine)
config = utils._get_alembic_config(engine.url.render_as_string(hide_password=False))
with engine.begin() as connection:
    config.attributes["connection"] = connection
    command.upgrade(config, sys.argv[2])
"#;

/// Columns with their types, constraints and indexes of a database, one line each.
fn describe(database: &Database<'_>) -> BTreeSet<String> {
    let columns = "select 'column', table_name, ordinal_position, column_name, data_type, \
                   character_maximum_length, is_nullable, column_default \
                   from information_schema.columns where table_schema = 'public'";
    let constraints = "select 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid) \
                       from pg_constraint where connamespace = 'public'::regnamespace";
    let indexes = "select 'index', tablename, indexdef from pg_indexes where schemaname = 'public'";
    let sequences = "select 'sequence', sequencename, data_type, start_value, last_value \
                     from pg_sequences where schemaname = 'public'";
    [columns, constraints, indexes, sequences]
        .into_iter()
        .flat_map(|query| {
            let lines = database.ask(query);
            lines.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|line| !line.contains("mlflow_runtime_format"))
        .collect()
}

fn ours() -> Option<Database<'static>> {
    let database = Database::create()?;
    block_on(async {
        let store = database.store();
        let experiment = ExperimentRef::Id("0".to_owned());
        store.experiment(&experiment).await.expect("an experiment");
        let news = store.news().expect("a notice");
        assert!(
            news.contains("created MLflow's tables in postgresql://"),
            "{news}"
        );
        assert_eq!(store.news(), None);
    });
    Some(database)
}

#[test]
fn tables_are_those_of_mlflows_migrations_and_are_migrated_further_by_mlflow() {
    let Some(database) = ours() else { return };
    let mlflows = Database::on(database.server);
    python(MIGRATE, &[&mlflows.uri(), REVISION, "new"]);
    // Values that are longer than this revision allows, so that PostgreSQL takes what SQLite takes.
    let longer = ["params", "tags", "experiment_tags", "model_version_tags"];
    let is_longer = |line: &&String| {
        longer
            .iter()
            .any(|table| line.starts_with(&format!("column|{table}|2|value|")))
    };
    let (created, migrated) = (describe(&database), describe(&mlflows));
    let differ: Vec<&String> = created
        .symmetric_difference(&migrated)
        .filter(|line| !is_longer(line))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
    assert_eq!(
        database.ask("select experiment_id, name, lifecycle_stage from experiments"),
        "0|Default|active"
    );

    // MLflow migrates the database when it opens it.
    python(
        "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_experiments()",
        &[&database.uri()],
    );
    python(MIGRATE, &[&mlflows.uri(), "head"]);
    assert_ne!(
        database.ask("select version_num from alembic_version"),
        REVISION
    );
    let (created, migrated) = (describe(&database), describe(&mlflows));
    let differ: Vec<&String> = created.symmetric_difference(&migrated).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn a_database_is_created_once_by_all_who_need_it_at_once() {
    const PROCESSES: usize = 8;
    let Some(database) = Database::create() else {
        return;
    };
    let together = Barrier::new(PROCESSES);
    let created: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..PROCESSES)
            .map(|_| {
                scope.spawn(|| {
                    let store = database.store();
                    together.wait();
                    block_on(async {
                        let experiment = ExperimentRef::Name("same".to_owned());
                        loop {
                            match store.experiment(&experiment).await {
                                Ok(_) => break,
                                Err(StoreError::Contested { .. } | StoreError::Busy { .. }) => {}
                                Err(other) => panic!("{other:?}"),
                            }
                        }
                    });
                    usize::from(store.news().is_some())
                })
            })
            .collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        ended.sum()
    });
    assert_eq!(created, 1);
    let names = "select string_agg(name, ',' order by experiment_id) from experiments";
    assert_eq!(database.ask(names), "Default,same");
}

#[test]
fn tables_of_others_are_left_alone() {
    let Some(database) = Database::create() else {
        return;
    };
    let experiment = ExperimentRef::Name("e".to_owned());
    database.ask("create table accounts (id int)");
    block_on(async {
        let store = database.store();
        is_blocked(
            store.experiment(&experiment).await,
            &["has tables, but not those of MLflow", "search_path"],
        );
        // Another program may use alembic, too.
        database.ask("create table alembic_version (version_num text)");
        is_blocked(
            store.experiment(&experiment).await,
            &["not those of MLflow"],
        );
        assert_eq!(
            database.ask("select count(*) from pg_tables where schemaname = 'public'"),
            "2"
        );

        // A schema of its own has room for MLflow's tables.
        let beside = open(&database.uri_with("mlflow", "?options=-csearch_path%3Dmlflow"));
        is_blocked(
            beside.experiment(&experiment).await,
            &["no schema of its search_path"],
        );
        database.ask("create schema mlflow");
        start_run(&beside).await;
        assert_eq!(database.ask("select count(*) from mlflow.runs"), "1");
    });
}

#[test]
fn reading_creates_nothing() {
    let Some(database) = Database::create() else {
        return;
    };
    block_on(async {
        let info = database.store().info().await.expect("an answer");
        assert_eq!((info.version, info.authenticated), (None, Some(true)));
    });
    let client =
        mlflow::blocking::Client::with_config(mlflow::Config::new().tracking_uri(database.uri()));
    let refused = client.experiment("e").expect_err("nothing there");
    assert!(
        refused.to_string().contains("there is nothing in"),
        "{refused}"
    );
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(database.ask(tables), "0");
}

#[test]
fn a_migration_under_an_open_store_does_no_harm() {
    let Some(database) = Database::create() else {
        return;
    };
    block_on(async {
        let store = database.store();
        let run = start_run(&store).await;
        python(
            "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_experiments()",
            &[&database.uri()],
        );
        assert_eq!(store.get_run(&run.run_id).await.expect("the run"), run);
        start_run(&store).await;
    });
}
