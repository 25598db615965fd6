//! Operators that only move numbers.

use super::{Dependence, MOST_NUMBERS, NOTHING, Sights, Walk, count};
use crate::graph::protobuf::Node;

/// The shape to which all are broadcast.
pub(super) fn broadcast<'a>(shapes: impl IntoIterator<Item = &'a [usize]>) -> Option<Vec<usize>> {
    let mut all: Vec<usize> = Vec::new();
    for shape in shapes {
        if shape.len() > all.len() {
            all.splice(0..0, vec![1; shape.len() - all.len()]);
        }
        let offset = all.len() - shape.len();
        for (own, &size) in all[offset..].iter_mut().zip(shape) {
            match (*own, size) {
                (_, 1) => {}
                (1, _) => *own = size,
                (own, size) if own == size => {}
                _ => return None,
            }
        }
    }
    Some(all)
}

/// An axis of a tensor of `rank` axes, where negative ones count from the end.
pub(super) fn axis(number: i64, rank: usize) -> Option<usize> {
    let number = if number < 0 { number + rank as i64 } else { number };
    usize::try_from(number).ok().filter(|&axis| axis < rank)
}

fn block_size(node: &Node) -> Option<usize> {
    let size = usize::try_from(node.int("blocksize", 0)).ok()?;
    (1..=1 << 10).contains(&size).then_some(size)
}

impl Dependence {
    /// Each number as a tensor of these sizes.
    pub(super) fn repeated(&self, sizes: &[usize]) -> Option<Self> {
        let dims = [&self.dims[..], sizes].concat();
        let each = count(&dims)?.checked_div(self.last.len())?;
        let last = self.last.iter().flat_map(|&last| std::iter::repeat_n(last, each));
        Some(Self {
            dims,
            last: last.collect(),
        })
    }

    /// Broadcast to `dims`.
    pub(super) fn expanded(&self, dims: &[usize]) -> Option<Self> {
        count(dims)?;
        let missing = dims.len().checked_sub(self.dims.len())?;
        let mut own = vec![1; missing];
        own.extend(&self.dims);
        let mut all = self.clone();
        all.dims = own;
        for (axis, &size) in dims.iter().enumerate() {
            match all.dims[axis] {
                own if own == size => {}
                1 => all = all.taken(axis, &vec![Some(0); size])?,
                _ => return None,
            }
        }
        Some(all)
    }

    /// The places along an axis that are named, in their order; `None` sees nothing.
    pub(super) fn taken(&self, axis: usize, places: &[Option<usize>]) -> Option<Self> {
        let mut dims = self.dims.clone();
        dims[axis] = places.len();
        count(&dims)?;
        let inner: usize = self.dims[axis + 1..].iter().product();
        let size = self.dims[axis] * inner;
        let outer: usize = self.dims[..axis].iter().product();
        let mut last = Vec::with_capacity(outer * places.len() * inner);
        for block in 0..outer {
            for place in places {
                match place {
                    Some(place) => last.extend_from_slice(&self.last[block * size + place * inner..][..inner]),
                    None => last.resize(last.len() + inner, NOTHING),
                }
            }
        }
        Some(Self { dims, last })
    }

    /// The same numbers under another shape.
    pub(super) fn reshaped(self, dims: Vec<usize>) -> Option<Self> {
        (count(&dims) == Some(self.last.len())).then_some(Self { dims, ..self })
    }

    /// The axes in this order.
    pub(super) fn permuted(&self, order: &[usize]) -> Option<Self> {
        let rank = self.dims.len();
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return None;
        }
        let dims: Vec<usize> = order.iter().map(|&axis| self.dims[axis]).collect();
        let strides: Vec<usize> = order
            .iter()
            .map(|&axis| self.dims[axis + 1..].iter().product())
            .collect();
        let mut places = vec![0; rank];
        let mut last = Vec::with_capacity(self.last.len());
        let mut from = 0;
        for _ in 0..self.last.len() {
            last.push(self.last[from]);
            for axis in (0..rank).rev() {
                places[axis] += 1;
                from += strides[axis];
                if places[axis] < dims[axis] {
                    break;
                }
                from -= strides[axis] * dims[axis];
                places[axis] = 0;
            }
        }
        Some(Self { dims, last })
    }

    /// The first row and column of a picture.
    pub(super) fn first_place(self) -> Option<Self> {
        let is_picture = self.dims.len() == 4;
        is_picture
            .then(|| self.taken(2, &[Some(0)])?.taken(3, &[Some(0)]))
            .flatten()
    }
}

