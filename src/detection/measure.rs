//! The work of a detector: all members on a batch of images, once each.

use std::sync::Arc;

use super::work::threads;
use crate::{
    domain::image::Image,
    network::panel::{Measurement, Panel},
    scheduling::{Parallelism, Step, Turn, Work},
};

/// Statistics of images.
#[derive(Debug)]
pub(super) struct Measuring(pub(super) Arc<Panel>);

impl Work for Measuring {
    type Item = Image;
    type Output = Measurement;

    fn rows(&self, _: &Image) -> usize {
        1
    }

    fn run(&self, items: Vec<Image>, parallelism: Parallelism) -> Turn<Image, Measurement> {
        let levels: Vec<&[u8]> = items.iter().map(Image::levels).collect();
        let measured = self
            .0
            .measure(&levels, threads(parallelism))
            .map_err(|error| error.to_string())?;
        Ok(measured.into_iter().map(Step::Done).collect())
    }
}
