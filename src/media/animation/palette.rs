//! The colours of one frame.

use std::collections::HashMap;

use super::Colour;

/// At most 256 colours, and which of them stands for each colour that is wanted.
pub(super) struct Palette {
    colours: Vec<Colour>,
    indices: HashMap<Colour, u8>,
}

impl Palette {
    /// Colours for those `wanted`: the same if there are at most `size` (1 to 256), else `size` near ones by median cut
    /// (Heckbert 1982): the box of colours with the longest side is halved at its median until there are enough boxes,
    /// and each becomes its mean.
    pub(super) fn new(wanted: impl Iterator<Item = Colour>, size: usize) -> Self {
        let mut distinct: Vec<Colour> = wanted.collect();
        distinct.sort_unstable();
        distinct.dedup();
        let mut boxes = if distinct.len() <= size {
            distinct.into_iter().map(|colour| vec![colour]).collect()
        } else {
            vec![distinct]
        };
        while boxes.len() < size {
            let longest = boxes
                .iter()
                .enumerate()
                .map(|(place, colours)| (longest_side(colours), place))
                .max();
            let Some(((length, channel), place)) = longest.filter(|((length, _), _)| *length > 0) else {
                break;
            };
            debug_assert!(length > 0);
            boxes[place].sort_unstable_by_key(|colour| colour[channel]);
            let half = boxes[place].len() / 2;
            let upper = boxes[place].split_off(half);
            boxes.push(upper);
        }
        let mut palette = Self {
            colours: Vec::with_capacity(boxes.len()),
            indices: HashMap::new(),
        };
        for colours in boxes {
            // There are at most 256 boxes.
            let index = palette.colours.len() as u8;
            palette.colours.push(mean(&colours));
            palette
                .indices
                .extend(colours.into_iter().map(|colour| (colour, index)));
        }
        palette
    }

    /// The place of a colour that was wanted.
    pub(super) fn index(&self, colour: Colour) -> u8 {
        self.indices.get(&colour).copied().unwrap_or_default()
    }

    /// A place that no colour has. There must be one left.
    pub(super) fn reserve(&mut self) -> u8 {
        self.colours.push([0; 3]);
        (self.colours.len() - 1) as u8
    }

    /// Red, green and blue of every colour.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.colours.into_iter().flatten().collect()
    }
}

/// The length of the longest side of the box around some colours, and its channel.
fn longest_side(colours: &[Colour]) -> (u8, usize) {
    (0..3)
        .map(|channel| {
            let values = || colours.iter().map(|colour| colour[channel]);
            let (low, high) = (values().min(), values().max());
            (high.unwrap_or(0) - low.unwrap_or(0), channel)
        })
        .max()
        .unwrap_or_default()
}

fn mean(colours: &[Colour]) -> Colour {
    let count = colours.len().max(1);
    std::array::from_fn(|channel| {
        let sum: usize = colours.iter().map(|colour| usize::from(colour[channel])).sum();
        ((sum + count / 2) / count) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_colours_are_kept_and_many_become_near_ones() {
        let colours = |count: usize| (0..count).map(|i| [(i / 7) as u8, (i % 251) as u8, 9]);
        let palette = Palette::new(colours(255), 255);
        for colour in colours(255) {
            assert_eq!(palette.colours[usize::from(palette.index(colour))], colour);
        }
        let mut palette = Palette::new(colours(1700), 255);
        for colour in colours(1700) {
            let near = palette.colours[usize::from(palette.index(colour))];
            let distance: u32 = near.iter().zip(colour).map(|(&a, b)| u32::from(a.abs_diff(b))).sum();
            assert!(distance < 48, "{colour:?} became {near:?}");
        }
        assert_eq!(palette.reserve(), 255);
        assert_eq!(palette.into_bytes().len(), 3 * 256);
    }
}
