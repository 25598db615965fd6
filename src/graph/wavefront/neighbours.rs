//! Convolutions that a graph writes as a product with neighbours laid side by side.
//!
//! Laid side by side, the neighbours of a pixel are read all together, those behind it as well, though a mask gives
//! them no weight. As taps of a convolution each is read by itself, and what has no weight is not read.

use std::collections::BTreeMap;

use super::stencil::{Linear, Operand, Operator, Read, Stencil, StencilTensor, Tap, Window};

/// Where a feature comes from that was only moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) tensor: usize,
    pub(super) feature: usize,
    pub(super) dy: i64,
    pub(super) dx: i64,
    /// In coordinates of the tensor.
    pub(super) window: Window,
}

impl Origin {
    /// What is read there, where that was moved itself.
    fn through(self, inner: Self) -> Self {
        Self {
            dy: self.dy + inner.dy,
            dx: self.dx + inner.dx,
            window: self.window.shifted(inner.dy, inner.dx).intersect(inner.window),
            ..inner
        }
    }
}

/// Where the features of a tensor come from; not of all is that known.
pub(super) type Origins = Vec<Option<Origin>>;

/// The products that are convolutions of what their neighbours come from, by their place among the tensors.
pub(super) fn convolutions(stencil: &Stencil) -> Vec<(usize, StencilTensor)> {
    let mut origins: Vec<Option<Origins>> = Vec::with_capacity(stencil.tensors.len());
    let mut found = Vec::new();
    for (at, tensor) in stencil.tensors.iter().enumerate() {
        origins.push(moved(tensor, &origins));
        found.extend(convolution(stencil, tensor, &origins).map(|tensor| (at, tensor)));
    }
    found
}

/// Where the features of a tensor come from that only arranges what others have.
pub(super) fn moved(tensor: &StencilTensor, known: &[Option<Origins>]) -> Option<Origins> {
    let arranges = matches!(
        tensor.operator,
        Operator::Concat { .. } | Operator::Select { .. } | Operator::Permute(_)
    );
    if !arranges || tensor.extent.is_none() {
        return None;
    }
    let mut windows = BTreeMap::new();
    for (read, dy, dx) in tensor.reads() {
        if *windows.entry((read.tensor, dy, dx)).or_insert(read.window) != read.window {
            return None;
        }
    }
    let mut own: Origins = vec![None; tensor.width()];
    tensor.dependencies(|found| {
        let Some(&window) = windows.get(&(found.tensor, found.dy, found.dx)) else {
            return;
        };
        let outer = Origin {
            tensor: found.tensor,
            feature: found.source,
            dy: found.dy,
            dx: found.dx,
            window,
        };
        own[found.feature] = match &known[found.tensor] {
            // What has constants beside what it arranges is read itself.
            Some(inner) if inner.iter().all(Option::is_some) => inner[found.source].map(|inner| outer.through(inner)),
            _ => Some(outer),
        };
    });
    Some(own)
}

/// A product over what was moved, as a convolution of where that comes from, if it is all of one tensor.
fn convolution(stencil: &Stencil, tensor: &StencilTensor, known: &[Option<Origins>]) -> Option<StencilTensor> {
    let (Operator::Linear(linear), [Operand::Tensor(read)]) = (&tensor.operator, &tensor.operands[..]) else {
        return None;
    };
    let inner = known[read.tensor].as_ref().filter(|_| linear.outputs > 0)?;
    let mut source = None;
    let mut places: BTreeMap<(i64, i64), (Window, Vec<f32>)> = BTreeMap::new();
    for tap in &linear.taps {
        for (feature, weights) in tap.weights.chunks_exact(linear.outputs).enumerate() {
            if weights.iter().all(|&weight| weight == 0.0) {
                continue;
            }
            let outer = Origin {
                tensor: read.tensor,
                feature,
                dy: read.dy + tap.dy,
                dx: read.dx + tap.dx,
                window: read.window,
            };
            let origin = outer.through(inner[feature]?);
            if *source.get_or_insert(origin.tensor) != origin.tensor {
                return None;
            }
            let size = stencil.tensors[origin.tensor].width() * linear.outputs;
            let place = places.entry((origin.dy, origin.dx));
            let (window, sums) = place.or_insert_with(|| (origin.window, vec![0.0; size]));
            if *window != origin.window {
                return None;
            }
            let sums = &mut sums[origin.feature * linear.outputs..];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += weight;
            }
        }
    }
    let source = source?;
    let window = common(tensor, places.iter().map(|(&place, (window, _))| (place, *window)))?;
    let inputs = stencil.tensors[source].width();
    let taps = places
        .into_iter()
        .map(|((dy, dx), (_, weights))| Tap { dy, dx, weights });
    let convolved = Linear {
        inputs,
        outputs: linear.outputs,
        taps: taps
            .filter(|tap| tap.weights.iter().any(|&weight| weight != 0.0))
            .collect(),
        bias: linear.bias.clone(),
    };
    let read = Read {
        tensor: source,
        dy: 0,
        dx: 0,
        window,
        features: vec![inputs],
    };
    (!convolved.taps.is_empty()).then(|| StencilTensor {
        operator: Operator::Linear(convolved),
        operands: vec![Operand::Tensor(read)],
        ..tensor.clone()
    })
}

/// One window that shows at every place that is read what its own window shows.
fn common(tensor: &StencilTensor, places: impl Iterator<Item = ((i64, i64), Window)> + Clone) -> Option<Window> {
    let (rows, columns) = tensor.extent?;
    let all = places.clone().map(|(_, window)| window).reduce(Window::union)?;
    let mut places = places;
    let same = places.all(|((dy, dx), window)| {
        let reach = Window::of_size(rows, columns).shifted(dy, dx);
        reach.intersect(all) == reach.intersect(window) || reach.intersect(all).is_empty()
    });
    same.then_some(all)
}
