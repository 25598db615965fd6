//! Graphs in which images of a batch see each other. Run alone, each image has one number; whether that is what its
//! author means, no file tells: of batch statistics it is not.

use super::files;
use crate::import::{
    Problem,
    interview::{Interview, Question},
    reading::{Batch, Reading},
};

/// What the answer is called, as in `[serving]`.
pub(super) const KEY: &str = "batch";
const ONE: &str = "1";
const ANY: &str = "any";

/// Asks about graphs that are known to compute over a batch.
pub(super) fn ask(brought: &[Reading], interview: &mut Interview) -> Result<(), Problem> {
    // Said unasked, it is done with any graph.
    let answer = interview.given(KEY);
    if let Some(other) = answer.as_deref().filter(|answer| ![ONE, ANY].contains(answer)) {
        let what = format!("{other:?} is no answer");
        return Err(Problem::new("--declare batch", what, "say 1, or leave it out"));
    }
    let is_mixed = brought.iter().any(|reading| reading.batch == Batch::Mixed);
    match answer.as_deref() {
        None if is_mixed => {
            interview.put(question(brought));
            Ok(())
        }
        Some(ANY) if is_mixed => Err(refusal(brought)),
        _ => Ok(()),
    }
}

/// Whether images are to be run one at a time: somebody said so, or a graph takes no more.
pub(super) fn is_one(brought: &[Reading], interview: &Interview) -> bool {
    is_said(interview) || brought.iter().any(|reading| reading.batch == Batch::One)
}

/// Whether somebody said so.
pub(super) fn is_said(interview: &Interview) -> bool {
    interview.answers().get(KEY).is_some_and(|answer| answer == ONE)
}

/// What is to be said of graphs that compute over a batch. That a number is what is meant is never taken for likely.
pub(super) fn question(brought: &[Reading]) -> Question {
    let option = |value: &str, meaning: &str| (value.to_owned(), meaning.to_owned());
    Question {
        key: KEY.to_owned(),
        text: format!(
            "{} depends on the batch: an image gets other numbers in the company of others. Are those that it gets \
             alone what is meant?",
            files(brought)
        ),
        options: vec![
            option(
                ONE,
                "yes: images are run one at a time, which is slower; the same as --one-at-a-time",
            ),
            option(
                ANY,
                "no, as with batch normalisation in training mode: it is not imported",
            ),
        ],
        likely: ANY.to_owned(),
    }
}

/// The same as a problem, if these answers say no.
pub(super) fn refused_by(answers: &[(String, String)], brought: &[Reading]) -> Option<Problem> {
    let is_no = answers.iter().any(|(key, value)| key == KEY && value != ONE);
    is_no.then(|| refusal(brought))
}

fn refusal(brought: &[Reading]) -> Problem {
    Problem::new(
        files(brought),
        "it depends on the batch: an image gets other numbers in the company of others",
        "export it so that it computes nothing over the batch (batch normalisation in evaluation mode, fixed ranges); \
         if the numbers that an image gets alone are what is meant, --one-at-a-time serves these",
    )
}
