//! Pictures that were flattened into sequences of pixels: shifts along them and convolutions over them.
//!
//! What lies some pixels before is in the same row or, where that begins, at the end of a row above: two neighbours, of
//! which one is outside the image and so zero. A sequence that is padded, or of which something is cut off, is kept
//! apart until it has as many places as the image has pixels.

mod convolution;

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    operators::output_of,
    strides::of_node,
};
use crate::graph::{
    constant::{Constant, Values},
    protobuf::{ElementType, Node},
    wavefront::{
        Unsupported,
        stencil::{Operand, Operator, Stride},
    },
};

/// Pixels that a sequence may be padded by on a side.
const MOST_PADDING: u64 = 1 << 20;

/// Places along the pixels of a view: the pixel `from`, and those after it. Before the first pixel and after the last
/// all is zero.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    view: View,
    axis: usize,
    from: i64,
    len: i64,
    /// Whether what lies outside the image is known.
    known: bool,
}

impl Sequence {
    fn whole(view: View, axis: usize) -> Option<Self> {
        let Axis::Pixels(rows, columns) = view.axes[axis] else {
            return None;
        };
        Some(Self {
            axis,
            from: 0,
            len: rows * columns,
            known: true,
            view,
        })
    }

    /// The same with its axes in another order, or with more or fewer of size 1.
    fn rearranged(mut self, node: &Node, given: Option<&[i64]>) -> Option<Self> {
        let axes = &self.view.axes;
        let resolved = |list: &[i64], rank: usize| -> Option<Vec<usize>> {
            list.iter().map(|&axis| axes::resolve(axis, rank).ok()).collect()
        };
        // Where each axis was; new ones were nowhere.
        let from: Vec<Option<usize>> = match node.op_type() {
            "Transpose" => resolved(node.ints("perm")?, axes.len())?
                .into_iter()
                .map(Some)
                .collect(),
            "Unsqueeze" => {
                let new = resolved(given?, axes.len() + given?.len())?;
                let mut own = 0..axes.len();
                let place = |at: usize| if new.contains(&at) { None } else { own.next() };
                (0..axes.len() + new.len()).map(place).collect()
            }
            _ => {
                let gone = resolved(given?, axes.len())?;
                if gone.iter().any(|&at| !matches!(axes[at], Axis::Unit)) {
                    return None;
                }
                (0..axes.len()).filter(|at| !gone.contains(at)).map(Some).collect()
            }
        };
        let of_features = |at: &usize| axes[*at].features().is_some();
        if !from.iter().flatten().copied().filter(of_features).is_sorted() {
            return None;
        }
        let axis = from.iter().position(|&at| at == Some(self.axis))?;
        let rearranged = from.iter().map(|at| at.map_or(Axis::Unit, |at| axes[at])).collect();
        (self.axis, self.view.axes) = (axis, rearranged);
        Some(self)
    }

    fn size(&self) -> (i64, i64) {
        self.view.extent().unwrap_or((1, 1))
    }

    fn pixels(&self) -> i64 {
        let (rows, columns) = self.size();
        rows * columns
    }

    /// Why it is not computed with.
    pub(super) fn unsupported(&self) -> Unsupported {
        Unsupported::new(if self.len == 1 {
            "a single pixel, as where a loop over pixels was unrolled by the exporter"
        } else {
            "a sequence of pixels that is longer or shorter than the picture"
        })
    }

    /// Whether it is as long as the picture, or as the picture and a token before it.
    fn is_started(&self) -> bool {
        self.len == self.pixels() || self.len == self.pixels() + 1
    }

    /// Whether reading `offset` pixels on finds zeros wherever the sequence has none.
    fn ends(&self, offset: i64) -> bool {
        let end = self.from + self.len - self.pixels();
        (self.from <= 0 || offset >= self.from) && (end >= 0 || offset <= end)
    }
}

fn zero() -> Entity {
    Entity::Constant(Constant::floats(vec![], vec![0.0]))
}

/// Where the pixel lies that comes `offset` after: in one of these places, the other is outside.
pub(super) fn along(offset: i64, columns: i64) -> Vec<(i64, i64)> {
    let (down, right) = (offset.div_euclid(columns), offset.rem_euclid(columns));
    let mut places = vec![(down, right)];
    if right > 0 {
        places.push((down + 1, right - columns));
    }
    places
}

impl Lowering {
    /// The sequence that a node works on, if it is one that is kept apart.
    pub(super) fn sequence_of(&self, node: &Node) -> Option<Sequence> {
        node.inputs.iter().find_map(|name| self.sequences.get(name)).cloned()
    }

    /// The sequence along an axis of a picture that may be shifted and is there for every pixel.
    pub(super) fn sequence(&self, view: &View, axis: usize) -> Result<Sequence, Unsupported> {
        let usable = self.is_whole(view) && view.stride == Stride::ONE;
        let sequence = usable.then(|| Sequence::whole(view.clone(), axis)).flatten();
        sequence.ok_or_else(|| Unsupported::new("padding or cutting of a sequence of pixels that is not the picture's"))
    }

