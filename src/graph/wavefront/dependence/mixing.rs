//! Operators that make numbers of several others.

use std::collections::HashMap;

use super::{Dependence, MOST_NUMBERS, MOST_WORK, NOTHING, Walk, count, moving::axis};
use crate::graph::protobuf::Node;

/// For every place of a result along an axis, the place that each tap of a kernel reads, if it lies inside.
type Reads = Vec<Vec<Option<usize>>>;

/// Strides, dilations and paddings of a window of two axes.
struct Windows {
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 4],
}

impl Windows {
    fn of(node: &Node) -> Option<Self> {
        fn sizes<const N: usize>(node: &Node, name: &str, default: usize) -> Option<[usize; N]> {
            match node.ints(name) {
                None => Some([default; N]),
                Some(sizes) => {
                    let sizes: Vec<usize> = sizes.iter().map(|&s| usize::try_from(s).ok()).collect::<Option<_>>()?;
                    sizes.try_into().ok()
                }
            }
        }
        let explicit = matches!(node.text("auto_pad"), b"" | b"NOTSET" | b"VALID");
        let windows = Self {
            strides: sizes(node, "strides", 1)?,
            dilations: sizes(node, "dilations", 1)?,
            pads: sizes(node, "pads", 0)?,
        };
        (explicit && node.int("ceil_mode", 0) == 0 && !windows.strides.contains(&0)).then_some(windows)
    }

    /// What a kernel of `taps` reads of an axis of `size`.
    fn reads(&self, axis: usize, size: usize, taps: usize) -> Option<Reads> {
        let (stride, dilation) = (self.strides[axis], self.dilations[axis]);
        let (before, after) = (self.pads[axis], self.pads[axis + 2]);
        let reach = taps.checked_sub(1)?.checked_mul(dilation)?;
        let padded = size.checked_add(before)?.checked_add(after)?;
        let count = padded.checked_sub(reach.checked_add(1)?)? / stride + 1;
        if padded > MOST_NUMBERS {
            return None;
        }
        let read = |place: usize, tap: usize| {
            let at = (place * stride + tap * dilation).checked_sub(before)?;
            (at < size).then_some(at)
        };
        Some(
            (0..count)
                .map(|place| (0..taps).map(|tap| read(place, tap)).collect())
                .collect(),
        )
    }

    /// What a transposed one reads.
    fn transposed(&self, axis: usize, size: usize, taps: usize, more: usize) -> Option<Reads> {
        let (stride, dilation) = (self.strides[axis], self.dilations[axis]);
        let (before, after) = (self.pads[axis], self.pads[axis + 2]);
        let steps = size.checked_sub(1)?.checked_mul(stride)?;
        let reach = taps.checked_sub(1)?.checked_mul(dilation)?;
        let full = steps.checked_add(reach)?.checked_add(more)?.checked_add(1)?;
        let count = full.checked_sub(before.checked_add(after)?)?;
        if full > MOST_NUMBERS {
            return None;
        }
        let read = |place: usize, tap: usize| {
            let at = (place + before).checked_sub(tap * dilation)?;
            (at.is_multiple_of(stride) && at / stride < size).then_some(at / stride)
        };
        Some(
            (0..count)
                .map(|place| (0..taps).map(|tap| read(place, tap)).collect())
                .collect(),
        )
    }
}

/// Planes of numbers that see the same at every place are one.
struct Planes<'a> {
    /// One of each kind.
    kinds: Vec<&'a [i32]>,
    /// The kind of each.
    of: Vec<usize>,
}

impl<'a> Planes<'a> {
    fn new(last: &'a [i32], size: usize) -> Self {
        let mut known: HashMap<&[i32], usize> = HashMap::new();
        let mut kinds = Vec::new();
        let of = last
            .chunks_exact(size.max(1))
            .map(|plane| {
                *known.entry(plane).or_insert_with(|| {
                    kinds.push(plane);
                    kinds.len() - 1
                })
            })
            .collect();
        Self { kinds, of }
    }
}

