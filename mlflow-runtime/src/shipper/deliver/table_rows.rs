//! Appending of rows to a table in the store.
//!
//! # Invariants
//!
//! 1. Each row is appended once, although a table is a file that can only be replaced, and although an answer may
//!    be lost, or the process may die between two requests.
//! 2. The rows of one process are appended in the order in which they were logged.
//! 3. A table that another client has written, e.g. Python's `log_table`, keeps its rows.
//!
//! An append reads the table, adds the rows and writes the table. Before it writes, it records its intent in a
//! tag of the run: the ids of the rows, their place and a checksum of their values. Whoever comes next, after a
//! lost answer or a kill, compares the intent with the table, and so knows if the rows are there. The tag also keeps the ids of the latest rows that are known to be there, for a
//! process whose journal is shipped after others have appended.
//!
//! Two processes that append to one table at the same time may overwrite each other's rows, as with Python's
//! client. Ranks and forked processes therefore have tables of their own: see [`Run::log_table`](crate::Run::log_table).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::{ArtifactKind, TableChunk, Tag, tag_keys};
use crate::shipper::batch::Artifact;
use crate::shipper::deliver::delivery::Delivery;
use crate::store::{ArtifactContent, Batch, StoreError, StoredRun, TableFile};
use crate::warnings::{WarningLimit, warn_user};

/// Greatest number of ids that are kept of rows known to be in the table. With the ids of an intent, they fit
/// into a tag of 5,000 characters, which is what the oldest servers hold.
const MAX_KNOWN_IDS: usize = 100;
/// Greatest number of characters in the list of a run's tables, which is what the oldest servers hold in a tag.
const MAX_LIST_CHARS: usize = 5000;
/// Greatest size of a table in bytes. A table is in memory while rows are appended to it.
const MAX_TABLE_BYTES: u64 = 256 << 20;

/// State of the appends to one table, as a tag of the run keeps it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct AppendState {
    /// Ids of rows that are in the table, the latest ones last.
    known: Vec<String>,
    /// Append that was begun last.
    intent: Option<AppendIntent>,
}

/// Append that may have reached the table.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct AppendIntent {
    ids: Vec<String>,
    /// Number of rows in the table before the append.
    from: usize,
    /// Number of rows of the append.
    rows: usize,
    /// Checksum of the rows of the append.
    checksum: u32,
}

impl AppendState {
    /// Reads the state from its tag. A tag that somebody has damaged counts as none.
    fn parse(tag: Option<&str>) -> Self {
        tag.and_then(|tag| serde_json::from_str(tag).ok())
            .unwrap_or_default()
    }

    /// Moves the ids of the last append to the known ones, if its rows are in the table.
    fn settle(&mut self, table: Option<&TableFile<'_>>) {
        if let Some(intent) = self.intent.take()
            && let Some(table) = table
            && let Some(end) = intent.from.checked_add(intent.rows)
            && table.checksum(intent.from..end) == Some(intent.checksum)
        {
            self.known.extend(intent.ids);
            let surplus = self.known.len().saturating_sub(MAX_KNOWN_IDS);
            self.known.drain(..surplus);
        }
    }

    fn contains(&self, chunk: TableChunk) -> bool {
        self.known.contains(&encode_id(chunk))
    }

