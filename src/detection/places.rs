//! From the layers of a network to places: all numbers that it has of one part of an image, side by side.
//!
//! A vector is one place. Maps are read as PatchCore reads them (Roth et al. 2022): every number becomes the mean of
//! its neighbourhood of 3×3, and layers are brought to the size of the finest.

use super::evidence::Layer;

/// How the layers of one network become places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    layers: Vec<Layer>,
    rows: usize,
    columns: usize,
}

impl Places {
    /// For layers of which there is at least one.
    pub fn new(layers: &[Layer]) -> Self {
        let finest = layers.iter().max_by_key(|layer| layer.rows * layer.columns);
        Self {
            layers: layers.to_vec(),
            rows: finest.map_or(1, |layer| layer.rows),
            columns: finest.map_or(1, |layer| layer.columns),
        }
    }

    /// Rows and columns of the grid.
    pub fn grid(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// How many places an image has.
    pub fn count(&self) -> usize {
        self.rows * self.columns
    }

    /// Whether it is a grid, and not one place for the whole image.
    pub fn is_map(&self) -> bool {
        self.count() > 1
    }

    /// Numbers at a place.
    pub fn size(&self) -> usize {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    /// The places of an image one after the other, in row order, [count × size].
    pub fn of(&self, layers: &[Vec<f32>]) -> Vec<f32> {
        let size = self.size();
        let mut places = vec![0.0; self.count() * size];
        let mut first = 0;
        for (layer, values) in self.layers.iter().zip(layers) {
            for (number, plane) in values.chunks(layer.rows * layer.columns).enumerate() {
                let plane = neighbourhoods(plane, layer.columns);
                let column = places.iter_mut().skip(first + number).step_by(size);
                resized(&plane, (layer.rows, layer.columns), (self.rows, self.columns), column);
            }
            first += layer.size;
        }
        places
    }
}

/// The mean of every number of a plane and its neighbours, of which those at a border have fewer.
fn neighbourhoods(plane: &[f32], columns: usize) -> Vec<f32> {
    if plane.len() == 1 {
        return plane.to_vec();
    }
    let rows = plane.chunks(columns);
    let along: Vec<f32> = rows
        .flat_map(|row| (0..columns).map(|place| mean(row, place)))
        .collect();
    let rows = plane.len() / columns;
    let mut means = Vec::with_capacity(plane.len());
    for row in 0..rows {
        let (from, to) = (row.saturating_sub(1), (row + 2).min(rows));
        for column in 0..columns {
            let sum: f32 = (from..to).map(|row| along[row * columns + column]).sum();
            means.push(sum / (to - from) as f32);
        }
    }
    means
}

/// The mean of a number of a row and its neighbours.
fn mean(row: &[f32], place: usize) -> f32 {
    let near = &row[place.saturating_sub(1)..(place + 2).min(row.len())];
    near.iter().sum::<f32>() / near.len() as f32
}

/// Brings a plane to another size, linearly between the centres of its cells, and puts it into `target` in row order.
pub fn resized<'a>(
    plane: &[f32],
    (rows, columns): (usize, usize),
    (to_rows, to_columns): (usize, usize),
    target: impl Iterator<Item = &'a mut f32>,
) {
    let down = lines(rows, to_rows);
    let across = lines(columns, to_columns);
    let sources = down
        .iter()
        .flat_map(|row| across.iter().map(move |column| (row, column)));
    for (target, (&(top, bottom, low), &(left, right, near))) in target.zip(sources) {
        let between = |row: usize| {
            let (a, b) = (plane[row * columns + left], plane[row * columns + right]);
            a + (b - a) * near
        };
        let (a, b) = (between(top), between(bottom));
        *target = a + (b - a) * low;
    }
}

/// For each of `to` cells along an axis the two of `from` cells between whose centres it lies, and how near to the
/// second.
fn lines(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    (0..to)
        .map(|cell| {
            let centre = (cell as f32 + 0.5) * from as f32 / to as f32 - 0.5;
            let centre = centre.clamp(0.0, (from - 1) as f32);
            let first = centre as usize;
            (first, (first + 1).min(from - 1), centre - first as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(size: usize, side: usize) -> Layer {
        Layer {
            size,
            rows: side,
            columns: side,
        }
    }

    #[test]
    fn vectors_are_one_place_as_they_are() {
        let places = Places::new(&[layer(2, 1), layer(1, 1)]);
        assert_eq!(places.of(&[vec![1.0, 2.0], vec![3.0]]), [1.0, 2.0, 3.0]);
        assert!(!places.is_map());
    }

    #[test]
    fn a_place_holds_the_means_of_its_neighbourhood_in_every_layer() {
        let places = Places::new(&[layer(1, 3), layer(2, 1)]);
        assert_eq!((places.count(), places.size()), (9, 3));
        let mut dot = vec![0.0; 9];
        dot[4] = 9.0;
        let all = places.of(&[dot, vec![5.0, 7.0]]);
        let first: Vec<f32> = all.iter().step_by(3).copied().collect();
        // A corner has four neighbours, an edge six, the middle nine, itself among them.
        assert_eq!(first, [2.25, 1.5, 2.25, 1.5, 1.0, 1.5, 2.25, 1.5, 2.25]);
        assert!(all.chunks(3).all(|place| place[1..] == [5.0, 7.0]));
    }

    #[test]
    fn a_plane_that_grows_keeps_its_values_at_centres_and_its_range() {
        let mut grown = vec![0.0; 4];
        resized(&[0.0, 1.0], (1, 2), (1, 4), grown.iter_mut());
        assert_eq!(grown, [0.0, 0.25, 0.75, 1.0]);
        let mut same = vec![0.0; 2];
        resized(&[0.0, 1.0], (1, 2), (1, 2), same.iter_mut());
        assert_eq!(same, [0.0, 1.0]);
    }
}
