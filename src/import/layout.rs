//! Which axis of a tensor is which: levels, channels, rows and columns in any order, with neighbours merged.

/// What an axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Levels, or whatever numbers there are for each dimension.
    Level,
    /// Channels.
    Channel,
    /// Rows.
    Row,
    /// Columns.
    Column,
}

use Axis::{Channel, Column, Level, Row};

/// Orders in which networks give numbers of pixels, the common ones first. Rows always come before columns.
const ORDERS: [[Axis; 4]; 12] = [
    [Level, Channel, Row, Column],
    [Channel, Level, Row, Column],
    [Row, Column, Channel, Level],
    [Channel, Row, Column, Level],
    [Row, Column, Level, Channel],
    [Level, Row, Column, Channel],
    [Level, Row, Channel, Column],
    [Channel, Row, Level, Column],
    [Row, Level, Channel, Column],
    [Row, Channel, Level, Column],
    [Row, Level, Column, Channel],
    [Row, Channel, Column, Level],
];

/// Sizes of levels, channels, rows and columns, in this order.
pub type Sizes = [usize; 4];

/// An order of axes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrangement {
    order: [Axis; 4],
    sizes: Sizes,
}

impl Arrangement {
    /// Orders that a tensor with axes of `found` sizes can have, the common ones first; orders that come to the same
    /// are there once.
    pub fn candidates(found: &[usize], sizes: Sizes) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for order in ORDERS {
            let own = Self { order, sizes };
            if own.fits(found) && !all.iter().any(|other| other.real() == own.real()) {
                all.push(own);
            }
        }
        all
    }

    /// As people write it: `N,levels,C,H,W`; axes of one are left out.
    pub fn name(&self) -> String {
        let axes = self.real().into_iter().map(|axis| match axis {
            Level => "levels",
            Channel => "C",
            Row => "H",
            Column => "W",
        });
        std::iter::once("N").chain(axes).collect::<Vec<_>>().join(",")
    }

    /// Whether it is [levels, C, H, W] in memory, whatever the sizes of its axes say.
    pub fn is_canonical(&self) -> bool {
        self.real()
            == Self {
                order: ORDERS[0],
                ..*self
            }
            .real()
    }

    /// Sizes of levels, channels, rows and columns.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Sizes in the order of memory.
    pub fn in_memory(&self) -> Vec<usize> {
        self.order.iter().map(|&axis| self.size(axis)).collect()
    }

    /// Where each of levels, channels, rows and columns stands in memory.
    pub fn permutation(&self) -> [usize; 4] {
        ORDERS[0].map(|axis| self.order.iter().position(|&own| own == axis).unwrap_or_default())
    }

    /// The numbers of an item in the order levels, channels, rows, columns.
    pub fn read(&self, item: &[f32]) -> Vec<f32> {
        let mut strides = [0; 4];
        let mut stride = 1;
        for &axis in self.order.iter().rev() {
            strides[axis as usize] = stride;
            stride *= self.size(axis);
        }
        let [levels, channels, rows, columns] = self.sizes;
        let mut out = Vec::with_capacity(item.len());
        for level in 0..levels {
            for channel in 0..channels {
                for row in 0..rows {
                    for column in 0..columns {
                        let places = [level, channel, row, column];
                        let at: usize = places.iter().zip(strides).map(|(place, stride)| place * stride).sum();
                        out.push(item[at]);
                    }
                }
            }
        }
        out
    }

    fn size(&self, axis: Axis) -> usize {
        self.sizes[axis as usize]
    }

    /// The axes that are longer than one.
    fn real(&self) -> Vec<Axis> {
        self.order.iter().copied().filter(|&axis| self.size(axis) > 1).collect()
    }

    /// Whether the axes of a tensor are these, neighbours merged or not.
    fn fits(&self, found: &[usize]) -> bool {
        let mut own = self.real().into_iter().map(|axis| self.size(axis));
        let fits = found.iter().filter(|&&size| size != 1).all(|&size| {
            let mut product = 1;
            while product < size {
                let Some(next) = own.next() else { return false };
                product *= next;
            }
            product == size
        });
        fits && own.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[usize], sizes: Sizes) -> Vec<String> {
        Arrangement::candidates(found, sizes)
            .iter()
            .map(Arrangement::name)
            .collect()
    }

    #[test]
    fn axes_are_told_by_their_sizes() {
        assert_eq!(names(&[4, 7, 6], [4, 1, 7, 6]), ["N,levels,H,W"]);
        assert_eq!(names(&[1, 4, 7, 6], [4, 1, 7, 6]), ["N,levels,H,W"]);
        assert_eq!(names(&[7, 6, 4], [4, 1, 7, 6]), ["N,H,W,levels"]);
        assert_eq!(names(&[42, 4], [4, 1, 7, 6]), ["N,H,W,levels"]);
        assert_eq!(names(&[8, 3, 5, 4], [8, 3, 5, 4]), ["N,levels,C,H,W"]);
        assert_eq!(names(&[5, 4, 3, 8], [8, 3, 5, 4]), ["N,H,W,C,levels"]);
        assert_eq!(names(&[24, 5, 4], [8, 3, 5, 4]), ["N,levels,C,H,W", "N,C,levels,H,W"]);
        assert_eq!(names(&[3, 5, 4], [1, 3, 5, 4]), ["N,C,H,W"]);
        assert!(names(&[5, 5], [4, 1, 7, 6]).is_empty());
        assert!(names(&[4, 7], [4, 1, 7, 6]).is_empty());
    }

    #[test]
    fn numbers_are_read_in_the_servers_order() {
        // Two rows of two pixels with three numbers each: [H, W, levels].
        let item: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let own = Arrangement::candidates(&[2, 2, 3], [3, 1, 2, 2])[0];
        assert_eq!(own.read(&item)[..5], [0.0, 3.0, 6.0, 9.0, 1.0]);
        assert!(!own.is_canonical());
        assert_eq!(own.permutation(), [3, 2, 0, 1]);
        let plain = Arrangement::candidates(&[3, 2, 2], [3, 1, 2, 2])[0];
        assert!(plain.is_canonical());
        assert_eq!(plain.read(&item), item);
    }
}
