//! One direction of resizing: places of the source, places of the target, and weights between them.

use std::ops::Range;

use super::{Filter, PRECISION};

/// Weights of one axis that are kept, rather than computed anew for each row: half a mebibyte of them.
pub(super) const KEPT: usize = 1 << 17;

/// One axis: which source places count in which target places, and how much.
pub(super) struct Axis {
    filter: Filter,
    /// One over the width of the filter in source places.
    narrowing: f64,
    /// Source places, if they are counted from the other end.
    mirrored: Option<usize>,
    /// For each target place.
    spans: Vec<Span>,
    /// All weights, span after span, unless there are too many to keep.
    kept: Option<Vec<i32>>,
}

/// The source places of one target place.
struct Span {
    first: usize,
    end: usize,
    /// Its centre among source places.
    centre: f64,
    /// What its weights sum to before they are normalised.
    sum: f64,
    /// Where its weights are kept.
    at: usize,
}

impl Axis {
    /// `source` places become `whole`, of which `wanted` are.
    pub(super) fn new(filter: Filter, source: usize, whole: usize, wanted: Range<usize>, is_mirrored: bool) -> Self {
        let seen = if is_mirrored {
            whole - wanted.end..whole - wanted.start
        } else {
            wanted
        };
        let mut axis = Self::upright(filter, source, whole, seen);
        if is_mirrored {
            axis.mirrored = Some(source);
            axis.spans.reverse();
            for span in &mut axis.spans {
                (span.first, span.end) = (source - span.end, source - span.first);
            }
        }
        let mut at = 0;
        for span in &mut axis.spans {
            span.at = at;
            at += span.end - span.first;
        }
        if at <= KEPT {
            let spans = axis.spans.iter();
            let weights = spans.flat_map(|span| (span.first..span.end).map(|x| axis.weight(span, x)));
            axis.kept = Some(weights.collect());
        }
        axis
    }

    /// Target places.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    fn upright(filter: Filter, source: usize, whole: usize, wanted: Range<usize>) -> Self {
        let scale = source as f64 / whole as f64;
        let width = scale.max(1.0);
        let reach = filter.support() * width;
        let mut axis = Self {
            filter,
            narrowing: 1.0 / width,
            mirrored: None,
            spans: Vec::with_capacity(wanted.len()),
            kept: None,
        };
        for target in wanted {
            let centre = (target as f64 + 0.5) * scale;
            let mut span = Span {
                first: (centre - reach + 0.5).max(0.0) as usize,
                end: ((centre + reach + 0.5) as usize).min(source),
                centre,
                sum: 0.0,
                at: 0,
            };
            span.sum = (span.first..span.end).map(|x| axis.value(&span, x)).sum();
            axis.spans.push(span);
        }
        axis
    }

    fn value(&self, span: &Span, x: usize) -> f64 {
        let x = self.mirrored.map_or(x, |source| source - 1 - x);
        self.filter.at((x as f64 - span.centre + 0.5) * self.narrowing)
    }

    fn weight(&self, span: &Span, x: usize) -> i32 {
        let value = self.value(span, x);
        let share = if span.sum == 0.0 { value } else { value / span.sum };
        (share * f64::from(1 << PRECISION)).round() as i32
    }

    /// The target places in which some of the source places count.
    pub(super) fn touched(&self, sources: Range<usize>) -> Range<usize> {
        let first = self.spans.partition_point(|span| span.end <= sources.start);
        let end = self.spans.partition_point(|span| span.first < sources.end);
        first..end.max(first)
    }

    /// Calls `each` with every source place among `sources` that counts in target place `i`, and its weight.
    #[inline]
    pub(super) fn weigh(&self, i: usize, sources: Range<usize>, mut each: impl FnMut(usize, i32)) {
        let span = &self.spans[i];
        let (first, end) = (span.first.max(sources.start), span.end.min(sources.end));
        if first >= end {
            return;
        }
        match &self.kept {
            Some(kept) => {
                let weights = &kept[span.at + first - span.first..][..end - first];
                for (x, &weight) in (first..).zip(weights) {
                    each(x, weight);
                }
            }
            None => {
                for x in first..end {
                    each(x, self.weight(span, x));
                }
            }
        }
    }
}
