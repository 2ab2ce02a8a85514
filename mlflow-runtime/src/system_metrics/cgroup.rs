//! Limits of the control group that the process is in: the resources that a container may use.
//!
//! Only version 2 is read, as the kernel's `Documentation/admin-guide/cgroup-v2.rst` describes it. Limits of
//! the groups above count, too: the tightest limit is taken, together with the usage of the group that has
//! this limit. Memory in use is `memory.current` minus `inactive_file`, the page cache that the kernel would
//! reclaim first. The kubelet calls this number the working set, and `docker stats` shows it.
//!
//! Invariant: a file that is missing or cannot be understood counts as no limit, never as an error. Files are
//! read anew each time, because limits may change while the process runs.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::reading::Memory;

/// Control group of the process, and the groups above it.
#[derive(Debug, PartialEq)]
pub(crate) struct Cgroup {
    /// Directories of the groups, the innermost first.
    directories: Vec<PathBuf>,
}

/// Processor limit of a group, and the group's usage so far.
#[derive(Debug, PartialEq)]
pub(crate) struct CpuQuota {
    /// Limit, as a number of processors.
    pub(crate) cores: f64,
    /// Processor time that the group has used so far.
    pub(crate) used: Duration,
    /// Directory of the group that `used` belongs to: usages of different groups must not be compared.
    pub(crate) group: PathBuf,
}

impl Cgroup {
    /// Returns the control group of this process; `None` if there is no hierarchy of version 2.
    pub(crate) fn of_process() -> Option<Self> {
        let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::below(Path::new("/sys/fs/cgroup"), &membership)
    }

    /// Returns the group that `membership` (`cgroups(7)`, `/proc/[pid]/cgroup`) names, in the hierarchy
    /// mounted at `mount`.
    fn below(mount: &Path, membership: &str) -> Option<Self> {
        if !mount.join("cgroup.controllers").exists() {
            return None;
        }
        let path = membership
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))?;
        let inside = Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let own = mount.join(path);
        // In a container, the named group may lie outside the mounted hierarchy, where the container cannot
        // see it. The root of the mounted hierarchy is then the container's own group.
        let own = if inside && own.is_dir() {
            own
        } else {
            mount.to_owned()
        };
        let directories = own
            .ancestors()
            .take_while(|directory| directory.starts_with(mount))
            .map(Path::to_owned)
            .collect();
        Some(Self { directories })
    }

    /// Returns usage and limit of the memory; `None` if there is no limit below the memory of the host.
    pub(crate) fn memory(&self, host_total: Option<u64>) -> Option<Memory> {
        let limits = self.directories.iter().filter_map(|directory| {
            let limit = parse_memory_max(&read_control_file(directory, "memory.max")?)?;
            Some((limit, directory))
        });
        let (total, directory) = limits.min_by_key(|(limit, _)| *limit)?;
        if host_total.is_some_and(|host| host <= total) {
            return None;
        }
        let current: u64 = read_control_file(directory, "memory.current")?
            .trim()
            .parse()
            .ok()?;
        let stat = read_control_file(directory, "memory.stat")?;
        let used = current.saturating_sub(parse_field(&stat, "inactive_file")?);
        Some(Memory { used, total })
    }

    /// Returns usage and limit of the processors; `None` if there is no limit below the host's number of
    /// processors.
    pub(crate) fn cpu(&self, host_cores: usize) -> Option<CpuQuota> {
        let limits = self.directories.iter().filter_map(|directory| {
            let cores = parse_cpu_max(&read_control_file(directory, "cpu.max")?)?;
            Some((cores, directory))
        });
        let (cores, directory) = limits.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        if host_cores > 0 && host_cores as f64 <= cores {
            return None;
        }
        let used = parse_field(&read_control_file(directory, "cpu.stat")?, "usage_usec")?;
        Some(CpuQuota {
            cores,
            used: Duration::from_micros(used),
            group: directory.clone(),
        })
    }
}

fn read_control_file(directory: &Path, file: &str) -> Option<String> {
    fs::read_to_string(directory.join(file)).ok()
}

/// Parses the content of `memory.max`, a number of bytes; returns `None` for `max`.
fn parse_memory_max(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit > 0)
}