    /// Adds places before and after along the pixels, and takes away where that is less than nothing.
    pub(super) fn lengthen(&mut self, node: &Node, view: &View, axis: usize, by: [i64; 2], value: f32) -> Done {
        let sequence = self.sequence(view, axis)?;
        self.lengthened(node, sequence, by, value)
    }

    fn lengthened(&mut self, node: &Node, mut sequence: Sequence, [before, after]: [i64; 2], value: f32) -> Done {
        if [before, after].iter().any(|count| count.unsigned_abs() > MOST_PADDING) {
            return Err(Unsupported::new("padding beyond all bounds"));
        }
        let was_shorter = sequence.from > 0 || sequence.from + sequence.len < sequence.pixels();
        if (before > 0 || after > 0)
            && (!sequence.known || (was_shorter && (sequence.from, before, after) != (0, before, 0)))
        {
            return Err(Unsupported::new("padding of a sequence of pixels that was cut"));
        }
        sequence.from -= before;
        sequence.len += before + after;
        if sequence.len < 1 {
            return Err(Unsupported::new("nothing is left of the tensor"));
        }
        if value == 0.0 {
            return self.keep(node, sequence);
        }
        if (sequence.from, before) != (-1, 1) || !sequence.is_started() {
            return Err(Unsupported::new("padding with another value than zero"));
        }
        self.shift(node, sequence, &Entity::Constant(Constant::floats(vec![], vec![value])))
    }

    /// Defines a sequence as what it is, where it has a place for every pixel.
    fn keep(&mut self, node: &Node, sequence: Sequence) -> Done {
        if sequence.len == sequence.pixels() && sequence.from == 0 {
            return self.define(node, Entity::View(sequence.view));
        }
        if sequence.len == sequence.pixels() && sequence.known {
            return self.shift(node, sequence, &zero());
        }
        self.sequences.insert(output_of(node)?, sequence);
        Ok(())
    }

    /// What operators do to a sequence that is kept apart.
    pub(super) fn on_sequence(&mut self, node: &Node, mut sequence: Sequence) -> Done {
        match node.op_type() {
            "Identity" | "Dropout" => self.keep(node, sequence),
            "Conv" => self.convolution_along(node, sequence),
            "Transpose" | "Unsqueeze" | "Squeeze" => {
                let given = match node.ints("axes") {
                    Some(axes) => Some(axes.to_vec()),
                    None => self.ints_input(node, 1)?,
                };
                let sequence = sequence.rearranged(node, given.as_deref());
                self.keep(
                    node,
                    sequence.ok_or_else(|| Unsupported::new("another order of what a sequence has"))?,
                )
            }
            "Pad" => {
                let rank = sequence.view.axes.len();
                let (pads, value) = self.paddings_of(node, rank)?;
                let others = pads
                    .iter()
                    .enumerate()
                    .any(|(axis, &pads)| axis != sequence.axis && pads != [0, 0]);
                if others {
                    return Err(Unsupported::new("padding of another axis than that of the pixels"));
                }
                let by = pads[sequence.axis];
                self.lengthened(node, sequence, by, value)
            }
            "Slice" => {
                let sizes: Vec<i64> = (0..sequence.view.axes.len())
                    .map(|axis| match axis {
                        _ if axis == sequence.axis => sequence.len,
                        _ => sequence.view.axes[axis].size() as i64,
                    })
                    .collect();
                for (axis, indices) in self.slices_of(node, &sizes)? {
                    let consecutive = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
                    if axis != sequence.axis && indices.len() as i64 == sizes[axis] && consecutive {
                        continue;
                    }
                    if axis != sequence.axis || !consecutive || indices.is_empty() {
                        return Err(Unsupported::new(
                            "a selection out of a sequence of pixels that was padded",
                        ));
                    }
                    sequence.from += indices[0];
                    sequence.len = indices.len() as i64;
                }
                self.keep(node, sequence)
            }
            "Concat" => {
                let [token, rest] = &node.inputs[..] else {
                    return Err(Unsupported::new("a concatenation of places"));
                };
                let axis = axes::resolve(node.int("axis", 0), sequence.view.axes.len())?;
                match self.entities.get(token).cloned() {
                    Some(token) if self.sequences.contains_key(rest) && axis == sequence.axis => {
                        self.started(node, sequence, &token)
                    }
                    _ => Err(Unsupported::new("a concatenation of places")),
                }
            }
            _ if (sequence.from, sequence.len) == (-1, sequence.pixels() + 1) && sequence.known => {
                let is_it = |name: &&String| self.sequences.contains_key(*name);
                let own = Node {
                    outputs: node.inputs.iter().find(is_it).cloned().into_iter().collect(),
                    ..node.clone()
                };
                self.sequences.remove(&output_of(&own)?);
                self.shift(&own, sequence, &zero())?;
                self.node(node)
            }
            _ => Err(sequence.unsupported()),
        }
    }