    fn to_json(&self) -> String {
        // Writing strings and integers into memory does not fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn encode_id(chunk: TableChunk) -> String {
    format!("{:x}", chunk.id)
}

/// Returns the key of the tag that keeps the state of a table.
fn state_key(path: &str) -> String {
    format!(
        "{}{:08x}",
        tag_keys::TABLE_APPEND,
        crc32c::crc32c(path.as_bytes())
    )
}

impl Delivery {
    /// Appends the rows that `parts` hold to the table at their path.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the store, or the table that is there, rejects the rows for good.
    pub(in crate::shipper) async fn append_table_rows(
        &self,
        run: &StoredRun,
        path: &str,
        parts: &[Artifact],
    ) -> Result<(), StoreError> {
        let rejected = |reason: String| StoreError::Rejected {
            reason: reason.into(),
        };
        let state_key = state_key(path);
        let state_tag = self.read_tag(run, &state_key).await?;
        let stored = self.store.get_artifact(run, path, MAX_TABLE_BYTES).await?;
        let mut table = match &stored {
            Some(bytes) => TableFile::parse(bytes).map_err(|fault| {
                rejected(format!(
                    "rows cannot be appended to what the run has at this path: {fault}; log the table under another path"
                ))
            })?,
            None => TableFile::new(),
        };
        let mut state = AppendState::parse(state_tag.as_deref());
        // Without a file, not even the rows of an empty append are there.
        state.settle(stored.is_some().then_some(&table));
        let mut texts = Vec::new();
        let mut intent = AppendIntent {
            ids: Vec::new(),
            from: table.row_count(),
            rows: 0,
            checksum: 0,
        };
        for part in parts {
            let ArtifactKind::TableRows(chunk) = part.kind else {
                continue;
            };
            if state.contains(chunk) {
                continue;
            }
            let bytes = part
                .read()
                .map_err(|error| rejected(format!("its rows cannot be read: {error}")))?;
            let text = String::from_utf8(bytes)
                .map_err(|error| rejected(format!("its rows are damaged: {error}")))?;
            intent.ids.push(encode_id(chunk));
            texts.push(text);
        }
        if intent.ids.is_empty() {
            return Ok(());
        }
        let before = stored.as_ref().map_or(0, Vec::len);
        let length = before + texts.iter().map(String::len).sum::<usize>();
        if length as u64 > MAX_TABLE_BYTES {
            return Err(rejected(format!(
                "the table would have about {length} bytes, and at most {MAX_TABLE_BYTES} are supported; log further \
                 rows under another path, or the data as a file"
            )));
        }
        for line in texts.iter().flat_map(|text| text.lines()) {
            table
                .push_line(line)
                .map_err(|fault| rejected(format!("a row cannot be appended: {fault}")))?;
        }
        intent.rows = table.row_count() - intent.from;
        intent.checksum = table
            .checksum(intent.from..table.row_count())
            .unwrap_or_default();
        state.intent = Some(intent);
        let bytes = table.to_bytes();
        let mut tags = vec![Tag {
            key: state_key,
            value: state.to_json(),
        }];
        // Looked up at each append: another process may have replaced the list meanwhile.
        let listed = self.read_tag(run, tag_keys::LOGGED_ARTIFACTS).await?;
        match list_table(listed.as_deref(), path) {
            Listing::Listed => {}
            Listing::Added(value) => tags.push(Tag {
                key: tag_keys::LOGGED_ARTIFACTS.to_owned(),
                value,
            }),
            Listing::Impossible => warn_unlisted(path),
        }
        self.store.log_batch(run, &Batch::of_tags(&tags)).await?;
        let content = ArtifactContent::Bytes(Cow::Owned(bytes));
        self.store.put_artifact(run, path, content).await
    }

    /// Returns the value of a tag. The refusal to read a tag says nothing about the rows, so they wait.
    async fn read_tag(&self, run: &StoredRun, key: &str) -> Result<Option<String>, StoreError> {
        let read = self.store.tag(run, key).await;
        read.map_err(|error| match error {
            StoreError::Rejected { reason } => StoreError::Blocked {
                reason,
                everything: false,
            },
            error => error,
        })
    }
}

/// Entry of a table in the list of a run's tables.
#[derive(Debug, PartialEq)]
enum Listing {
    /// The table is in the list.
    Listed,
    /// List with the table added.
    Added(String),
    /// The list is full, or was written in another form.
    Impossible,
}

/// Enters a table into the list of a run's tables. Python's client finds a table by the order of `path` and `type`
/// in the text.
// Input:  `[{"path":"a.json","type":"table"}]`, `b.json`
// Output: `[{"path":"a.json","type":"table"},{"path":"b.json","type":"table"}]`
fn list_table(listed: Option<&str>, path: &str) -> Listing {
    #[derive(PartialEq, Serialize, Deserialize)]
    struct LoggedArtifact<'a> {
        path: Cow<'a, str>,
        r#type: Cow<'a, str>,
    }
    let mut list: Vec<LoggedArtifact<'_>> = match listed.map(serde_json::from_str).transpose() {
        Ok(list) => list.unwrap_or_default(),
        Err(_) => return Listing::Impossible,
    };
    let table = LoggedArtifact {
        path: path.into(),
        r#type: "table".into(),
    };
    if list.contains(&table) {
        return Listing::Listed;
    }
    list.push(table);
    match serde_json::to_string(&list) {
        Ok(list) if list.chars().count() <= MAX_LIST_CHARS => Listing::Added(list),
        _ => Listing::Impossible,
    }
}

