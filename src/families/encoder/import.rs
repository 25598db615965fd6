//! Which graphs are encoders: those that make rows or maps of numbers of images, whatever they are for.

use super::summary;
use crate::{
    domain::image::Image,
    families::import::{
        Certainty, Golden, Levels, Likely, Mismatch, Plan, alone, levels_count, levels_of, of_images, picture_of_image,
    },
    graph::protobuf::Node,
    import::{
        Problem,
        canonical::Canonical,
        features,
        interview::Interview,
        output_activation::{self, LOOKING_UP, OutputActivation},
        reading::{Axes, Given, ImageForm, Reading},
        trial_images,
    },
};

/// The side of images from which on features are most likely those of a network that was trained on ImageNet.
const PRETRAINED: usize = 224;

pub(super) fn import<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let reading = alone(brought)?;
    let other = |reason: &str| Err(Mismatch::Other(reason.to_owned()));
    let Some((taken, form)) = reading.image() else {
        return other("it takes images");
    };
    if reading.label().is_some() {
        return other("it is not given labels");
    }
    let (layers, certainty) = layers(reading, form)?;
    // Who says so has whatever it gives served as features.
    let is_said = interview.given("family").as_deref() == Some("encoder");
    if !is_said && let Some(mismatch) = something_else(reading, &layers, form) {
        return Err(mismatch);
    }
    let doubt = layers
        .iter()
        .find_map(|given| map_of_pixels(&reading.file, given, form));
    let likely = if form.height.min(form.width) >= PRETRAINED {
        Likely::of_photographs(reading, (taken, form))
    } else {
        Likely::Unit
    };
    let levels = levels_of(reading, (taken, form), levels_count(interview)?, likely, interview)?;
    let places: Vec<usize> = layers.iter().map(|given| given.place).collect();
    if !is_said && is_constant(reading, &levels, &places)? {
        return Err(Problem::new(
            &reading.file,
            "it gives the same numbers of whatever image, as networks do whose last layer is still zero",
            "export it once it is trained; --family says what it is all the same, such as pixelcnn, classifier or \
             encoder",
        )
        .into());
    }
    let mut graph = Canonical::of(reading);
    graph.image("image", taken);
    let mut names = Vec::new();
    for (number, given) in layers.iter().enumerate() {
        let name = format!("features_{number}");
        let sizes = given.sizes.as_deref().unwrap_or_default();
        graph.output((&given.port.name, given.port.onnx_type), &name, &[], sizes);
        names.push(name);
    }
    let tables = format!(
        "{}\n[graphs.features]\nfile = \"model.onnx\"\ninput = \"image\"\noutputs = {names:?}\n",
        levels.table()
    );
    let shape = levels.shape;
    let numbers = move |images: &[Image]| {
        let mut all = vec![Vec::new(); images.len()];
        for &place in &places {
            let rows = of_images(reading, &levels, images, &[], place)?;
            for (features, row) in all.iter_mut().zip(rows) {
                features.extend(row);
            }
        }
        Ok(all.iter().flat_map(|features| summary(features)).collect())
    };
    Ok(Plan {
        certainty,
        doubt,
        shape,
        graphs: vec![("model.onnx", graph.finish())],
        tables,
        declared: Vec::new(),
        golden: Golden::OfImages {
            labels: Some(super::GOLDEN_NUMBERS),
            numbers: Box::new(numbers),
            log_prior: Vec::new(),
        },
        statistic: None,
        notes: Vec::new(),
    })
}

/// Outputs of a number of axes, the batch left out.
fn of_axes(reading: &Reading, count: usize) -> Vec<&Given> {
    let has = |given: &&Given| given.sizes.as_ref().is_some_and(|sizes| sizes.len() == count);
    reading.gives.iter().filter(has).collect()
}

/// Layers of one kind: maps, or rows; and how sure it is that they are features.
fn layers(reading: &Reading, form: ImageForm) -> Result<(Vec<&Given>, Certainty), Mismatch> {
    let (maps, rows) = (of_axes(reading, 3), of_axes(reading, 1));
    if !maps.is_empty() {
        return Ok((maps, Certainty::Likely));
    }
    if !rows.is_empty() {
        let are_features = rows.iter().any(|given| features::are_features(reading, given));
        let certainty = if are_features {
            Certainty::Likely
        } else {
            Certainty::Possible
        };
        return Ok((rows, certainty));
    }
    let is_of_pixels = |given: &&Given| given.numbers() == form.height * form.width;
    let reason = if of_axes(reading, 2).iter().any(is_of_pixels) {
        "it gives rows [N, F] or maps [N, F, h, w] of numbers, and not one number for each pixel without an axis of \
         channels, as maps of depths or of classes are; with one, out.unsqueeze(1), --family encoder takes reals for \
         features"
    } else {
        "it gives rows [N, F] or maps [N, F, h, w] of numbers; of a row for each patch, export the first, out[:, 0], \
         or the mean, out.mean(1)"
    };
    Err(Mismatch::Other(reason.to_owned()))
}

