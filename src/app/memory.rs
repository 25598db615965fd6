//! How much memory there is for this process: by its control groups, by the limit of its addresses, and by the machine.

use std::fs;

use super::control_groups;

/// Bytes that may still be taken.
pub fn free() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| kibibytes(&text, "MemAvailable:"));
    [control_groups::free_memory(), free_addresses(), machine]
        .into_iter()
        .flatten()
        .min()
}

/// Bytes of addresses that may be taken, where `ulimit -v` or a service's `LimitAS` bounds them. Whatever is mapped
/// counts, also what is never touched.
pub fn addresses() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::As).current;
    #[cfg(not(unix))]
    None
}

/// Bytes of addresses that may still be taken, if they are limited.
fn free_addresses() -> Option<u64> {
    let limit = addresses()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(limit.saturating_sub(kibibytes(&status, "VmSize:")?))
}

/// Bytes that a line of these files tells in kibibytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read_as_the_system_writes_it() {
        let text = "MemTotal: 9 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(kibibytes(text, "MemAvailable:"), Some(2 << 20));
    }
}
