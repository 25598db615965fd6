//! Levels as nested lists: [[…], …] of rows and columns, or of rows, columns and channels.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::domain::image::{Image, ImageShape};

use super::{MediaError, convert};

/// A nested list of levels as it came, good or not. Reading one never fails, so that a bad image in a list does not
/// spoil the list; what is wrong comes out of [`Pixels::into_image`].
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels {
    levels: Vec<u8>,
    /// Length of the lists at each depth, as far as any was read.
    lengths: Vec<usize>,
    /// Where the first 1 stands that is written as a fraction.
    one: Option<Vec<usize>>,
    fault: Option<PixelFault>,
}

/// What is wrong with a nested list of levels.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PixelFault {
    /// A value that is no level at all, or none that a byte could hold.
    #[error(
        "{value} at {} is not a level: levels are whole numbers from 0 to {max}",
        place(position)
    )]
    Value {
        /// Index at each depth.
        position: Vec<usize>,
        /// What stands there.
        value: String,
        /// The largest level.
        max: usize,
    },
    /// Fractions of which none is above 1.
    #[error(
        "1.0 at {}, and no value above it: that looks like an image scaled to the unit interval; send levels from 0 to \
         {max}, as whole numbers if this is one",
        place(position)
    )]
    Scaled {
        /// Index at each depth.
        position: Vec<usize>,
        /// The largest level.
        max: usize,
    },
    /// Lists of unequal length.
    #[error(
        "the list at {} has length {actual}, the lists before it have length {expected}",
        place(position)
    )]
    Ragged {
        /// Index at each depth.
        position: Vec<usize>,
        /// Length of the first list at this depth.
        expected: usize,
        /// Length of this one.
        actual: usize,
    },
    /// A list where a level should be, or the reverse, or nesting that is too deep.
    #[error(
        "{what} at {}: wanted are lists nested to the same depth everywhere, [[…], …] or [[[…], …], …]",
        place(position)
    )]
    Depth {
        /// What stands there.
        what: &'static str,
        /// Index at each depth.
        position: Vec<usize>,
    },
    /// Regular, but not the model's size.
    #[error(
        "the list has the shape {}, the model takes {wanted}; resize=true does not apply to lists of levels",
        shape_of(lengths)
    )]
    Shape {
        /// Length at each depth.
        lengths: Vec<usize>,
        /// What would be right.
        wanted: String,
    },
}

impl Pixels {
    /// The image, if the lists are regular, of the model's size (rows, columns and, unless there is one only, channels)
    /// and every value is one of its levels. Nothing is rescaled: a level means what it meant in training.
    pub fn into_image(self, shape: ImageShape) -> Result<Image, MediaError> {
        let max = shape.levels() - 1;
        if let Some(mut fault) = self.fault {
            if let PixelFault::Value { max: limit, .. } = &mut fault {
                *limit = max;
            }
            return Err(fault.into());
        }
        if let Some(position) = self.one
            && max > 1
            && self.levels.iter().all(|&level| level <= 1)
        {
            return Err(PixelFault::Scaled { position, max }.into());
        }
        let (rows, columns, channels) = (shape.height(), shape.width(), shape.channels());
        let fits = match self.lengths[..] {
            [r, c] => channels == 1 && (r, c) == (rows, columns),
            [r, c, n] => (r, c, n) == (rows, columns, channels),
            _ => false,
        };
        if !fits {
            let wanted = if channels == 1 {
                format!("{rows}×{columns} (rows × columns)")
            } else {
                format!("{rows}×{columns}×{channels} (rows × columns × channels)")
            };
            return Err(PixelFault::Shape {
                lengths: self.lengths,
                wanted,
            }
            .into());
        }
        if let Some(index) = self.levels.iter().position(|&level| usize::from(level) > max) {
            let mut position = vec![index / channels / columns, index / channels % columns];
            if self.lengths.len() == 3 {
                position.push(index % channels);
            }
            return Err(PixelFault::Value {
                position,
                value: self.levels[index].to_string(),
                max,
            }
            .into());
        }
        let planes = convert::to_planes(self.levels, channels);
        Ok(Image::new(shape, planes).expect("levels and length were checked"))
    }
}

impl<'de> Deserialize<'de> for Pixels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut state = State::default();
        deserializer.deserialize_any(Element(&mut state))?;
        Ok(Self {
            levels: state.levels,
            lengths: state.lengths.into_iter().map_while(|length| length).collect(),
            one: state.one,
            fault: state.fault,
        })
    }
}

/// Rows, columns, channels.
const MAX_DEPTH: usize = 3;

#[derive(Default)]
struct State {
    levels: Vec<u8>,
    position: Vec<usize>,
    lengths: [Option<usize>; MAX_DEPTH],
    /// Depth of the first level.
    leaf_depth: Option<usize>,
    one: Option<Vec<usize>>,
    fault: Option<PixelFault>,
}

impl State {
    fn fail(&mut self, fault: impl FnOnce(Vec<usize>) -> PixelFault) {
        if self.fault.is_none() {
            self.fault = Some(fault(self.position.clone()));
        }
    }

    fn leaf(&mut self, level: Option<u8>, text: impl FnOnce() -> String) {
        let depth = self.position.len();
        if depth == 0 || *self.leaf_depth.get_or_insert(depth) != depth {
            self.fail(|position| PixelFault::Depth {
                what: "there is no list",
                position,
            });
        }
        match level {
            Some(level) => self.levels.push(level),
            None => self.fail(|position| PixelFault::Value {
                position,
                value: text(),
                max: 255,
            }),
        }
    }
}

/// One element at any depth: a list or a level.
struct Element<'a>(&'a mut State);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a nested list of levels")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let state = self.0;
        let depth = state.position.len();
        if depth >= MAX_DEPTH || state.leaf_depth.is_some_and(|leaf| depth >= leaf) {
            state.fail(|position| PixelFault::Depth {
                what: "there is a further list",
                position,
            });
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut length = 0;
        state.position.push(0);
        while list.next_element_seed(Element(state))?.is_some() {
            length += 1;
            state.position[depth] = length;
        }
        state.position.pop();
        let expected = *state.lengths[depth].get_or_insert(length);
        if expected != length {
            state.fail(|position| PixelFault::Ragged {
                position,
                expected,
                actual: length,
            });
        }
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.leaf(u8::try_from(value).ok(), || value.to_string());
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.leaf(u8::try_from(value).ok(), || value.to_string());
        Ok(())
    }

    /// Whole numbers may be written as fractions (3.0). Images scaled to the unit interval are told by their fractions,
    /// or, if they are black and white, by having none above 1.0: reading those as levels would be wrong without a
    /// word.
    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        let is_level = value.fract() == 0.0 && (0.0..=255.0).contains(&value);
        if value == 1.0 && self.0.one.is_none() {
            self.0.one = Some(self.0.position.clone());
        }
        let level = is_level.then_some(value as u8);
        self.0.leaf(level, || format!("{value:?}"));
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.leaf(None, || value.to_string());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.leaf(None, || {
            format!("the text {:?}", value.chars().take(20).collect::<String>())
        });
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.leaf(None, || "null".to_owned());
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.leaf(None, || "an object".to_owned());
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

fn place(position: &[usize]) -> String {
    if position.is_empty() {
        return "the top".to_owned();
    }
    position.iter().map(|index| format!("[{index}]")).collect()
}

fn shape_of(lengths: &[usize]) -> String {
    let lengths: Vec<_> = lengths.iter().map(usize::to_string).collect();
    format!("[{}]", lengths.join(", "))
}

#[cfg(test)]
mod tests;
