//! The parts of a manifest's text that detectors and composites share.

use std::fmt::{Display, Write};

use super::manifest::members::Member;
use crate::domain::{family::Family, image::ImageShape};

/// A string of TOML.
pub(super) fn quoted(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

/// How a manifest begins: what the model is, and the size of its images.
pub(super) fn head(name: &str, family: Family, description: &str, shape: ImageShape) -> String {
    format!(
        "name = {}\nfamily = {:?}\ndescription = {}\n\n[image]\nchannels = {}\nheight = {}\nwidth = {}\nlevels = {}\n",
        quoted(name),
        family.name(),
        quoted(description),
        shape.channels(),
        shape.height(),
        shape.width(),
        shape.levels()
    )
}

/// `[[members]]`.
pub(super) fn members<Role: Display>(members: &[Member<Role>]) -> String {
    let mut out = String::new();
    for member in members {
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "\n[[members]]\nrole = \"{}\"\nmodel = {}\nversion = {}\nsha256 = {:?}\n",
            member.role,
            quoted(&member.model),
            member.version,
            member.sha256
        );
    }
    out
}

/// Where something that was made came from.
pub(super) struct Origin<'a> {
    pub(super) data: &'a str,
    pub(super) licence: &'a str,
    pub(super) command: &'a str,
    pub(super) parameters: usize,
    pub(super) seconds: f64,
}

/// How a manifest ends: where the model came from, and the sha256 of its files.
pub(super) fn tail(origin: &Origin<'_>, hashes: &[(&str, String)]) -> String {
    let mut out = format!(
        "\n[provenance]\ndata = {}\nlicence = {}\ncommand = {}\nparameters = {}\ntraining_seconds = {:.0}\n\n[sha256]\n",
        quoted(origin.data),
        quoted(origin.licence),
        quoted(origin.command),
        origin.parameters,
        origin.seconds
    );
    for (name, hash) in hashes {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name:?} = {hash:?}");
    }
    out
}
