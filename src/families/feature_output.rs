//! Features of graphs: vectors and maps, as families that give them check and read them.

use super::network::{NetworkError, expect_shape};
use crate::{
    detection::evidence::Layer,
    graph::{
        GraphError,
        protobuf::{ElementType, Model},
        signature::{self, Expected},
    },
    runtime::Output,
};

/// Outputs of a graph that are features: all vectors, or all maps.
#[derive(Debug, Clone)]
pub(super) struct FeatureOutput {
    names: Vec<String>,
    layers: Vec<Layer>,
}

impl FeatureOutput {
    /// The named outputs, float [batch, F] or [batch, F, h, w] with sizes that are declared.
    pub(super) fn new(model: &Model, names: &[String]) -> Result<Self, GraphError> {
        let layer = |name: &String| match signature::row_shape(model, name)?.as_slice() {
            &[size] => Ok((
                false,
                Layer {
                    size,
                    rows: 1,
                    columns: 1,
                },
            )),
            &[size, rows, columns] => Ok((true, Layer { size, rows, columns })),
            other => Err(GraphError::Signature(format!(
                "features {name:?} have the shape [batch, {}]: vectors are [batch, F], maps [batch, F, h, w]",
                other.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
            ))),
        };
        let layers: Vec<(bool, Layer)> = names.iter().map(layer).collect::<Result<_, _>>()?;
        if layers.iter().any(|(is_map, _)| *is_map != layers[0].0) {
            return Err(GraphError::Signature(
                "its features are vectors and maps: they must be all the one or all the other".to_owned(),
            ));
        }
        Ok(Self {
            names: names.to_vec(),
            layers: layers.into_iter().map(|(_, layer)| layer).collect(),
        })
    }

    /// The layers, in order.
    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Names of the outputs, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// What the graph must give.
    pub(super) fn expected(&self) -> impl Iterator<Item = Expected<'_>> {
        let both = self.names.iter().zip(&self.layers);
        both.map(|(name, layer)| Expected {
            name,
            element_type: ElementType::Float,
            forms: vec![vec![layer.size], vec![layer.size, layer.rows, layer.columns]],
        })
    }

    /// The numbers of each image, layer by layer, of outputs that came in the order of [`Self::names`].
    pub(super) fn read(&self, outputs: &[Output], rows: usize) -> Result<Vec<Vec<Vec<f32>>>, NetworkError> {
        for ((name, layer), output) in self.names.iter().zip(&self.layers).zip(outputs) {
            if output.values.len() != rows * layer.count() {
                expect_shape(name, output, &[rows, layer.size, layer.rows, layer.columns])?;
            }
        }
        let of_row = |row| outputs.iter().map(|output| output.row(row, rows).to_vec()).collect();
        Ok((0..rows).map(of_row).collect())
    }

    /// Numbers in the features, if they are vectors.
    pub(super) fn vector_size(&self) -> Option<usize> {
        let is_map = self.layers.iter().any(|layer| layer.is_map());
        (!is_map).then(|| self.layers.iter().map(|layer| layer.size).sum())
    }
}
