//! What Linux's control groups, of either version, grant this process: a container's limits, or those of a service.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where they are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// Bytes that may be taken, if they are limited.
pub fn memory() -> Option<u64> {
    least("memory", |folder| {
        let text = read(folder, "memory.max").or_else(|| read(folder, "memory.limit_in_bytes"))?;
        text.parse().ok()
    })
}

/// Processors whose time may be taken, if it is limited.
pub fn processors() -> Option<f64> {
    least("cpu", |folder| {
        let both = read(folder, "cpu.max").or_else(|| {
            let (quota, period) = (read(folder, "cpu.cfs_quota_us")?, read(folder, "cpu.cfs_period_us")?);
            Some(format!("{quota} {period}"))
        })?;
        share(&both)
    })
}

/// Every group is held to what those around it are held to.
fn least<T: PartialOrd>(controller: &str, limit: impl Fn(&Path) -> Option<T>) -> Option<T> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = folders(&own, controller)
        .into_iter()
        .filter_map(|folder| limit(&folder));
    limits.reduce(|least, other| if other < least { other } else { least })
}

/// The folders of the group that `/proc/self/cgroup` names for a controller, and of all around it. Those that cannot be
/// seen from here, as from within a container, are not there.
fn folders(own: &str, controller: &str) -> Vec<PathBuf> {
    let group = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let mount = match controllers {
            "" => PathBuf::from(MOUNT),
            names if names.split(',').any(|name| name == controller) => Path::new(MOUNT).join(controller),
            _ => return None,
        };
        let folder = mount.join(path.trim_start_matches('/'));
        let around = folder.ancestors().take_while(|folder| folder.starts_with(&mount));
        Some(around.map(Path::to_path_buf).collect::<Vec<_>>())
    };
    own.lines().filter_map(group).flatten().collect()
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

    #[test]
    fn groups_of_both_versions_are_found_up_to_the_outermost() {
        let own = "8:pids:/\n4:cpu,memory:/a/b\n0::/slice/unit.service\n";
        let expected = ["memory/a/b", "memory/a", "memory", "slice/unit.service", "slice", ""];
        let expected = expected.map(|folder| Path::new(MOUNT).join(folder));
        assert_eq!(folders(own, "memory"), expected);
        assert_eq!(folders("0::/\n", "cpu"), [Path::new(MOUNT)]);
    }

    #[test]
    fn a_share_of_processors_is_read_as_the_system_writes_it() {
        assert_eq!(share("150000 100000"), Some(1.5));
        assert_eq!(share("max 100000"), None);
        assert_eq!(share("-1 100000"), None);
    }
}
