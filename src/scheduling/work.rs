//! What the scheduler is told about a kind of work.

use std::fmt;

use super::Parallelism;

/// A kind of work that is done in batches.
pub trait Work: fmt::Debug + Send + Sync + 'static {
    /// What goes in.
    type Item: Send + 'static;
    /// What comes out.
    type Output: Send + 'static;

    /// Rows that the item adds to a batch: at least 1.
    fn rows(&self, item: &Self::Item) -> usize;

    /// Turns that the item still needs, as far as is known: at least 1.
    fn turns(&self, _: &Self::Item) -> u64 {
        1
    }

    /// Rows that take little longer together than one of them alone, as where a run reads many weights whatever it is
    /// for. A batch may have so many, however long it takes.
    fn together(&self) -> usize {
        1
    }

    /// One turn for a batch: for each item, in order, its result or the item itself if it needs another turn. An error,
    /// a panic or a wrong number of steps fails every item of the batch.
    fn run(&self, items: Vec<Self::Item>, parallelism: Parallelism) -> Turn<Self::Item, Self::Output>;
}

/// What a turn comes to: a step for each item, or why the batch failed.
pub type Turn<I, O> = Result<Vec<Step<I, O>>, String>;

/// Where an item stands after a turn.
#[derive(Debug)]
pub enum Step<I, O> {
    /// Finished.
    Done(O),
    /// It needs another turn.
    Again(I),
}