    /// A token and the pixels after it: all of them, or all but the last.
    pub(super) fn started(&mut self, node: &Node, mut sequence: Sequence, token: &Entity) -> Done {
        let mut own: Vec<usize> = sequence.view.axes.iter().map(|axis| axis.size()).collect();
        own[sequence.axis] = 1;
        let sizes: Vec<usize> = match token {
            Entity::Constant(token) => token.dims.clone(),
            Entity::View(token) => token.axes.iter().map(|axis| axis.size()).collect(),
        };
        sequence.len += 1;
        if sizes != own || sequence.from != 0 || !sequence.known {
            return Err(Unsupported::new("a concatenation of places"));
        }
        sequence.from = -1;
        if !sequence.is_started() {
            return Err(Unsupported::new("a concatenation of places"));
        }
        self.shift(node, sequence, token)
    }

    /// A picture whose pixels have what others had, so many before or after them; the first has a token.
    fn shift(&mut self, node: &Node, sequence: Sequence, token: &Entity) -> Done {
        let features = axes::features(&sequence.view.axes);
        let Sequence { view, from, .. } = &sequence;
        let (rows, columns) = sequence.size();
        if !sequence.ends(*from) {
            return Err(Unsupported::new("a selection of places that is not one window"));
        }
        // Only real numbers are remembered: whole ones are made of those that they were made of.
        let (mut source, mut cast) = (view.clone(), None);
        let tensor = &self.tensors[view.tensor];
        if let (Operator::Pointwise(own), [Operand::Tensor(read)]) = (&tensor.operator, &tensor.operands[..])
            && !tensor.is_real
            && own.op_type() == "Cast"
            && (read.dy, read.dx) == (0, 0)
        {
            cast = Some(own.clone());
            (source.tensor, source.window) = (read.tensor, read.window);
        }
        let reads = along(*from, columns).into_iter().map(|(dy, dx)| {
            let beside = View {
                dy,
                dx,
                ..source.clone()
            };
            Operand::Tensor(beside.read(features.clone()))
        });
        let mut axes = view.axes.clone();
        if sequence.len > sequence.pixels() {
            axes[sequence.axis] = Axis::Started(rows, columns);
        }
        let add = || Operator::Pointwise(Node::new("Sum", &[], ""));
        let mut made = self.beside(node, add(), reads.collect(), axes.clone())?;
        if let Some(token) = self.at_the_first(node, token, &made)? {
            let operands = vec![Operand::Tensor(made.read(features.clone())), token];
            made = self.beside(node, add(), operands, axes.clone())?;
        }
        let Some(cast) = cast else {
            return self.define(node, Entity::View(made));
        };
        let operands = vec![Operand::Tensor(made.read(features))];
        let own = Node {
            outputs: node.outputs.clone(),
            ..cast
        };
        self.make(&own, Operator::Pointwise(own.clone()), operands, axes)
    }

    /// A token at the first pixel, and zero at all others; nothing if the token is zero.
    fn at_the_first(&mut self, node: &Node, token: &Entity, made: &View) -> Result<Option<Operand>, Unsupported> {
        let features = made.features();
        let (rows, columns) = made.extent().unwrap_or((1, 1));
        let (pixels, width) = ((rows * columns) as usize, features.iter().product::<usize>());
        let of_pixels = |width: usize, mut first: Vec<f32>, features: &[usize]| {
            first.resize(width * pixels, 0.0);
            let dims = [&[rows as usize, columns as usize], features].concat();
            Operand::Table(Constant::floats(dims, first))
        };
        let view = match token {
            Entity::Constant(token) if token.is_zero() => return Ok(None),
            Entity::Constant(token) => {
                let values: Vec<f32> = match &token.values {
                    Values::Floats(values) => values.clone(),
                    Values::Ints(values) => values.iter().map(|&value| value as f32).collect(),
                };
                let first = values.iter().copied().cycle().take(width).collect();
                return Ok(Some(of_pixels(width, first, &features)));
            }
            Entity::View(view) if view.extent().is_none() => view,
            Entity::View(_) => return Err(Unsupported::new("a concatenation of places")),
        };
        let mut token = Operand::Tensor(view.read(features.clone()));
        if !self.is_real(std::slice::from_ref(&token)) {
            let cast = Operator::Pointwise(Node::new("Cast", &[], "").with_int("to", ElementType::Float as i64));
            let real = self.tensor(of_node(node, cast, vec![token], &view.axes, true))?;
            token = Operand::Tensor(self.view(real, view.axes.clone()).read(features.clone()));
        }
        let ones = vec![1; features.len()];
        let operands = vec![token, of_pixels(1, vec![1.0], &ones)];
        let product = Operator::Pointwise(Node::new("Mul", &[], ""));
        let product = self.beside(node, product, operands, made.axes.clone())?;
        Ok(Some(Operand::Tensor(product.read(features))))
    }
}
