//! One exported file: its graph with all its weights, and what it says of its inputs and outputs.

use bytes::Bytes;

use super::{Problem, decompose, exclusive_sums, pixel_rows};
use crate::graph::{
    self,
    protobuf::{DimValue, Model, ValueInfo},
};

/// The size of an axis as a file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Size {
    /// So many.
    Fixed(usize),
    /// It may change from run to run, and has this name, or none.
    Open(String),
}

impl Size {
    /// The number, if it is one.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Self::Fixed(size) => Some(*size),
            Self::Open(_) => None,
        }
    }
}

/// Kinds of elements, as far as they matter to who takes or gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Reals of any precision.
    Real,
    /// Integers of any width, with or without a sign.
    Integer,
    /// Truth values.
    Truth,
}

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// Kind of its elements.
    pub element: Element,
    /// Its element type as the format numbers it.
    pub onnx_type: i32,
    /// Sizes of its axes, the batch first; none if the file does not tell.
    pub sizes: Option<Vec<Size>>,
}

impl Port {
    /// What a file says of it; none if it is no tensor of numbers.
    pub(super) fn read(value: &ValueInfo) -> Option<Self> {
        let tensor = value.type_info.as_ref()?.tensor.as_ref()?;
        let onnx_type = tensor.element_type?;
        let element = match onnx_type {
            1 | 10 | 11 | 16 => Element::Real,
            2..=7 | 12 | 13 => Element::Integer,
            9 => Element::Truth,
            _ => return None,
        };
        let sizes = tensor.shape.as_ref().map(|shape| {
            let size = |dim: &graph::protobuf::Dim| match &dim.value {
                Some(DimValue::Fixed(size)) => usize::try_from(*size).map_or(Size::Open(String::new()), Size::Fixed),
                Some(DimValue::Named(name)) => Size::Open(name.clone()),
                None => Size::Open(String::new()),
            };
            shape.dims.iter().map(size).collect()
        });
        Some(Self {
            name: value.name().to_owned(),
            element,
            onnx_type,
            sizes,
        })
    }

    /// The sizes as people write them.
    pub fn shown(&self) -> String {
        let Some(sizes) = &self.sizes else {
            return "[?]".to_owned();
        };
        let shown = |size: &Size| match size {
            Size::Fixed(size) => size.to_string(),
            Size::Open(name) if name.is_empty() => "?".to_owned(),
            Size::Open(name) => name.clone(),
        };
        format!("[{}]", sizes.iter().map(shown).collect::<Vec<_>>().join(", "))
    }
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct Export {
    /// Its name.
    pub file: String,
    /// Its graph, with all weights inside.
    pub model: Model,
    /// What it wants, constants left out.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    /// The size of the batch, if the file fixes it.
    pub batch: Option<usize>,
    /// Files that held weights.
    pub beside: Vec<String>,
    /// Nodes that draw random numbers.
    pub drawing: Vec<String>,
    /// Whether the file has its batch as the second axis, which is the first here.
    pub was_second: bool,
    /// Whether the file gives a row for each pixel of all images, which are parted by images here.
    pub was_by_pixel: bool,
    /// Whether it was found that a row of numbers that could be an image is none.
    pub is_of_codes: bool,
}

impl Export {
    /// Reads a file. `beside` gives the bytes of files in the same folder, where exporters put weights.
    pub fn read(file: &str, bytes: Bytes, beside: impl FnMut(&str) -> Result<Bytes, String>) -> Result<Self, Problem> {
        let refused = |error: graph::GraphError, cure: &str| Problem::new(file, error.to_string(), cure);
        let again = "export the network again as an ONNX graph";
        let mut model = graph::parse_shared(bytes).map_err(|error| refused(error, again))?;
        let held = "put the files with its weights beside the graph, under the names that they were exported with";
        let beside = graph::external::inline(&mut model, beside).map_err(|error| refused(error, held))?;
        graph::bounds::check(&model).map_err(|error| refused(error, ""))?;
        if let Some(graph) = &mut model.graph {
            graph::surgery::sort(graph);
        }
        graph::kernels::provide(&mut model);
        decompose::replaced(&mut model);
        exclusive_sums::replaced(&mut model);
        graph::one_hot::by_columns(&mut model);
        let was_second = graph::batch_second::put_first(&mut model);
        let was_by_pixel = pixel_rows::part(&mut model);
        let drawing = graph::random_nodes::nodes(&model);
        let own = model.graph.as_ref();
        let constants: Vec<&str> = own.iter().flat_map(|g| &g.initializers).map(|t| t.name()).collect();
        let ports = |values: &[ValueInfo], role: &str| -> Result<Vec<Port>, Problem> {
            let values = values.iter().filter(|value| !constants.contains(&value.name()));
            let port = |value: &ValueInfo| {
                Port::read(value).ok_or_else(|| {
                    Problem::new(
                        file,
                        format!("its {role} {:?} is no tensor of numbers", value.name()),
                        "export a network that takes and gives tensors",
                    )
                })
            };
            values.map(port).collect()
        };
        let (inputs, outputs) = match own {
            Some(own) => (ports(&own.inputs, "input")?, ports(&own.outputs, "output")?),
            None => (Vec::new(), Vec::new()),
        };
        let first = inputs.iter().find_map(|port| port.sizes.as_ref()?.first()?.fixed());
        Ok(Self {
            file: file.to_owned(),
            inputs,
            outputs,
            batch: first,
            beside,
            drawing,
            was_second,
            was_by_pixel,
            is_of_codes: false,
            model,
        })
    }
}