fn warn_unlisted(path: &str) {
    static UNLISTED: WarningLimit = WarningLimit::new();
    if let Some(end) = UNLISTED.admit() {
        warn_user(format_args!(
            "table {path:?} is stored and not shown as a table, because MLflow's list of the run's tables is full; use \
             fewer tables, and append to them{end}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipper::batch::MAX_CHUNKS_PER_APPEND;

    #[test]
    fn an_append_without_an_answer_is_recognized_by_its_rows() {
        let table = |rows: &str| format!(r#"{{"columns":["a"],"data":[{rows}]}}"#);
        let with_rows = table("[1],[2],[3]");
        let parsed = TableFile::parse(with_rows.as_bytes()).expect("a table");
        let checksum = parsed.checksum(1..3).expect("two rows");
        for (rows, is_there) in [
            ("[1]", false),
            ("[1],[2],[3]", true),
            ("[1],[2],[3],[4]", true),
            ("[1],[7],[8]", false),
        ] {
            let mut state = AppendState {
                known: vec!["1".to_owned()],
                intent: Some(AppendIntent {
                    ids: vec!["2".to_owned(), "3".to_owned()],
                    from: 1,
                    rows: 2,
                    checksum,
                }),
            };
            let bytes = table(rows);
            state.settle(Some(&TableFile::parse(bytes.as_bytes()).expect("a table")));
            let known = if is_there { 3 } else { 1 };
            assert_eq!(state.known.len(), known, "{rows}");
            assert_eq!(state.intent, None);
        }
    }

    /// The rows of an empty append are the same whether they are there or not.
    #[test]
    fn an_append_to_a_table_that_does_not_exist_is_not_there() {
        let mut state = AppendState {
            known: Vec::new(),
            intent: Some(AppendIntent {
                ids: vec!["1".to_owned()],
                from: 0,
                rows: 0,
                checksum: 0,
            }),
        };
        state.settle(None);
        assert_eq!(state, AppendState::default());
    }

    #[test]
    fn the_state_fits_into_the_tag_of_an_old_server() {
        let state = AppendState {
            known: (0..MAX_KNOWN_IDS)
                .map(|_| format!("{:x}", u64::MAX))
                .collect(),
            intent: Some(AppendIntent {
                ids: (0..MAX_CHUNKS_PER_APPEND)
                    .map(|_| format!("{:x}", u64::MAX))
                    .collect(),
                from: usize::MAX,
                rows: usize::MAX,
                checksum: u32::MAX,
            }),
        };
        assert!(state.to_json().len() <= 5000);
        assert_eq!(AppendState::parse(Some(&state.to_json())), state);
        assert_eq!(AppendState::parse(Some("no JSON")), AppendState::default());
    }

    #[test]
    fn a_table_is_listed_once_and_as_python_searches_it() {
        let first = r#"[{"path":"a.json","type":"table"}]"#;
        let both = r#"[{"path":"a.json","type":"table"},{"path":"b.json","type":"table"}]"#;
        assert_eq!(list_table(None, "a.json"), Listing::Added(first.to_owned()));
        assert_eq!(list_table(Some(first), "a.json"), Listing::Listed);
        assert_eq!(
            list_table(Some(first), "b.json"),
            Listing::Added(both.to_owned())
        );
    }

    #[test]
    fn a_list_that_is_full_or_of_another_form_stays_as_it_is() {
        let mut list: Option<String> = None;
        let is_full = (0..1000).any(|number| {
            match list_table(list.as_deref(), &format!("{number}.json")) {
                Listing::Added(longer) => list = Some(longer),
                Listing::Listed => panic!("{number} is new"),
                Listing::Impossible => return true,
            }
            false
        });
        assert!(is_full && list.is_some_and(|list| list.len() <= MAX_LIST_CHARS));
        assert_eq!(
            list_table(Some("cut off: [{"), "a.json"),
            Listing::Impossible
        );
    }
}
