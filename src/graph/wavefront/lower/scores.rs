//! Numbers of pairs of places, between the two products of attention: how much each pixel heeds every other, and what
//! masks and biases leave of that.

use std::rc::Rc;

use super::{View, line::Line};
use crate::graph::{
    constant::{self, Constant},
    protobuf::{BOOL, Tensor},
    wavefront::{MASKED, Unsupported},
};

pub(super) const LATER: &str = "attention over places that are not all places before";

/// What is added to scores is kept with the program for every pair of places, in up to so many numbers: 64 MiB.
pub(super) const MOST_ADDED: usize = 16 << 20;

/// A constant of truth values.
#[derive(Debug, Clone)]
pub(super) struct Truths {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<bool>,
}

impl Truths {
    pub(super) fn read(tensor: &Tensor) -> Option<Self> {
        let (dims, values) = constant::of_words(tensor, BOOL, |[byte]: [u8; 1]| byte != 0, |value| value != 0)?;
        Some(Self { dims, values })
    }
}

/// Numbers of pairs of places: how much each pixel heeds every other.
#[derive(Debug, Clone)]
pub(super) struct Scores {
    /// Which pixels attend to each other.
    pub(super) line: Line,
    pub(super) queries: View,
    pub(super) keys: View,
    pub(super) factor: f32,
    pub(super) added: Option<Rc<Added>>,
    /// Pairs whose score is nothing whatever they are: true of each [places, places].
    pub(super) blank: Option<Rc<Vec<bool>>>,
    /// Whether the softmax has been taken.
    pub(super) normalised: bool,
    /// Whether what a pixel heeds is nothing where it has nothing to see.
    pub(super) cleared: bool,
    /// Whether what is looked at comes before what looks.
    pub(super) turned: bool,
    /// Whether nothing is left of the last pixel, which is not computed, where there is a token before all pixels.
    pub(super) is_closed: bool,
}

impl Scores {
    /// Places that a pixel is compared with: those of its line.
    pub(super) fn places(&self) -> usize {
        self.line.places(self.queries.extent().unwrap_or((0, 0)))
    }

    /// Places along an axis of the graph's own scores: one more, where there is a token before all pixels.
    pub(super) fn side(&self) -> usize {
        self.queries.axes[self.rank() - 2].size()
    }

    /// From the place of a pair, among those of all heads, to that in the graph's own scores.
    pub(super) fn pair(&self) -> impl Fn(usize) -> usize + use<> {
        let (places, side) = (self.places(), self.side());
        move |at| (at / places * side) + at / (places * places) * (side - places) * side + at % places
    }

    pub(super) fn rank(&self) -> usize {
        self.queries.axes.len()
    }

    /// Groups of features that attend each for itself.
    pub(super) fn heads(&self) -> usize {
        let features = self.queries.features();
        features[..features.len() - 1].iter().product()
    }

    /// In how many heads a constant says something of every pair of places: in one that holds for all, or in each.
    pub(super) fn heads_in(&self, dims: &[usize]) -> Option<usize> {
        let places = self.places();
        let [outer @ .., queries, keys] = dims else { return None };
        let heads = outer.iter().product();
        // What differs between lines says nothing of heads.
        let own = &self.queries.axes[..self.rank().saturating_sub(2)];
        let mut beside = own.iter().rev().zip(outer.iter().rev());
        if beside.any(|(axis, &size)| axis.is_spatial() && size != 1) {
            return None;
        }
        let side = self.side();
        let fits = (*queries, *keys) == (side, side) && places > 0 && (heads == 1 || heads == self.heads());
        fits.then_some(heads)
    }

    /// Whether a constant is true for what is seen, and for nothing else.
    pub(super) fn is_what_is_seen(&self, dims: &[usize], sees: impl Fn(usize) -> bool) -> bool {
        let (Some(heads), Some(added)) = (self.heads_in(dims), &self.added) else {
            return false;
        };
        let pair = self.pair();
        let pairs = heads * self.places() * self.places();
        let mut seen = added.values.iter().enumerate();
        heads <= added.heads && seen.all(|(at, &value)| sees(pair(at % pairs)) == (value >= MASKED))
    }

    /// Whether nothing is left of the pairs whose scores were multiplied by zero.
    pub(super) fn blanks_are_masked(&self) -> bool {
        let (Some(blank), Some(added)) = (&self.blank, &self.added) else {
            return self.blank.is_none();
        };
        let mut values = added.values.iter().zip(blank.iter().cycle());
        values.all(|(&value, &is_blank)| !is_blank || value < MASKED)
    }

