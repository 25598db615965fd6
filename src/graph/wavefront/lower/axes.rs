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
    /// The same, column after column.
    ColumnByColumn(i64, i64),
    /// A token and, from the second place on, all pixels: one more than there are. What belongs to the last of them is
    /// not computed, as nothing comes after it.
    Started(i64, i64),
    /// The batch, of what is known of the whole image before each pixel.
    SoFar(i64, i64),
    Feature(usize),
    /// Blocks of equally many pixels, one after the other.
    Block(Blocks),
    /// The pixels of a block.
    Within(Blocks),
    /// Features, rows and columns in one axis: a flattened picture.
    Flat(Flat),
    /// Features and rows, or features and columns, in one axis: heads that are part of the batch beside lines.
    Strip(Strip),
    Unit,
}

/// Rows and columns as blocks of so many pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) rows: i64,
    pub(super) columns: i64,
    pub(super) pixels: i64,
}

/// A flattened picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flat {
    pub(super) features: usize,
    pub(super) rows: i64,
    pub(super) columns: i64,
    /// Whether all places of a feature lie together, or all features of a place.
    pub(super) features_first: bool,
}

/// Lines that each have features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) features: usize,
    /// Rows, or columns.
    pub(super) places: i64,
    pub(super) of_rows: bool,
    /// Whether all places of a feature lie together, or all features of a place.
    pub(super) features_first: bool,
}

impl Strip {
    fn line(self) -> Axis {
        if self.of_rows {
            Axis::Row(self.places)
        } else {
            Axis::Column(self.places)
        }
    }
}

impl Axis {
    pub(super) fn size(self) -> usize {
        match self {
            Self::Batch | Self::Unit | Self::SoFar(..) => 1,
            Self::Row(size) | Self::Column(size) => size.max(0) as usize,
            Self::Pixels(rows, columns) | Self::ColumnByColumn(rows, columns) => (rows * columns).max(0) as usize,
            Self::Started(rows, columns) => Self::Pixels(rows, columns).size() + 1,
            Self::Block(blocks) => (blocks.rows * blocks.columns / blocks.pixels).max(0) as usize,
            Self::Within(blocks) => blocks.pixels.max(0) as usize,
            Self::Feature(size) => size,
            Self::Flat(flat) => flat.features * Self::Pixels(flat.rows, flat.columns).size(),
            Self::Strip(strip) => strip.features * strip.line().size(),
        }
    }

    /// Whether places lie along it.
    pub(super) fn is_spatial(self) -> bool {
        let is_part = matches!(self, Self::Row(_) | Self::Column(_) | Self::Block(_) | Self::Within(_));
        is_part
            || matches!(
                self,
                Self::Pixels(..) | Self::ColumnByColumn(..) | Self::Started(..) | Self::Flat(_) | Self::Strip(_)
            )
    }

    /// Number of features, if any lie along it.
    pub(super) fn features(self) -> Option<usize> {
        match self {
            Self::Feature(size) => Some(size),
            Self::Flat(flat) => Some(flat.features),
            Self::Strip(strip) => Some(strip.features),
            _ => None,
        }
    }

    /// The axes of which it is made.
    fn parts(self) -> Vec<Self> {
        match self {
            Self::Pixels(rows, columns) => vec![Self::Row(rows), Self::Column(columns)],
            Self::ColumnByColumn(rows, columns) => vec![Self::Column(columns), Self::Row(rows)],
            Self::Flat(flat) => {
                let places = [Self::Row(flat.rows), Self::Column(flat.columns)];
                let features = [Self::Feature(flat.features)];
                if flat.features_first {
                    [&features[..], &places[..]].concat()
                } else {
                    [&places[..], &features[..]].concat()
                }
            }
            Self::Strip(strip) => {
                let mut parts = vec![Self::Feature(strip.features), strip.line()];
                if !strip.features_first {
                    parts.reverse();
                }
                parts
            }
            axis => vec![axis],
        }
    }
}

/// Features, rows and columns, if the axes are those of a batch of pictures.
pub(super) fn pictures(axes: &[Axis]) -> Option<(usize, i64, i64)> {
    match *axes {
        [
            Axis::Batch,
            Axis::Feature(features),
            Axis::Row(rows),
            Axis::Column(columns),
        ] => Some((features, rows, columns)),
        _ => None,
    }
}

/// The axes of a batch of pictures.
pub(super) fn of_pictures(features: usize, rows: i64, columns: i64) -> Vec<Axis> {
    vec![
        Axis::Batch,
        Axis::Feature(features),
        Axis::Row(rows),
        Axis::Column(columns),
    ]
}

