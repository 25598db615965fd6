//! What each input of a graph is, by its type, its axes and its name.

mod together;

use std::collections::HashSet;

use self::together::one_of_each;
use super::{Axes, ImageForm, Taken, Takes};
use crate::{
    graph::{
        self,
        protobuf::{Graph, Model},
        surgery,
    },
    import::{
        Problem,
        export::{Element, Export, Port, Size},
        interview::Interview,
    },
};

/// What each input is, by its type and its axes.
pub(super) fn inputs(export: &Export, interview: &mut Interview) -> Result<Vec<Taken>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut takes: Vec<Taken> = Vec::new();
    let has_picture = export
        .inputs
        .iter()
        .any(|port| port.sizes.as_ref().is_some_and(|own| own.len() >= 3));
    for port in &export.inputs {
        let has_code = takes.iter().any(|taken| taken.takes == Takes::Code);
        match input(export, port, (has_picture, has_code), interview) {
            Ok((sizes, takes_it)) => takes.push(Taken {
                port: port.clone(),
                sizes,
                takes: takes_it,
            }),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(one_of_each(export, &takes));
    if export.inputs.is_empty() {
        problems.push(Problem::new(
            &export.file,
            "it takes nothing",
            "export the network with its image or code as an input",
        ));
    }
    if problems.is_empty() { Ok(takes) } else { Err(problems) }
}

fn input(
    export: &Export,
    port: &Port,
    (has_picture, has_code): (bool, bool),
    interview: &mut Interview,
) -> Result<(Vec<usize>, Takes), Problem> {
    let problem = |what: String, cure: &str| Problem::new(&export.file, what, cure);
    let name = &port.name;
    let Some(axes) = &port.sizes else {
        return Err(problem(
            format!("its input {name:?} declares no axes"),
            "export it with an example of the shape [N, C, H, W]",
        ));
    };
    let of_labels = |sizes: Vec<usize>| (sizes, Takes::Label(labels_read(&export.model, name)));
    match (&axes[..], port.element) {
        ([] | [_], element) if (element == Element::Real || axes.is_empty()) && makes_pictures_of_pictures(export) => {
            Err(of_time(export, &format!("{name:?}")))
        }
        ([], _) => Err(problem(
            format!("its input {name:?} is one number for the whole batch"),
            "export the network with that number inside, as a constant",
        )),
        ([_], Element::Integer) => Ok(of_labels(vec![])),
        ([_, Size::Fixed(1)], Element::Integer) => Ok(of_labels(vec![1])),
        ([_], _) => Err(problem(
            format!("its input {name:?} is one real number for each item, which no family has"),
            "export the network with that number inside, as a constant",
        )),
        ([_, Size::Fixed(size)], element) => {
            let looks_like_labels = ["label", "class", "cond", "onehot", "one_hot", "y", "c"]
                .iter()
                .any(|word| name.eq_ignore_ascii_case(word) || (word.len() > 3 && name.to_lowercase().contains(word)));
            if has_picture || (has_code && element == Element::Real) || (looks_like_labels && export.inputs.len() > 1) {
                return Ok((vec![*size], Takes::OneHot(*size)));
            }
            flat(export, name, *size, element, interview)
        }
        ([_, Size::Open(_)], _) => Err(problem(
            format!("its input {name:?} has a second axis of no fixed size"),
            "export it with only the first axis dynamic",
        )),
        ([_, sides @ ..], element) if sides.len() <= 3 => {
            let is_code = sides.len() == 3 && element == Element::Real && {
                let fixed: Vec<Option<usize>> = sides.iter().map(Size::fixed).collect();
                let is_picture = |size: Option<usize>| matches!(size, None | Some(1 | 3));
                fixed[1..] == [Some(1), Some(1)] || !(is_picture(fixed[0]) || is_picture(fixed[2]))
            };
            if is_code {
                let sizes: Vec<usize> = sides.iter().filter_map(Size::fixed).collect();
                if sizes.len() == 3 {
                    return Ok((sizes, Takes::Code));
                }
            }
            picture(export, port, sides, interview).map(|image| (sizes_of(image), Takes::Image(image)))
        }
        _ => Err(problem(
            format!("its input {name:?} has the shape {}", port.shown()),
            "images are [N, C, H, W], [N, H, W, C] or [N, H, W], codes [N, L] or [N, L, 1, 1]",
        )),
    }
}

/// Whether it makes pictures of the size of those that it takes.
fn makes_pictures_of_pictures(export: &Export) -> bool {
    let pictures = |ports: &[Port]| -> Vec<Vec<Size>> {
        let axes = ports.iter().filter_map(|port| port.sizes.clone());
        axes.filter(|axes| axes.len() == 4).collect()
    };
    let (taken, given) = (pictures(&export.inputs), pictures(&export.outputs));
    let is_same = |(a, b): (&Size, &Size)| a.fixed().is_none() || b.fixed().is_none() || a == b;
    taken.iter().any(|taken| {
        given
            .iter()
            .any(|given| taken[1..].iter().zip(&given[1..]).all(is_same))
    })
}

/// What is said of a network that is told how much noise is in its picture, by inputs of these quoted names.
fn of_time(export: &Export, names: &str) -> Problem {
    Problem::new(
        &export.file,
        format!(
            "it makes a picture of a picture and of numbers beside it ({names}), such as the time of a diffusion or \
             score model, which are not served: one run of them is no probability of an image, and no drawn image"
        ),
        "export a network that predicts each pixel of those before it, a VAE, a GAN or a classifier; if the number is \
         none of noise, export the network with it inside, as a constant",
    )
}

/// Rows that an embedding of labels has, whatever is done to them on the way to it.
fn labels_read(model: &Model, input: &str) -> Option<usize> {
    let graph = model.graph.as_ref()?;
    let mut at = vec![input.to_owned()];
    let mut constants: HashSet<&str> = graph.initializers.iter().map(|tensor| tensor.name()).collect();
    for node in &graph.nodes {
        let reads = |place: usize| node.inputs.get(place).is_some_and(|name| at.contains(name));
        match node.op_type() {
            // How many labels there are in a run is no label.
            "Shape" | "Size" => {}
            "Constant" => constants.extend(node.outputs.iter().map(String::as_str)),
            "Gather" | "GatherND" if reads(1) => {
                let table = graph
                    .initializers
                    .iter()
                    .find(|tensor| tensor.name() == node.inputs[0])?;
                return usize::try_from(*table.dims.first()?).ok();
            }
            "OneHot" if reads(0) => {
                let depth = graph::weights::scalar(graph, node.inputs.get(1)?)?;
                return Some(depth as usize);
            }
            // A row of all labels, of which one is the same.
            "Equal" if reads(0) && node.inputs.get(1).is_some_and(|name| last_size(graph, name) > Some(1)) => {
                return last_size(graph, node.inputs.get(1)?);
            }
            // One of many that is set to 1, in a row of zeros for each label.
            "ScatterElements" if reads(1) => return last_size(graph, node.inputs.first()?),
            _ => {
                let is_known =
                    |name: &String| name.is_empty() || at.contains(name) || constants.contains(name.as_str());
                if node.inputs.iter().any(|name| at.contains(name)) && node.inputs.iter().all(is_known) {
                    at.extend(node.outputs.iter().cloned());
                }
            }
        }
    }
    None
}

/// The size of the last axis of a constant that has its values, or its shape, from the graph.
fn last_size(graph: &Graph, value: &str) -> Option<usize> {
    if let Some(held) = graph.initializers.iter().find(|tensor| tensor.name() == value) {
        return usize::try_from(*held.dims.last()?).ok();
    }
    let node = surgery::producer(graph, value)?;
    match node.op_type() {
        "Constant" => usize::try_from(*node.attribute("value")?.t.as_ref()?.dims.last()?).ok(),
        "ConstantOfShape" => usize::try_from(graph::weights::last_of(graph, node.inputs.first()?)?).ok(),
        "Expand" => usize::try_from(graph::weights::last_of(graph, node.inputs.get(1)?)?).ok(),
        "Cast" | "Identity" => last_size(graph, node.inputs.first()?),
        _ => None,
    }
}

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
fn flat(
    export: &Export,
    name: &str,
    size: usize,
    element: Element,
    interview: &mut Interview,
) -> Result<(Vec<usize>, Takes), Problem> {
    let problem = |what: String, cure: &str| Problem::new(&export.file, what, cure);
    let given = interview.given("size").map(|text| read_size(&text)).transpose();
    let given = given.map_err(|text| problem(format!("--size {text:?} is no size"), "write HxW or CxHxW"))?;
    let fits = given.and_then(|(channels, height, width)| {
        let channels = channels.or_else(|| Some(size / (height * width)).filter(|c| [1, 3].contains(c)));
        channels.map(|channels| (channels, height, width))
    });
    let fits = fits.filter(|(channels, height, width)| channels * height * width == size);
    let guess = fits.or_else(|| square(size).map(|(channels, side)| (channels, side, side)));
    let largest = export
        .outputs
        .iter()
        .filter_map(|port| {
            let sizes: Vec<usize> = port
                .sizes
                .as_ref()?
                .get(1..)?
                .iter()
                .map(Size::fixed)
                .collect::<Option<_>>()?;
            Some(sizes.iter().product::<usize>())
        })
        .max();
    let gives_pictures = export
        .outputs
        .iter()
        .any(|port| port.sizes.as_ref().is_some_and(|sizes| sizes.len() >= 4));
    let as_image = |(channels, height, width)| {
        let axes = Axes::Flat;
        (
            vec![size],
            Takes::Image(ImageForm {
                channels,
                height,
                width,
                axes,
            }),
        )
    };
    let Some(guess) = guess else {
        return Ok((vec![size], Takes::Code));
    };
    let shrinks = largest.is_some_and(|largest| largest < size || largest % size == 0 && largest > 0);
    let is_surely = element == Element::Integer || fits.is_some() || largest.is_some_and(|largest| largest == size);
    if gives_pictures && !is_surely {
        return Ok((vec![size], Takes::Code));
    }
    if is_surely {
        return Ok(as_image(guess));
    }
    let (channels, height, width) = guess;
    let key = format!("takes.{}", export.file);
    let file = export.file.to_lowercase();
    let is_called_image = name.eq_ignore_ascii_case("x")
        || file.contains("encod")
        || ["image", "img", "pixel", "picture"]
            .iter()
            .any(|word| name.to_lowercase().contains(word));
    let is_called_code = ["z", "latent", "latents", "noise", "code"].contains(&name.to_lowercase().as_str())
        || ["decod", "generat"].iter().any(|word| file.contains(word));
    let likely = if is_called_image || (shrinks && !is_called_code) {
        "image"
    } else {
        "code"
    };
    let answer = interview.ask(
        &key,
        format!(
            "{} takes {size} numbers as {name:?}: are they an image of {channels}×{height}×{width}, or a code?",
            export.file
        ),
        &[("image", "an image without its axes"), ("code", "a code")],
        likely,
    );
    Ok(if answer == "image" {
        as_image(guess)
    } else {
        (vec![size], Takes::Code)
    })
}

/// `28x28` or `3x32x32`.
pub fn read_size(text: &str) -> Result<(Option<usize>, usize, usize), String> {
    let parts: Result<Vec<usize>, _> = text.split(['x', '×']).map(|part| part.trim().parse()).collect();
    match parts.as_deref() {
        Ok([height, width]) if height * width > 0 => Ok((None, *height, *width)),
        Ok([channels, height, width]) if channels * height * width > 0 => Ok((Some(*channels), *height, *width)),
        _ => Err(text.to_owned()),
    }
}

/// The axes of images.
fn picture(export: &Export, port: &Port, sides: &[Size], interview: &mut Interview) -> Result<ImageForm, Problem> {
    let problem = |what: String, cure: &str| Problem::new(&export.file, what, cure);
    let name = &port.name;
    let asked = match interview.given("size") {
        Some(text) => Some(
            read_size(&text).map_err(|text| problem(format!("--size {text:?} is no size"), "write HxW or CxHxW"))?,
        ),
        None => None,
    };
    let fixed: Vec<Option<usize>> = sides.iter().map(Size::fixed).collect();
    let form = |channels, height, width, axes| ImageForm {
        channels,
        height,
        width,
        axes,
    };
    let open = || {
        problem(
            format!(
                "its input {name:?} of the shape {} leaves the size of images open",
                port.shown()
            ),
            "say which images it is for: --size HEIGHTxWIDTH",
        )
    };
    let image = match fixed[..] {
        [height, width] => {
            let (_, own_height, own_width) = asked.unwrap_or((None, 0, 0));
            let side = |fixed: Option<usize>, own: usize| fixed.or(Some(own).filter(|&own| own > 0)).ok_or_else(open);
            form(1, side(height, own_height)?, side(width, own_width)?, Axes::NoChannels)
        }
        [a, b, c] => {
            let (channels, own_height, own_width) = asked.unwrap_or((None, 0, 0));
            let is_channels = |size: Option<usize>| matches!(size, Some(1..=4));
            let last = match (is_channels(a), is_channels(c)) {
                (true, false) => false,
                (false, true) => true,
                (true, true) => {
                    interview.ask(
                        "axes",
                        format!(
                            "{} takes {} as {name:?}: which axis counts channels?",
                            export.file,
                            port.shown()
                        ),
                        &[("first", "[N, C, H, W]"), ("last", "[N, H, W, C]")],
                        "first",
                    ) == "last"
                }
                (false, false) => a.is_some() && c.is_none(),
            };
            let side = |fixed: Option<usize>, own: usize| fixed.or(Some(own).filter(|&own| own > 0)).ok_or_else(open);
            let count = |fixed: Option<usize>| {
                fixed.or(channels).ok_or_else(|| {
                    problem(
                        format!(
                            "its input {name:?} of the shape {} leaves the number of channels open",
                            port.shown()
                        ),
                        "say which images it is for: --size CHANNELSxHEIGHTxWIDTH",
                    )
                })
            };
            if last {
                form(count(c)?, side(a, own_height)?, side(b, own_width)?, Axes::ChannelsLast)
            } else {
                form(
                    count(a)?,
                    side(b, own_height)?,
                    side(c, own_width)?,
                    Axes::ChannelsFirst,
                )
            }
        }
        _ => return Err(open()),
    };
    let is_other = |(channels, height, width): (Option<usize>, usize, usize)| {
        (height, width) != (image.height, image.width) || channels.is_some_and(|own| own != image.channels)
    };
    if asked.is_some_and(is_other) {
        return Err(problem(
            format!(
                "--size says another size than its input {name:?} of the shape {}",
                port.shown()
            ),
            "leave it out, or export the network for that size",
        ));
    }
    if image.channels > 4 {
        return Err(problem(
            format!(
                "its input {name:?} of the shape {} has {} channels",
                port.shown(),
                image.channels
            ),
            "images have 1 to 4; if it is a code, export it as [N, L]",
        ));
    }
    Ok(image)
}

fn sizes_of(image: ImageForm) -> Vec<usize> {
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
        assert_eq!(read_size("28x28"), Ok((None, 28, 28)));
        assert_eq!(read_size("3×32x16"), Ok((Some(3), 32, 16)));
        assert!(read_size("28").is_err() && read_size("0x3").is_err());
        assert_eq!(square(784), Some((1, 28)));
        assert_eq!(square(3072), Some((3, 32)));
        assert_eq!(square(100), Some((1, 10)));
        assert_eq!(square(7), None);
        assert_eq!(square(4), None);
    }
}
