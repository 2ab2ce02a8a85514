//! Reader of the machine: processor, memory, disk, network, NVIDIA devices.
//!
//! Invariants: a reading takes about a millisecond of processor time, and waits for nothing but the graphics
//! driver. Where a control group limits the process, the limits of that group take the place of the host's
//! resources.

use std::time::{Duration, Instant};

use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, Networks, System};

use super::cgroup::{Cgroup, CpuQuota};
use super::nvidia::Nvidia;
use super::reading::{Cpu, Disk, Memory, Network, Reading};

/// State that is kept from one reading to the next.
pub(crate) struct Host {
    system: System,
    networks: Networks,
    cgroup: Option<Cgroup>,
    nvidia: Option<Nvidia>,
    processors: Processors,
}

#[derive(Default)]
struct Processors {
    /// Time of the last update of `total`, and the usage of the control group at that time.
    last: Option<(Instant, Option<CpuQuota>)>,
    total: Cpu,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            system: System::new(),
            networks: Networks::new(),
            cgroup: Cgroup::of_process(),
            nvidia: Nvidia::load(),
            processors: Processors::default(),
        }
    }

    pub(crate) fn read(&mut self) -> Reading {
        Reading {
            cpu: self.read_cpu(),
            memory: self.read_memory(),
            disk: read_disk_usage(),
            network: self.read_network(),
            gpus: self.nvidia.as_ref().map(Nvidia::read).unwrap_or_default(),
        }
    }

    fn read_cpu(&mut self) -> Option<Cpu> {
        let now = Instant::now();
        // Within this interval, sysinfo only repeats its previous result.
        let last = self.processors.last.as_ref();
        if last.is_none_or(|(at, _)| now - *at >= MINIMUM_CPU_UPDATE_INTERVAL) {
            self.system.refresh_cpu_usage();
            let cores = self.system.cpus().len();
            let quota = self.cgroup.as_ref().and_then(|cgroup| cgroup.cpu(cores));
            if cores == 0 && quota.is_none() {
                return None;
            }
            let percentage = f64::from(self.system.global_cpu_usage());
            self.processors.update(now, quota, percentage);
        }
        Some(self.processors.total)
    }

    fn read_memory(&mut self) -> Option<Memory> {
        let kind = MemoryRefreshKind::nothing().with_ram();
        self.system.refresh_memory_specifics(kind);
        let host = Memory {
            used: self.system.used_memory(),
            total: self.system.total_memory(),
        };
        let host = (host.total > 0).then_some(host);
        let limited = self.cgroup.as_ref();
        limited
            .and_then(|cgroup| cgroup.memory(host.map(|host| host.total)))
            .or(host)
    }

    fn read_network(&mut self) -> Option<Network> {
        self.networks.refresh(true);
        if self.networks.is_empty() {
            return None;
        }
        let mut sum = Network::default();
        for data in self.networks.values() {
            sum.received += data.total_received();
            sum.transmitted += data.total_transmitted();
        }
        Some(sum)
    }
}

impl Processors {
    /// Adds the time since the previous update. `host_percentage` is the utilization of the host since then;
    /// it is not used in the first update.
    fn update(&mut self, now: Instant, quota: Option<CpuQuota>, host_percentage: f64) {
        if let Some((at, before)) = &self.last {
            let elapsed = (now - *at).as_secs_f64();
            self.total.elapsed += elapsed;
            self.total.busy += match (before, &quota) {
                (Some(before), Some(quota)) if before.group == quota.group => {
                    let used: Duration = quota.used.saturating_sub(before.used);
                    // A group may save up quota and then use more than its limit for a while.
                    (used.as_secs_f64() / quota.cores).min(elapsed)
                }
                _ => host_percentage / 100.0 * elapsed,
            };
        }
        self.last = Some((now, quota));
    }
}

/// Reads the file system of `/`, and no other: a call for one that is no longer reachable, such as a network
/// file system, would hang.
fn read_disk_usage() -> Option<Disk> {
    let stat = rustix::fs::statvfs("/").ok()?;
    Some(Disk {
        used: stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize,
        available: stat.f_bavail * stat.f_frsize,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn quota(used_ms: u64, group: &str) -> Option<CpuQuota> {
        Some(CpuQuota {
            cores: 0.5,
            used: Duration::from_millis(used_ms),
            group: PathBuf::from(group),
        })
    }

    #[test]
    fn the_use_of_a_quota_is_relative_to_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut processors = Processors::default();
        processors.update(at(0), quota(700, "/a"), 99.0);
        assert_eq!(processors.total, Cpu::default());
        // The usage is a quarter of the limit, half a processor.
        processors.update(at(4), quota(1200, "/a"), 99.0);
        assert_eq!(
            processors.total,
            Cpu {
                busy: 1.0,
                elapsed: 4.0
            }
        );
        // A usage above the limit counts as full use.
        processors.update(at(6), quota(9200, "/a"), 99.0);
        assert_eq!(
            processors.total,
            Cpu {
                busy: 3.0,
                elapsed: 6.0
            }
        );
        // The usage of another group is not compared: the host's percentage counts.
        processors.update(at(8), quota(100, "/b"), 50.0);
        assert_eq!(
            processors.total,
            Cpu {
                busy: 4.0,
                elapsed: 8.0
            }
        );
        // Without a limit, the host's percentage counts.
        processors.update(at(10), None, 50.0);
        assert_eq!(
            processors.total,
            Cpu {
                busy: 5.0,
                elapsed: 10.0
            }
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_linux_machine_can_be_read() {
        let mut host = Host::new();
        let reading = host.read();
        let memory = reading.memory.unwrap();
        assert!(0 < memory.used && memory.used <= memory.total, "{memory:?}");
        let disk = reading.disk.unwrap();
        assert!(disk.used + disk.available > 0, "{disk:?}");
        assert_eq!(reading.cpu, Some(Cpu::default()), "nothing to compare with");
        assert!(reading.network.is_some());
        // A second reading at once repeats the first result.
        assert_eq!(host.read().cpu, Some(Cpu::default()));
    }
}
