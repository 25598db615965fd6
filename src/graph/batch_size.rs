//! Whether a graph can tell how many rows it is given.

use super::{protobuf::Model, visit};

/// Operators that give the size of something, or that are done as often, or only if, something says.
const ASKING: [&str; 5] = ["If", "Loop", "Scan", "Shape", "Size"];

/// Whether any node asks for a size or has a body of its own. All others do the same for a large batch as for a small
/// one.
pub fn is_known(model: &Model) -> bool {
    let mut is_known = false;
    for list in visit::lists(model) {
        visit::nodes(list, &mut |node| is_known |= ASKING.contains(&node.op_type()));
    }
    is_known
}
