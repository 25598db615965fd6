//! An encoder and a decoder in one graph, as `model(image)` of an autoencoder is exported: parted at the code.
//!
//! The code is a value that every way from the image, and from every random number, to the picture leads through. Of a
//! VAE it is mean + deviation · noise, which tells where mean and deviation are, whatever the graph gives of them.

mod parts;
mod reachability;

pub use self::parts::{DEVIATION, MEAN};
use self::{
    parts::{decoder, encoder},
    reachability::{Bottleneck, Reachability, sizes},
};
use super::{
    Problem,
    export::{Export, Port},
    interview::Interview,
    probe::Found,
    reading::{Given, Reading, Taken, Takes, trial},
};
use crate::{
    graph::{
        protobuf::{Model, ValueInfo},
        random_nodes,
    },
    runtime::Engine,
};

/// Values that are looked at.
const LONGEST: usize = 4000;

/// Parts a graph from images to pictures at its code, if it has one. `is_density` says whether it predicts, so that
/// what it gives is no picture of its image.
pub fn parted(
    engine: &dyn Engine,
    reading: &Reading,
    is_density: impl FnOnce(&Given) -> bool,
    interview: &mut Interview,
) -> Option<Result<[Reading; 2], Vec<Problem>>> {
    let (_, form) = reading.image()?;
    let numbers = form.channels * form.height * form.width;
    let graph = reading.graph();
    if graph.nodes.len() > LONGEST {
        return None;
    }
    let reachability = Reachability::of(graph, reading);
    if let Some(problem) = drawn_throughout(reading, &reachability, numbers) {
        return Some(Err(vec![problem]));
    }
    let pictures: Vec<&Given> = reading
        .gives
        .iter()
        .filter(|given| given.numbers() == numbers && reachability.is_computed(&given.port.name))
        .collect();
    let first = *pictures.first()?;
    // A code book is looked up in; what is in its place is a code as well, but the encoder gives what comes before.
    let is_looked_up = pictures.iter().any(|given| reachability.is_looked_up(&given.port.name));
    let mut bottlenecks = bottlenecks(engine, reading, &reachability, &pictures, numbers);
    bottlenecks.retain(|bottleneck| !is_looked_up || !reachability.is_looked_up(&bottleneck.value));
    if bottlenecks.is_empty() || is_density(first) {
        return None;
    }
    let bottleneck = chosen(reading, &reachability, &bottlenecks)?;
    let posterior = reachability.posterior(&bottleneck.value);
    if posterior.is_none() && reachability.draws(&bottleneck.value) > 1 {
        return Some(Err(vec![drawn_again(reading, bottleneck)]));
    }
    if posterior.is_none() && reachability.is_drawn(&bottleneck.value) {
        return Some(Err(vec![Problem::new(
            &reading.file,
            format!(
                "it holds an encoder and a decoder, and the code between them ({:?}) is drawn, but not as \
                 mean + deviation · noise",
                bottleneck.value
            ),
            "export what makes the code without its draw, and what makes the picture of the code, as two graphs",
        )]));
    }
    let names: Vec<&str> = reading.gives.iter().map(|given| given.port.name.as_str()).collect();
    if posterior.is_some() && reachability.draws_more(&names, &bottleneck.value) {
        return Some(Err(vec![drawn_again(reading, bottleneck)]));
    }
    interview.note(&format!(
        "{}: it holds an encoder and a decoder, and is parted at the code {:?} of {} numbers",
        reading.file,
        bottleneck.value,
        bottleneck.sizes.iter().product::<usize>()
    ));
    if is_looked_up {
        interview.note(&format!(
            "{}: it looks its code up in a code book, as a VQ-VAE does: the code served is what the encoder gives \
             before that, and decoding looks it up. A VQ-VAE has no density by itself; the network that was trained \
             on its codes, such as a PixelCNN, has one, and is imported by itself",
            reading.file
        ));
    }
    let encoder = encoder(reading, bottleneck, posterior, is_looked_up);
    let decoder = decoder(engine, reading, &reachability, bottleneck, &pictures);
    let both = read(engine, reading, bottleneck, ("encoding", encoder))
        .and_then(|encoder| Ok([encoder, read(engine, reading, bottleneck, ("decoding", decoder))?]));
    let is_drawn = reachability.is_drawn(&first.port.name);
    Some(both.and_then(|both| {
        if is_drawn || is_same(reading, first, &both).map_err(|problem| vec![problem])? {
            return Ok(both);
        }
        Err(vec![Problem::new(
            &reading.file,
            format!(
                "what it makes of an image is more than what it makes of the code {:?}",
                bottleneck.value
            ),
            "export what makes the code of an image, and what makes the picture of a code, as two graphs",
        )])
    }))
}

