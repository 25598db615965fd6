//! Which graphs are an autoencoder: one from images to codes, and one from codes to images.

use crate::{
    domain::image::Image,
    families::import::{
        Certainty, Golden, Levels, Likely, Mismatch, Pictures, Plan, coded, levels_count, levels_of, of_images, pair,
        pictures_of, units_of_pictures,
    },
    import::{
        canonical::{Canonical, Op},
        interview::Interview,
        reading::Reading,
    },
};

pub(super) fn import<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let (encoder, decoder) = pair(brought)?;
    let (Some((taken, form)), Some((code, size))) = (encoder.image(), decoder.code()) else {
        return Err(Mismatch::Other("it takes images and codes".to_owned()));
    };
    let other = |reason: String| Err(Mismatch::Other(reason));
    if decoder.label().is_some() || encoder.label().is_some() {
        return other("it is not given labels".to_owned());
    }
    let codes: Vec<_> = encoder.gives.iter().filter(|given| given.numbers() == size).collect();
    let [given] = codes[..] else {
        return other(format!(
            "its encoder gives one code of {size} numbers, and this one gives {}",
            codes.len()
        ));
    };
    let pictures = pictures_of(decoder, Some(form), interview)?;
    let [(picture, _, arrangement)] = pictures[..] else {
        return other(format!(
            "its decoder gives one picture, and this one gives {}",
            pictures.len()
        ));
    };
    let count = levels_count(interview)?;
    let (scale, declared) = units_of_pictures(decoder, picture, count, interview);
    let levels = levels_of(
        encoder,
        (taken, form),
        count,
        Likely::by_pictures(scale == (0.5, 0.5)),
        interview,
    )?;
    let pictures = Pictures {
        arrangement,
        shape: levels.shape,
        scale,
    };
    let mut first = Canonical::of(encoder);
    first.image("image", taken);
    first.output((&given.port.name, given.port.onnx_type), "code", &flat(given), &[size]);
    let mut second = Canonical::of(decoder);
    second.code("code", code);
    let name = (picture.port.name.as_str(), picture.port.onnx_type);
    second.output(name, "picture", &pictures.ops(), &pictures.sizes());
    let tables = format!(
        "{}\n[graphs.encoder]\nfile = \"encoder.onnx\"\ninput = \"image\"\noutput = \"code\"\n\n[graphs.decoder]\nfile \
         = \"decoder.onnx\"\ninput = \"code\"\noutput = \"picture\"\n\n[latent]\nsize = {size}\n",
        levels.table()
    );
    let shape = levels.shape;
    Ok(Plan {
        certainty: Certainty::Likely,
        doubt: None,
        shape,
        graphs: vec![("encoder.onnx", first.finish()), ("decoder.onnx", second.finish())],
        tables,
        declared: declared.into_iter().collect(),
        golden: golden((encoder, given.place), (decoder, picture.place), levels, pictures),
        statistic: None,
        notes: Vec::new(),
    })
}

/// Codes of several axes become one.
fn flat(given: &crate::import::reading::Given) -> Vec<Op> {
    let is_flat = given.sizes.as_ref().is_some_and(|sizes| sizes.len() == 1);
    if is_flat { Vec::new() } else { vec![Op::Flatten] }
}

/// Σ (reconstruction − image)² in units of level / (levels − 1).
fn golden<'a>(
    (encoder, code): (&'a Reading, usize),
    (decoder, picture): (&'a Reading, usize),
    levels: Levels,
    pictures: Pictures,
) -> Golden<'a> {
    let numbers = move |images: &[Image]| {
        let codes = of_images(encoder, &levels, images, &[], code)?;
        let rows = coded(decoder, &codes, &[], picture)?;
        let most = (levels.shape.levels() - 1) as f64;
        let error = |(row, image): (&Vec<f32>, &Image)| {
            let pairs = pictures.read(row).into_iter().zip(image.levels());
            let squares = pairs.map(|(value, &level)| (f64::from(value) - f64::from(level) / most).powi(2));
            squares.sum::<f64>()
        };
        Ok(rows.iter().zip(images).map(error).collect())
    };
    Golden::OfImages {
        labels: None,
        numbers: Box::new(numbers),
        log_prior: Vec::new(),
    }
}
