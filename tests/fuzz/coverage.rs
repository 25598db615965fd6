//! The same targets for libFuzzer, which keeps inputs that get anywhere new and spoils these further: `make fuzz`. It
//! takes a compiler that instruments what it builds, with the flags of the Makefile; otherwise there is nothing here.

#![cfg_attr(fuzzing, no_main)]
#![allow(clippy::unwrap_used, unreachable_pub)]

#[cfg(fuzzing)]
#[path = "../common/mod.rs"]
mod common;
#[cfg(fuzzing)]
mod targets;

#[cfg(fuzzing)]
mod guided {
    use std::{cell::LazyCell, path::Path};

    use super::targets::{self, Target};

    thread_local! {
        /// The one that FUZZ_TARGET names. libFuzzer calls from one thread.
        static TARGET: LazyCell<Target> = const { LazyCell::new(chosen) };
    }

    fn chosen() -> Target {
        let wanted = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
        let mut all = targets::bodies()
            .into_iter()
            .chain(targets::messages())
            .chain(targets::models());
        let target = all.find(|target| target.name == wanted);
        let target = target.unwrap_or_else(|| panic!("there is no target {wanted:?}"));
        // Good inputs are where libFuzzer begins.
        if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
            for (number, seed) in target.seeds.iter().enumerate() {
                std::fs::write(Path::new(&folder).join(format!("seed-{number}")), seed).unwrap();
            }
        }
        target
    }

    libfuzzer_sys::fuzz_target!(init: TARGET.with(|target| assert!(!target.seeds.is_empty())), |bytes: &[u8]| {
        TARGET.with(|target| {
            if let Err(wrong) = (target.check)(bytes) {
                panic!("{}: {wrong}", target.name);
            }
        });
    });
}

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("this is built by `make fuzz`");
}
