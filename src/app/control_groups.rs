//! What Linux's control groups, of either version, grant this process: a container's limits, or those of a service.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where they are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// What a group is called that has no limit, in version 1: the largest number of bytes in whole pages.
const NO_LIMIT: u64 = 1 << 62;

/// Bytes that may be taken, if they are limited.
pub fn memory() -> Option<u64> {
    Groups::of_this_process()?.least("memory", limit)
}

/// Bytes that may be taken beside those that are, if they are limited.
pub fn free_memory() -> Option<u64> {
    Groups::of_this_process()?.least("memory", free)
}

/// Processors whose time may be taken, if it is limited.
pub fn processors() -> Option<f64> {
    Groups::of_this_process()?.least("cpu", |folder| {
        let both = read(folder, "cpu.max").or_else(|| {
            let (quota, period) = (read(folder, "cpu.cfs_quota_us")?, read(folder, "cpu.cfs_period_us")?);
            Some(format!("{quota} {period}"))
        })?;
        share(&both)
    })
}

/// The groups that a process is in.
struct Groups {
    /// As `/proc/self/cgroup` names them.
    own: String,
    mount: PathBuf,
}

impl Groups {
    fn of_this_process() -> Option<Self> {
        Some(Self {
            own: fs::read_to_string("/proc/self/cgroup").ok()?,
            mount: MOUNT.into(),
        })
    }

    /// Every group is held to what those around it are held to.
    fn least<T: PartialOrd>(&self, controller: &str, limit: impl Fn(&Path) -> Option<T>) -> Option<T> {
        let limits = self.folders(controller).into_iter();
        let limits = limits.filter_map(|folder| limit(&folder));
        limits.reduce(|least, other| if other < least { other } else { least })
    }

    /// The folders of the group for a controller, and of all around it. Those that cannot be seen from here, as from
    /// within a container, are not there.
    fn folders(&self, controller: &str) -> Vec<PathBuf> {
        let group = |line: &str| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let mount = match controllers {
                "" => self.mount.clone(),
                names if names.split(',').any(|name| name == controller) => self.mount.join(controller),
                _ => return None,
            };
            let folder = mount.join(path.trim_start_matches('/'));
            let around = folder.ancestors().take_while(|folder| folder.starts_with(&mount));
            Some(around.map(Path::to_path_buf).collect::<Vec<_>>())
        };
        self.own.lines().filter_map(group).flatten().collect()
    }
}

fn limit(folder: &Path) -> Option<u64> {
    let limit = number(folder, ["memory.max", "memory.limit_in_bytes"])?;
    (limit < NO_LIMIT).then_some(limit)
}

fn free(folder: &Path) -> Option<u64> {
    let used = number(folder, ["memory.current", "memory.usage_in_bytes"])?;
    let parts = read(folder, "memory.stat").unwrap_or_default();
    let part = |name: &str| {
        let value = parts
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value?.parse::<u64>().ok()
    };
    // What has been read of files and is not in use goes when memory is short. In version 1, `inactive_file` is without
    // the groups within.
    let spare = part("total_inactive_file").or_else(|| part("inactive_file"));
    Some(limit(folder)?.saturating_sub(used.saturating_sub(spare.unwrap_or(0))))
}

/// What is in a file, which the two versions call by these names.
fn number(folder: &Path, names: [&str; 2]) -> Option<u64> {
    names.iter().find_map(|name| read(folder, name))?.parse().ok()
}

fn read(folder: &Path, file: &str) -> Option<String> {
    Some(fs::read_to_string(folder.join(file)).ok()?.trim().to_owned())
}

/// `QUOTA PERIOD`; `max PERIOD` or a negative quota is no limit.
fn share(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let share = quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?;
    (share > 0.0).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups with these files.
    fn groups(own: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Groups) {
        let folder = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let (own, mount) = (own.to_owned(), folder.path().to_owned());
        (folder, Groups { own, mount })
    }

    #[test]
    fn groups_of_both_versions_are_found_up_to_the_outermost() {
        let own = "8:pids:/\n4:cpu,memory:/a/b\n0::/slice/unit.service\n";
        let (folder, both) = groups(own, &[]);
        let expected = ["memory/a/b", "memory/a", "memory", "slice/unit.service", "slice", ""];
        assert_eq!(both.folders("memory"), expected.map(|own| folder.path().join(own)));
        let (folder, outermost) = groups("0::/\n", &[]);
        assert_eq!(outermost.folders("cpu"), [folder.path()]);
    }

    #[test]
    fn the_narrowest_group_of_version_2_says_how_much_memory_is_free() {
        let files = [
            ("slice/unit.service/memory.max", "max\n"),
            ("slice/unit.service/memory.current", "1000\n"),
            ("slice/memory.max", "9000\n"),
            ("slice/memory.current", "7000\n"),
            ("slice/memory.stat", "anon 5\ninactive_file 500\nactive_file 400\n"),
            // As wide, but with more to spare.
            ("memory.max", "9000\n"),
            ("memory.current", "7500\n"),
            ("memory.stat", "inactive_file 6000\n"),
        ];
        let (_folder, own) = groups("0::/slice/unit.service\n", &files);
        assert_eq!(own.least("memory", limit), Some(9000));
        assert_eq!(own.least("memory", free), Some(9000 - (7000 - 500)));
    }

    #[test]
    fn a_group_of_version_1_counts_those_within_and_may_have_no_limit() {
        let stat = "inactive_file 1\ntotal_inactive_file 300\n";
        let files = [
            ("memory/a/memory.limit_in_bytes", "4000\n"),
            ("memory/a/memory.usage_in_bytes", "4100\n"),
            ("memory/a/memory.stat", stat),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "5000\n"),
        ];
        let (_folder, own) = groups("3:memory:/a\n0::/\n", &files);
        assert_eq!(own.least("memory", limit), Some(4000));
        assert_eq!(own.least("memory", free), Some(200));
        let (_folder, own) = groups("3:memory:/\n0::/\n", &files);
        assert_eq!(own.least("memory", limit), None);
        assert_eq!(own.least("memory", free), None);
        let (_folder, own) = groups("0::/\n", &[]);
        assert_eq!(own.least("memory", free), None);
    }

    #[test]
    fn a_share_of_processors_is_read_as_the_system_writes_it() {
        assert_eq!(share("150000 100000"), Some(1.5));
        assert_eq!(share("max 100000"), None);
        assert_eq!(share("-1 100000"), None);
    }
}
