//! Records: the bodies of a segment's frames, and their encoding.
//!
//! Invariants: a segment defines a key or a run before a record uses its number, and the first record of a
//! segment is its [`Origin`].
//!
//! The first byte of a body is the kind of the record:
//!
//! ```text
//! 1 metric      u8 kind, 3 zero, u32 run, u32 key, 4 zero, i64 ms, i64 step, f64 value   (40 bytes)
//! 2 definition  u8 kind, JSON of [`Definition`]
//! 3 event       u8 kind, 3 zero, u32 run, u64 sequence, u32 JSON length, 4 zero, JSON of [`Event`],
//!               attachment: the bytes of an artifact, else nothing
//! 4 metric      u8 kind, u48 ms, 1 zero, u32 run, u32 key, i64 step, f64 value           (32 bytes)
//! ```
//!
//! All numbers are little-endian. The sequence orders the events of all threads of a process. Metrics need no
//! sequence, as their timestamps order them. A metric is of kind 4, or of kind 1 if its time does not fit: before
//! 1970, or more than 8,900 years later. The rare kinds are JSON, so that a newer version may add fields which an
//! older version ignores.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{ArtifactKind, Param, RunIdentity, RunStatus, Tag};

const WIDE_METRIC: u8 = 1;
const DEFINITION: u8 = 2;
const EVENT: u8 = 3;
const METRIC: u8 = 4;

/// Number of words in the body of a metric, which nearly all frames have.
pub(crate) const METRIC_WORDS: usize = 4;
/// Number of words in the body of a metric whose time does not fit into [`METRIC_TIME_BITS`].
const WIDE_METRIC_WORDS: usize = 5;
/// Number of bits for the time of a metric.
const METRIC_TIME_BITS: u32 = 48;
const EVENT_HEADER_BYTES: usize = 24;

/// Decoded record.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    Metric(MetricRecord),
    Definition(Definition<'a>),
    Event {
        run: u32,
        sequence: u64,
        event: EventBody<'a>,
    },
}

/// Event whose JSON is not parsed yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventBody<'a> {
    json: &'a [u8],
    pub(crate) attachment: &'a [u8],
}

impl EventBody<'_> {
    /// Parses the event. Returns `None` for a kind of event that this version does not know.
    pub(crate) fn parse(self) -> Option<Event<'static>> {
        serde_json::from_slice(self.json).ok()
    }
}

/// Metric point, with the segment's numbers of its run and its key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MetricRecord {
    pub(crate) run: u32,
    pub(crate) key: u32,
    pub(crate) timestamp_ms: i64,
    pub(crate) step: i64,
    pub(crate) value: f64,
}

/// First of the steps that stand, in a record, for "the last step that the run has under this key, or 0". The
/// thread that logs the point does not know that step; the shipper finds it when the point is shipped. The
/// range is far from the steps of any program, and not at the least number, which some programs use for
/// "none".
const LAST_STEP_BASE: i64 = i64::MIN + (1 << 40);
/// Number of the steps that stand for a last step.
const LAST_STEP_COUNT: u64 = 1 << 40;

/// Returns the step that stands for the last step in the record of a point with this position in the order of
/// all events.
pub(crate) fn encode_last_step(sequence: u64) -> i64 {
    LAST_STEP_BASE.saturating_add_unsigned(sequence % LAST_STEP_COUNT)
}

/// Returns a step given by a program, moved out of the range of those that stand for a last step.
#[inline]
pub(crate) fn clamp_plain_step(step: i64) -> i64 {
    if step.wrapping_sub(LAST_STEP_BASE).cast_unsigned() < LAST_STEP_COUNT {
        LAST_STEP_BASE - 1
    } else {
        step
    }
}

/// Returns the position, in the order of all events, of a point that is to get the last step of its key;
/// `None` for every other step.
pub(crate) fn decode_last_step(step: i64) -> Option<u64> {
    let sequence = u64::try_from(step.checked_sub(LAST_STEP_BASE)?).ok()?;
    (sequence < LAST_STEP_COUNT).then_some(sequence)
}

/// Definition that later records of the same segment refer to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Definition<'a> {
    Origin(Origin),
    Key {
        id: u32,
        name: Cow<'a, str>,
    },
    Run {
        number: u32,
        identity: Cow<'a, RunIdentity>,
    },
}

