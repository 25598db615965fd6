//! Rows of numbers: a code, or an image without its axes.

use super::pictures;
use crate::import::{
    Problem,
    export::{Element, Export, Port, Size},
    interview::Interview,
    reading::{Axes, ImageForm, Takes},
};

/// Rows that a flat picture has at least: fewer are a code.
const SMALLEST: usize = 4;

/// A picture's number of channels and sides, if a flat image has so many numbers.
fn square(size: usize) -> Option<(usize, usize)> {
    [1, 3].into_iter().find_map(|channels| {
        let side = ((size / channels) as f64).sqrt().round() as usize;
        (side >= SMALLEST && size == channels * side * side).then_some((channels, side))
    })
}

/// A row of numbers is a code, or an image without its axes.
pub(super) fn flat(
    export: &Export,
    name: &str,
    size: usize,
    element: Element,
    interview: &mut Interview,
) -> Result<(Vec<usize>, Takes), Problem> {
    let said = said_size(size, interview)?;
    let guess = said.or_else(|| square(size).map(|(channels, side)| (channels, side, side)));
    let Some((channels, height, width)) = guess else {
        return Ok((vec![size], Takes::Code));
    };
    let image = Takes::Image(ImageForm {
        channels,
        height,
        width,
        axes: Axes::Flat,
    });
    let largest = export.outputs.iter().filter_map(numbers).max();
    if element == Element::Integer || said.is_some() || largest == Some(size) {
        return Ok((vec![size], image));
    }
    let gives_pictures = export
        .outputs
        .iter()
        .any(|port| port.sizes.as_ref().is_some_and(|sizes| sizes.len() >= 4));
    if gives_pictures {
        return Ok((vec![size], Takes::Code));
    }
    let shrinks = largest.is_some_and(|largest| largest < size || largest.is_multiple_of(size));
    let answer = interview.ask(
        &format!("takes.{}", export.file),
        format!(
            "{} takes {size} numbers as {name:?}: are they an image of {channels}×{height}×{width}, or a code?",
            export.file
        ),
        &[("image", "an image without its axes"), ("code", "a code")],
        if !export.is_of_codes && is_likely_image(&export.file, name, shrinks) {
            "image"
        } else {
            "code"
        },
    );
    Ok((vec![size], if answer == "image" { image } else { Takes::Code }))
}

/// Channels, rows and columns that the author gave, if they are those of so many numbers.
fn said_size(size: usize, interview: &mut Interview) -> Result<Option<(usize, usize, usize)>, Problem> {
    let Some((channels, height, width)) = pictures::said_size(interview)? else {
        return Ok(None);
    };
    let channels = channels.or_else(|| Some(size / (height * width)).filter(|count| [1, 3].contains(count)));
    let said = channels.map(|channels| (channels, height, width));
    Ok(said.filter(|(channels, height, width)| channels * height * width == size))
}

/// Numbers that an output has for an item, if its axes are fixed.
fn numbers(port: &Port) -> Option<usize> {
    port.sizes.as_ref()?.get(1..)?.iter().map(Size::fixed).product()
}

/// What the names of a file and of its input say that a row of numbers is; where they say nothing, whether the graph
/// makes fewer numbers of it.
fn is_likely_image(file: &str, input: &str, shrinks: bool) -> bool {
    let (file, input) = (file.to_lowercase(), input.to_lowercase());
    let is_called_image = input == "x"
        || file.contains("encod")
        || ["image", "img", "pixel", "picture"]
            .iter()
            .any(|word| input.contains(word));
    let is_called_code = ["z", "latent", "latents", "noise", "code"].contains(&input.as_str())
        || ["decod", "generat"].iter().any(|word| file.contains(word));
    is_called_image || (shrinks && !is_called_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_of_flat_images_are_found() {
        assert_eq!(square(784), Some((1, 28)));
        assert_eq!(square(3072), Some((3, 32)));
        assert_eq!(square(100), Some((1, 10)));
        assert_eq!(square(7), None);
        assert_eq!(square(4), None);
    }
}
