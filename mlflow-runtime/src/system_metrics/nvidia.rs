//! NVIDIA devices, through the driver's management library (NVML), which is loaded at run time.
//!
//! Invariant: no library, no driver, no permission: no devices, and nobody is bothered.

use nvml_wrapper::Nvml;

use super::reading::{Gpu, Memory};

/// The library, initialised.
pub(crate) struct Nvidia(Nvml);

impl Nvidia {
    /// `None` where there is none. May take a second where the driver has to wake up.
    pub(crate) fn load() -> Option<Self> {
        Nvml::init().ok().map(Self)
    }

    /// The devices that the process can see, and what each tells of itself.
    pub(crate) fn read(&self) -> Vec<Gpu> {
        let count = self.0.device_count().unwrap_or(0);
        let gpus = (0..count).filter_map(|index| {
            let device = self.0.device_by_index(index).ok()?;
            Some(Gpu {
                index,
                // What the driver keeps for itself is in use, as MLflow's client has it.
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
