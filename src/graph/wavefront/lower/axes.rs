//! What the axes of a tensor of the graph mean.

use super::super::Unsupported;

/// An axis. Axes of features keep their order; an axis of size 1 that means nothing is a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Batch,
    Row(i64),
    Column(i64),
    /// Rows and columns in one axis.
    Pixels(i64, i64),
    Feature(usize),
    Unit,
}

impl Axis {
    pub(super) fn size(self) -> usize {
        match self {
            Self::Batch | Self::Unit => 1,
            Self::Row(size) | Self::Column(size) => size.max(0) as usize,
            Self::Pixels(rows, columns) => (rows * columns).max(0) as usize,
            Self::Feature(size) => size,
        }
    }

    pub(super) fn is_spatial(self) -> bool {
        matches!(self, Self::Row(_) | Self::Column(_) | Self::Pixels(..))
    }
}

/// Rows and columns, if the axes have both.
pub(super) fn extent(axes: &[Axis]) -> Option<(i64, i64)> {
    let mut extent = (None, None);
    for &axis in axes {
        match axis {
            Axis::Row(rows) => extent.0 = Some(rows),
            Axis::Column(columns) => extent.1 = Some(columns),
            Axis::Pixels(rows, columns) => extent = (Some(rows), Some(columns)),
            _ => {}
        }
    }
    extent.0.zip(extent.1)
}

/// Sizes of the axes of features, in order.
pub(super) fn features(axes: &[Axis]) -> Vec<usize> {
    axes.iter()
        .filter_map(|&axis| match axis {
            Axis::Feature(size) => Some(size),
            _ => None,
        })
        .collect()
}

/// The place of axis `at` among the axes of features.
pub(super) fn feature_index(axes: &[Axis], at: usize) -> usize {
    features(&axes[..at]).len()
}

/// An axis attribute as an index.
pub(super) fn resolve(axis: i64, rank: usize) -> Result<usize, Unsupported> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(axis)
        .ok()
        .filter(|&axis| axis < rank)
        .ok_or_else(|| Unsupported::new("an axis that the tensor does not have"))
}

/// The meaning of axes after a reshape to `dims`, which must have as many elements. Fails where features and space would mix.
pub(super) fn reshaped(axes: &[Axis], dims: &[usize]) -> Result<Vec<Axis>, Unsupported> {
    let old: Vec<Axis> = axes
        .iter()
        .copied()
        .filter(|axis| axis.size() > 1)
        .collect();
    let mut meanings = Vec::new();
    let (mut at, mut to) = (0, 0);
    let new: Vec<usize> = dims.iter().copied().filter(|&size| size > 1).collect();
    while at < old.len() || to < new.len() {
        let (from_at, from_to) = (at, to);
        let (mut left, mut right) = (1, 1);
        loop {
            if left <= right && at < old.len() {
                left *= old[at].size();
                at += 1;
            } else if to < new.len() {
                right *= new[to];
                to += 1;
            } else {
                return Err(Unsupported::new("a reshape to another number of elements"));
            }
            if left == right {
                break;
            }
        }
        meanings.extend(regrouped(&old[from_at..at], &new[from_to..to])?);
    }
    let mut meanings = meanings.into_iter();
    // A batch of one may have been merged with other axes; the first axis of size 1 is where it comes out again.
    let mut batch = true;
    dims.iter()
        .map(|&size| {
            if size > 1 {
                return meanings
                    .next()
                    .ok_or_else(|| Unsupported::new("a reshape to another number of elements"));
            }
            Ok(if std::mem::take(&mut batch) {
                Axis::Batch
            } else {
                Axis::Unit
            })
        })
        .collect()
}

fn regrouped(old: &[Axis], new: &[usize]) -> Result<Vec<Axis>, Unsupported> {
    match (old, new) {
        ([axis], [_]) => Ok(vec![*axis]),
        ([Axis::Row(rows), Axis::Column(columns)], [_]) => Ok(vec![Axis::Pixels(*rows, *columns)]),
        ([Axis::Pixels(rows, columns)], [r, c]) if (*rows, *columns) == (*r as i64, *c as i64) => {
            Ok(vec![Axis::Row(*rows), Axis::Column(*columns)])
        }
        _ if old.iter().all(|axis| !axis.is_spatial()) => {
            Ok(new.iter().map(|&size| Axis::Feature(size)).collect())
        }
        _ => Err(Unsupported::new(
            "a reshape that mixes features with places",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_keep_meanings_apart() {
        let image = [
            Axis::Batch,
            Axis::Feature(12),
            Axis::Row(7),
            Axis::Column(6),
        ];
        assert_eq!(
            reshaped(&image, &[1, 4, 3, 7, 6]).unwrap(),
            [
                Axis::Batch,
                Axis::Feature(4),
                Axis::Feature(3),
                Axis::Row(7),
                Axis::Column(6)
            ]
        );
        let flat = reshaped(&image, &[1, 12, 42]).unwrap();
        assert_eq!(flat[2], Axis::Pixels(7, 6));
        assert_eq!(reshaped(&flat, &[1, 12, 7, 6]).unwrap(), image);
        let merged = reshaped(
            &[Axis::Batch, Axis::Pixels(7, 6), Axis::Feature(4)],
            &[42, 4],
        );
        assert_eq!(
            reshaped(&merged.unwrap(), &[1, 42, 4]).unwrap(),
            [Axis::Batch, Axis::Pixels(7, 6), Axis::Feature(4)]
        );
        assert!(reshaped(&image, &[1, 84, 6]).is_err());
        assert!(reshaped(&flat, &[1, 12, 6, 7]).is_err());
        assert!(reshaped(&image, &[1, 12, 6]).is_err());
    }
}