impl Walk<'_> {
    pub(super) fn concat(&self, node: &Node) -> Option<Dependence> {
        let mut parts: Vec<Dependence> = Vec::new();
        for (at, name) in node.inputs.iter().enumerate() {
            parts.push(match self.computed(name) {
                Some(sight) => (*sight).clone(),
                None => Dependence::of_nothing(self.constant(node, at)?.dims)?,
            });
        }
        let mut dims = parts.first()?.dims.clone();
        let axis = axis(node.int("axis", 0), dims.len())?;
        let (before, after) = (dims[..axis].to_vec(), dims[axis + 1..].to_vec());
        let fits = |part: &Dependence| {
            part.dims.len() == dims.len() && part.dims[..axis] == before && part.dims[axis + 1..] == after
        };
        if !parts.iter().all(fits) {
            return None;
        }
        let mut last = Vec::new();
        for block in 0..before.iter().product() {
            for part in &parts {
                let size: usize = part.dims[axis..].iter().product();
                last.extend_from_slice(&part.last[block * size..][..size]);
            }
        }
        dims[axis] = parts.iter().map(|part| part.dims[axis]).sum();
        Some(Dependence { dims, last })
    }

    pub(super) fn split(&self, node: &Node) -> Sights {
        let x = self.first(node)?;
        let axis = axis(node.int("axis", 0), x.dims.len())?;
        let size = x.dims[axis];
        let sizes: Vec<usize> = match self.ints(node, 1, "split") {
            Some(sizes) => sizes.iter().map(|&s| usize::try_from(s).ok()).collect::<Option<_>>()?,
            None if node.inputs.len() > 1 => return None,
            None => {
                let each = size.div_ceil(node.outputs.len().max(1));
                (0..size)
                    .step_by(each.max(1))
                    .map(|first| each.min(size - first))
                    .collect()
            }
        };
        if sizes.iter().try_fold(0usize, |all, &own| all.checked_add(own)) != Some(size) {
            return None;
        }
        let mut first = 0;
        let mut part = |&size: &usize| {
            let places: Vec<Option<usize>> = (first..first + size).map(Some).collect();
            first += size;
            x.taken(axis, &places)
        };
        sizes.iter().map(&mut part).collect()
    }

    pub(super) fn slice(&self, node: &Node) -> Option<Dependence> {
        let mut x = (*self.first(node)?).clone();
        let (starts, ends) = (self.ints(node, 1, "starts")?, self.ints(node, 2, "ends")?);
        let axes = match self.ints(node, 3, "axes") {
            Some(axes) => axes,
            None if node.inputs.get(3).is_some_and(|name| !name.is_empty()) => return None,
            None => (0..starts.len() as i64).collect(),
        };
        let steps = match node.inputs.get(4).map(String::as_str) {
            None | Some("") => vec![1; starts.len()],
            Some(_) => self.ints(node, 4, "steps")?,
        };
        if starts.len() != ends.len() || starts.len() != axes.len() || starts.len() != steps.len() {
            return None;
        }
        for (((start, end), number), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
            let axis = axis(number, x.dims.len())?;
            let size = x.dims[axis] as i64;
            let from_start = |place: i64| if place < 0 { place.saturating_add(size) } else { place };
            let places: Vec<Option<usize>> = if step > 0 {
                let range = from_start(start).clamp(0, size)..from_start(end).clamp(0, size);
                range
                    .step_by(usize::try_from(step).ok()?)
                    .map(|place| Some(place as usize))
                    .collect()
            } else {
                let [first, end] = [start, end].map(|place| from_start(place).clamp(-1, size - 1));
                let back = usize::try_from(step.checked_neg()?).ok().filter(|&back| back > 0)?;
                (end + 1..first + 1)
                    .rev()
                    .step_by(back)
                    .map(|place| Some(place as usize))
                    .collect()
            };
            x = x.taken(axis, &places)?;
        }
        Some(x)
    }

    pub(super) fn pad(&self, node: &Node) -> Option<Dependence> {
        let mut x = (*self.first(node)?).clone();
        let rank = x.dims.len();
        let pads = self.ints(node, 1, "pads")?;
        if !matches!(node.text("mode"), b"" | b"constant") || pads.len() != 2 * rank || node.inputs.len() > 3 {
            return None;
        }
        for axis in 0..rank {
            let (before, size, after) = (pads[axis], x.dims[axis] as i64, pads[axis + rank]);
            if (before, after) == (0, 0) {
                continue;
            }
            let most = MOST_NUMBERS as i64;
            if !(-most..=most).contains(&before) || !(-most..=most).contains(&after) {
                return None;
            }
            let inside = |place: i64| usize::try_from(place).ok().filter(|&place| place < size as usize);
            let places: Vec<Option<usize>> = (-before..size + after).map(inside).collect();
            x = x.taken(axis, &places)?;
        }
        Some(x)
    }

    pub(super) fn gather(&self, node: &Node) -> Option<Dependence> {
        let x = self.first(node)?;
        let indices = self.constant(node, 1)?;
        let number = axis(node.int("axis", 0), x.dims.len())?;
        let size = x.dims[number];
        let places: Vec<Option<usize>> = indices
            .as_ints()?
            .iter()
            .map(|&index| axis(index, size).map(Some))
            .collect::<Option<_>>()?;
        let mut dims = x.dims.clone();
        dims.splice(number..=number, indices.dims.iter().copied());
        x.taken(number, &places)?.reshaped(dims)
    }

    /// Rows of a constant table.
    pub(super) fn looked_up(&self, node: &Node) -> Option<Dependence> {
        let (table, indices) = (self.constant(node, 0)?, self.computed(node.inputs.get(1)?)?);
        let is_of_rows = axis(node.int("axis", 0), table.dims.len()) == Some(0);
        indices.repeated(table.dims.get(1..).filter(|_| is_of_rows)?)
    }

    pub(super) fn transpose(&self, node: &Node) -> Option<Dependence> {
        let x = self.first(node)?;
        let rank = x.dims.len();
        let order: Vec<usize> = match node.ints("perm") {
            Some(order) => order.iter().map(|&number| axis(number, rank)).collect::<Option<_>>()?,
            None => (0..rank).rev().collect(),
        };
        x.permuted(&order)
    }

    pub(super) fn reshape(&self, node: &Node) -> Option<Dependence> {
        let x = (*self.first(node)?).clone();
        let rank = x.dims.len();
        let dims = match node.op_type() {
            "Flatten" => {
                let number = node.int("axis", 1);
                let at = if number == rank as i64 {
                    rank
                } else {
                    axis(number, rank)?
                };
                vec![x.dims[..at].iter().product(), x.dims[at..].iter().product()]
            }
            "Squeeze" => match self.ints(node, 1, "axes") {
                Some(axes) => {
                    let gone: Vec<usize> = axes.iter().map(|&a| axis(a, rank)).collect::<Option<_>>()?;
                    let kept = x.dims.iter().enumerate().filter(|(at, _)| !gone.contains(at));
                    kept.map(|(_, &size)| size).collect()
                }
                None => x.dims.iter().copied().filter(|&size| size != 1).collect(),
            },
            "Unsqueeze" => {
                let axes = self.ints(node, 1, "axes")?;
                let all = rank + axes.len();
                let mut new: Vec<usize> = axes.iter().map(|&a| axis(a, all)).collect::<Option<_>>()?;
                new.sort_unstable();
                let mut dims = x.dims.clone();
                for at in new {
                    if at > dims.len() {
                        return None;
                    }
                    dims.insert(at, 1);
                }
                dims
            }
            _ => {
                let wanted = self.ints(node, 1, "shape")?;
                let mut dims: Vec<usize> = Vec::with_capacity(wanted.len());
                for (at, &size) in wanted.iter().enumerate() {
                    dims.push(match size {
                        -1 => 1,
                        0 => *x.dims.get(at)?,
                        size => usize::try_from(size).ok()?,
                    });
                }
                let known = count(&dims)?;
                if let Some(open) = wanted.iter().position(|&size| size == -1) {
                    dims[open] = x.last.len().checked_div(known)?;
                }
                dims
            }
        };
        x.reshaped(dims)
    }

    pub(super) fn depth_to_space(&self, node: &Node) -> Option<Dependence> {
        let x = (*self.first(node)?).clone();
        let [n, c, h, w] = x.dims[..] else { return None };
        let b = block_size(node)?;
        let d = c / (b * b);
        let parted = if node.text("mode") == b"CRD" {
            x.reshaped(vec![n, d, b, b, h, w])?.permuted(&[0, 1, 4, 2, 5, 3])?
        } else {
            x.reshaped(vec![n, b, b, d, h, w])?.permuted(&[0, 3, 4, 1, 5, 2])?
        };
        parted.reshaped(vec![n, d, h * b, w * b])
    }

    pub(super) fn space_to_depth(&self, node: &Node) -> Option<Dependence> {
        let x = (*self.first(node)?).clone();
        let [n, c, h, w] = x.dims[..] else { return None };
        let b = block_size(node)?;
        let parted = x.reshaped(vec![n, c, h / b, b, w / b, b])?;
        parted
            .permuted(&[0, 3, 5, 1, 2, 4])?
            .reshaped(vec![n, c * b * b, h / b, w / b])
    }

    pub(super) fn expand(&self, node: &Node) -> Option<Dependence> {
        let x = self.first(node)?;
        let shape = self.ints(node, 1, "shape")?;
        let shape: Vec<usize> = shape.iter().map(|&s| usize::try_from(s).ok()).collect::<Option<_>>()?;
        x.expanded(&broadcast([&x.dims[..], &shape])?)
    }
}
