//! Does a graph have the inputs and outputs that its manifest names, with the element types and shapes that the
//! contract asks for?

use super::{
    GraphError,
    protobuf::{DimValue, ElementType, Model, ValueInfo},
};

/// One input or output that a graph must have: `[batch, sizes…]`.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// Name in the graph.
    pub name: &'a str,
    /// Element type.
    pub element_type: ElementType,
    /// Sizes after the batch axis; several where the contract allows several forms.
    pub forms: Vec<Vec<usize>>,
}

impl<'a> Expected<'a> {
    /// Single precision, of one form.
    pub fn float(name: &'a str, form: &[usize]) -> Self {
        Self::one(name, ElementType::Float, form)
    }

    /// One integer for each row.
    pub fn integer(name: &'a str) -> Self {
        Self::one(name, ElementType::Int64, &[])
    }

    fn one(name: &'a str, element_type: ElementType, form: &[usize]) -> Self {
        Self {
            name,
            element_type,
            forms: vec![form.to_vec()],
        }
    }
}

/// Checks that the graph takes exactly `inputs` (besides constants) and gives at least `outputs`; answers for each
/// output which of its forms it has. A declared shape may leave axes open; those are checked when the graph first runs.
pub fn check(model: &Model, inputs: &[Expected<'_>], outputs: &[Expected<'_>]) -> Result<Vec<usize>, GraphError> {
    let graph = model
        .graph
        .as_ref()
        .ok_or_else(|| GraphError::Malformed("it has no graph".to_owned()))?;
    let is_constant = |name: &str| {
        graph
            .initializers
            .iter()
            .any(|tensor| tensor.name.as_deref() == Some(name))
    };
    let wanted: Vec<&ValueInfo> = graph.inputs.iter().filter(|value| !is_constant(value.name())).collect();
    for input in inputs {
        find(&wanted, "input", input)?;
    }
    let is_expected = |name: &str| inputs.iter().any(|input| input.name == name);
    if let Some(extra) = wanted.iter().find(|value| !is_expected(value.name())) {
        let names: Vec<_> = inputs.iter().map(|input| format!("{:?}", input.name)).collect();
        return Err(GraphError::Signature(format!(
            "the graph wants an input {:?} that its contract does not have: the only inputs are {}",
            extra.name(),
            names.join(", ")
        )));
    }
    let given: Vec<&ValueInfo> = graph.outputs.iter().collect();
    outputs.iter().map(|output| find(&given, "output", output)).collect()
}

/// The size of the rows of an output whose declared shape is `[batch, size]`.
pub fn row_size(model: &Model, output: &str) -> Result<usize, GraphError> {
    match fixed_sizes(model, output).as_deref() {
        Some([_, Some(size)]) => Ok(*size),
        _ => Err(GraphError::Signature(format!(
            "output {output:?} must be there and declare the shape [batch, size] with a fixed size"
        ))),
    }
}

/// The number of features of an output whose declared shape is `[batch, features, H, W]`.
pub fn features(model: &Model, output: &str) -> Result<usize, GraphError> {
    match fixed_sizes(model, output).as_deref() {
        Some([_, Some(features), _, _]) => Ok(*features),
        _ => Err(GraphError::Signature(format!(
            "output {output:?} must be there and declare the shape [batch, features, H, W] with a fixed number of \
             features"
        ))),
    }
}

/// The sizes of an output's declared shape, where they are fixed and not 0.
fn fixed_sizes(model: &Model, output: &str) -> Option<Vec<Option<usize>>> {
    let mut outputs = model.graph.iter().flat_map(|graph| &graph.outputs);
    let value = outputs.find(|value| value.name() == output)?;
    let size = |size: i64| usize::try_from(size).ok().filter(|size| *size > 0);
    Some(value.sizes()?.into_iter().map(|own| own.and_then(size)).collect())
}

/// The sizes after the batch axis of an output, which must declare all of them.
pub fn row_shape(model: &Model, output: &str) -> Result<Vec<usize>, GraphError> {
    let sizes = fixed_sizes(model, output);
    let sizes = sizes.and_then(|sizes| sizes.into_iter().skip(1).collect::<Option<Vec<_>>>());
    sizes.filter(|sizes| !sizes.is_empty()).ok_or_else(|| {
        GraphError::Signature(format!(
            "output {output:?} must be there and declare the sizes of all its axes but the first"
        ))
    })
}