/// Owner of a segment, and destination of its values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Tracking URI without credentials; the path of a SQLite file is absolute.
    pub(crate) destination: String,
    pub(crate) host: String,
    pub(crate) process_id: u32,
    /// Tags that the runs of the process have in common. [`RunStart::with_common_tags`] tells if a run has
    /// them.
    #[serde(
        default,
        serialize_with = "serialize_tags",
        deserialize_with = "deserialize_tags"
    )]
    pub(crate) tags: Arc<[Tag]>,
}

fn serialize_tags<S: Serializer>(tags: &Arc<[Tag]>, serializer: S) -> Result<S::Ok, S::Error> {
    tags[..].serialize(serializer)
}

fn deserialize_tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[Tag]>, D::Error> {
    Vec::deserialize(deserializer).map(Arc::from)
}

/// Event of a run. The sequence in [`Record::Event`] orders the events of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event<'a> {
    Start(Box<RunStart<'a>>),
    Param(Cow<'a, Param>),
    Tag(Cow<'a, Tag>),
    Artifact {
        path: Cow<'a, str>,
        #[serde(default, skip_serializing_if = "ArtifactKind::is_file")]
        kind: ArtifactKind,
        content: ArtifactLocation<'a>,
        /// Fingerprint of a spooled copy. Older versions wrote none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<Fingerprint>,
    },
    End {
        status: RunStatus,
        end_time_ms: i64,
    },
}

/// Start of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunStart<'a> {
    pub(crate) identity: Cow<'a, RunIdentity>,
    pub(crate) name: Cow<'a, str>,
    pub(crate) user: Cow<'a, str>,
    pub(crate) start_time_ms: i64,
    pub(crate) parent: Option<Cow<'a, RunIdentity>>,
    /// Tags of this run alone.
    pub(crate) tags: Vec<Cow<'a, Tag>>,
    /// True if the run also has the tags of its segment's [`Origin`], except those with a key in `tags`.
    #[serde(default)]
    pub(crate) with_common_tags: bool,
    pub(crate) params: Vec<Param>,
    /// True if the store has the start already. The start is kept for a shipper that may have to create the
    /// run anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_delivered: bool,
}

impl RunStart<'static> {
    /// Returns a substitute for the lost start of the run with this identity.
    pub(crate) fn replacement(identity: &RunIdentity, start_time_ms: i64) -> Self {
        Self {
            identity: Cow::Owned(identity.clone()),
            name: Cow::Owned(format!("run-{}", identity.key)),
            user: Cow::Borrowed(""),
            start_time_ms,
            parent: None,
            tags: Vec::new(),
            with_common_tags: false,
            params: Vec::new(),
            is_delivered: false,
        }
    }
}

impl RunStart<'_> {
    /// Adds the common tags of the segment's origin to the start's own tags, once. A tag of the start takes
    /// precedence over a common tag with the same key.
    pub(crate) fn adopt_common_tags(&mut self, common: &[Tag]) {
        if !std::mem::take(&mut self.with_common_tags) {
            return;
        }
        let replaced = |tag: &&Tag| self.tags.iter().all(|own| own.key != tag.key);
        let adopted: Vec<_> = common
            .iter()
            .filter(replaced)
            .map(|tag| Cow::Owned(tag.clone()))
            .collect();
        self.tags.splice(..0, adopted);
    }
}

/// Location of an artifact's bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ArtifactLocation<'a> {
    /// Bytes in the attachment of the event.
    Attached,
    /// Bytes in the file of this name beside the segments.
    Spooled(Cow<'a, str>),
    /// Bytes in a file beside the segments that grows while its run is open: see
    /// [`console_log`](crate::journal::console_log).
    Growing {
        file: Cow<'a, str>,
        /// Part of the captured stdout and stderr of the process. If present, `file` does not hold the log
        /// itself, but the offset at which the part ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<SharedFilePart<'a>>,
    },
}

/// Length and checksum by which an incomplete file is recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) length: u64,
    /// CRC-32C of the file; `None` if its bytes were not read while the file was copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crc32c: Option<u32>,
}

/// Part of a file that several runs share: from the offset `from` on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SharedFilePart<'a> {
    pub(crate) file: Cow<'a, str>,
    pub(crate) from: u64,
}

