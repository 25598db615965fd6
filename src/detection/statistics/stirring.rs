//! Statistics of flipped and turned images: a picture that stands as well on its head is not one of objects.

use super::{Part, Requirement, Statistic, Values};
use crate::domain::image::ImageShape;

/// Σ over flips and rotations T of log p(x) − log p(Tx); low for pictures that stand as well on their heads. Seven
/// passes for square images, three for others.
pub const STIRRING: Statistic = Statistic {
    name: "stirring",
    unit: "nats",
    requirements: &[Requirement::Density, Requirement::Stirring],
    part: Part::Reported,
    values: Values::Number(|seen| Some(seen.evidence.stirred.as_ref()?.iter().sum())),
};

/// log p(x) − log p(Tx) for each flip and rotation T. Costs as stirring does.
pub const STIRRING_VECTOR: Statistic = Statistic {
    name: "stirring_vector",
    unit: "nats",
    requirements: &[Requirement::Density, Requirement::Stirring],
    part: Part::Decides,
    values: Values::Vector {
        length: |shape, _| transformations(shape).len(),
        of: |seen| seen.evidence.stirred.clone(),
    },
};

/// The flips and rotations under which stirring looks at an image, as the storage index that each dimension is taken
/// from: the seven others of a square's symmetries, or the three of a rectangle's.
pub fn transformations(shape: ImageShape) -> Vec<Vec<usize>> {
    let (height, width) = (shape.height(), shape.width());
    let square = height == width;
    let mut all = Vec::new();
    for (turn, flip_rows, flip_columns) in [
        (false, false, true),
        (false, true, false),
        (false, true, true),
        (true, false, false),
        (true, false, true),
        (true, true, false),
        (true, true, true),
    ] {
        if turn && !square {
            continue;
        }
        let source = |index: usize| {
            let (plane, pixel) = (index / shape.pixels(), index % shape.pixels());
            let (row, column) = (pixel / width, pixel % width);
            let (row, column) = if turn { (column, row) } else { (row, column) };
            let row = if flip_rows { height - 1 - row } else { row };
            let column = if flip_columns { width - 1 - column } else { column };
            plane * shape.pixels() + row * width + column
        };
        all.push((0..shape.dimensions()).map(source).collect());
    }
    all
}
