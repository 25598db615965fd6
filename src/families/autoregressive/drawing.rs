//! Images being drawn, or followed to be coded, a few steps or a pass at a time.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    network::{Given, Logits, Network, Prediction, Scratch},
    wavefront::{Known, Walk, Wavefront},
};
use crate::{
    domain::{
        coding::{Decoder, Encoder},
        random::Random,
    },
    model::{progress::Progress, work::threads},
    scheduling::{Parallelism, Step, Turn, Work},
};

/// Images being drawn: along wavefronts where the graph could be compiled and that is quicker, else by fixed-point
/// iteration over full passes.
#[derive(Debug)]
pub(super) struct Drawing {
    network: Arc<Network>,
    /// Smoothed turns that an image took.
    turns: AtomicU64,
}

/// An image to be drawn or followed.
#[derive(Debug)]
pub(super) struct Order {
    /// Levels in channel, row, column order; only those of known dimensions count.
    pub(super) levels: Vec<u8>,
    /// The label, for a conditional model.
    pub(super) label: u32,
    /// What decides on levels.
    pub(super) purpose: Purpose,
    /// Whom to tell how far the image is.
    pub(super) progress: Option<Progress>,
}

/// What becomes of the distribution of each dimension.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A level is drawn from it.
    Draw(Draw),
    /// The level that is there is coded by it.
    Encode(Box<Encoder>),
    /// The level is read from a code by it.
    Decode(Box<Decoder>),
}

/// How levels are drawn.
#[derive(Debug)]
pub(super) struct Draw {
    /// Dimensions that are given, by storage index; none if empty.
    pub(super) known: Arc<[bool]>,
    /// The numbers that decide.
    pub(super) random: Random,
    /// Temperature.
    pub(super) temperature: f64,
    /// Whether a level was drawn from logits that describe no distribution.
    pub(super) undefined: bool,
}

impl Draw {
    pub(super) fn new(known: &Arc<[bool]>, random: Random, temperature: f64) -> Self {
        Self {
            known: Arc::clone(known),
            random,
            temperature,
            undefined: false,
        }
    }

    fn knows(&self, index: usize) -> bool {
        self.known.get(index).copied().unwrap_or(false)
    }

    /// Draws the level of a dimension with the uniform number that belongs to it.
    fn level(&self, index: usize, prediction: Prediction<'_>, scratch: &mut Scratch) -> u8 {
        prediction.draw(self.temperature, self.random.uniform(index as u32), scratch)
    }
}

impl Purpose {
    /// The level of a dimension that is predicted, where `level` stands.
    fn settle(&mut self, index: usize, level: u8, prediction: Prediction<'_>, scratch: &mut Scratch) -> u8 {
        match self {
            Self::Draw(draw) if draw.knows(index) => level,
            Self::Draw(draw) => {
                draw.undefined |= !prediction.describes();
                draw.level(index, prediction, scratch)
            }
            Self::Encode(encoder) => {
                prediction.divide(encoder.frequencies(), scratch);
                prediction.encode(level, encoder, scratch);
                level
            }
            Self::Decode(decoder) => {
                prediction.divide(decoder.frequencies(), scratch);
                decoder.decode()
            }
        }
    }
}

/// An image that is being drawn.
#[derive(Debug)]
pub(super) struct Canvas {
    order: Order,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not begun: it takes no memory while it waits.
    Waiting,
    Walk(Walk),
    Guess(Guess),
}

/// An image by fixed-point iteration.
///
/// Every dimension has its own random number, so a draw is a deterministic function of the dimensions before it, and
/// the image is the fixed point of "draw every dimension given the image". Each turn makes one pass and draws again; as
/// far as the new image agrees with the one that went in, it is final, and so is the first dimension that differs. The
/// result is that of drawing one dimension a pass, in fewer passes (Song et al. 2021; Wiggers and Hoogeboom 2020).
#[derive(Debug)]
struct Guess {
    /// Final before `frontier`, guesses after it.
    levels: Vec<u8>,
    /// Places in the order of dimensions that are final.
    frontier: usize,
    passes: u64,
}

/// An image that is done.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) levels: Vec<u8>,
    /// What decided on them.
    pub(super) purpose: Purpose,
    /// Full passes that it took, if it was drawn by fixed-point iteration.
    pub(super) passes: Option<u64>,
}

/// Rows of the image beyond the frontier that are guessed anew in a turn. A guess farther out would rest on guesses
/// that are still changing.
const GUESSED_ROWS: usize = 4;

impl Drawing {
    pub(super) fn new(network: Arc<Network>) -> Self {
        let turns = match network.drawing_program() {
            Some(wavefront) => wavefront.steps().div_ceil(wavefront.steps_in_a_turn()),
            None => network.shape().dimensions() as u64,
        };
        Self {
            network,
            turns: AtomicU64::new(turns),
        }
    }

    /// Turns that an image is expected to take.
    pub(super) fn expected_turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    fn observe(&self, turns: u64) {
        let previous = self.turns.load(Ordering::Relaxed);
        self.turns.store((previous * 7 + turns).div_ceil(8), Ordering::Relaxed);
    }

