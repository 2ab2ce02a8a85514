//! Appending of rows to a table in the store.
//!
//! # Invariants
//!
//! 1. Each row is appended once, although a table is a file that can only be replaced, and although an answer may
//!    be lost, or the process may die between two requests.
//! 2. The rows of one thread are appended in the order in which they were logged.
//! 3. A table that another client has written, e.g. Python's `log_table`, keeps its rows.
//!
//! An append reads the table, adds the rows and writes the table. Before it writes, it records its intent in a
//! tag of the run: the numbers of the chunks, the place of their rows and a checksum of their values. Whoever comes next, after a
//! lost answer or a kill, compares the intent with the table, and so knows if the rows are there. The tag also keeps the numbers
//! of all chunks that are known to be there: a reader of the journal may begin anew before all of them.
//!
//! Two processes that append to one table at the same time may overwrite each other's rows, as with Python's
//! client. Ranks and forked processes therefore have tables of their own: see [`Run::log_table`](crate::Run::log_table).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::{ArtifactKind, TableChunk, Tag, tag_keys};
use crate::shipper::batch::Artifact;
use crate::shipper::deliver::delivery::Delivery;
use crate::store::{ArtifactContent, Batch, StoreError, StoredRun, TableFile};
use crate::warnings::{WarningLimit, warn_without_dedup};

/// Greatest number of ranges of known chunks that are kept. With those of an intent, they fit into a tag of 5,000
/// characters, which is what the oldest servers hold.
const MAX_KNOWN_RANGES: usize = 30;
/// Greatest number of characters in the list of a run's tables, which is what the oldest servers hold in a tag.
const MAX_LIST_CHARS: usize = 5000;
/// Greatest size of a table in bytes. A table is in memory while rows are appended to it.
const MAX_TABLE_BYTES: u64 = 256 << 20;

/// State of the appends to one table, as a tag of the run keeps it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct AppendState {
    /// Chunks whose rows are in the table.
    known: ChunkSet,
    /// Append that was begun last.
    intent: Option<AppendIntent>,
}

/// Append that may have reached the table.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct AppendIntent {
    chunks: ChunkSet,
    /// Number of rows in the table before the append.
    from: usize,
    /// Number of rows of the append.
    rows: usize,
    /// Checksum of the rows of the append.
    checksum: u32,
}

/// Set of chunks: for each series, the ranges of their numbers, both ends included. The series that was added to last
/// is the last one.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct ChunkSet(Vec<(String, Vec<(u64, u64)>)>);

impl ChunkSet {
    fn contains(&self, chunk: TableChunk) -> bool {
        let series = format!("{:x}", chunk.series);
        let of_series = self.0.iter().filter(|(one, _)| *one == series);
        of_series
            .flat_map(|(_, ranges)| ranges)
            .any(|(first, last)| (*first..=*last).contains(&chunk.number))
    }

    fn insert(&mut self, chunk: TableChunk) {
        let series = format!("{:x}", chunk.series);
        self.insert_range(series, chunk.number, chunk.number);
    }

    fn insert_range(&mut self, series: String, first: u64, last: u64) {
        let known = self.0.iter().position(|(one, _)| *one == series);
        let mut ranges = known.map_or_else(Vec::new, |at| self.0.remove(at).1);
        ranges.push((first, last));
        ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        self.0.push((series, joined));
    }

