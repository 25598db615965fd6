//! `[preprocessing]`: what is done to image files so that they fit, without being asked for.
//!
//! What the graph wants of a level, such as mean and deviation of each channel, is no part of it: that is `[input]`.

use std::fmt::Write;

use serde::Deserialize;

use super::{Tables, refuse};
use crate::media::{DecodeOptions, Filter, Resize};

/// The longest short side: far above any network's images, far below where sizes overflow.
const LONGEST: u32 = 65_536;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PreprocessingTable {
    resize: Option<Filter>,
    short_side: Option<u32>,
    convert: bool,
    orient: bool,
}

/// The table, if it is there, else nothing is done.
pub(super) fn read(tables: &mut Tables) -> Result<DecodeOptions, String> {
    let table: PreprocessingTable = tables.optional("preprocessing")?.unwrap_or_default();
    let shape = tables.shape();
    let longer = shape.width().max(shape.height());
    if let Some(short) = table.short_side {
        refuse(table.resize.is_none(), || {
            "preprocessing.short_side: it needs resize, the name of a filter".to_owned()
        })?;
        refuse(short > LONGEST || (short as usize) < longer, || {
            format!(
                "preprocessing.short_side: {short} is not from {longer}, the longer side of the model's images, to \
                 {LONGEST}"
            )
        })?;
    }
    Ok(DecodeOptions {
        resize: table.resize.map(|filter| Resize {
            filter,
            short_side: table.short_side,
        }),
        convert: table.convert,
        orient: table.orient,
        ..DecodeOptions::default()
    })
}

/// The table, with a blank line before it; nothing where nothing is done.
pub(crate) fn text(options: DecodeOptions) -> String {
    if options == DecodeOptions::default() {
        return String::new();
    }
    let mut out = "\n[preprocessing]\n".to_owned();
    // Writing to a string cannot fail.
    if let Some(Resize { filter, short_side }) = options.resize {
        let _ = writeln!(out, "resize = {:?}", filter.name());
        if let Some(short) = short_side {
            let _ = writeln!(out, "short_side = {short}");
        }
    }
    for (name, is_done) in [("convert", options.convert), ("orient", options.orient)] {
        if is_done {
            let _ = writeln!(out, "{name} = true");
        }
    }
    out
}
