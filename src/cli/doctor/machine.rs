//! What the machine allows: the processor's features, and the limits of memory, processors and descriptors.

use super::Finding;
use crate::{
    app::{control_groups, descriptors, memory},
    settings::Settings,
};

/// Below this there is no room for the runtime, a few models and what requests hold.
const LITTLE_MEMORY: u64 = 1 << 30;

pub(super) fn processor() -> Finding {
    let features = features();
    let names: Vec<&str> = features.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    let found = format!("{} with {}", std::env::consts::ARCH, names.join(", "));
    match features.first() {
        Some((name, false)) => Finding::warn(
            "processor",
            found,
            format!("without {name} models take several times as long; some virtual machines hide it"),
        ),
        _ => Finding::ok("processor", found),
    }
}

/// What kernels of the runtime make use of; the first is what they should at least have.
fn features() -> Vec<(&'static str, bool)> {
    #[cfg(target_arch = "x86_64")]
    return vec![
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    vec![]
}

pub(super) fn limits(settings: &Settings, wanted_memory: Option<u64>) -> Vec<Finding> {
    [descriptors(settings), processors(settings), memory(wanted_memory)]
        .into_iter()
        .flatten()
        .collect()
}

fn descriptors(settings: &Settings) -> Option<Finding> {
    // `serve` raises its limit so far itself.
    let most = descriptors::most()?;
    let (wanted, found) = (descriptors::wanted(settings), format!("{most} may be open"));
    Some(if most >= wanted {
        Finding::ok("files", found)
    } else {
        let cure = format!("raise it to {wanted} with `ulimit -Hn`, or lower --max-connections");
        Finding::warn("files", found, cure)
    })
}

fn processors(settings: &Settings) -> Option<Finding> {
    let workers = settings.work.workers;
    let Some(share) = control_groups::processors() else {
        return Some(Finding::ok(
            "workers",
            format!("{workers}, without a limit of processor time"),
        ));
    };
    let found = format!("{workers}, with the time of {share} processors");
    Some(if workers as f64 <= share.ceil() {
        Finding::ok("workers", found)
    } else {
        let cure = format!(
            "more workers than processors wait for one another: --workers {}",
            share.ceil()
        );
        Finding::warn("workers", found, cure)
    })
}

/// `wanted` is what the models may take.
fn memory(wanted: Option<u64>) -> Option<Finding> {
    let free = memory::free()?;
    let mut found = format!("{} MiB free", free >> 20);
    if let Some(limit) = control_groups::memory() {
        found += &format!(" of the {} MiB that the control group may take", limit >> 20);
    }
    if let Some(limit) = memory::addresses() {
        found += &format!(" of the {} MiB of addresses that `ulimit -v` grants", limit >> 20);
    }
    if let Some(wanted) = wanted {
        found += &format!(", models may take {}", wanted >> 20);
    }
    Some(if wanted.is_some_and(|wanted| wanted > free) {
        let cure = "where it runs out, the system may end the server without a word; give it more, or fewer models";
        Finding::warn("memory", found, cure)
    } else if free < LITTLE_MEMORY {
        let cure = "beside models, requests may hold 512 MiB, or less where memory is limited to less than four times \
                    that; give the server 1 GiB";
        Finding::warn("memory", found, cure)
    } else {
        Finding::ok("memory", found)
    })
}
