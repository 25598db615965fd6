//! Trials of a graph on images made up for the purpose, as steps of the gate.

use std::time::{Duration, Instant};

use super::{
    Gate, GateError,
    batch_independence::{self, Broken, Kept, Parts},
    failed,
};
use crate::{
    domain::random::{Random, Stream},
    families::NetworkError,
    model::refusal::first_of,
    runtime::one_thread::OneThread,
};

/// Others that item 0 is run amid: as many that no neighbour by one or two places is the item itself, in whichever
/// direction and whether the last is followed by the first or not.
const OTHERS: usize = 4;

/// The same where kernels are not the runtime's own: more of them, since these may be chosen by the size of a batch.
const OTHERS_ELSEWHERE: usize = 15;

/// Others in a second trial, for what is computed otherwise in large batches: as many as share a run by default. It
/// takes memory and time, so it is left to graphs that ask for sizes or have branches: no other knows a large batch.
const MANY_OTHERS: usize = 31;

/// Time that a second trial may take; with large networks it is made amid fewer.
const TIME_OF_MANY: Duration = Duration::from_secs(2);

impl Gate<'_> {
    /// Numbers for trials of the graph in `file`: others for every graph.
    pub(in crate::families) fn probe(&self, file: &str) -> Random {
        Random::new(self.seed(file), Stream::Probe, 0)
    }

    /// The first bytes of the file's hash, so that every graph is tried elsewhere.
    pub(in crate::families) fn seed(&self, file: &str) -> u64 {
        let hash = self.manifest().sha256.get(file);
        let start = hash.and_then(|hash| hash.get(..16));
        start
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .unwrap_or_default()
    }

    /// Tries whether items 0 to 2 give the same alone and in company. Answers what is given of items 1 and 2.
    pub(in crate::families) fn keeps_apart(
        &mut self,
        file: &str,
        run: &mut batch_independence::Run<'_, NetworkError>,
    ) -> Result<Vec<Parts>, GateError> {
        let refused = |cause| failed(file, cause);
        if self.declared().random {
            self.warn(format!(
                "{file} draws random numbers, as declared: no two answers are the same"
            ));
            return run(&[1, 2]).map_err(refused);
        }
        let others = if self.placement().is_reference() {
            OTHERS
        } else {
            OTHERS_ELSEWHERE
        };
        let most = if self.knows_batch_size { MANY_OTHERS } else { others };
        let tried = if self.placement().is_reference() {
            on_several_threads_or_one(&self.one_thread, others, most, run)
        } else {
            among_few_and_many(others, most, run)
        };
        match tried.map_err(refused)? {
            // What draws under some images only would be caught by luck.
            Ok(_) if !self.drawing.is_empty() => Err(GateError::Draws {
                file: file.to_owned(),
                nodes: named(&self.drawing),
                cure: self.cure_of_chance(),
            }),
            Ok(((kept, amid), others)) => {
                let on_one_thread = if self.one_thread.is_kept() {
                    ", on one thread: several would part its sums otherwise"
                } else {
                    ""
                };
                self.passed(
                    "company",
                    format!("{file}: {kept}, amid up to {amid} of them{on_one_thread}"),
                );
                Ok(others)
            }
            Err(Broken::Random) => Err(GateError::Random {
                file: file.to_owned(),
                nodes: match self.drawing.as_slice() {
                    [] => String::new(),
                    nodes => format!(", drawn by {}", named(nodes)),
                },
                cure: self.cure_of_chance(),
            }),
            Err(Broken::Company(difference)) => Err(GateError::Company {
                file: file.to_owned(),
                difference,
                also: String::new(),
            }),
        }
    }

    /// The same of what `run` gives of images that are made up.
    pub(in crate::families) fn keeps_images_apart(
        &mut self,
        file: &str,
        run: impl Fn(&[&[u8]]) -> Result<Vec<Parts>, NetworkError>,
    ) -> Result<(), GateError> {
        let strange = batch_independence::images(self.manifest().shape, &self.probe(file));
        self.keeps_apart(file, &mut |items| {
            let images: Vec<&[u8]> = items.iter().map(|&item| &strange[item][..]).collect();
            run(&images)
        })
        .map(drop)
    }

    fn cure_of_chance(&self) -> &'static str {
        if self.manifest().contract.declarable().contains(&"random") {
            ", or say [declared] random = true"
        } else {
            ""
        }
    }
}

