//! What families ask of graphs that are brought: how many they are, what they take and give, and what they compute.

use super::{Levels, Mismatch};
use crate::{
    domain::image::Image,
    import::{
        Problem,
        reading::{Given, Reading},
    },
};

/// One graph that takes images, alone.
pub(in crate::families) fn alone(brought: &[Reading]) -> Result<&Reading, Mismatch> {
    match brought {
        [reading] if reading.image().is_some() => Ok(reading),
        [_] => Err(Mismatch::Other("it takes no images".to_owned())),
        _ => Err(Mismatch::Other(format!(
            "it is one graph, and there are {}",
            brought.len()
        ))),
    }
}

/// Whether the file is called a generator.
pub(in crate::families) fn is_called_generator(reading: &Reading) -> bool {
    let name = reading.file.to_lowercase();
    name.contains("gan") || name.contains("generator")
}

/// An output that is a picture of the size of the image.
pub(in crate::families) fn picture_of_image(reading: &Reading) -> Option<&Given> {
    let (_, form) = reading.image()?;
    let dimensions = form.channels * form.height * form.width;
    reading.gives.iter().find(|given| given.numbers() == dimensions)
}

/// One graph from images and one from codes.
pub(in crate::families) fn pair(brought: &[Reading]) -> Result<(&Reading, &Reading), Mismatch> {
    let encoder = brought.iter().find(|reading| reading.image().is_some());
    let decoder = brought.iter().find(|reading| reading.code().is_some());
    match (brought, encoder, decoder) {
        ([_, _], Some(encoder), Some(decoder)) => Ok((encoder, decoder)),
        _ => Err(Mismatch::Other(
            "it is two graphs, one that takes images and one that takes codes".to_owned(),
        )),
    }
}

/// Runs a graph on images and answers the numbers of one output, image by image.
pub(in crate::families) fn of_images(
    reading: &Reading,
    levels: &Levels,
    images: &[Image],
    labels: &[usize],
    place: usize,
) -> Result<Vec<Vec<f32>>, Problem> {
    let numbers: Vec<Vec<f32>> = images.iter().map(|image| levels.values(image)).collect();
    let mut found = reading.run(&numbers, labels)?;
    Ok(found.swap_remove(place).rows)
}

/// Runs a graph on codes and answers the numbers of one output, code by code.
pub(in crate::families) fn coded(
    reading: &Reading,
    codes: &[Vec<f32>],
    labels: &[usize],
    place: usize,
) -> Result<Vec<Vec<f32>>, Problem> {
    let mut found = reading.run(codes, labels)?;
    Ok(found.swap_remove(place).rows)
}
