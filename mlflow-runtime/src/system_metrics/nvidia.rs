//! NVIDIA devices, through the driver's management library (NVML), which is loaded at run time.
//!
//! Invariant: without the library, the driver or the permission there are no devices, and no warning is
//! logged.

use nvml_wrapper::Nvml;

use super::reading::{Gpu, Memory};

/// Initialised management library.
pub(crate) struct Nvidia(Nvml);

impl Nvidia {
    /// Loads the library; returns `None` if that fails. The call may take a second if the driver has to wake
    /// up.
    pub(crate) fn load() -> Option<Self> {
        Nvml::init().ok().map(Self)
    }

    /// Returns the devices that the process can see, each with the values that it supports.
    pub(crate) fn read(&self) -> Vec<Gpu> {
        let count = self.0.device_count().unwrap_or(0);
        let gpus = (0..count).filter_map(|index| {
            let device = self.0.device_by_index(index).ok()?;
            Some(Gpu {
                index,
                // Memory that the driver reserves counts as used, as in MLflow's client.
                memory: device.memory_info().ok().map(|memory| Memory {
                    used: memory.total.saturating_sub(memory.free),
                    total: memory.total,
                }),
                utilization: device
                    .utilization_rates()
                    .ok()
                    .map(|rates| f64::from(rates.gpu)),
                watts: device.power_usage().ok().map(milliwatts_to_watts),
                watts_limit: device.enforced_power_limit().ok().map(milliwatts_to_watts),
            })
        });
        gpus.collect()
    }
}

fn milliwatts_to_watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1000.0
}
