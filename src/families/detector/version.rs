//! A new detector as a version on disk: its files, and the text of its manifest.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{CALIBRATION, GOLDEN_IMAGES, GOLDEN_SCORES, LEARNT, file::CalibrationText, learnt, new::NewDetector};
use crate::{
    detection::{
        rule::{Density, DensityPlan},
        statistics::Statistic,
        tiles::TilePlan,
    },
    domain::image::ImageShape,
    families::manifest::{
        placement, preprocessing,
        text::{self, Origin},
        write,
    },
    media,
};

/// Writes a detector as the next version of its name in `repository`, in one step, and answers its folder.
pub(super) fn write(repository: &Path, detector: &NewDetector) -> io::Result<PathBuf> {
    let nothing = || io::Error::other("a detector needs golden images");
    let (shape, golden) = (detector.shape, detector.golden.first().ok_or_else(nothing)?.shape());
    let scores = detector.golden_scores.iter().copied();
    let mut files = vec![
        (CALIBRATION, CalibrationText::of(detector).write()?),
        (GOLDEN_IMAGES, media::write_images(&detector.golden, golden)),
        (GOLDEN_SCORES, media::write_f64(&[detector.golden.len()], scores)),
    ];
    if !detector.learnt.is_empty() {
        files.push((LEARNT, learnt::write(&detector.learnt)?));
    }
    write::version(repository, &detector.name, &files, |hashes| {
        manifest(detector, shape, hashes)
    })
}

/// The text of a detector's manifest.
fn manifest(detector: &NewDetector, shape: ImageShape, hashes: &[(&str, String)]) -> String {
    let learnt: usize = detector.learnt.values().map(|tensor| tensor.values.len()).sum();
    let origin = Origin {
        data: &detector.data,
        licence: &detector.licence,
        command: &detector.command,
        parameters: detector.rule.densities.iter().map(parameters).sum::<usize>() + learnt,
        seconds: detector.seconds,
    };
    [
        text::head(&detector.name, super::NAME, &detector.description, shape),
        preprocessing::text(detector.preprocessing),
        text::members(&detector.members),
        statistics(detector),
        detector.rule.plan.densities.iter().map(density).collect(),
        detector
            .tiles
            .as_ref()
            .map_or_else(String::new, |(plan, _)| tiles(plan)),
        calibration(detector),
        text::tail(&origin, hashes),
    ]
    .concat()
}

/// Numbers of a fitted density.
fn parameters(density: &Density) -> usize {
    let axes: usize = density.axes.iter().map(Vec::len).sum();
    let components = density.mixture.components.iter();
    let mixture: usize = components.map(|own| 1 + own.mean.len() + own.whitening.len()).sum();
    density.centre.len() + density.scale.len() + axes + mixture
}

fn names(statistics: &[Statistic]) -> String {
    let quoted: Vec<String> = statistics.iter().map(|own| format!("{:?}", own.name)).collect();
    format!("[{}]", quoted.join(", "))
}

/// `[detector]`, and `[learnt]` if anything was.
fn statistics(detector: &NewDetector) -> String {
    let plan = &detector.rule.plan;
    let mut table = format!("\n[detector]\nstatistics = {}\n", names(&plan.statistics));
    for (key, statistics) in [("excess", &plan.excess), ("guard", &plan.guarded)] {
        if !statistics.is_empty() {
            table += &format!("{key} = {}\n", names(statistics));
        }
    }
    if !detector.learnt.is_empty() {
        table += &format!("\n[learnt]\nfile = {LEARNT:?}\n");
    }
    table
}

fn density(plan: &DensityPlan) -> String {
    format!(
        "\n[[densities]]\nname = {}\nstatistics = {}\naxes = {}\ncomponents = {}\n",
        text::quoted(&plan.name),
        names(&plan.statistics),
        plan.axes,
        plan.components
    )
}

fn tiles(plan: &TilePlan) -> String {
    format!(
        "\n[tiles]\nstride = {}\nmap = \"{}\"\nsmoothing = {:?}\nshare = {:?}\n",
        plan.tiling.stride(),
        plan.map,
        plan.smoothing,
        plan.share
    )
}

/// `[calibration]` and `[golden]`.
fn calibration(detector: &NewDetector) -> String {
    let splits = &detector.splits;
    let description = format!(
        "{}: {} calibrate, {} rank, {} fit, permutation seed {}",
        detector.data, splits.calibrate.images, splits.rank.images, splits.fit.images, splits.seed
    );
    let per_label = if detector.labels.is_some() {
        "per_label = true\n"
    } else {
        ""
    };
    format!(
        "\n[calibration]\nfile = {CALIBRATION:?}\ndescription = {}\n{per_label}{}\n[golden]\nimages = \
         {GOLDEN_IMAGES:?}\nscores = {GOLDEN_SCORES:?}\nabsolute_tolerance = 0.01\nrelative_tolerance = 0.001\n",
        text::quoted(&description),
        placement::lines(detector.calibrated_at)
    )
}