impl MetricRecord {
    /// Encodes the body.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let words = self.words();
        words.map_or_else(|| self.encode_wide(), |words| to_bytes(&words))
    }

    /// Returns the body as words, whose bytes in the file are little-endian; `None` if the time does not fit. The checksum
    /// reads whole words, and a processor stalls on a word that was written in smaller parts.
    #[inline(always)]
    pub(crate) fn words(&self) -> Option<[u64; METRIC_WORDS]> {
        let time = self.timestamp_ms.cast_unsigned();
        (time >> METRIC_TIME_BITS == 0).then(|| {
            [
                u64::from(METRIC) | time << 8,
                u64::from(self.run) | u64::from(self.key) << 32,
                self.step.cast_unsigned(),
                self.value.to_bits(),
            ]
        })
    }

    fn encode_wide(&self) -> Vec<u8> {
        let words: [u64; WIDE_METRIC_WORDS] = [
            u64::from(WIDE_METRIC) | u64::from(self.run) << 32,
            u64::from(self.key),
            self.timestamp_ms.cast_unsigned(),
            self.step.cast_unsigned(),
            self.value.to_bits(),
        ];
        to_bytes(&words)
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let time_and_kind = u64::from_le_bytes(read_array(body, 0)?);
        Some(Self {
            run: u32::from_le_bytes(read_array(body, 8)?),
            key: u32::from_le_bytes(read_array(body, 12)?),
            timestamp_ms: (time_and_kind >> 8).cast_signed(),
            step: i64::from_le_bytes(read_array(body, 16)?),
            value: f64::from_le_bytes(read_array(body, 24)?),
        })
    }

    fn decode_wide(body: &[u8]) -> Option<Self> {
        Some(Self {
            run: u32::from_le_bytes(read_array(body, 4)?),
            key: u32::from_le_bytes(read_array(body, 8)?),
            timestamp_ms: i64::from_le_bytes(read_array(body, 16)?),
            step: i64::from_le_bytes(read_array(body, 24)?),
            value: f64::from_le_bytes(read_array(body, 32)?),
        })
    }
}

impl Definition<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = vec![DEFINITION];
        append_json(&mut body, self);
        body
    }
}

impl Event<'_> {
    pub(crate) fn encode(&self, run: u32, sequence: u64, attachment: &[u8]) -> Vec<u8> {
        let mut body = Vec::with_capacity(1024 + attachment.len());
        body.resize(EVENT_HEADER_BYTES, 0);
        body[0] = EVENT;
        body[4..8].copy_from_slice(&run.to_le_bytes());
        body[8..16].copy_from_slice(&sequence.to_le_bytes());
        let json = append_json(&mut body, self);
        body[16..20].copy_from_slice(&json.to_le_bytes());
        body.extend_from_slice(attachment);
        body
    }
}

impl<'a> Record<'a> {
    /// Returns true if the journal counts the record in `body` as a value.
    pub(crate) fn is_value(body: &[u8]) -> bool {
        matches!(body.first(), Some(&METRIC | &WIDE_METRIC | &EVENT))
    }

    /// Decodes a body. Returns `None` for a kind of record that this version does not know, as a newer
    /// version may have written it.
    pub(crate) fn decode(body: &'a [u8]) -> Option<Self> {
        match *body.first()? {
            METRIC => MetricRecord::decode(body).map(Record::Metric),
            WIDE_METRIC => MetricRecord::decode_wide(body).map(Record::Metric),
            DEFINITION => serde_json::from_slice(body.get(1..)?)
                .ok()
                .map(Record::Definition),
            EVENT => Some(Record::Event {
                run: u32::from_le_bytes(read_array(body, 4)?),
                sequence: u64::from_le_bytes(read_array(body, 8)?),
                event: {
                    let json = u32::from_le_bytes(read_array(body, 16)?) as usize;
                    let (json, attachment) =
                        body.get(EVENT_HEADER_BYTES..)?.split_at_checked(json)?;
                    EventBody { json, attachment }
                },
            }),
            _ => None,
        }
    }
}

/// Returns true if `body` looks like a record of this version, judged by the few bytes that all records of a
/// kind have in common.
pub(crate) fn is_plausible(body: &[u8]) -> bool {
    let zeros = |from: usize, to: usize| {
        let bytes = body.get(from..to);
        bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
    };
    match body.first() {
        Some(&METRIC) => body.len() == METRIC_WORDS * 8 && zeros(7, 8),
        Some(&WIDE_METRIC) => body.len() == WIDE_METRIC_WORDS * 8 && zeros(1, 4) && zeros(12, 16),
        Some(&DEFINITION) => body.get(1) == Some(&b'{'),
        Some(&EVENT) => zeros(1, 4) && zeros(20, 24) && body.get(EVENT_HEADER_BYTES) == Some(&b'{'),
        _ => false,
    }
}

