//! A new detector as a version on disk: its files, and the text of its manifest.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{CALIBRATION, GOLDEN_IMAGES, GOLDEN_SCORES, LEARNT, file::CalibrationText, learnt, new::NewDetector};
use crate::{
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
    write::version(repository, &detector.name, files, |hashes| {
        manifest(detector, shape, hashes)
    })
}

/// The text of a detector's manifest.
fn manifest(detector: &NewDetector, shape: ImageShape, hashes: &[(&str, String)]) -> String {
    use std::fmt::Write;
    let list = |names: Vec<&'static str>| {
        let quoted: Vec<String> = names.into_iter().map(|name| format!("{name:?}")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let plan = &detector.rule.plan;
    let parameters: usize = detector
        .rule
        .densities
        .iter()
        .map(|d| {
            let axes: usize = d.axes.iter().map(Vec::len).sum();
            let mixture: usize = d
                .mixture
                .components
                .iter()
                .map(|c| 1 + c.mean.len() + c.whitening.len())
                .sum();
            d.centre.len() + d.scale.len() + axes + mixture
        })
        .sum();
    let learnt: usize = detector.learnt.values().map(|tensor| tensor.values.len()).sum();
    let mut out = text::head(&detector.name, super::NAME, &detector.description, shape);
    out += &preprocessing::text(detector.preprocessing);
    out += &text::members(&detector.members);
    // Writing to a string cannot fail.
    let statistics = list(plan.statistics.iter().map(|s| s.name).collect());
    let _ = write!(out, "\n[detector]\nstatistics = {statistics}\n");
    if !plan.excess.is_empty() {
        let excess = list(plan.excess.iter().map(|s| s.name).collect());
        let _ = writeln!(out, "excess = {excess}");
    }
    if !plan.guarded.is_empty() {
        let guarded = list(plan.guarded.iter().map(|s| s.name).collect());
        let _ = writeln!(out, "guard = {guarded}");
    }
    if !detector.learnt.is_empty() {
        let _ = write!(out, "\n[learnt]\nfile = {LEARNT:?}\n");
    }
    for density in &plan.densities {
        let _ = write!(
            out,
            "\n[[densities]]\nname = {}\nstatistics = {}\naxes = {}\ncomponents = {}\n",
            text::quoted(&density.name),
            list(density.statistics.iter().map(|s| s.name).collect()),
            density.axes,
            density.components
        );
    }
    if let Some((tiles, _)) = &detector.tiles {
        let _ = write!(
            out,
            "\n[tiles]\nstride = {}\nmap = \"{}\"\nsmoothing = {:?}\nshare = {:?}\n",
            tiles.tiling.stride(),
            tiles.map,
            tiles.smoothing,
            tiles.share
        );
    }
    let splits = &detector.splits;
    let _ = write!(
        out,
        "\n[calibration]\nfile = {CALIBRATION:?}\ndescription = {}\n{}{}\n[golden]\nimages = {GOLDEN_IMAGES:?}\n\
         scores = {GOLDEN_SCORES:?}\nabsolute_tolerance = 0.01\nrelative_tolerance = 0.001\n",
        text::quoted(&format!(
            "{}: {} calibrate, {} rank, {} fit, permutation seed {}",
            detector.data, splits.calibrate.images, splits.rank.images, splits.fit.images, splits.seed
        )),
        if detector.labels.is_some() {
            "per_label = true\n"
        } else {
            ""
        },
        placement::lines(detector.calibrated_at)
    );
    let origin = Origin {
        data: &detector.data,
        licence: &detector.licence,
        command: &detector.command,
        parameters: parameters + learnt,
        seconds: detector.seconds,
    };
    out + &text::tail(&origin, hashes)
}