/// What an encoder gives of its code before it draws it, if it gives the code as mean + deviation · noise.
pub fn undrawn(
    engine: &dyn Engine,
    reading: &Reading,
    interview: &mut Interview,
) -> Option<Result<Reading, Vec<Problem>>> {
    let (_, form) = reading.image()?;
    let graph = reading.graph();
    if reading.drawing.is_empty() || graph.nodes.len() > LONGEST {
        return None;
    }
    let reachability = Reachability::of(graph, reading);
    let mut drawn = reading
        .gives
        .iter()
        .filter(|given| reachability.is_drawn(&given.port.name));
    let (code, None) = (drawn.next()?, drawn.next()) else {
        return None;
    };
    let value = reachability.before_moving(&code.port.name);
    let posterior = reachability.posterior(value)?;
    let sizes = sizes(engine, reading, &[value])?.pop()??;
    let size: usize = sizes.iter().product();
    if size >= form.channels * form.height * form.width || reachability.draws_more(&[value], value) {
        return None;
    }
    interview.note(&format!(
        "{}: it draws its code {:?} as mean + deviation · noise; the server has mean and deviation, and draws itself",
        reading.file, code.port.name
    ));
    let code = Bottleneck {
        value: value.to_owned(),
        sizes,
    };
    let encoder = encoder(reading, &code, Some(posterior), false);
    Some(read(engine, reading, &code, ("encoding", encoder)))
}

/// Reads a part. Its inputs are those of the whole, or the code.
fn read(
    engine: &dyn Engine,
    reading: &Reading,
    bottleneck: &Bottleneck,
    (name, model): (&str, Model),
) -> Result<Reading, Vec<Problem>> {
    let ports = |values: &[ValueInfo]| values.iter().filter_map(Port::read).collect();
    let graph = model.graph.as_ref();
    let export = Export {
        file: format!("{} ({name})", reading.file),
        inputs: graph.map_or_else(Vec::new, |graph| ports(&graph.inputs)),
        outputs: graph.map_or_else(Vec::new, |graph| ports(&graph.outputs)),
        batch: None,
        beside: Vec::new(),
        drawing: random_nodes::nodes(&model),
        was_second: false,
        was_by_pixel: false,
        is_of_codes: false,
        model,
    };
    let taken = |port: &Port| {
        let own = reading.takes.iter().find(|taken| taken.port.name == port.name);
        own.cloned().unwrap_or_else(|| Taken {
            port: port.clone(),
            sizes: bottleneck.sizes.clone(),
            takes: Takes::Code,
        })
    };
    let takes = export.inputs.iter().map(taken).collect();
    Reading::taking(engine, export, takes)
}

