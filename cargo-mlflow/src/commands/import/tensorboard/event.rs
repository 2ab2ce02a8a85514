//! Messages of an event file, as far as they are read. The numbers are those of TensorBoard's `.proto` files.

use std::collections::HashMap;

use prost::{Message, Oneof};

/// Event: the values that were logged at one time.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    /// Time in seconds since the Unix epoch.
    #[prost(double, tag = "1")]
    pub(super) wall_time: f64,
    #[prost(int64, tag = "2")]
    pub(super) step: i64,
    #[prost(message, optional, tag = "5")]
    pub(super) summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(super) value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(string, tag = "1")]
    pub(super) tag: String,
    #[prost(message, optional, tag = "9")]
    pub(super) metadata: Option<Metadata>,
    #[prost(oneof = "Content", tags = "2, 4, 5, 6, 8")]
    pub(super) content: Option<Content>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Content {
    #[prost(float, tag = "2")]
    Scalar(f32),
    #[prost(message, tag = "4")]
    Image(Image),
    #[prost(message, tag = "5")]
    Histogram(Ignored),
    #[prost(message, tag = "6")]
    Audio(Ignored),
    #[prost(message, tag = "8")]
    Tensor(Tensor),
}

/// Message that is not read.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Ignored {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Image {
    #[prost(bytes = "vec", tag = "4")]
    pub(super) encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(message, optional, tag = "1")]
    pub(super) plugin_data: Option<PluginData>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PluginData {
    #[prost(string, tag = "1")]
    pub(super) plugin_name: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) content: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(int32, tag = "1")]
    pub(super) dtype: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) content: Vec<u8>,
    #[prost(float, repeated, tag = "5")]
    pub(super) floats: Vec<f32>,
    #[prost(double, repeated, tag = "6")]
    pub(super) doubles: Vec<f64>,
    #[prost(int32, repeated, tag = "7")]
    pub(super) ints: Vec<i32>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(super) strings: Vec<Vec<u8>>,
    #[prost(int64, repeated, tag = "10")]
    pub(super) longs: Vec<i64>,
}

impl Tensor {
    /// Returns the number that a tensor of one number holds.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    pub(super) fn number(&self) -> Option<f64> {
        const FLOAT: i32 = 1;
        const DOUBLE: i32 = 2;
        const INT32: i32 = 3;
        const INT64: i32 = 9;
        let content = &*self.content;
        match self.dtype {
            FLOAT => { self.floats.first().copied() }
                .or_else(|| content.try_into().ok().map(f32::from_le_bytes))
                .map(f64::from),
            DOUBLE => { self.doubles.first().copied() }
                .or_else(|| content.try_into().ok().map(f64::from_le_bytes)),
            INT32 => { self.ints.first().copied() }
                .or_else(|| content.try_into().ok().map(i32::from_le_bytes))
                .map(f64::from),
            INT64 => { self.longs.first().copied() }
                .or_else(|| content.try_into().ok().map(i64::from_le_bytes))
                .map(|number| number as f64),
            _ => None,
        }
    }
}

/// Content of a summary of the plugin `hparams`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HparamsData {
    #[prost(message, optional, tag = "3")]
    pub(super) session_start: Option<SessionStart>,
    #[prost(message, optional, tag = "4")]
    pub(super) session_end: Option<SessionEnd>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionStart {
    #[prost(map = "string, message", tag = "1")]
    pub(super) hparams: HashMap<String, Hparam>,
    /// Time in seconds since the Unix epoch; 0 if it is not known.
    #[prost(double, tag = "5")]
    pub(super) start_time: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionEnd {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
    #[prost(double, tag = "2")]
    pub(super) end_time: f64,
}

/// Value of a hyperparameter: the well-known type `google.protobuf.Value`, without lists and objects.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Hparam {
    #[prost(oneof = "HparamKind", tags = "2, 3, 4")]
    pub(super) kind: Option<HparamKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum HparamKind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Flag(bool),
}
