//! Which graphs are encoders: those that make rows or maps of numbers of images, whatever they are for.

use super::summary;
use crate::{
    domain::image::Image,
    families::import::{Certainty, Golden, Mismatch, Plan, alone, levels_count, levels_of, of_images},
    import::{
        canonical::Canonical,
        interview::Interview,
        reading::{Given, Reading},
    },
};

pub(super) fn import<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let reading = alone(brought)?;
    let other = |reason: &str| Err(Mismatch::Other(reason.to_owned()));
    let Some((taken, form)) = reading.image() else {
        return other("it takes images");
    };
    if reading.label().is_some() {
        return other("it is not given labels");
    }
    let of_axes = |count: usize| -> Vec<&'a Given> {
        let has = |given: &&Given| given.sizes.as_ref().is_some_and(|sizes| sizes.len() == count);
        reading.gives.iter().filter(has).collect()
    };
    // Layers of one kind: maps, or rows.
    let (maps, rows) = (of_axes(3), of_axes(1));
    let (layers, certainty) = if maps.is_empty() {
        (rows, Certainty::Possible)
    } else {
        (maps, Certainty::Likely)
    };
    if layers.is_empty() {
        return other("it gives rows [N, F] or maps [N, F, h, w] of numbers");
    }
    let levels = levels_of(reading, (taken, form), levels_count(interview)?, false, interview)?;
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
    let places: Vec<usize> = layers.iter().map(|given| given.place).collect();
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