/// The form that the value of the expected name has.
fn find(values: &[&ValueInfo], role: &str, expected: &Expected<'_>) -> Result<usize, GraphError> {
    let Some(value) = values.iter().find(|value| value.name() == expected.name) else {
        let names: Vec<_> = values.iter().map(|value| value.name()).collect();
        return Err(GraphError::Signature(format!(
            "the graph has no {role} {:?}; it has: {}",
            expected.name,
            names.join(", ")
        )));
    };
    let tensor = value
        .type_info
        .as_ref()
        .and_then(|t| t.tensor.as_ref())
        .ok_or_else(|| GraphError::Signature(format!("{role} {:?} is not a tensor", expected.name)))?;
    if tensor.element_type != Some(expected.element_type as i32) {
        return Err(GraphError::Signature(format!(
            "{role} {:?} must have element type {:?} (ONNX type {}), not ONNX type {}",
            expected.name,
            expected.element_type,
            expected.element_type as i32,
            tensor.element_type.unwrap_or(0)
        )));
    }
    let Some(shape) = &tensor.shape else {
        return Ok(0);
    };
    let declared: Vec<Option<usize>> = shape
        .dims
        .iter()
        .map(|dim| match dim.value {
            Some(DimValue::Fixed(size)) => usize::try_from(size).ok(),
            _ => None,
        })
        .collect();
    let fits = |form: &Vec<usize>| {
        declared.len() == form.len() + 1
            && declared[1..]
                .iter()
                .zip(form)
                .all(|(declared, &size)| declared.is_none_or(|d| d == size))
    };
    let wanted = || {
        let forms: Vec<_> = expected.forms.iter().map(|form| show(form)).collect();
        forms.join(" or ")
    };
    let form = expected.forms.iter().position(fits).ok_or_else(|| {
        let declared: Vec<_> = declared
            .iter()
            .map(|d| d.map_or("?".to_owned(), |size| size.to_string()))
            .collect();
        GraphError::Signature(format!(
            "{role} {:?} must have shape {}, not [{}]",
            expected.name,
            wanted(),
            declared.join(", ")
        ))
    })?;
    if let Some(fixed) = declared[0] {
        return Err(GraphError::Signature(format!(
            "{role} {:?} has a batch axis fixed at {fixed}: export it with a dynamic first axis, {}",
            expected.name,
            wanted()
        )));
    }
    Ok(form)
}

fn show(form: &[usize]) -> String {
    let sizes = form.iter().map(|size| format!(", {size}"));
    format!("[batch{}]", sizes.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::{Graph, Node};

    fn identity(input: ValueInfo, output: ValueInfo) -> Model {
        Model {
            graph: Some(Graph {
                nodes: vec![Node::new("Identity", &["image"], "logits")],
                inputs: vec![input],
                outputs: vec![output],
                ..Graph::default()
            }),
            ..Model::default()
        }
    }

    fn expect(name: &str, forms: Vec<Vec<usize>>) -> Expected<'_> {
        Expected {
            name,
            element_type: ElementType::Float,
            forms,
        }
    }

    #[test]
    fn names_types_and_shapes_are_checked() {
        let image = || ValueInfo::batched("image", ElementType::Float, &[1, 2, 2]);
        let logits = || ValueInfo::batched("logits", ElementType::Float, &[4, 2, 2]);
        let forms = || vec![vec![4, 1, 2, 2], vec![4, 2, 2]];
        let model = identity(image(), logits());
        let input = || expect("image", vec![vec![1, 2, 2]]);
        assert_eq!(check(&model, &[input()], &[expect("logits", forms())]), Ok(vec![1]));

        let message = |model: &Model, input, output| match check(model, &[input], &[output]) {
            Err(GraphError::Signature(message)) => message,
            other => panic!("{other:?}"),
        };
        assert!(message(&model, input(), expect("scores", forms())).contains("it has: logits"));
        assert!(
            message(&model, input(), expect("logits", vec![vec![8, 2, 2]]))
                .contains("must have shape [batch, 8, 2, 2], not [?, 4, 2, 2]")
        );
        let bytes = identity(ValueInfo::batched("image", ElementType::Uint8, &[1, 2, 2]), logits());
        assert!(message(&bytes, input(), expect("logits", forms())).contains("Float"));
    }
}