    /// Adds to the score of every pair what `value` gives for it, by its place in a constant of this shape. Where that
    /// is −∞, the graph may have a `fill` that is merely low.
    pub(super) fn add(
        &mut self,
        dims: &[usize],
        fill: Option<f32>,
        value: impl Fn(usize) -> f32,
    ) -> Result<(), Unsupported> {
        let heads = self.heads_in(dims).ok_or_else(|| Unsupported::new(LATER))?;
        let (pair, places, side) = (self.pair(), self.places(), self.side());
        self.is_closed |= (0..heads * places).all(|query| {
            let (head, query) = (query / places, query % places);
            value((head * side + query) * side + side - 1) < MASKED
        });
        let before = self.added.take().map_or_else(Added::default, Rc::unwrap_or_clone);
        self.added = Some(Rc::new(before.plus(heads, places, fill, |at| value(pair(at)))));
        Ok(())
    }
}

/// What is added to scores, of which nothing is left where it is below [`MASKED`].
#[derive(Debug, Clone, Default)]
pub(super) struct Added {
    /// 1 where all heads have the same.
    pub(super) heads: usize,
    /// [heads, places, places]: of the pixel that looks, then of that which it looks at.
    pub(super) values: Vec<f32>,
    /// The largest number that stood for nothing.
    fill: Option<f32>,
}

impl Added {
    fn plus(self, heads: usize, places: usize, fill: Option<f32>, value: impl Fn(usize) -> f32) -> Self {
        let pairs = places * places;
        let all = self.heads.max(heads);
        let before = |at: usize| match self.values.len() {
            0 => 0.0,
            len => self.values[at % len],
        };
        Self {
            heads: all,
            values: (0..all * pairs)
                .map(|at| before(at) + value(at % (heads * pairs)))
                .collect(),
            fill: self.fill.into_iter().chain(fill).reduce(f32::max),
        }
    }

    /// Reads what a pixel sees, if that is nothing behind it.
    pub(super) fn sight(&self, places: usize) -> Result<Sight, Unsupported> {
        let (mut fill, mut sees_itself, mut is_plain) = (self.fill.unwrap_or(f32::NEG_INFINITY), false, true);
        for plane in self.values.chunks_exact(places * places) {
            for (query, row) in plane.chunks_exact(places).enumerate() {
                if row[query + 1..].iter().any(|&value| value >= MASKED) {
                    return Err(Unsupported::new(LATER));
                }
                fill = row[query + 1..].iter().copied().fold(fill, f32::max);
                sees_itself |= row[query] >= MASKED;
            }
        }
        for plane in self.values.chunks_exact(places * places) {
            for (query, row) in plane.chunks_exact(places).enumerate() {
                let seen = &row[..query + usize::from(sees_itself)];
                is_plain &= seen.iter().all(|&value| value == 0.0);
                if !seen.is_empty() && seen.iter().all(|&value| value < MASKED) {
                    return Err(Unsupported::new(
                        "attention in which a pixel other than the first sees nothing",
                    ));
                }
                if !sees_itself {
                    fill = fill.max(row[query]);
                }
            }
        }
        if !is_plain && self.values.len() > MOST_ADDED {
            return Err(Unsupported::new(
                "attention that adds to the scores of very many pairs of places",
            ));
        }
        Ok(Sight {
            sees_itself,
            fill,
            bias: (!is_plain).then(|| self.table(places, sees_itself)),
        })
    }

    /// What is added to the scores of what is seen, [places, heads, places].
    fn table(&self, places: usize, sees_itself: bool) -> Constant {
        let (heads, values) = (self.heads, &self.values);
        let rows = (0..places).flat_map(|query| (0..heads).map(move |head| (query, head)));
        let values = rows.flat_map(|(query, head)| {
            let row = &values[(head * places + query) * places..][..places];
            let is_seen = move |key: usize| key < query || sees_itself && key == query;
            row.iter()
                .enumerate()
                .map(move |(key, &value)| if is_seen(key) { value } else { 0.0 })
        });
        Constant::floats(vec![places, heads, places], values.collect())
    }
}

/// What a pixel sees of those before it.
pub(super) struct Sight {
    pub(super) sees_itself: bool,
    /// What the scores of others are, or are lowered by, at most.
    pub(super) fill: f32,
    /// What is added to its scores, unless that is nothing.
    pub(super) bias: Option<Constant>,
}
