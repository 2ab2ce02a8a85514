//! Series of a run's readings: their values under MLflow's names, in MLflow's units, averaged over a group.
//!
//! Invariants, as in MLflow's client: a value is the mean of the group's samples, rounded to one decimal. The
//! values of the network are those of the last sample, not rounded. A sample that lacks a value does not
//! count for that value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::reading::{Cpu, Disk, Gpu, Memory, Network, Reading};

type MetricName = Cow<'static, str>;

/// Readings of one run since its last point.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// Network counters when the run started, or when they could first be read.
    network_start: Option<Network>,
    last_cpu: Option<Cpu>,
    samples: u32,
    means: BTreeMap<MetricName, Mean>,
    last: BTreeMap<MetricName, f64>,
}

#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Series {
    /// Creates a series with the reading at the run's start as its baseline, which does not count as a
    /// sample.
    pub(crate) fn starting_at(reading: &Reading) -> Self {
        Self {
            network_start: reading.network,
            last_cpu: reading.cpu,
            ..Self::default()
        }
    }

    /// Adds a sample; returns the number of samples in the group.
    pub(crate) fn add(&mut self, reading: &Reading) -> u32 {
        let Reading {
            cpu,
            memory,
            disk,
            network,
            gpus,
        } = reading;
        if let Some(cpu) = cpu {
            self.add_cpu(*cpu);
        }
        if let Some(memory) = memory {
            self.add_memory("system_memory", *memory);
        }
        if let Some(disk) = disk {
            self.add_disk(*disk);
        }
        if let Some(network) = network {
            self.add_network(*network);
        }
        for gpu in gpus {
            self.add_gpu(gpu);
        }
        self.samples += 1;
        self.samples
    }

    /// Returns the values of the group, and begins the next group.
    pub(crate) fn take(&mut self) -> Vec<(MetricName, f64)> {
        self.samples = 0;
        let means = std::mem::take(&mut self.means).into_iter();
        let last = std::mem::take(&mut self.last);
        means
            .map(|(name, mean)| (name, round_to_tenth(mean.sum / f64::from(mean.count))))
            .chain(last)
            .collect()
    }

    fn add_to_mean(&mut self, name: impl Into<MetricName>, value: f64) {
        let mean = self.means.entry(name.into()).or_default();
        mean.sum += value;
        mean.count += 1;
    }

    fn add_percentage(&mut self, name: impl Into<MetricName>, part: f64, whole: f64) {
        if whole > 0.0 {
            self.add_to_mean(name, part / whole * 100.0);
        }
    }

    fn add_cpu(&mut self, cpu: Cpu) {
        if let Some(last) = self.last_cpu.replace(cpu) {
            let (busy, elapsed) = (cpu.busy - last.busy, cpu.elapsed - last.elapsed);
            self.add_percentage("cpu_utilization_percentage", busy, elapsed);
        }
    }

    fn add_memory(&mut self, of: &str, memory: Memory) {
        let (used, total) = (memory.used as f64, memory.total as f64);
        self.add_to_mean(format!("{of}_usage_megabytes"), used / 1e6);
        self.add_percentage(format!("{of}_usage_percentage"), used, total);
    }

    fn add_disk(&mut self, disk: Disk) {
        let (used, available) = (disk.used as f64, disk.available as f64);
        self.add_percentage("disk_usage_percentage", used, used + available);
        self.add_to_mean("disk_usage_megabytes", used / 1e6);
        self.add_to_mean("disk_available_megabytes", available / 1e6);
    }

    fn add_network(&mut self, network: Network) {
        let start = *self.network_start.get_or_insert(network);
        // The counters fall when an interface is removed: its traffic is no longer in the sum.
        let received = network.received.saturating_sub(start.received);
        let transmitted = network.transmitted.saturating_sub(start.transmitted);
        for (name, bytes) in [
            ("network_receive_megabytes", received),
            ("network_transmit_megabytes", transmitted),
        ] {
            self.last.insert(name.into(), bytes as f64 / 1e6);
        }
    }

    fn add_gpu(&mut self, gpu: &Gpu) {
        let Gpu {
            index,
            memory,
            utilization,
            watts,
            watts_limit,
        } = gpu;
        if let Some(memory) = memory {
            self.add_memory(&format!("gpu_{index}_memory"), *memory);
        }
        if let Some(utilization) = utilization {
            self.add_to_mean(format!("gpu_{index}_utilization_percentage"), *utilization);
        }
        if let Some(watts) = watts {
            self.add_to_mean(format!("gpu_{index}_power_usage_watts"), *watts);
            if let Some(limit) = watts_limit {
                self.add_percentage(
                    format!("gpu_{index}_power_usage_percentage"),
                    *watts,
                    *limit,
                );
            }
        }
    }
}

