//! What a graph gave of items, so that it runs once on the same ones: reading a model asks every family, once for each
//! set of answers, and all of them try the same items.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use crate::import::{Problem, probe::Found};

/// Bytes of numbers that are kept; what comes after them runs again.
const MOST: usize = 512 << 20;

/// What earlier runs gave, by what they were given. Copies share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Remembered {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    found: HashMap<[u8; 32], Vec<Found>>,
    bytes: usize,
}

impl Remembered {
    /// What an earlier run on the same items gave, or what `run` gives.
    pub(super) fn once(
        &self,
        numbers: &[Vec<f32>],
        labels: &[usize],
        run: impl FnOnce() -> Result<Vec<Found>, Problem>,
    ) -> Result<Vec<Found>, Problem> {
        let key = key(numbers, labels);
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept().found.get(&key) {
            return Ok(found.clone());
        }
        let found = run()?;
        let numbers: usize = found.iter().flat_map(|found| &found.rows).map(Vec::len).sum();
        let mut kept = kept();
        let bytes = kept.bytes.saturating_add(numbers.saturating_mul(mem::size_of::<f32>()));
        if bytes <= MOST {
            kept.bytes = bytes;
            kept.found.insert(key, found.clone());
        }
        Ok(found)
    }
}

/// Numbers by their bits, so that 0 and −0 are told apart; each part begins with its length.
fn key(numbers: &[Vec<f32>], labels: &[usize]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for item in numbers {
        hash.update((item.len() as u64).to_le_bytes());
        let bytes: Vec<u8> = item.iter().flat_map(|number| number.to_le_bytes()).collect();
        hash.update(bytes);
    }
    hash.update(u64::MAX.to_le_bytes());
    for &label in labels {
        hash.update((label as u64).to_le_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn found(number: f32) -> Vec<Found> {
        vec![Found {
            sizes: Some(vec![1]),
            first: Some(1),
            behind: vec![1],
            rows: vec![vec![number]],
        }]
    }

    #[test]
    fn the_same_items_run_once_and_others_each_by_themselves() {
        let (remembered, runs) = (Remembered::default(), Cell::new(0));
        let ask = |numbers: &[Vec<f32>], labels: &[usize]| {
            let run = || {
                runs.set(runs.get() + 1);
                Ok(found(runs.get() as f32))
            };
            remembered.once(numbers, labels, run).unwrap()[0].rows[0][0]
        };
        assert_eq!(ask(&[vec![0.0, 1.0]], &[]), 1.0);
        assert_eq!(ask(&[vec![0.0, 1.0]], &[]), 1.0);
        for (numbers, labels, run) in [
            (vec![vec![-0.0, 1.0]], vec![], 2.0),
            (vec![vec![0.0], vec![1.0]], vec![], 3.0),
            (vec![vec![0.0, 1.0]], vec![0], 4.0),
            (vec![vec![0.0, 1.0]], vec![0, 0], 5.0),
        ] {
            assert_eq!(ask(&numbers, &labels), run);
        }
        assert_eq!(runs.get(), 5);
    }

    #[test]
    fn a_run_that_fails_is_tried_again() {
        let remembered = Remembered::default();
        let failing = remembered.once(&[], &[], || Err(Problem::new("a", "b", "")));
        assert!(failing.is_err());
        assert_eq!(remembered.once(&[], &[], || Ok(found(1.0))).unwrap()[0].rows[0], [1.0]);
    }
}
