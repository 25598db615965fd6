//! Graphs that take images: those of encoders, of classifiers, and the first half of all that has codes.

use std::sync::Arc;

use super::{
    Tables,
    gate::units::{self, Suspicion},
    network::{NetworkError, batch_shape, levels_input, load},
};
use crate::{
    domain::image::ImageShape,
    graph::{
        protobuf::Model,
        rewrite::{self, InputMap},
        signature::{self, Expected},
        weights,
    },
    runtime::{Engine, Output, Program, Threads},
};

/// How a graph takes images, as a manifest says it.
#[derive(Debug, Clone)]
pub struct ImageInput {
    /// Size of the images.
    pub shape: ImageShape,
    /// From level to graph value.
    pub map: InputMap,
    /// Name of the input, float `[batch, C, H, W]`.
    pub name: String,
}

impl ImageInput {
    /// The input of this name of the version that tables describe.
    pub(super) fn read(tables: &mut Tables, name: String) -> Result<Self, String> {
        Ok(Self {
            shape: tables.shape(),
            map: tables.input_map()?,
            name,
        })
    }

    /// What the numbers look like that the graph makes of levels, if they look wrong.
    pub(super) fn suspicion(&self, graph: &Model) -> Option<Suspicion> {
        let factor = weights::input_factor(graph, &self.name);
        units::input(self.map.largest_scale(), factor, self.shape.levels())
    }
}

/// A graph that takes images and nothing else.
#[derive(Debug)]
pub(super) struct ImageGraph {
    shape: ImageShape,
    program: Arc<dyn Program>,
}

impl ImageGraph {
    /// Checks a graph's signature and makes it runnable on levels.
    pub(super) fn load(
        engine: &dyn Engine,
        name: &str,
        model: Model,
        input: &ImageInput,
        outputs: &[Expected<'_>],
    ) -> Result<Self, NetworkError> {
        let shape = input.shape;
        let image = [shape.channels(), shape.height(), shape.width()];
        signature::check(&model, &[Expected::float(&input.name, &image)], outputs)?;
        let graph = rewrite::take_levels(model, &input.name, shape, input.map)?;
        Ok(Self {
            program: load(engine, name, graph)?,
            shape,
        })
    }

    /// The named outputs for images given as levels in channel, row, column order.
    pub(super) fn run(
        &self,
        images: &[&[u8]],
        outputs: &[&str],
        threads: Threads,
    ) -> Result<Vec<Output>, NetworkError> {
        let levels = images.concat();
        let shape = batch_shape(self.shape, images.len());
        Ok(self.program.run(&[levels_input(&levels, &shape)], outputs, threads)?)
    }
}
