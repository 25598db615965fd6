//! The tensors that an operation takes and answers, for one model: read off its declaration.

use crate::{
    intake::Takes,
    model::Model,
    operations::tensor::{Axis, Datatype, TensorSpec},
};

use super::target::Target;

/// A tensor as the protocol declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) name: &'static str,
    pub(super) datatype: Datatype,
    /// Lengths, −1 where any will do.
    pub(super) shape: Vec<i64>,
    pub(super) optional: bool,
}

/// The input of images: their levels, or whole files as BYTES.
pub(super) const IMAGE: &str = "image";
/// The input of given pixels.
pub(super) const MASK: &str = "mask";
/// The input of latent codes.
pub(super) const LATENT: &str = "latent";
/// The input of compressed images.
pub(super) const STREAM: &str = "stream";

/// An axis of any length.
const ANY: i64 = -1;

impl Target {
    /// What it takes.
    pub(super) fn inputs(&self) -> Vec<Declared> {
        let [channels, height, width] = [Axis::Channels, Axis::Height, Axis::Width].map(|axis| self.axis(axis));
        let image = |count| Declared {
            name: IMAGE,
            datatype: Datatype::U8,
            shape: vec![count, channels, height, width],
            optional: false,
        };
        match self.operation.about().takes {
            Takes::Nothing => Vec::new(),
            Takes::Images => vec![image(ANY)],
            Takes::MaskedImages => {
                let mask = Declared {
                    name: MASK,
                    datatype: Datatype::Bool,
                    shape: vec![ANY, height, width],
                    optional: true,
                };
                vec![image(ANY), mask]
            }
            Takes::TwoImages => vec![image(2)],
            Takes::Codes => vec![Declared {
                name: LATENT,
                datatype: Datatype::F32,
                shape: vec![ANY, self.code_size()],
                optional: false,
            }],
            Takes::Streams => vec![Declared {
                name: STREAM,
                datatype: Datatype::Bytes,
                shape: vec![ANY],
                optional: false,
            }],
        }
    }

    /// What it answers when no option asks for more.
    pub(super) fn outputs(&self) -> Vec<Declared> {
        let tensors = self.operation.about().tensors.iter();
        tensors
            .filter(|tensor| tensor.when.is_none() && self.operation.gives(&self.model, tensor))
            .map(|tensor| self.output(tensor))
            .collect()
    }

    fn output(&self, tensor: &TensorSpec) -> Declared {
        let axes = tensor.axes.iter().map(|&axis| self.axis(axis));
        Declared {
            name: tensor.name,
            datatype: tensor.datatype,
            shape: [ANY].into_iter().chain(axes).collect(),
            optional: false,
        }
    }

    fn axis(&self, axis: Axis) -> i64 {
        let model: &Model = &self.model;
        match axis {
            Axis::Height | Axis::Width if model.preprocessing.any_size => ANY,
            Axis::Channels => length(model.shape.channels()),
            Axis::Height => length(model.shape.height()),
            Axis::Width => length(model.shape.width()),
            Axis::Labels => length(model.label_names().len()),
            Axis::Code => self.code_size(),
            Axis::Any => ANY,
        }
    }

    fn code_size(&self) -> i64 {
        length(self.operation.code_size(&self.model))
    }

    /// Whether the items of a request stand for themselves, so that requests can be put together.
    pub(super) fn is_batched(&self) -> bool {
        match self.operation.about().takes {
            Takes::Nothing | Takes::TwoImages => false,
            Takes::Images | Takes::MaskedImages | Takes::Codes | Takes::Streams => true,
        }
    }
}

fn length(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
