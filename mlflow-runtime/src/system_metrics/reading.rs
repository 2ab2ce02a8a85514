//! One look at the machine: plain numbers, as they were read.
//!
//! Invariant: what could not be read is absent; nothing is made up.

/// What was seen at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) cpu: Option<Cpu>,
    pub(crate) memory: Option<Memory>,
    pub(crate) disk: Option<Disk>,
    pub(crate) network: Option<Network>,
    pub(crate) gpus: Vec<Gpu>,
}

/// Processor time since the first reading; the use between two readings is the ratio of what both
/// have grown by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    /// Seconds in which every processor that the process may use would have been busy.
    pub(crate) busy: f64,
    /// Seconds by the clock.
    pub(crate) elapsed: f64,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) used: u64,
    pub(crate) total: u64,
}

/// Bytes of a file system. Together they are less than its size where some is kept for root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) used: u64,
    pub(crate) available: u64,
}

/// Bytes since the interfaces came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) received: u64,
    pub(crate) transmitted: u64,
}

/// A graphics processor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gpu {
    /// Its number in the driver's order.
    pub(crate) index: u32,
    pub(crate) memory: Option<Memory>,
    /// Percent of the time in which it did something.
    pub(crate) utilization: Option<f64>,
    pub(crate) watts: Option<f64>,
    /// What it may draw.
    pub(crate) watts_limit: Option<f64>,
}
