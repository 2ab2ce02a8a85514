//! Errors of a server's database, as the server passes them on.
//!
//! MLflow answers most of them as a bad request, whoever is to blame. Invariant: an error text is judged
//! without the SQL statement that follows, because the statement contains the user's values.

/// Returns true if `words` is a database's error for a row that exists already, in the terms of SQLite, of
/// PostgreSQL and SQL Server, or of MySQL. `what` is the prefix of the names of the row's table and primary
/// key.
pub(super) fn is_duplicate(words: &str, what: &str) -> bool {
    let words = strip_statement(words);
    let named = [format!("{what}s."), format!("{what}_pk")];
    is_unique_violation(words) && named.iter().any(|name| words.contains(name))
}

/// Returns true if `words` is a database's error for a row that exists already, of any table.
pub(super) fn is_unique_violation(words: &str) -> bool {
    let words = strip_statement(words);
    ["UNIQUE constraint", "duplicate key", "Duplicate entry"]
        .iter()
        .any(|start| words.contains(start))
}

/// Returns true if `words` is a database's error for a row that only another client can have created. Two
/// clients log something new with the same name at the same moment; at the next attempt it exists.
pub(super) fn is_race(words: &str) -> bool {
    let tables = ["param", "tag", "latest_metric"];
    tables.iter().any(|table| is_duplicate(words, table))
}

/// Returns true if `words` is a database's error for a condition that passes after a while. MLflow passes on
/// all errors of its database as bad requests.
pub(super) fn is_transient(words: &str) -> bool {
    let words = strip_statement(words);
    [
        // No connection is free.
        "QueuePool limit",
        // A connection was lost.
        "InterfaceError",
        "PGRES_",
        "invalid transaction is rolled back",
    ]
    .iter()
    .any(|start| words.contains(start))
}

/// Returns true if `words` is the error of PostgreSQL's driver for a text with a NUL character. MLflow
/// reports it as an error of its own (status 500).
pub(super) fn is_nul_rejection(words: &str) -> bool {
    words.starts_with("A string literal cannot contain NUL")
}

/// Returns the error text without the SQL statement.
fn strip_statement(words: &str) -> &str {
    words.split("[SQL").next().unwrap_or(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found with MLflow 3.1: the statement's `[parameters: …]` was taken for a param. Therefore a NaN point
    /// that was sent again was retried forever.
    #[test]
    fn a_point_that_is_there_is_told_from_a_param_that_two_have_logged() {
        let sqlite = r"(sqlite3.IntegrityError) UNIQUE constraint failed: metrics.key, metrics.step [SQL: INSERT INTO metrics (key) VALUES (?)] [parameters: ('params.lr', 0.0)]";
        let postgres = r"(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint 'metric_pk' [SQL: INSERT] [parameters: {}]";
        let mysql = r"(1062, Duplicate entry 'x-1-0' for key 'metrics.metric_pk') [SQL: INSERT] [parameters: ()]";
        for words in [sqlite, postgres, mysql] {
            assert!(is_duplicate(words, "metric"), "{words}");
            assert!(!is_duplicate(words, "param"), "{words}");
        }
        let param = r"(sqlite3.IntegrityError) UNIQUE constraint failed: params.key, params.run_uuid [SQL: INSERT INTO params] [parameters: ('metrics.x')]";
        assert!(is_duplicate(param, "param") && !is_duplicate(param, "metric"));
        assert!(!is_duplicate("no such table: metrics.x", "metric"));
    }

    /// Regression test: when these errors were taken for refusals, a value was lost. The batch was halved
    /// down to single entries, each of which waited for a connection in turn.
    #[test]
    fn a_database_that_is_busy_is_asked_again() {
        for words in [
            "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00",
            "(psycopg2.InterfaceError) connection already closed",
            "(psycopg2.DatabaseError) error with status PGRES_TUPLES_OK and no message from the libpq",
            "Can't reconnect until invalid transaction is rolled back.  Please rollback() fully",
        ] {
            assert!(is_transient(words) && !is_race(words), "{words}");
        }
        for words in [
            "(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint 'latest_metric_pk'",
            "(sqlite3.IntegrityError) UNIQUE constraint failed: latest_metrics.key, latest_metrics.run_uuid",
            "(sqlite3.IntegrityError) UNIQUE constraint failed: tags.key, tags.run_uuid",
        ] {
            assert!(is_race(words) && !is_transient(words), "{words}");
        }
        // The statement contains the user's own values.
        let refused = "value too long [SQL: INSERT] [parameters: {'value': 'QueuePool limit'}]";
        assert!(!is_transient(refused));
    }
}