/// Returns the length of the record at the beginning of `bytes`, as far as the record itself shows it; `None`
/// if it does not.
pub(crate) fn encoded_length(bytes: &[u8]) -> Option<usize> {
    match *bytes.first()? {
        METRIC => Some(METRIC_WORDS * 8),
        WIDE_METRIC => Some(WIDE_METRIC_WORDS * 8),
        DEFINITION => {
            let mut values =
                serde_json::Deserializer::from_slice(bytes.get(1..)?).into_iter::<IgnoredAny>();
            values.next()?.ok()?;
            Some(1 + values.byte_offset())
        }
        // The length of an attachment is known from the frame alone.
        EVENT => {
            let json = u32::from_le_bytes(read_array(bytes, 16)?) as usize;
            EVENT_HEADER_BYTES.checked_add(json)
        }
        _ => None,
    }
}

fn to_bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn read_array<const N: usize>(body: &[u8], at: usize) -> Option<[u8; N]> {
    body.get(at..at + N)?.try_into().ok()
}

/// Appends `value` as JSON and returns the length of the JSON.
fn append_json(body: &mut Vec<u8>, value: &impl Serialize) -> u32 {
    let start = body.len();
    // Serializing plain structs to a `Vec` cannot fail. Should it fail, the reader skips the record.
    let _ = serde_json::to_writer(&mut *body, value);
    u32::try_from(body.len() - start).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_read_as_it_was_written() {
        let times = [0, 1, (1 << 48) - 1, 1 << 48, -1, i64::MIN, i64::MAX];
        for timestamp_ms in times {
            let metric = MetricRecord {
                run: 0x0102_0304,
                key: u32::MAX,
                timestamp_ms,
                step: -7,
                value: -0.5,
            };
            let body = metric.encode();
            assert!(Record::is_value(&body) && is_plausible(&body));
            assert_eq!(encoded_length(&body), Some(body.len()));
            let fits = (0..1 << 48).contains(&timestamp_ms);
            assert_eq!(body.len(), if fits { 32 } else { 40 });
            let Some(Record::Metric(read)) = Record::decode(&body) else {
                panic!("{timestamp_ms} ms: {body:?}");
            };
            assert_eq!(read, metric);
            // Half a record is none.
            assert!(!is_plausible(&body[..body.len() - 8]));
            assert!(Record::decode(&body[..body.len() - 1]).is_none());
        }
    }

    /// Journals of earlier versions have all of their metrics in the wide form.
    #[test]
    fn a_wide_metric_of_any_time_is_read() {
        let metric = MetricRecord {
            run: 3,
            key: 1 << 31,
            timestamp_ms: 1_795_542_561_824,
            step: 9,
            value: 0.25,
        };
        let body = metric.encode_wide();
        assert!(Record::is_value(&body) && is_plausible(&body));
        assert_eq!(encoded_length(&body), Some(40));
        assert!(matches!(Record::decode(&body), Some(Record::Metric(read)) if read == metric));
    }

    #[test]
    fn common_tags_are_adopted_once_and_give_way_to_a_starts_own() {
        let tag = |key: &str, value: &str| Tag {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let identity = r#""identity":{"key":"k","experiment":{"Id":"0"},"resumed":null},"name":"n","user":"u""#;
        let older = format!(
            r#"{{{identity},"start_time_ms":1,"parent":null,"tags":[{{"key":"a","value":"own"}}],"params":[]}}"#
        );
        let mut start: RunStart<'static> = serde_json::from_str(&older).expect("a start");
        let common = [tag("a", "common"), tag("b", "common")];
        start.adopt_common_tags(&common);
        assert_eq!(
            start.tags.len(),
            1,
            "an older start has all its tags itself"
        );
        start.with_common_tags = true;
        start.adopt_common_tags(&common);
        start.adopt_common_tags(&common);
        let tags: Vec<Tag> = start.tags.into_iter().map(Cow::into_owned).collect();
        assert_eq!(tags, [tag("b", "common"), tag("a", "own")]);
    }
}