/// Rows and columns, if the axes have both.
pub(super) fn extent(axes: &[Axis]) -> Option<(i64, i64)> {
    let mut extent = (None, None);
    for &axis in axes {
        match axis {
            Axis::Row(rows) => extent.0 = Some(rows),
            Axis::Column(columns) => extent.1 = Some(columns),
            Axis::Strip(strip) if strip.of_rows => extent.0 = Some(strip.places),
            Axis::Strip(strip) => extent.1 = Some(strip.places),
            Axis::Pixels(rows, columns)
            | Axis::ColumnByColumn(rows, columns)
            | Axis::Started(rows, columns)
            | Axis::SoFar(rows, columns)
            | Axis::Within(Blocks { rows, columns, .. })
            | Axis::Flat(Flat { rows, columns, .. }) => {
                extent = (Some(rows), Some(columns));
            }
            _ => {}
        }
    }
    extent.0.zip(extent.1)
}

/// Sizes of the axes of features, in order.
pub(super) fn features(axes: &[Axis]) -> Vec<usize> {
    axes.iter().filter_map(|axis| axis.features()).collect()
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

/// The meaning of axes after a reshape to `dims`, which must have as many elements. Fails where features and space
/// would mix.
pub(super) fn reshaped(axes: &[Axis], dims: &[usize]) -> Result<Vec<Axis>, Unsupported> {
    let old: Vec<Axis> = axes
        .iter()
        .flat_map(|axis| axis.parts())
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
    let is_so_far = |axis: &&Axis| matches!(axis, Axis::SoFar(..));
    let mut batch = axes.iter().find(is_so_far).copied().or(Some(Axis::Batch));
    if matches!(batch, Some(Axis::SoFar(..))) && !dims.contains(&1) {
        return Err(Unsupported::new("a reshape without an axis for the batch"));
    }
    dims.iter()
        .map(|&size| {
            if size > 1 {
                return meanings
                    .next()
                    .ok_or_else(|| Unsupported::new("a reshape to another number of elements"));
            }
            Ok(batch.take().unwrap_or(Axis::Unit))
        })
        .collect()
}

fn regrouped(old: &[Axis], new: &[usize]) -> Result<Vec<Axis>, Unsupported> {
    let mixes = || Unsupported::new("a reshape that mixes channels with places");
    let width = |features: &[Axis]| -> Option<usize> {
        let sizes = features.iter().map(|axis| match axis {
            Axis::Feature(size) => Some(*size),
            _ => None,
        });
        sizes.product()
    };
    if let ([axis], [_]) = (old, new) {
        return Ok(vec![*axis]);
    }
    if width(old).is_some() {
        return Ok(new.iter().map(|&size| Axis::Feature(size)).collect());
    }
    if let [Axis::Block(blocks), Axis::Within(within), features @ ..] = old
        && blocks == within
    {
        let pixels = [Axis::Row(blocks.rows), Axis::Column(blocks.columns)];
        return regrouped(&[&pixels, features].concat(), new);
    }
    if let ([Axis::Row(rows), Axis::Column(columns)], &[_, pixels]) = (old, new) {
        let (rows, columns, pixels) = (*rows, *columns, pixels as i64);
        if pixels == columns {
            return Ok(old.to_vec());
        }
        let blocks = Blocks { rows, columns, pixels };
        return Ok(vec![Axis::Block(blocks), Axis::Within(blocks)]);
    }
    // Places may become one axis, together with features before or after them, but not others.
    let (features, places, features_first) = match *old {
        [ref features @ .., Axis::Row(rows), Axis::Column(columns)] => (features, Axis::Pixels(rows, columns), true),
        [Axis::Row(rows), Axis::Column(columns), ref features @ ..] => (features, Axis::Pixels(rows, columns), false),
        [ref features @ .., Axis::Column(columns), Axis::Row(rows)] => {
            (features, Axis::ColumnByColumn(rows, columns), true)
        }
        [Axis::Column(columns), Axis::Row(rows), ref features @ ..] => {
            (features, Axis::ColumnByColumn(rows, columns), false)
        }
        [ref features @ .., line @ (Axis::Row(_) | Axis::Column(_))] => (features, line, true),
        [line @ (Axis::Row(_) | Axis::Column(_)), ref features @ ..] => (features, line, false),
        _ => return Err(mixes()),
    };
    let all = width(features).ok_or_else(mixes)?;
    let (flat, others) = match new {
        [others @ .., flat] if features_first => (*flat, others),
        [flat, others @ ..] => (*flat, others),
        [] => return Err(mixes()),
    };
    let inside = flat / places.size();
    if inside == 0 || inside * places.size() != flat || inside * others.iter().product::<usize>() != all {
        return Err(mixes());
    }
    let strip = |places, of_rows| {
        Axis::Strip(Strip {
            features: inside,
            places,
            of_rows,
            features_first,
        })
    };
    let flat = match places {
        _ if inside == 1 => places,
        Axis::Row(rows) => strip(rows, true),
        Axis::Column(columns) => strip(columns, false),
        Axis::Pixels(rows, columns) => Axis::Flat(Flat {
            features: inside,
            rows,
            columns,
            features_first,
        }),
        _ => return Err(mixes()),
    };
    let mut axes: Vec<Axis> = others.iter().map(|&size| Axis::Feature(size)).collect();
    axes.insert(if features_first { axes.len() } else { 0 }, flat);
    Ok(axes)
}

#[cfg(test)]
mod tests;