/// A linear map of a picture [1, channels, rows, columns] to one of `outputs` channels. `weight` gives that of an
/// output, of an input by its place in the group, and of a tap.
fn linear(
    x: &Dependence,
    (outputs, groups): (usize, usize),
    (rows, columns): (&Reads, &Reads),
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Option<Dependence> {
    let [1, channels, height, width] = x.dims[..] else {
        return None;
    };
    let per_group = channels.checked_div(groups)?;
    let outputs_of_group = outputs.checked_div(groups).filter(|&count| count > 0)?;
    if per_group * groups != channels || outputs_of_group * groups != outputs {
        return None;
    }
    let (tall, wide) = (rows.first()?.len(), columns.first()?.len());
    let size = count(&[rows.len(), columns.len()])?;
    count(&[outputs, size])?;
    let mut work = 0usize;
    let taps = tall * wide;
    let planes = Planes::new(&x.last, height * width);
    let kinds = planes.kinds.len();
    let mut made: HashMap<Vec<bool>, usize> = HashMap::new();
    let mut last: Vec<i32> = Vec::with_capacity(outputs * rows.len() * columns.len());
    for output in 0..outputs {
        let first = output / outputs_of_group * per_group;
        let mut connected = vec![false; kinds * taps];
        for (input, &kind) in planes.of[first..first + per_group].iter().enumerate() {
            for (tap, connected) in connected[kind * taps..][..taps].iter_mut().enumerate() {
                *connected |= weight(output, input, tap) != 0.0;
            }
        }
        if let Some(&same) = made.get(&connected) {
            last.extend_from_within(same * size..(same + 1) * size);
            continue;
        }
        let sources: Vec<(&[i32], usize, usize)> = (0..kinds * taps)
            .filter(|&at| connected[at])
            .map(|at| (planes.kinds[at / taps], at % taps / wide, at % wide))
            .collect();
        work = work.saturating_add(sources.len().saturating_mul(size));
        if work > MOST_WORK {
            return None;
        }
        for row in rows {
            for column in columns {
                let seen = sources.iter().filter_map(|&(plane, down, right)| {
                    let (row, column) = (row[down]?, column[right]?);
                    Some(plane[row * width + column])
                });
                last.push(seen.fold(NOTHING, i32::max));
            }
        }
        made.insert(connected, output);
    }
    Some(Dependence {
        dims: vec![1, outputs, rows.len(), columns.len()],
        last,
    })
}

impl Walk<'_> {
    pub(super) fn convolution(&self, node: &Node) -> Option<Dependence> {
        let (x, kernel) = (self.first(node)?, self.constant(node, 1)?);
        let ([_, channels, height, width], [outputs, per_group, tall, wide]) = (&x.dims[..], &kernel.dims[..]) else {
            return None;
        };
        let (per_group, taps) = (*per_group, tall * wide);
        let groups = usize::try_from(node.int("group", 1)).ok()?;
        let windows = Windows::of(node)?;
        let (rows, columns) = (windows.reads(0, *height, *tall)?, windows.reads(1, *width, *wide)?);
        let weights = kernel.as_floats()?;
        if per_group * groups != *channels {
            return None;
        }
        linear(&x, (*outputs, groups), (&rows, &columns), |output, input, tap| {
            weights[(output * per_group + input) * taps + tap]
        })
    }

    pub(super) fn transposed_convolution(&self, node: &Node) -> Option<Dependence> {
        let (x, kernel) = (self.first(node)?, self.constant(node, 1)?);
        let ([_, channels, height, width], [inputs, per_group, tall, wide]) = (&x.dims[..], &kernel.dims[..]) else {
            return None;
        };
        let (per_group, taps) = (*per_group, tall * wide);
        let groups = usize::try_from(node.int("group", 1))
            .ok()
            .filter(|&groups| groups > 0)?;
        let windows = Windows::of(node)?;
        let more = match node.ints("output_padding") {
            None => [0, 0],
            Some(&[down, right]) => [usize::try_from(down).ok()?, usize::try_from(right).ok()?],
            Some(_) => return None,
        };
        let rows = windows.transposed(0, *height, *tall, more[0])?;
        let columns = windows.transposed(1, *width, *wide, more[1])?;
        let weights = kernel.as_floats()?;
        if inputs != channels || node.ints("output_shape").is_some() {
            return None;
        }
        let inputs_of_group = inputs / groups;
        linear(
            &x,
            (per_group * groups, groups),
            (&rows, &columns),
            |output, input, tap| {
                let input = output / per_group * inputs_of_group + input;
                weights[(input * per_group + output % per_group) * taps + tap]
            },
        )
    }

    pub(super) fn pool(&self, node: &Node) -> Option<Dependence> {
        let x = self.first(node)?;
        let (&[_, channels, height, width], Some(&[tall, wide])) = (&x.dims[..], node.ints("kernel_shape")) else {
            return None;
        };
        let windows = Windows::of(node)?;
        let rows = windows.reads(0, height, usize::try_from(tall).ok()?)?;
        let columns = windows.reads(1, width, usize::try_from(wide).ok()?)?;
        linear(&x, (channels, channels), (&rows, &columns), |_, _, _| 1.0)
    }

    /// A product with a constant matrix.
    pub(super) fn product(&self, node: &Node) -> Option<Dependence> {
        let (x, matrix) = (self.first(node)?, self.constant(node, 1)?);
        let ([inputs, outputs], Some(weights)) = (&matrix.dims[..], matrix.as_floats()) else {
            return None;
        };
        x.times((*inputs, *outputs), |output, input| weights[input * outputs + output])
    }

    pub(super) fn gemm(&self, node: &Node) -> Option<Dependence> {
        let (x, matrix) = (self.first(node)?, self.constant(node, 1)?);
        let (&[first, second], Some(weights)) = (&matrix.dims[..], matrix.as_floats()) else {
            return None;
        };
        let added_is_constant = match node.inputs.get(2).map(String::as_str) {
            None | Some("") => true,
            Some(_) => self.constant(node, 2).is_some(),
        };
        if node.int("transA", 0) != 0 || !added_is_constant {
            return None;
        }
        if node.int("transB", 0) == 0 {
            x.times((first, second), |output, input| weights[input * second + output])
        } else {
            x.times((second, first), |output, input| weights[output * second + input])
        }
    }

    /// What mixes all numbers along an axis; in older graphs, and where it normalises, along all from there on.
    pub(super) fn along_axis(&self, node: &Node) -> Option<Dependence> {
        let x = self.first(node)?;
        let rank = x.dims.len();
        let has_one_axis = node.op_type() != "LayerNormalization" && self.opset >= 13;
        let first = axis(node.int("axis", if self.opset >= 13 { -1 } else { 1 }), rank)?;
        let axes: Vec<usize> = if has_one_axis {
            vec![first]
        } else {
            (first..rank).collect()
        };
        x.reduced(&axes).expanded(&x.dims)
    }

    /// What mixes the whole picture.
    pub(super) fn over_picture(&self, node: &Node) -> Option<Dependence> {
        let x = self.first(node)?;
        let axes: Vec<usize> = (1..x.dims.len()).collect();
        x.reduced(&axes).expanded(&x.dims)
    }

    pub(super) fn reduce(&self, node: &Node) -> Option<Dependence> {
        let x = self.first(node)?;
        let rank = x.dims.len();
        let axes: Vec<usize> = match self.ints(node, 1, "axes") {
            Some(axes) => axes.iter().map(|&number| axis(number, rank)).collect::<Option<_>>()?,
            None if node.inputs.len() > 1 || node.int("noop_with_empty_axes", 0) != 0 => return None,
            None => (0..rank).collect(),
        };
        let all = x.reduced(&axes);
        if node.int("keepdims", 1) != 0 {
            return Some(all);
        }
        let kept = x.dims.iter().enumerate().filter(|(at, _)| !axes.contains(at));
        let kept = kept.map(|(_, &size)| size).collect();
        all.reshaped(kept)
    }
}

