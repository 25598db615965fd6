//! What strangers send and what folders hold, spoilt in many ways: nothing crashes, hangs or is answered with 500.
//!
//! Inputs are good ones, changed by chance: the same few hundred for each target every time, and those in
//! `tests/fuzz/<target>/`, which were found once. `make fuzz` looks for more, led by what inputs reach.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "fuzz/targets.rs"]
mod targets;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use targets::Target;

/// Spoilt inputs of each target.
const ROUNDS: u64 = 300;

/// The longest that one input may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Numbers that do not repeat for long, the same every time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A few changes to one of the seeds.
    fn spoil(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, seeds);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        const NUMBERS: [&str; 8] = [
            "-1",
            "0",
            "1e999",
            "NaN",
            "4294967296",
            "18446744073709551616",
            "\"\"",
            "null",
        ];
        const WORDS: [u32; 6] = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x0100_0000];
        // Heads are where formats say how much is to come.
        let reach = if self.below(2) == 0 {
            64.min(bytes.len())
        } else {
            bytes.len()
        };
        let (at, other) = (self.below(reach), self.below(bytes.len()));
        let (from, to) = (at.min(other), at.max(other));
        match self.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => bytes[at] = self.next() as u8,
            2 if at + 4 <= bytes.len() => {
                let word = WORDS[self.below(WORDS.len())];
                let word = if self.below(2) == 0 {
                    word.to_be_bytes()
                } else {
                    word.to_le_bytes()
                };
                bytes[at..at + 4].copy_from_slice(&word);
            }
            3 => bytes.truncate(other),
            4 => drop(bytes.drain(from..to)),
            5 => {
                let piece = bytes[from..to.min(from + 4096)].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let text = NUMBERS[self.below(NUMBERS.len())].bytes();
                bytes.splice(at..(at + self.below(4)).min(bytes.len()), text);
            }
            _ => {
                let donor = &seeds[self.below(seeds.len())];
                let cut = self.below(donor.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&donor[cut..]);
            }
        }
    }
}

/// Tries the kept inputs of a target and many spoilt ones.
fn fuzz(target: &Target) {
    let Target { name, seeds, check } = target;
    let tried = |bytes: &[u8]| {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(bytes))).unwrap_or_else(|_| Err("a panic".to_owned()));
        let outcome = outcome.and_then(|()| match start.elapsed() {
            taken if taken > PATIENCE => Err(format!("it took {taken:?}")),
            _ => Ok(()),
        });
        if let Err(wrong) = outcome {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            fs::create_dir_all(&folder).unwrap();
            let file = folder.join(format!(
                "{:016x}",
                Chance(bytes.len() as u64).next() ^ bytes.len() as u64
            ));
            fs::write(&file, bytes).unwrap();
            panic!(
                "{name}: {wrong}; the input is {}; keep it in tests/fuzz/{name}/",
                file.display()
            );
        }
    };
    for seed in seeds {
        tried(seed);
    }
    let kept: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name);
    for file in kept.read_dir().into_iter().flatten() {
        tried(&fs::read(file.unwrap().path()).unwrap());
    }
    let mut chance = Chance(1);
    for _ in 0..ROUNDS {
        tried(&chance.spoil(seeds));
    }
}

#[test]
fn spoilt_bodies_are_answered_and_never_with_500() {
    targets::bodies().iter().for_each(fuzz);
}

#[test]
fn spoilt_messages_are_answered_and_never_as_faults_of_the_server() {
    targets::messages().iter().for_each(fuzz);
}

#[test]
fn spoilt_models_are_refused_in_words() {
    targets::models().iter().for_each(fuzz);
}
