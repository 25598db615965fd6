//! The parts of a manifest's text that detectors and composites share.

use std::fmt::{Display, Write};

use super::members::Member;
use crate::domain::image::ImageShape;

/// A string of TOML.
pub(crate) fn quoted(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

/// How a manifest begins: what the model is, and the size of its images.
pub(crate) fn head(name: &str, family: &str, description: &str, shape: ImageShape) -> String {
    format!(
        "name = {}\nfamily = {:?}\ndescription = {}\n\n[image]\nchannels = {}\nheight = {}\nwidth = {}\nlevels = {}\n",
        quoted(name),
        family,
        quoted(description),
        shape.channels(),
        shape.height(),
        shape.width(),
        shape.levels()
    )
}

/// `[[members]]`.
pub(crate) fn members<Role: Display>(members: &[Member<Role>]) -> String {
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
pub(crate) struct Origin<'a> {
    pub(crate) data: &'a str,
    pub(crate) licence: &'a str,
    pub(crate) command: &'a str,
    pub(crate) parameters: usize,
    pub(crate) seconds: f64,
}

/// How a manifest ends: where the model came from, and the sha256 of its files.
pub(crate) fn tail(origin: &Origin<'_>, hashes: &[(&str, String)]) -> String {
    let mut out = format!(
        "\n[provenance]\ndata = {}\nlicence = {}\ncommand = {}\nparameters = {}\ntraining_seconds = {:.0}\n\n\
         [sha256]\n",
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