impl Dependence {
    /// The largest along axes, which become of size 1.
    fn reduced(&self, axes: &[usize]) -> Self {
        let mut all = self.clone();
        for &axis in axes {
            let inner: usize = all.dims[axis + 1..].iter().product();
            let size = all.dims[axis] * inner;
            let mut last = Vec::with_capacity(all.last.len() / all.dims[axis].max(1));
            for block in all.last.chunks_exact(size.max(1)) {
                last.extend((0..inner).map(|at| {
                    let along = block[at..].iter().step_by(inner);
                    along.copied().fold(NOTHING, i32::max)
                }));
            }
            all.dims[axis] = 1;
            all.last = last;
        }
        all
    }

    /// The last axis times a matrix, whose entries `weight` gives by output and input.
    fn times(&self, (inputs, outputs): (usize, usize), weight: impl Fn(usize, usize) -> f32) -> Option<Self> {
        if self.dims.last() != Some(&inputs) {
            return None;
        }
        let places = self.last.len().checked_div(inputs)?;
        let picture = self.clone().reshaped(vec![places, inputs])?.permuted(&[1, 0])?;
        let picture = picture.reshaped(vec![1, inputs, 1, places])?;
        let (rows, columns) = (
            vec![vec![Some(0)]],
            (0..places).map(|place| vec![Some(place)]).collect(),
        );
        let mixed = linear(&picture, (outputs, 1), (&rows, &columns), |output, input, _| {
            weight(output, input)
        })?;
        let mut dims = self.dims.clone();
        *dims.last_mut()? = outputs;
        mixed.reshaped(vec![outputs, places])?.permuted(&[1, 0])?.reshaped(dims)
    }
}
