//! How much memory versions take, by the size of their files. Tests name what was measured.

use std::fs;

use super::order::Ordered;

const MEBIBYTE: u64 = 1 << 20;

/// What versions with so many bytes of files each keep, and what the largest takes beyond that while it loads.
pub(super) fn of(sizes: impl Iterator<Item = u64>) -> u64 {
    let (mut all, mut most) = (0, 0);
    for files in sizes {
        all += kept(files);
        most = most.max(while_it_loads(files).saturating_sub(kept(files)));
    }
    all + most
}

/// Weights are there as bytes, as a graph and in sessions while a version loads, and its graphs run.
pub(super) fn while_it_loads(files: u64) -> u64 {
    64 * MEBIBYTE + 3 * files
}

/// Beside weights, a session keeps what it computed in: of small networks that is the larger part.
fn kept(files: u64) -> u64 {
    MEBIBYTE + (8 * files).min(16 * MEBIBYTE + 3 * files)
}

/// Bytes of the files of a version that its manifest names.
pub(super) fn files(one: &Ordered) -> u64 {
    let names = one.declared.iter().flat_map(|declared| declared.manifest.sha256.keys());
    let sizes = names.filter_map(|name| fs::metadata(one.candidate.folder.join(name)).ok());
    sizes.map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mebibytes(files: f64) -> u64 {
        (files * MEBIBYTE as f64) as u64
    }

    #[test]
    fn what_versions_took_while_they_loaded_is_expected() {
        // A VAE, PixelCNNs, and a PixelCNN++ of 54 million weights: MiB of files, and MiB of memory at most.
        for (files, measured) in [(0.6, 25), (1.0, 41), (3.5, 57), (5.3, 73), (8.3, 91), (206.0, 423)] {
            let expected = while_it_loads(mebibytes(files)) / MEBIBYTE;
            assert!(
                (measured * 9 / 10..3 * measured).contains(&expected),
                "{files}: {expected}"
            );
        }
    }

    #[test]
    fn what_repositories_kept_is_expected() {
        // That of this project, and fifty small versions: MiB of memory.
        let own = [
            3.6, 3.6, 4.2, 0.1, 8.3, 0.7, 3.7, 2.6, 0.3, 1.5, 3.5, 1.1, 0.8, 3.5, 1.0, 5.3, 0.7, 2.3, 3.5, 0.8, 0.6,
        ];
        for (files, measured) in [(own.to_vec(), 385), (vec![0.01; 50], 46)] {
            let expected = files.into_iter().map(|files| kept(mebibytes(files))).sum::<u64>() / MEBIBYTE;
            assert!((measured * 9 / 10..2 * measured).contains(&expected), "{expected}");
        }
    }
}
