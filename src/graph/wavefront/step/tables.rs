//! The graph of all tensors that are functions of their own pixel's levels.

use super::{
    Emitter, name_of,
    operators::{own_constant, write},
    products::stacked,
    writer::Writer,
};
use crate::graph::{
    constant::Constant,
    protobuf::{ElementType, Model, Node, ValueInfo},
    wavefront::{
        TABLE_LEVELS, Table, Tables, Unsupported,
        schedule::Role,
        stencil::{Operand, Operator},
    },
};

impl Emitter<'_> {
    /// The graph of all tensors that are functions of their own pixel.
    pub(super) fn tables(&self, model: &Model) -> Result<Tables, Unsupported> {
        let mut writer = Writer::default();
        for (at, tensor) in self.stencil.tensors.iter().enumerate() {
            let Role::Table(_) = self.schedule.roles[at] else {
                continue;
            };
            let output = name_of(at);
            if let Operator::Image = tensor.operator {
                writer.node(Node::new("Identity", &[TABLE_LEVELS], &output));
                continue;
            }
            let operands: Vec<String> = tensor
                .operands
                .iter()
                .map(|operand| match operand {
                    Operand::Tensor(read) => {
                        let source = &self.stencil.tensors[read.tensor];
                        let name = name_of(read.tensor);
                        if read.features == source.features {
                            name
                        } else {
                            writer.reshaped(&name, &read.features)
                        }
                    }
                    Operand::Constant(constant) | Operand::Table(constant) => {
                        own_constant(&mut writer, tensor, constant)
                    }
                })
                .collect();
            if let Operator::Linear(linear) = &tensor.operator {
                let taps: Vec<_> = linear.taps.iter().collect();
                let weights = writer.constant(&stacked(&taps, linear));
                let bias = linear.bias.clone().unwrap_or_else(|| vec![0.0; linear.outputs]);
                let bias = writer.constant(&Constant::floats(vec![linear.outputs], bias));
                let flat = writer.reshaped(&operands[0], &[linear.inputs]);
                let product = writer.fresh("product");
                writer.node(Node::new("Gemm", &[&flat, &weights, &bias], &product));
                let shaped = writer.reshaped(&product, &tensor.features);
                writer.node(Node::new("Identity", &[&shaped], &output));
            } else {
                write(&mut writer, tensor, &operands, &output, self.opset);
            }
        }
        let mut wanted: Vec<(usize, usize)> = self.tabulated.iter().map(|(&tensor, &place)| (place, tensor)).collect();
        wanted.sort_unstable();
        let tables = wanted
            .iter()
            .map(|&(_, tensor)| Table {
                output: name_of(tensor),
                channels: match &self.schedule.roles[tensor] {
                    Role::Table(channels) => channels.clone(),
                    Role::Everywhere | Role::Row | Role::Step(_) => Vec::new(),
                },
            })
            .collect();
        let outputs = wanted
            .iter()
            .map(|&(_, tensor)| {
                let features = &self.stencil.tensors[tensor].features;
                ValueInfo::batched(&name_of(tensor), ElementType::Float, features)
            })
            .collect();
        let channels = self.stencil.shape.channels();
        let input = ValueInfo::batched(TABLE_LEVELS, ElementType::Float, &[channels]);
        Ok(Tables {
            graph: writer.into_model(model, vec![input], outputs),
            tables,
        })
    }
}