/// What is said of pictures, which are no features.
fn something_else(reading: &Reading, layers: &[&Given], form: ImageForm) -> Option<Mismatch> {
    let picture = picture_of_image(reading).map(|picture| picture.place);
    if layers.iter().all(|given| picture == Some(given.place)) {
        // What is a normalising flow is told by the family that reads the number beside.
        return Some(if of_axes(reading, 0).is_empty() {
            no_family(reading).into()
        } else {
            Mismatch::Other("it gives no picture beside one number".to_owned())
        });
    }
    let [map] = layers else { return None };
    other_picture(reading, map, form).map(Mismatch::from)
}

/// Whether outputs are the same for all images.
fn is_constant(reading: &Reading, levels: &Levels, places: &[usize]) -> Result<bool, Problem> {
    let images = trial_images::made_up(levels.shape);
    for &place in places {
        let rows = of_images(reading, levels, &images, &[], place)?;
        if rows.iter().any(|row| *row != rows[0]) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is said of a graph whose one map is a picture of another size than the image: a larger one, or one that a
/// squashing function ends.
fn other_picture(reading: &Reading, given: &Given, form: ImageForm) -> Option<Problem> {
    let sizes = given.sizes.as_deref()?;
    let (height, width) = match (form.axes, sizes) {
        (Axes::ChannelsLast, &[height, width, channels]) | (_, &[channels, height, width])
            if channels == form.channels =>
        {
            (height, width)
        }
        _ => return None,
    };
    let is_squashed = matches!(
        output_activation::last(reading.graph(), &given.port.name).0,
        OutputActivation::Tanh | OutputActivation::Sigmoid
    );
    let is_larger = height > form.height && width > form.width;
    (is_larger || is_squashed).then(|| {
        Problem::new(
            &reading.file,
            format!(
                "it makes a picture of {height}×{width} of an image of {}×{}, which is no family of models here, be it \
                 for a higher resolution or for what is missing",
                form.height, form.width
            ),
            "--family encoder takes what it gives for features",
        )
    })
}

/// What is asked of a map that has the size of the image: features are coarser as a rule, and what networks say of each
/// pixel is as fine.
fn map_of_pixels(file: &str, given: &Given, form: ImageForm) -> Option<String> {
    let own = given.sizes.as_deref()?;
    let of_pixel = match (form.axes, own) {
        (_, &[count, height, width]) if (height, width) == (form.height, form.width) => count,
        (Axes::ChannelsLast, &[height, width, count]) if (height, width) == (form.height, form.width) => count,
        _ => return None,
    };
    let numbers = if of_pixel == 1 {
        "a number"
    } else {
        &format!("{of_pixel} numbers")
    };
    Some(format!(
        "{file} gives {numbers} for each pixel ({:?}), as networks do that part an image into objects or estimate \
         depths or motion, and as logits of a density do that sees what it predicts. None of these is a family of \
         models here: --family encoder serves the map as features",
        given.port.name
    ))
}

/// What is said of a graph from images to pictures that sees all of them.
fn no_family(reading: &Reading) -> Problem {
    let is_looked_up = |node: &Node| LOOKING_UP.contains(&node.op_type());
    if reading.graph().nodes.iter().any(is_looked_up) {
        return Problem::new(
            &reading.file,
            "it makes a picture of an image by codes out of a code book, as a VQ-VAE does, which is no family of \
             models here",
            "export its encoder alone and say --family encoder; a PixelCNN that was trained on its codes is a density \
             of codes, and can be imported by itself",
        );
    }
    Problem::new(
        &reading.file,
        "it makes a picture of an image that sees all of it, and no code parts the two: that is no family of models \
         here, be it a normalising flow, a denoiser or an autoencoder whose layers are linked past its code, as those \
         of a U-Net",
        "an autoencoder is served if all that its decoder reads is the code: leave out links from layer to layer; if \
         it is a PixelCNN, its masks are not in this file: multiply them into the kernels where these are used (what \
         Keras assigns to kernels inside call is left out at export); --family encoder takes what it gives for \
         features",
    )
}
