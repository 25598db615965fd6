//! What each input of a graph is, by its type, its axes and its name.

mod flat;
mod pictures;
mod together;

use std::collections::{HashMap, HashSet};

pub use self::pictures::{SaidSize, said_size};
use self::{
    flat::flat,
    pictures::{picture, sizes_of},
    together::one_of_each,
};
use super::{Taken, Takes};
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
pub fn inputs(export: &Export, interview: &mut Interview) -> Result<Vec<Taken>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut takes: Vec<Taken> = Vec::new();
    let has_picture = export
        .inputs
        .iter()
        .any(|port| port.sizes.as_ref().is_some_and(|own| own.len() >= 3));
    for port in &export.inputs {
        let has_code = takes.iter().any(|taken| taken.takes == Takes::Code);
        // A shorter row beside an image without its axes is no image, whatever its length.
        let has_longer = takes
            .iter()
            .any(|taken| taken.image().is_some() && row(port) < row(&taken.port));
        match input(export, port, (has_picture || has_longer, has_code), interview) {
            Ok((sizes, takes_it)) => takes.push(Taken {
                port: port.clone(),
                sizes,
                takes: takes_it,
            }),
            Err(problem) => problems.push(problem),
        }
    }
    if takes.iter().any(|taken| taken.image().is_some()) {
        // No model takes an image and a code.
        for taken in takes.iter_mut().filter(|taken| taken.takes == Takes::Code) {
            if let [size] = taken.sizes[..] {
                taken.takes = Takes::OneHot(size);
            }
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

/// Numbers of an input that is a row of them.
fn row(port: &Port) -> Option<usize> {
    match port.sizes.as_deref()? {
        [_, size] => size.fixed(),
        _ => None,
    }
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
                let is_place = fixed[1..] == [Some(1), Some(1)] || is_place_behind(export, &fixed);
                is_place || !(is_picture(fixed[0]) || is_picture(fixed[2]))
            };
            if is_code {
                let sizes: Vec<usize> = sides.iter().filter_map(Size::fixed).collect();
                if sizes.len() == 3 {
                    // What stands beside a code as a map of one place is a label.
                    let is_label = has_code && sizes[1..] == [1, 1];
                    let takes = if is_label { Takes::OneHot(sizes[0]) } else { Takes::Code };
                    return Ok((sizes, takes));
                }
            }
            picture(export, port, sides, interview).map(|image| (sizes_of(image), Takes::Image(image)))
        }
        _ => Err(problem(
            format!("its input {name:?} has the shape {}", port.shown()),
            if axes.len() == 5 {
                "export what takes one picture, [N, C, H, W]: of several crops or frames of each, the mean can be \
                 taken of what is answered"
            } else {
                "images are [N, C, H, W], [N, H, W, C] or [N, H, W], codes [N, L] or [N, L, 1, 1]"
            },
        )),
    }
}

/// Whether axes are those of a code as one place with its channels behind, which a map of more places is made of.
fn is_place_behind(export: &Export, fixed: &[Option<usize>]) -> bool {
    let is_place = fixed[..2] == [Some(1), Some(1)] && fixed[2] > Some(3);
    let has_places = |port: &Port| {
        let axes = port.sizes.as_deref().filter(|axes| axes.len() == 4);
        axes.is_some_and(|axes| axes[2].fixed() != Some(1))
    };
    is_place && export.outputs.iter().any(has_places)
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
    // What is added to labels tells them apart from other words of one table.
    let mut at = HashMap::from([(input.to_owned(), 0.0)]);
    let mut constants: HashSet<&str> = graph.initializers.iter().map(|tensor| tensor.name()).collect();
    for node in &graph.nodes {
        let reads = |place: usize| node.inputs.get(place).is_some_and(|name| at.contains_key(name));
        match node.op_type() {
            // How many labels there are in a run is no label.
            "Shape" | "Size" => {}
            "Constant" => constants.extend(node.outputs.iter().map(String::as_str)),
            "Gather" | "GatherND" if reads(1) => {
                let table = graph
                    .initializers
                    .iter()
                    .find(|tensor| tensor.name() == node.inputs[0])?;
                let before = at[&node.inputs[1]] as i64;
                return usize::try_from(table.dims.first()? - before).ok();
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
                    |name: &String| name.is_empty() || at.contains_key(name) || constants.contains(name.as_str());
                let read = node.inputs.iter().filter_map(|name| at.get(name).copied());
                if let Some(least) = read.reduce(f64::min).filter(|_| node.inputs.iter().all(is_known)) {
                    let scalar = |name: &String| graph::weights::scalar(graph, name);
                    let added = match node.op_type() {
                        "Add" => node.inputs.iter().find_map(scalar).unwrap_or(0.0),
                        _ => 0.0,
                    };
                    at.extend(node.outputs.iter().map(|name| (name.clone(), least + added)));
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