/// The first of nodes, and how many more there are.
fn named(nodes: &[String]) -> String {
    const TOLD: usize = 3;
    first_of(TOLD, nodes)
}

/// What company changes, amid how many others at most, and what is given of items 1 and 2.
type Tried = Result<((Kept, usize), Vec<Parts>), Broken>;

/// Tries a few others and many; on one thread, if company changes anything on several. `one` says that it stays there
/// where that helps.
fn on_several_threads_or_one(
    one: &OneThread,
    few: usize,
    most: usize,
    run: &mut batch_independence::Run<'_, NetworkError>,
) -> Result<Tried, NetworkError> {
    let tried = among_few_and_many(few, most, run)?;
    let is_settled = matches!(tried, Ok(((Kept::Exactly, _), _)) | Err(Broken::Random));
    if is_settled || one.is_kept() {
        return Ok(tried);
    }
    one.keep(true);
    let on_one = among_few_and_many(few, most, run)?;
    // A deep network makes much of what several threads round otherwise.
    if matches!(on_one, Ok(((Kept::Exactly, _), _))) || tried.is_err() {
        return Ok(on_one);
    }
    one.keep(false);
    Ok(tried)
}

/// Tries a few others, and up to `most` if there is time for that.
fn among_few_and_many(
    few: usize,
    most: usize,
    run: &mut batch_independence::Run<'_, NetworkError>,
) -> Result<Tried, NetworkError> {
    let mut each = f64::INFINITY;
    let mut timed = |items: &[usize]| {
        let start = Instant::now();
        let found = run(items);
        each = each.min(start.elapsed().as_secs_f64() / items.len() as f64);
        found
    };
    let (kept, others) = match batch_independence::probe(few, &mut timed)? {
        Ok(found) => found,
        Err(broken) => return Ok(Err(broken)),
    };
    let many = ((TIME_OF_MANY.as_secs_f64() / each.max(1e-9)) as usize).min(most);
    if many <= few {
        return Ok(Ok(((kept, few), others)));
    }
    Ok(batch_independence::probe(many, run)?.map(|(also, _)| ((kept.and(also), many), others)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_company_changes_on_several_threads_only_stays_on_one() {
        // What company adds to the numbers on several threads and on one.
        let tried = |several: f32, one_thread: f32| {
            let one = OneThread::default();
            let mut run = |items: &[usize]| {
                let change = match items.len() {
                    1 => 0.0,
                    _ if one.is_kept() => one_thread,
                    _ => several,
                };
                let numbers = |&item: &usize| vec![vec![1.0 + item as f32 + change; 8]];
                Ok(items.iter().map(numbers).collect())
            };
            let found = on_several_threads_or_one(&one, 2, 2, &mut run).unwrap();
            (found.map(|((kept, _), _)| kept), one.is_kept())
        };
        let (little, much) = (f32::EPSILON, 0.25);
        assert_eq!(tried(0.0, much), (Ok(Kept::Exactly), false));
        assert_eq!(tried(little, 0.0), (Ok(Kept::Exactly), true));
        assert_eq!(tried(much, 0.0), (Ok(Kept::Exactly), true));
        assert_eq!(tried(little, little), (Ok(Kept::Rounded(little)), false));
        assert_eq!(tried(much, little), (Ok(Kept::Rounded(little)), true));
        assert_eq!(tried(much, much), (Err(Broken::Company(much)), true));
    }
}
