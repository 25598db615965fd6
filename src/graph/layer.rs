//! What the author of a network called the layer that a node belongs to, as far as the exporter tells.

use super::protobuf::Node;

/// The layer as `"name" (kind)`: its path in the author's code where that is known, else the name of the node; and the
/// class of the module, else the operator.
pub fn describe(node: &Node) -> String {
    let name = scope(node)
        .or_else(|| path(node.name()))
        .or_else(|| parameters(node))
        .unwrap_or_else(|| node.name().to_owned());
    let kind = class(node).unwrap_or_else(|| node.op_type().to_owned());
    format!("{name:?} ({kind})")
}

/// PyTorch's exporter of graphs keeps the modules around each call in the node's metadata, outermost first, and the
/// call itself.
fn scope(node: &Node) -> Option<String> {
    let scopes = node.metadata("pkg.torch.onnx.name_scopes")?;
    enclosing(&scopes)
}

/// The class of the innermost module.
fn class(node: &Node) -> Option<String> {
    scope(node)?;
    let classes = node.metadata("pkg.torch.onnx.class_hierarchy")?;
    let path = enclosing(&classes)?;
    path.rsplit('.').next().map(str::to_owned)
}

/// The last but one of a list that is written as Python writes it, if it is not empty.
fn enclosing(list: &str) -> Option<String> {
    let items: Vec<&str> = list
        .trim_matches(['[', ']'])
        .split(',')
        .map(|item| item.trim().trim_matches(['\'', '"']))
        .collect();
    let (_, around) = items.split_last()?;
    around
        .last()
        .filter(|name| !name.is_empty())
        .map(|&name| name.to_owned())
}

/// PyTorch's older exporter names nodes by their modules: `/blocks.0/conv/Conv`. A child of a list is given with the
/// list, `/net/net.0/Conv`.
fn path(name: &str) -> Option<String> {
    let mut modules: Vec<&str> = name.strip_prefix('/')?.split('/').collect();
    modules.pop();
    let mut path = String::new();
    for module in modules {
        let repeats = module.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.'));
        if repeats || path.is_empty() {
            module.clone_into(&mut path);
        } else {
            path = format!("{path}.{module}");
        }
    }
    (!path.is_empty()).then_some(path)
}

/// A module's parameters are named after it: `blocks.0.conv.weight`.
fn parameters(node: &Node) -> Option<String> {
    node.inputs
        .iter()
        .filter_map(|input| input.rsplit_once('.'))
        .find(|(module, what)| {
            let is_parameter = ["weight", "bias", "running_mean"].contains(what);
            is_parameter && !module.is_empty()
        })
        .map(|(module, _)| module.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_as_their_author_named_them() {
        let named = |name: &str| Node {
            name: Some(name.to_owned()),
            ..Node::new("Conv", &["x", "w"], "y")
        };
        assert_eq!(describe(&named("/net/net.0/Conv")), "\"net.0\" (Conv)");
        assert_eq!(describe(&named("/blocks.1/conv/Conv")), "\"blocks.1.conv\" (Conv)");
        assert_eq!(describe(&named("/MatMul")), "\"/MatMul\" (Conv)");
        let of_parameters = Node::new("Conv", &["x", "blocks.4.conv.weight"], "y");
        assert_eq!(describe(&of_parameters), "\"blocks.4.conv\" (Conv)");
        let scoped = Node::new("Add", &["x", "w"], "y")
            .with_metadata("pkg.torch.onnx.name_scopes", "['', 'norm', 'group_norm']")
            .with_metadata(
                "pkg.torch.onnx.class_hierarchy",
                "['Net', 'torch.nn.modules.normalization.GroupNorm', 'aten.group_norm.default']",
            );
        assert_eq!(describe(&scoped), "\"norm\" (GroupNorm)");
        let outside = Node::new("Relu", &["x"], "y")
            .with_metadata("pkg.torch.onnx.name_scopes", "['', 'relu']")
            .with_metadata("pkg.torch.onnx.class_hierarchy", "['Net', 'aten.relu.default']");
        assert_eq!(describe(&outside), "\"y/Relu\" (Relu)");
    }
}