    /// Some steps of every image.
    fn walk(&self, wavefront: &Wavefront, items: Vec<Canvas>) -> Turn<Canvas, Drawn> {
        let (mut orders, mut walks) = (Vec::new(), Vec::new());
        for Canvas { mut order, state } in items {
            walks.push(match state {
                State::Walk(walk) => walk,
                State::Waiting | State::Guess(_) => wavefront.start(std::mem::take(&mut order.levels), order.label),
            });
            orders.push(order);
        }
        let mut scratch = Scratch::default();
        let mut settle = |known: &Known<'_>| {
            let order: &mut Order = &mut orders[known.walk];
            let prediction = self.network.prediction(known);
            order.purpose.settle(known.index, known.level, prediction, &mut scratch)
        };
        let mut moving: Vec<&mut Walk> = walks.iter_mut().collect();
        wavefront
            .advance(&mut moving, wavefront.steps_in_a_turn(), &mut settle)
            .map_err(|error| error.to_string())?;
        Ok(orders
            .into_iter()
            .zip(walks)
            .map(|(order, walk)| {
                if let Some(progress) = &order.progress {
                    progress.tell(wavefront.settled_rows(&walk), walk.levels());
                }
                if !wavefront.is_finished(&walk) {
                    let state = State::Walk(walk);
                    return Step::Again(Canvas { order, state });
                }
                Step::Done(Drawn {
                    levels: wavefront.finish(walk),
                    purpose: order.purpose,
                    passes: None,
                })
            })
            .collect())
    }

    /// A full pass for every image.
    fn guess(&self, items: Vec<Canvas>, parallelism: Parallelism) -> Turn<Canvas, Drawn> {
        let mut guesses: Vec<(Order, Guess)> = items.into_iter().map(Canvas::into_guess).collect();
        let given: Vec<Given<'_>> = guesses
            .iter()
            .map(|(order, guess)| Given {
                levels: &guess.levels,
                label: order.label,
            })
            .collect();
        let logits = self
            .network
            .logits_to_draw(&given, threads(parallelism))
            .map_err(|error| error.to_string())?;
        let (shape, mut scratch) = (self.network.shape(), Scratch::default());
        for (row, (order, guess)) in guesses.iter_mut().enumerate() {
            guess.advance(order, &logits, row, &mut scratch);
        }
        Ok(guesses
            .into_iter()
            .map(|(order, guess)| {
                if let Some(progress) = &order.progress {
                    let row = shape.width() * shape.channels();
                    progress.tell(guess.frontier / row, &guess.levels);
                }
                if guess.frontier < shape.dimensions() {
                    let state = State::Guess(guess);
                    return Step::Again(Canvas { order, state });
                }
                self.observe(guess.passes);
                Step::Done(Drawn {
                    levels: guess.levels,
                    purpose: order.purpose,
                    passes: Some(guess.passes),
                })
            })
            .collect())
    }
}

impl Work for Drawing {
    type Item = Canvas;
    type Output = Drawn;

    fn rows(&self, _: &Canvas) -> usize {
        1
    }

    fn together(&self) -> usize {
        match self.network.drawing_program() {
            Some(wavefront) if wavefront.reads_many_weights() => usize::MAX,
            _ => 1,
        }
    }

    fn run(&self, items: Vec<Canvas>, parallelism: Parallelism) -> Turn<Canvas, Drawn> {
        if let Some(program) = self.network.drawing_program() {
            return self.walk(program, items);
        }
        let Some(program) = self.network.compilation().program() else {
            return self.guess(items, parallelism);
        };
        // What is coded follows the program, whatever draws.
        let is_drawn: Vec<bool> = items.iter().map(Canvas::is_drawn).collect();
        let (drawn, coded): (Vec<_>, Vec<_>) = items.into_iter().partition(Canvas::is_drawn);
        let mut drawn = some(drawn, |items| self.guess(items, parallelism))?.into_iter();
        let mut coded = some(coded, |items| self.walk(program, items))?.into_iter();
        let next = |is_drawn| if is_drawn { drawn.next() } else { coded.next() };
        Ok(is_drawn.into_iter().filter_map(next).collect())
    }
}

/// A turn of items, if there are any.
fn some(items: Vec<Canvas>, turn: impl FnOnce(Vec<Canvas>) -> Turn<Canvas, Drawn>) -> Turn<Canvas, Drawn> {
    if items.is_empty() { Ok(Vec::new()) } else { turn(items) }
}

impl From<Order> for Canvas {
    fn from(order: Order) -> Self {
        let state = State::Waiting;
        Self { order, state }
    }
}

impl Canvas {
    fn is_drawn(&self) -> bool {
        matches!(self.order.purpose, Purpose::Draw(_))
    }

    fn into_guess(self) -> (Order, Guess) {
        let Self { mut order, state } = self;
        let guess = match state {
            State::Guess(guess) => guess,
            State::Waiting | State::Walk(_) => Guess {
                levels: std::mem::take(&mut order.levels),
                frontier: 0,
                passes: 0,
            },
        };
        (order, guess)
    }
}

impl Guess {
    fn advance(&mut self, order: &mut Order, logits: &Logits, row: usize, scratch: &mut Scratch) {
        let shape = logits.shape();
        self.passes += 1;
        // Coding is refused where it would come to full passes: each level would take one.
        let Purpose::Draw(draw) = &mut order.purpose else {
            self.frontier = shape.dimensions();
            return;
        };
        let horizon = self.frontier + GUESSED_ROWS * shape.width() * shape.channels();
        // Dimensions that a prediction may not see settle together.
        let together = logits.predicted_together();
        let (mut settled, mut agrees) = (true, true);
        for place in self.frontier..horizon.min(shape.dimensions()) {
            let index = shape.index_of(place);
            if !draw.knows(index) {
                let (level, describes) = logits.predict(row, index, &self.levels, |prediction| {
                    (draw.level(index, prediction, scratch), prediction.describes())
                });
                let guess = std::mem::replace(&mut self.levels[index], level);
                draw.undefined |= settled && !describes;
                agrees &= guess == level;
            }
            if settled {
                self.frontier = place + 1;
            }
            if (place + 1) % together == 0 {
                settled = agrees;
            }
        }
    }
}
