//! Readings of the machine: plain numbers, as they were read.
//!
//! Invariant: a number that could not be read is absent; no number is made up.

/// State of the machine at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) cpu: Option<Cpu>,
    pub(crate) memory: Option<Memory>,
    pub(crate) disk: Option<Disk>,
    pub(crate) network: Option<Network>,
    pub(crate) gpus: Vec<Gpu>,
}

/// Processor time since the first reading. The utilization between two readings is the growth of `busy`
/// divided by the growth of `elapsed`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    /// Processor time used, in seconds of all the processors that the process may use together.
    pub(crate) busy: f64,
    /// Time that has passed, in seconds.
    pub(crate) elapsed: f64,
}

/// Main memory, or memory of a device, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) used: u64,
    pub(crate) total: u64,
}

/// Space of a file system, in bytes. The sum of both fields is less than the size of the file system if some
/// space is reserved for root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) used: u64,
    pub(crate) available: u64,
}

/// Traffic of all network interfaces since they came up, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) received: u64,
    pub(crate) transmitted: u64,
}

/// NVIDIA device.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gpu {
    /// Index of the device in the driver's order.
    pub(crate) index: u32,
    pub(crate) memory: Option<Memory>,
    /// Percentage of the time in which the device was busy.
    pub(crate) utilization: Option<f64>,
    pub(crate) watts: Option<f64>,
    /// Power limit, in watts.
    pub(crate) watts_limit: Option<f64>,
}
