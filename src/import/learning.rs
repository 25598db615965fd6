//! What a graph tells of a row of numbers that it takes, where neither its file nor names do: whether that is an image
//! without its axes, or a code.

use super::{
    causal,
    export::{Export, Size},
    interview::Interview,
    layout::Arrangement,
    reading::{Given, Reading, Taken, inputs},
};
use crate::runtime::Engine;

/// Runs a graph that takes such a row, if nobody said what it is: for sizes of outputs that the file does not tell, and
/// to see whether a picture of several numbers for each that it takes predicts these. What does not is made of a code.
pub fn learn(engine: &dyn Engine, export: &mut Export, interview: &Interview) {
    let Some(takes) = asked(export, interview) else { return };
    let Ok(reading) = Reading::taking(engine, export.clone(), takes) else {
        return;
    };
    for port in &mut export.outputs {
        let is_told = |own: &[Size]| own.iter().skip(1).all(|size| size.fixed().is_some());
        let given = reading.gives.iter().find(|given| given.port.name == port.name);
        let sizes = given.and_then(|given| given.sizes.clone());
        if let Some(sizes) = sizes.filter(|_| !port.sizes.as_deref().is_some_and(is_told)) {
            let fixed = sizes.into_iter().map(Size::Fixed);
            port.sizes = Some([Size::Open(String::new())].into_iter().chain(fixed).collect());
        }
    }
    let Some(takes) = asked(export, interview) else { return };
    let is_image = takes.iter().any(|taken| taken.image().is_some());
    if is_image && let Ok(reading) = Reading::taking(engine, export.clone(), takes) {
        export.is_of_codes = !reading.gives.iter().any(|given| is_of_pixels(&reading, given));
    }
}

/// What the inputs are likely to be, if it is asked what a row of numbers is.
fn asked(export: &Export, interview: &Interview) -> Option<Vec<Taken>> {
    let mut own = interview.again();
    let takes = inputs(export, &mut own).ok()?;
    let key = format!("takes.{}", export.file);
    own.open().iter().any(|question| question.key == key).then_some(takes)
}

/// Whether an output is of the pixels that a graph takes: fewer numbers, an axis of as many, or predictions of each of
/// those before it.
fn is_of_pixels(reading: &Reading, given: &Given) -> bool {
    let (Some((taken, form)), Some(sizes)) = (reading.image(), &given.sizes) else {
        return false;
    };
    let (pixels, numbers) = (taken.sizes.iter().product::<usize>(), given.numbers());
    if numbers <= pixels || sizes.contains(&pixels) {
        return true;
    }
    let all = Arrangement::candidates(sizes, [numbers / pixels.max(1), form.channels, form.height, form.width]);
    causal::is_prediction(reading, given, &all)
}