/// Rounds to one decimal as Python's `round(value, 1)` does: by the exact value, ties to even.
fn round_to_tenth(value: f64) -> f64 {
    format!("{value:.1}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(series: &mut Series) -> BTreeMap<String, f64> {
        let values = series.take().into_iter();
        values
            .map(|(name, value)| (name.into_owned(), value))
            .collect()
    }

    fn memory(used: u64) -> Reading {
        Reading {
            memory: Some(Memory {
                used,
                total: 4_000_000_000,
            }),
            ..Reading::default()
        }
    }

    #[test]
    fn a_point_is_the_mean_of_its_samples() {
        let mut series = Series::starting_at(&memory(4_000_000_000));
        assert_eq!(series.add(&memory(1_000_000_000)), 1);
        assert_eq!(series.add(&memory(1_000_500_000)), 2);
        // A sample without memory does not count for the mean.
        assert_eq!(series.add(&Reading::default()), 3);
        let point = values(&mut series);
        assert_eq!(point["system_memory_usage_megabytes"], 1000.2);
        assert_eq!(point["system_memory_usage_percentage"], 25.0);
        assert_eq!(point.len(), 2);
        // The next group begins without samples.
        assert_eq!(series.add(&memory(2_000_000_000)), 1);
        assert_eq!(values(&mut series)["system_memory_usage_megabytes"], 2000.0);
        assert!(values(&mut series).is_empty());
    }

    #[test]
    fn rounding_is_that_of_python() {
        for (value, expected) in [
            (0.25, 0.2),
            (0.35, 0.3),
            (0.75, 0.8),
            (12.349, 12.3),
            (-0.05, -0.1),
            (99.96, 100.0),
            (3.0, 3.0),
        ] {
            assert_eq!(round_to_tenth(value), expected, "{value}");
        }
    }

    #[test]
    fn the_network_is_the_last_sample_since_the_start_and_not_rounded() {
        let network = |received, transmitted| Reading {
            network: Some(Network {
                received,
                transmitted,
            }),
            ..Reading::default()
        };
        let mut series = Series::starting_at(&network(1_000_000, 5_000));
        series.add(&network(2_000_000, 6_000));
        series.add(&network(3_234_567, 7_000));
        let point = values(&mut series);
        assert_eq!(point["network_receive_megabytes"], 2.234_567);
        assert_eq!(point["network_transmit_megabytes"], 0.002);
        // The traffic counts from the start of the run, not from the last point. An interface may be removed.
        series.add(&network(4_000_000, 10));
        let point = values(&mut series);
        assert_eq!(point["network_receive_megabytes"], 3.0);
        assert_eq!(point["network_transmit_megabytes"], 0.0);
    }

    #[test]
    fn the_processors_use_is_that_between_two_samples() {
        let cpu = |busy, elapsed| Reading {
            cpu: Some(Cpu { busy, elapsed }),
            ..Reading::default()
        };
        let mut series = Series::starting_at(&cpu(1.0, 10.0));
        series.add(&cpu(3.5, 20.0));
        assert_eq!(values(&mut series)["cpu_utilization_percentage"], 25.0);
        series.add(&cpu(4.5, 21.0));
        series.add(&cpu(4.5, 22.0));
        assert_eq!(values(&mut series)["cpu_utilization_percentage"], 50.0);
        // No time has passed since the previous sample.
        series.add(&cpu(4.5, 22.0));
        assert!(values(&mut series).is_empty());
        // The baseline has no processor time to compare with.
        let mut series = Series::starting_at(&Reading::default());
        series.add(&cpu(1.0, 1.0));
        assert!(values(&mut series).is_empty());
    }

    #[test]
    fn a_disk_is_as_full_as_its_users_see_it() {
        let mut series = Series::default();
        series.add(&Reading {
            disk: Some(Disk {
                used: 60_000_000,
                available: 20_000_000,
            }),
            ..Reading::default()
        });
        let point = values(&mut series);
        assert_eq!(point["disk_usage_percentage"], 75.0);
        assert_eq!(point["disk_usage_megabytes"], 60.0);
        assert_eq!(point["disk_available_megabytes"], 20.0);
    }

    #[test]
    fn each_device_has_its_own_metrics_as_far_as_it_tells_them() {
        let mut series = Series::default();
        series.add(&Reading {
            gpus: vec![
                Gpu {
                    index: 0,
                    memory: Some(Memory {
                        used: 20_000_000_000,
                        total: 80_000_000_000,
                    }),
                    utilization: Some(97.0),
                    watts: Some(350.0),
                    watts_limit: Some(700.0),
                },
                Gpu {
                    index: 2,
                    watts: Some(30.04),
                    ..Gpu::default()
                },
            ],
            ..Reading::default()
        });
        let point: Vec<String> = values(&mut series)
            .into_iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        assert_eq!(
            point,
            [
                "gpu_0_memory_usage_megabytes 20000",
                "gpu_0_memory_usage_percentage 25",
                "gpu_0_power_usage_percentage 50",
                "gpu_0_power_usage_watts 350",
                "gpu_0_utilization_percentage 97",
                "gpu_2_power_usage_watts 30",
            ]
        );
    }
}