/// Parses the content of `cpu.max`, `$MAX $PERIOD` in microseconds, into a number of processors; returns
/// `None` if `$MAX` is `max`.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// Returns the value of `name` in a flat keyed file.
fn parse_field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hierarchy of files below a temporary folder, removed when dropped.
    struct Hierarchy(PathBuf);

    impl Hierarchy {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir()
                .join(format!("mlflow-runtime-cgroup-{}", uuid::Uuid::new_v4()));
            for (path, content) in [("cgroup.controllers", "cpu memory\n")].iter().chain(files) {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Self(root)
        }

        fn group(&self, membership: &str) -> Cgroup {
            Cgroup::below(&self.0, membership).unwrap()
        }
    }

    impl Drop for Hierarchy {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_container_has_its_own_limits() {
        let container = Hierarchy::new(&[
            ("memory.max", "1073741824\n"),
            ("memory.current", "600000000\n"),
            (
                "memory.stat",
                "anon 300000000\nfile 300000000\ninactive_file 200000000\n",
            ),
            ("cpu.max", "150000 100000\n"),
            ("cpu.stat", "usage_usec 2500000\nuser_usec 2000000\n"),
        ]);
        let group = container.group("0::/\n");
        let memory = Memory {
            used: 400_000_000,
            total: GIB,
        };
        assert_eq!(group.memory(Some(64 * GIB)), Some(memory));
        let quota = CpuQuota {
            cores: 1.5,
            used: Duration::from_millis(2500),
            group: container.0.clone(),
        };
        assert_eq!(group.cpu(8), Some(quota));
        // Limits that are not below the host's resources do not count.
        assert_eq!(group.memory(Some(GIB)), None);
        assert_eq!(group.cpu(1), None);
        // Without numbers of the host, the limits count.
        assert_eq!(group.memory(None), Some(memory));
        assert!(group.cpu(0).is_some());
    }

    #[test]
    fn the_tightest_limit_of_all_groups_above_counts() {
        let host = Hierarchy::new(&[
            ("job/memory.max", "2147483648"),
            ("job/memory.current", "1000"),
            ("job/memory.stat", "inactive_file 100"),
            ("job/cpu.max", "max 100000"),
            ("job/step/memory.max", "max"),
            ("job/step/cpu.max", "50000 100000"),
            ("job/step/cpu.stat", "usage_usec 7"),
            ("job/step/task/memory.max", "4294967296"),
            ("job/step/task/cpu.max", "100000 100000"),
        ]);
        let group = host.group("12:pids:/elsewhere\n0::/job/step/task\n");
        let memory = Memory {
            used: 900,
            total: 2 * GIB,
        };
        assert_eq!(group.memory(Some(64 * GIB)), Some(memory));
        let quota = group.cpu(8).unwrap();
        assert_eq!(quota.cores, 0.5);
        assert_eq!(quota.group, host.0.join("job/step"));
    }

    #[test]
    fn files_that_make_no_sense_are_no_limits() {
        for (memory, cpu) in [
            ("max", "max 100000"),
            ("", ""),
            ("lots", "some 100000"),
            ("-1", "-1 100000"),
            ("0", "0 100000"),
            ("99999999999999999999999", "50000 0"),
            ("1 GB", "50000"),
        ] {
            let odd = Hierarchy::new(&[("memory.max", memory), ("cpu.max", cpu)]);
            let group = odd.group("0::/\n");
            assert_eq!(group.memory(Some(GIB)), None, "{memory}");
            assert_eq!(group.cpu(8), None, "{cpu}");
        }
    }

    #[test]
    fn a_limit_without_a_use_is_left_out() {
        for (current, stat) in [
            ("", "inactive_file 1"),
            ("many", "inactive_file 1"),
            ("5", "anon 1"),
        ] {
            let odd = Hierarchy::new(&[
                ("memory.max", "1000"),
                ("memory.current", current),
                ("memory.stat", stat),
                ("cpu.max", "50000 100000"),
                ("cpu.stat", "usage_usec\nusage_usec_total 5"),
            ]);
            let group = odd.group("0::/\n");
            assert_eq!(group.memory(Some(GIB)), None, "{current} {stat}");
            assert_eq!(group.cpu(8), None);
        }
        let all_cache = Hierarchy::new(&[
            ("memory.max", "1000"),
            ("memory.current", "10"),
            ("memory.stat", "inactive_file 20"),
        ]);
        assert_eq!(all_cache.group("0::/").memory(None).unwrap().used, 0);
    }

    #[test]
    fn a_group_that_is_out_of_sight_is_that_of_the_container() {
        let container = Hierarchy::new(&[("inner/cpu.max", "max 100000")]);
        for membership in ["0::/../other", "0::/not/here", "0::/"] {
            let group = container.group(membership);
            assert_eq!(group.directories, std::slice::from_ref(&container.0));
        }
        let inner = container.group("0::/inner").directories;
        assert_eq!(inner, [container.0.join("inner"), container.0.clone()]);
        // A hierarchy of version 1 only.
        assert_eq!(Cgroup::below(&container.0, "4:memory:/x\n"), None);
        assert_eq!(Cgroup::below(&container.0.join("inner"), "0::/"), None);
    }
}