/// Whether the parts, one after the other, make the same pictures as the whole.
fn is_same(reading: &Reading, picture: &Given, [encoder, decoder]: &[Reading; 2]) -> Result<bool, Problem> {
    const ITEMS: usize = 3;
    let Some(place) = reading.takes.iter().position(|taken| taken.image().is_some()) else {
        return Ok(true);
    };
    let all = trial(&reading.takes, ITEMS).swap_remove(place);
    let images: Vec<Vec<f32>> = all.chunks(all.len() / ITEMS).map(<[f32]>::to_vec).collect();
    let rows = |mut found: Vec<Found>, place: usize| found.swap_remove(place).rows;
    let expected = rows(reading.run(&images, &[])?, picture.place);
    let range = expected
        .iter()
        .flatten()
        .fold(0.0f32, |most, value| most.max(value.abs()));
    // Of mean and spread, one is decoded.
    for codes in encoder.run(&images, &[])? {
        let found = rows(decoder.run(&codes.rows, &[])?, 0);
        let mut pairs = expected.iter().flatten().zip(found.iter().flatten());
        if pairs.all(|(own, other)| (own - other).abs() <= 1e-3 * range) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is wrong with several pictures of each image, all of them drawn: nothing that they lead through is one code.
fn drawn_throughout(reading: &Reading, reachability: &Reachability<'_>, numbers: usize) -> Option<Problem> {
    let mut of_pictures = reading
        .gives
        .iter()
        .filter(|given| given.numbers() > 0 && given.numbers().is_multiple_of(numbers))
        .filter(|given| reachability.is_computed(&given.port.name))
        .peekable();
    of_pictures.peek()?;
    let is_several = |given: &Given| given.numbers() > numbers && reachability.is_drawn(&given.port.name);
    of_pictures.all(is_several).then(|| {
        Problem::new(
            &reading.file,
            "it draws several pictures of each image, and what is drawn between is not one code",
            "of a VAE, export what makes mean and log-variance of an image, and what makes a picture of one code, as \
             two graphs; of a density, export it without what it draws: noise that is added, or dropout left on",
        )
    })
}

/// What is wrong with more codes than the one that the picture is made of.
fn drawn_again(reading: &Reading, bottleneck: &Bottleneck) -> Problem {
    Problem::new(
        &reading.file,
        format!(
            "it draws more than the code that its picture is made of ({:?}), as hierarchical VAEs draw a code of a \
             code: what that is distributed like before an image is seen is then learnt, and not the standard normal \
             distribution that codes are drawn from here",
            bottleneck.value
        ),
        "a VAE of one code is served; of a hierarchical one, export what makes a picture of the noise of all codes, in \
         one row, as a generator: --family gan",
    )
}

/// Of the values that part a graph, the one that is the code.
fn chosen<'a>(
    reading: &Reading,
    reachability: &Reachability<'_>,
    bottlenecks: &'a [Bottleneck],
) -> Option<&'a Bottleneck> {
    let size = |bottleneck: &Bottleneck| bottleneck.sizes.iter().product::<usize>();
    // What is drawn as mean + deviation · noise is the code.
    if let Some(drawn) = bottlenecks
        .iter()
        .find(|bottleneck| reachability.posterior(&bottleneck.value).is_some())
    {
        return Some(drawn);
    }
    // Mean and spread that the graph gives have the size of the code.
    let rows: Vec<usize> = reading.gives.iter().map(Given::numbers).collect();
    let is_alike = |bottleneck: &&Bottleneck| rows.iter().filter(|&&row| row == size(bottleneck)).count() >= 2;
    let of_its_size = || bottlenecks.iter().filter(is_alike);
    // A mean that is decoded as it is, as in evaluation mode, may follow layers with as many features.
    let is_given = |bottleneck: &&Bottleneck| {
        let own = reachability.before_moving(&bottleneck.value);
        let mut gives = reading
            .gives
            .iter()
            .map(|given| reachability.before_moving(&given.port.name));
        gives.any(|given| given == own)
    };
    let found = of_its_size().find(is_given).or_else(|| of_its_size().next());
    found.or_else(|| {
        let least = bottlenecks.iter().map(size).min()?;
        bottlenecks.iter().find(|bottleneck| size(bottleneck) == least)
    })
}

/// Values that part the graph, from the image on, which have fewer numbers than the image.
fn bottlenecks(
    engine: &dyn Engine,
    reading: &Reading,
    reachability: &Reachability<'_>,
    pictures: &[&Given],
    numbers: usize,
) -> Vec<Bottleneck> {
    let names: Vec<&str> = pictures.iter().map(|given| given.port.name.as_str()).collect();
    let parting: Vec<&str> = reachability.parting(&names);
    if parting.is_empty() {
        return Vec::new();
    }
    let Some(sizes) = sizes(engine, reading, &parting) else {
        return Vec::new();
    };
    let bottleneck = |(value, sizes): (&&str, Option<Vec<usize>>)| {
        let sizes = sizes?;
        let size: usize = sizes.iter().product();
        (size > 0 && size < numbers).then(|| Bottleneck {
            value: (*value).to_owned(),
            sizes,
        })
    };
    parting.iter().zip(sizes).filter_map(bottleneck).collect()
}
