//! Predictions that have a row for each pixel of all images, as people lay them out for a loss.

use crate::graph::{
    protobuf::{Dim, DimValue, Graph, Model, Node, Tensor, ValueInfo},
    surgery,
};

/// Parts the rows of outputs by images where a graph takes so many pictures, [batch, …], and gives a row for each of
/// their pixels or for each channel of these, [batch · pixels, numbers]. Whether it did.
pub(super) fn part(model: &mut Model) -> bool {
    let Some(graph) = &mut model.graph else { return false };
    let held: Vec<&str> = graph.initializers.iter().map(|tensor| tensor.name()).collect();
    let taken = graph.inputs.iter().filter(|input| !held.contains(&input.name()));
    let pictures: Vec<Picture> = taken.filter_map(Picture::of).collect();
    let [picture] = pictures[..] else { return false };
    let parted: Vec<(usize, [i64; 2])> = (0..graph.outputs.len())
        .filter_map(|at| Some((at, picture.parts(&graph.outputs[at])?)))
        .collect();
    for &(at, sizes) in &parted {
        part_output(graph, at, picture.batch, sizes);
    }
    !parted.is_empty()
}

/// An input of pictures, as a file declares it.
#[derive(Clone, Copy)]
struct Picture {
    batch: i64,
    pixels: i64,
    channels: i64,
}

impl Picture {
    fn of(input: &ValueInfo) -> Option<Self> {
        let (batch, channels, height, width) = match sizes(input)?[..] {
            [batch, height, width] => (batch, 1, height, width),
            [batch, channels @ (1 | 3), height, width] | [batch, height, width, channels @ (1 | 3)] => {
                (batch, channels, height, width)
            }
            _ => return None,
        };
        let pixels = height.checked_mul(width).filter(|_| height > 1 && width > 1)?;
        Some(Self {
            batch,
            pixels,
            channels,
        })
    }

    /// Rows of an image and numbers of a row, if an output has a row for each pixel or channel of all images.
    fn parts(self, output: &ValueInfo) -> Option<[i64; 2]> {
        let &[rows, numbers] = &sizes(output)?[..] else {
            return None;
        };
        let own = rows.checked_div(self.batch).filter(|own| own * self.batch == rows)?;
        let is_of_pixels = own == self.pixels || own == self.pixels * self.channels;
        is_of_pixels.then_some([own, numbers])
    }
}

/// Parts the rows of one output, of which each image has so many, by images.
pub(super) fn part_named(model: &mut Model, name: &str, sizes: [usize; 2]) {
    let Some(graph) = &mut model.graph else { return };
    if let Some(at) = graph.outputs.iter().position(|output| output.name() == name) {
        part_output(graph, at, 0, sizes.map(|size| size as i64));
    }
}

fn part_output(graph: &mut Graph, at: usize, batch: i64, [rows, numbers]: [i64; 2]) {
    let name = graph.outputs[at].name().to_owned();
    let [inner, shape] = ["rows", "sizes"].map(|part| format!("density_server/{part}/{name}"));
    surgery::rename(graph, &name, &inner);
    graph.outputs[at].name = Some(name.clone());
    let tensor = graph.outputs[at].type_info.as_mut().and_then(|own| own.tensor.as_mut());
    if let Some(shape) = tensor.and_then(|tensor| tensor.shape.as_mut()) {
        shape.dims = [batch, rows, numbers].map(dim).to_vec();
    }
    graph.initializers.push(Tensor::of_ints(&shape, &[-1, rows, numbers]));
    graph.nodes.push(Node::new("Reshape", &[&inner, &shape], &name));
}

fn dim(size: i64) -> Dim {
    let mut dim = Dim::default();
    dim.value = Some(DimValue::Fixed(size)).filter(|_| size > 0);
    dim
}

/// The sizes that a value declares, if it declares all.
fn sizes(value: &ValueInfo) -> Option<Vec<i64>> {
    let sizes = value.sizes()?.into_iter();
    sizes.map(|size| size.filter(|&size| size > 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::ElementType;

    fn value(name: &str, own: &[i64]) -> ValueInfo {
        let mut value = ValueInfo::batched(name, ElementType::Float, &vec![1; own.len() - 1]);
        let tensor = value.type_info.as_mut().unwrap().tensor.as_mut().unwrap();
        tensor.shape.as_mut().unwrap().dims = own.iter().map(|&size| dim(size)).collect();
        value
    }

    #[test]
    fn rows_of_all_pixels_are_parted_by_images() {
        for (taken, given, parted) in [
            (&[2, 3, 8, 8][..], &[128, 12][..], Some(vec![2, 64, 12])),
            (&[2, 3, 8, 8], &[384, 4], Some(vec![2, 192, 4])),
            (&[1, 8, 8, 3], &[64, 12], Some(vec![1, 64, 12])),
            (&[2, 8, 8], &[128, 4], Some(vec![2, 64, 4])),
            // Labels, features of so many channels, and a batch of which the file does not tell the size.
            (&[2, 3, 8, 8], &[2, 10], None),
            (&[2, 6, 8, 8], &[128, 12], None),
            (&[0, 3, 8, 8], &[0, 12], None),
        ] {
            let (mut model, mut graph) = (Model::default(), Graph::default());
            graph.nodes = vec![Node::new("Net", &["x"], "y")];
            (graph.inputs, graph.outputs) = (vec![value("x", taken)], vec![value("y", given)]);
            model.graph = Some(graph);
            assert_eq!(part(&mut model), parted.is_some());
            let graph = model.graph.unwrap();
            if parted.is_some() {
                assert_eq!(sizes(&graph.outputs[0]), parted);
                assert_eq!((graph.nodes.len(), graph.nodes[1].outputs[0].as_str()), (2, "y"));
            }
        }
    }
}
