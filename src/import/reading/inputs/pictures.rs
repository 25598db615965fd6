//! Pictures with their axes.

use crate::import::{
    Problem,
    export::{Export, Port, Size},
    interview::Interview,
    reading::{Axes, ImageForm},
};

/// Channels, rows and columns as an author writes them: `28x28` or `3x32x32`.
pub type SaidSize = (Option<usize>, usize, usize);

/// The size that the author gave.
pub fn said_size(interview: &mut Interview) -> Result<Option<SaidSize>, Problem> {
    let read = |text: String| {
        let what = || format!("{text:?} is no size of images");
        read_size(&text).ok_or_else(|| Problem::new("--size", what(), "write HEIGHTxWIDTH or CHANNELSxHEIGHTxWIDTH"))
    };
    interview.given("size").map(read).transpose()
}

fn read_size(text: &str) -> Option<SaidSize> {
    let parts: Vec<usize> = text
        .split(['x', '×'])
        .map(|part| part.trim().parse().ok())
        .collect::<Option<_>>()?;
    let numbers = parts.iter().try_fold(1usize, |all, &side| all.checked_mul(side))?;
    match parts[..] {
        [height, width] if numbers > 0 => Some((None, height, width)),
        [channels, height, width] if numbers > 0 => Some((Some(channels), height, width)),
        _ => None,
    }
}

/// The axes of images.
pub(super) fn picture(
    export: &Export,
    port: &Port,
    sides: &[Size],
    interview: &mut Interview,
) -> Result<ImageForm, Problem> {
    let said = said_size(interview)?;
    let fixed: Vec<Option<usize>> = sides.iter().map(Size::fixed).collect();
    let (channels, height, width, axes) = match fixed[..] {
        [height, width] => (Some(1), height, width, Axes::NoChannels),
        [height, width, channels] if are_last(export, port, (height, channels), interview) => {
            (channels, height, width, Axes::ChannelsLast)
        }
        [channels, height, width] => (channels, height, width, Axes::ChannelsFirst),
        _ => (None, None, None, Axes::ChannelsFirst),
    };
    let problem = |what: &str, cure: &str| {
        let what = format!("its input {:?} of the shape {} {what}", port.name, port.shown());
        Problem::new(&export.file, what, cure)
    };
    let side = |fixed: Option<usize>, said: Option<usize>| {
        fixed.or(said).ok_or_else(|| {
            problem(
                "leaves the size of images open",
                "say which images it is for: --size HEIGHTxWIDTH",
            )
        })
    };
    let image = ImageForm {
        channels: channels.or(said.and_then(|(channels, ..)| channels)).ok_or_else(|| {
            problem(
                "leaves the number of channels open",
                "say which images it is for: --size CHANNELSxHEIGHTxWIDTH",
            )
        })?,
        height: side(height, said.map(|(_, height, _)| height))?,
        width: side(width, said.map(|(.., width)| width))?,
        axes,
    };
    let is_other = |(channels, height, width): SaidSize| {
        (height, width) != (image.height, image.width) || channels.is_some_and(|own| own != image.channels)
    };
    if said.is_some_and(is_other) {
        let (name, shown) = (&port.name, port.shown());
        return Err(Problem::new(
            &export.file,
            format!("--size says another size than its input {name:?} of the shape {shown}"),
            "leave it out, or export the network for that size",
        ));
    }
    if image.channels > 4 {
        return Err(problem(
            &format!("has {} channels", image.channels),
            "images have 1 to 4; if it is a code, export it as [N, L]",
        ));
    }
    Ok(image)
}

/// Whether channels are the last of three axes, of which these are the first and the last. Asks where both may be.
fn are_last(
    export: &Export,
    port: &Port,
    (first, last): (Option<usize>, Option<usize>),
    interview: &mut Interview,
) -> bool {
    let may_be = |size: Option<usize>| matches!(size, Some(1..=4));
    match (may_be(first), may_be(last)) {
        (true, false) => false,
        (false, true) => true,
        (false, false) => first.is_some() && last.is_none(),
        (true, true) => {
            let question = format!(
                "{} takes {} as {:?}: which axis counts channels?",
                export.file,
                port.shown(),
                port.name
            );
            let axes = [("first", "[N, C, H, W]"), ("last", "[N, H, W, C]")];
            interview.ask("axes", question, &axes, "first") == "last"
        }
    }
}

/// Axes of an item.
pub(super) fn sizes_of(image: ImageForm) -> Vec<usize> {
    let ImageForm {
        channels,
        height,
        width,
        axes,
    } = image;
    match axes {
        Axes::ChannelsFirst => vec![channels, height, width],
        Axes::ChannelsLast => vec![height, width, channels],
        Axes::NoChannels => vec![height, width],
        Axes::Flat => vec![channels * height * width],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(read_size("28x28"), Some((None, 28, 28)));
        assert_eq!(read_size("3×32 x 16"), Some((Some(3), 32, 16)));
        for none in ["28", "0x3", "-1x3", "4294967296x4294967296x2", "28x28x"] {
            assert_eq!(read_size(none), None, "{none}");
        }
    }
}