    fn extend(&mut self, other: Self) {
        for (series, ranges) in other.0 {
            for (first, last) in ranges {
                self.insert_range(series.clone(), first, last);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops the series that were not added to for the longest time, until at most `count` ranges are left.
    fn truncate(&mut self, count: usize) {
        while self.0.len() > 1
            && self.0.iter().map(|(_, ranges)| ranges.len()).sum::<usize>() > count
        {
            self.0.remove(0);
        }
    }
}

impl AppendState {
    /// Reads the state from its tag. A tag that somebody has damaged counts as none.
    fn parse(tag: Option<&str>) -> Self {
        tag.and_then(|tag| serde_json::from_str(tag).ok())
            .unwrap_or_default()
    }

    /// Adds the chunks of the last append to the known ones, if its rows are in the table. `table` is `None` if there
    /// is no table.
    fn settle(&mut self, table: Option<&TableFile<'_>>) {
        if let Some(intent) = self.intent.take()
            && let Some(table) = table
            && let Some(end) = intent.from.checked_add(intent.rows)
            && table.checksum(intent.from..end) == Some(intent.checksum)
        {
            self.known.extend(intent.chunks);
            self.known.truncate(MAX_KNOWN_RANGES);
        }
    }

    fn to_json(&self) -> String {
        // Writing strings and integers into memory does not fail.
        serde_json::to_string(self).unwrap_or_default()
    }
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
            from: table.row_count(),
            ..AppendIntent::default()
        };
        for part in parts {
            let ArtifactKind::TableRows(chunk) = part.kind else {
                continue;
            };
            if state.known.contains(chunk) {
                continue;
            }
            let bytes = part
                .read()
                .map_err(|error| rejected(format!("its rows cannot be read: {error}")))?;
            let text = String::from_utf8(bytes)
                .map_err(|error| rejected(format!("its rows are damaged: {error}")))?;
            intent.chunks.insert(chunk);
            texts.push(text);
        }
        if intent.chunks.is_empty() {
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

    /// Returns the value of a tag. The refusal to read a tag says nothing about the artifact that needs it, which waits.
    pub(super) async fn read_tag(
        &self,
        run: &StoredRun,
        key: &str,
    ) -> Result<Option<String>, StoreError> {
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
        warn_without_dedup(format!(
            "table {path:?} is stored and not shown as a table, because MLflow's list of the run's tables is full; use \
             fewer tables, and append to them{end}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipper::batch::MAX_CHUNKS_PER_APPEND;

    fn chunk(series: u64, number: u64) -> TableChunk {
        TableChunk {
            series,
            number,
            rows: 1,
        }
    }

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
            let mut state = AppendState::default();
            state.known.insert(chunk(1, 0));
            let mut intent = AppendIntent {
                from: 1,
                rows: 2,
                checksum,
                ..AppendIntent::default()
            };
            intent.chunks.insert(chunk(1, 1));
            state.intent = Some(intent);
            let bytes = table(rows);
            state.settle(Some(&TableFile::parse(bytes.as_bytes()).expect("a table")));
            assert!(state.known.contains(chunk(1, 0)), "{rows}");
            assert_eq!(state.known.contains(chunk(1, 1)), is_there, "{rows}");
            assert_eq!(state.intent, None);
        }
    }

    /// The rows of an empty append are the same whether they are there or not.
    #[test]
    fn an_append_to_a_table_that_does_not_exist_is_not_there() {
        let mut intent = AppendIntent::default();
        intent.chunks.insert(chunk(1, 0));
        let mut state = AppendState {
            known: ChunkSet::default(),
            intent: Some(intent),
        };
        state.settle(None);
        assert_eq!(state, AppendState::default());
    }

    #[test]
    fn chunks_in_any_order_become_ranges() {
        let mut known = ChunkSet::default();
        for number in [0, 1, 5, 3, 2, 7, 4, 5] {
            known.insert(chunk(9, number));
        }
        known.insert(chunk(8, 6));
        assert_eq!(
            known.0,
            [
                ("9".to_owned(), vec![(0, 5), (7, 7)]),
                ("8".to_owned(), vec![(6, 6)]),
            ]
        );
        assert!(known.contains(chunk(9, 4)) && !known.contains(chunk(9, 6)));
        assert!(known.contains(chunk(8, 6)) && !known.contains(chunk(7, 6)));
        known.truncate(2);
        assert_eq!(known.0, [("8".to_owned(), vec![(6, 6)])]);
    }

    #[test]
    fn the_state_fits_into_the_tag_of_an_old_server() {
        let chunks = |count: u64| {
            let mut set = ChunkSet::default();
            for at in 0..count {
                set.insert(chunk(u64::MAX - at, 1_000_000_000 + 2 * at));
            }
            set
        };
        let mut state = AppendState {
            known: chunks(1000),
            intent: Some(AppendIntent {
                chunks: chunks(MAX_CHUNKS_PER_APPEND as u64),
                from: usize::MAX,
                rows: usize::MAX,
                checksum: u32::MAX,
            }),
        };
        state.known.truncate(MAX_KNOWN_RANGES);
        assert!(state.to_json().len() <= 5000, "{}", state.to_json().len());
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
