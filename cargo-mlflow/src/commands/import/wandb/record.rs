//! Messages of a `.wandb` file, as far as they are read. The numbers are those of the package `wandb`.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Record {
    #[prost(oneof = "Content", tags = "2, 3, 4, 5, 7, 13, 17, 18, 26")]
    pub(super) content: Option<Content>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Content {
    #[prost(message, tag = "2")]
    History(History),
    #[prost(message, tag = "3")]
    Summary(Update),
    #[prost(message, tag = "4")]
    Output(Output),
    #[prost(message, tag = "5")]
    Config(Update),
    #[prost(message, tag = "7")]
    Stats(Stats),
    #[prost(message, tag = "13")]
    OutputRaw(Output),
    #[prost(message, tag = "17")]
    Run(Box<Run>),
    #[prost(message, tag = "18")]
    Exit(Exit),
    #[prost(message, tag = "26")]
    Environment(Box<Environment>),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl Timestamp {
    /// Returns the time in ms since the Unix epoch.
    pub(super) fn ms(&self) -> i64 {
        let ms = self.seconds.saturating_mul(1000);
        ms.saturating_add(i64::from(self.nanos / 1_000_000))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Run {
    #[prost(string, tag = "1")]
    pub(super) run_id: String,
    #[prost(string, tag = "2")]
    pub(super) entity: String,
    #[prost(string, tag = "3")]
    pub(super) project: String,
    #[prost(message, optional, tag = "4")]
    pub(super) config: Option<Update>,
    #[prost(message, optional, tag = "5")]
    pub(super) summary: Option<Update>,
    #[prost(string, tag = "6")]
    pub(super) run_group: String,
    #[prost(string, tag = "7")]
    pub(super) job_type: String,
    #[prost(string, tag = "8")]
    pub(super) display_name: String,
    #[prost(string, tag = "9")]
    pub(super) notes: String,
    #[prost(string, repeated, tag = "10")]
    pub(super) tags: Vec<String>,
    #[prost(string, tag = "12")]
    pub(super) sweep_id: String,
    #[prost(string, tag = "13")]
    pub(super) host: String,
    #[prost(message, optional, tag = "17")]
    pub(super) start_time: Option<Timestamp>,
    #[prost(message, optional, tag = "21")]
    pub(super) git: Option<Git>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Git {
    #[prost(string, tag = "1")]
    pub(super) remote_url: String,
    #[prost(string, tag = "2")]
    pub(super) commit: String,
}

/// Change of a config or a summary.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Update {
    #[prost(message, repeated, tag = "1")]
    pub(super) update: Vec<Item>,
    #[prost(message, repeated, tag = "2")]
    pub(super) remove: Vec<Item>,
}

/// Key and value. Either `key` or `nested_key` is set.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Item {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) nested_key: Vec<String>,
    #[prost(string, tag = "16")]
    pub(super) value_json: String,
    #[prost(oneof = "ItemValue", tags = "4, 5, 6, 7, 8")]
    pub(super) value: Option<ItemValue>,
}

/// Value that is not written as JSON.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum ItemValue {
    #[prost(bool, tag = "4")]
    Flag(bool),
    #[prost(sint64, tag = "5")]
    Integer(i64),
    #[prost(double, tag = "6")]
    Number(f64),
    #[prost(string, tag = "7")]
    Text(String),
    #[prost(string, tag = "8")]
    Json(String),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct History {
    #[prost(message, repeated, tag = "1")]
    pub(super) item: Vec<Item>,
    #[prost(message, optional, tag = "2")]
    pub(super) step: Option<HistoryStep>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HistoryStep {
    #[prost(int64, tag = "1")]
    pub(super) num: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Stats {
    #[prost(message, optional, tag = "2")]
    pub(super) timestamp: Option<Timestamp>,
    #[prost(message, repeated, tag = "3")]
    pub(super) item: Vec<Item>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Output {
    #[prost(message, optional, tag = "2")]
    pub(super) timestamp: Option<Timestamp>,
    #[prost(string, tag = "3")]
    pub(super) line: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Exit {
    #[prost(int32, tag = "1")]
    pub(super) exit_code: i32,
    /// Seconds that the run took.
    #[prost(int32, tag = "2")]
    pub(super) runtime: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Environment {
    #[prost(string, tag = "2")]
    pub(super) python: String,
    #[prost(string, tag = "6")]
    pub(super) program: String,
    #[prost(message, optional, tag = "9")]
    pub(super) git: Option<Git>,
    #[prost(string, tag = "12")]
    pub(super) host: String,
    #[prost(string, tag = "13")]
    pub(super) username: String,
}
