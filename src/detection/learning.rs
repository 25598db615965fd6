//! Measuring the images that a detector is made from, where some statistics have to be learnt from them first.
//!
//! Learners see the images that fit and rank, and none that calibrate. Their distances from the very images that they
//! have seen are smaller than those of new ones, and densities that were fitted to such distances would find every
//! inlier strange. So these images are measured in folds, each by learners that have seen the other folds; those that
//! calibrate by learners that have seen all folds. That the first have seen a little less can make a detector worse and
//! no promise false: those images calibrate nothing. It does make it worse where few images resemble a new one, such as
//! the other photographs of one part: with five folds, the distances that were ranked among were so much larger than
//! those of new images that none of 300 of these was farther than the outermost 3 % of them. Hence many folds.

use std::{sync::Arc, time::Duration};

use super::{
    calibrate::{Parts, call_without_deadline, measure_all},
    learners::{Knowledge, SAMPLE, SAMPLE_PLACES, Sample},
    panel::{Measurement, Members, Panel, Sight},
    statistics::{Requirement, Statistic},
};
use crate::{
    domain::{
        image::Image,
        random::{Random, Stream},
    },
    model::{Refusal, work::Resources},
};

/// Folds of the images that are learnt from.
const FOLDS: usize = 20;

/// What learns, and for whom.
#[derive(Debug)]
pub struct Learning<'a> {
    /// What it works with.
    pub resources: &'a Resources,
    /// The detector's name.
    pub name: &'a str,
    /// The detector's members.
    pub members: Members,
    /// The detector's statistics.
    pub statistics: Vec<Statistic>,
    /// Places that a bank may keep.
    pub bank: usize,
    /// Decides which places are kept.
    pub seed: u64,
}

impl Learning<'_> {
    /// A panel that has learnt from the images that fit and rank, and what it measures of all images in order, but no
    /// maps. `progress` is told how many images have been measured.
    pub async fn measure(
        &self,
        parts: &Parts,
        progress: impl Fn(usize),
    ) -> Result<(Arc<Panel>, Vec<Measurement>), Refusal> {
        let requirements = learnt(&self.statistics);
        if requirements.is_empty() {
            let panel = self.panel(Knowledge::default())?;
            let all: Vec<Image> = parts.all().cloned().collect();
            let measured = self.measured(&panel, &all, progress).await?;
            return Ok((panel, measured));
        }
        let known: Vec<Image> = parts.fit.iter().chain(&parts.rank).cloned().collect();
        let seen = self.look(&known).await?;
        // A cover takes long. That of all places less those of a fold covers the others but for some gaps, which are
        // filled.
        let cover = match requirements.contains(&Requirement::Neighbours) {
            true => gathered(self.nothing(), &seen, &[], |_| true).cover(self.seed),
            false => Vec::new(),
        };
        let learn = |is_seen: &dyn Fn(usize) -> bool| {
            let sample = gathered(self.nothing(), &seen, &cover, is_seen);
            let knowledge = Knowledge::fit(&requirements, &sample, self.seed);
            self.panel(knowledge.map_err(|cause| Refusal::option("data", cause))?)
        };
        let mut apart: Vec<Option<Measurement>> = vec![None; known.len()];
        let mut done = 0;
        for fold in 0..FOLDS {
            let panel = learn(&|image| image % FOLDS != fold)?;
            let images: Vec<Image> = known.iter().skip(fold).step_by(FOLDS).cloned().collect();
            let measured = self.measured(&panel, &images, |images| progress(done + images)).await?;
            done += images.len();
            for (place, measured) in apart.iter_mut().skip(fold).step_by(FOLDS).zip(measured) {
                *place = Some(measured);
            }
        }
        let panel = learn(&|_| true)?;
        let rest = self
            .measured(&panel, &parts.calibrate, |images| progress(done + images))
            .await?;
        Ok((panel, apart.into_iter().flatten().chain(rest).collect()))
    }

    fn panel(&self, knowledge: Knowledge) -> Result<Arc<Panel>, Refusal> {
        let panel = Panel::new(self.members.clone(), self.statistics.clone(), knowledge);
        panel.map(Arc::new).map_err(|cause| Refusal::option("member", cause))
    }

    async fn measured(
        &self,
        panel: &Arc<Panel>,
        images: &[Image],
        progress: impl Fn(usize),
    ) -> Result<Vec<Measurement>, Refusal> {
        let lane = panel.queue(self.resources, (self.name, "calibrate"), Duration::from_millis(5));
        let measurements = measure_all(&lane, images, &call_without_deadline(self.resources), progress).await?;
        let without_maps = |measurement| Measurement {
            maps: Vec::new(),
            ..measurement
        };
        Ok(measurements.into_iter().map(without_maps).collect())
    }

    /// Some places of every image.
    async fn look(&self, images: &[Image]) -> Result<Vec<Sight>, Refusal> {
        let Some(places) = self.members.places() else {
            return Ok(Vec::new());
        };
        let budget = SAMPLE_PLACES.min(SAMPLE / places.size().max(1));
        let of_each = (budget / images.len().max(1)).clamp(1, places.count());
        let seed = self.seed;
        let keep = move |image: &Image| {
            // Which places are kept depends on the image, not on its place among the others.
            let random = Random::new(seed, Stream::Probe, image.levels().iter().map(|&l| u64::from(l)).sum());
            let mut order: Vec<usize> = (0..places.count()).collect();
            if of_each < order.len() {
                order.sort_by(|&a, &b| random.uniform(a as u32).total_cmp(&random.uniform(b as u32)));
                order.truncate(of_each);
            }
            order
        };
        let lane = self.members.sights(self.resources, (self.name, "calibrate"), keep);
        measure_all(&lane, images, &call_without_deadline(self.resources), |_| ()).await
    }

    /// A sample of the members' places, with none in it.
    fn nothing(&self) -> Sample {
        let places = self.members.places();
        Sample {
            size: places.as_ref().map_or(0, |places| places.size()),
            places: Vec::new(),
            labels: Vec::new(),
            images: Vec::new(),
            is_map: places.is_some_and(|places| places.is_map()),
            bank: self.bank,
            begun: Vec::new(),
        }
    }
}

/// Adds to a sample the places of the images that are seen. It begins with those of them that are among `cover`, which
/// counts the places of all images.
fn gathered(mut sample: Sample, seen: &[Sight], cover: &[usize], is_seen: impl Fn(usize) -> bool) -> Sample {
    let size = sample.size.max(1);
    // Where each place of all images is in the sample.
    let mut at = Vec::new();
    for (image, sight) in seen.iter().enumerate() {
        let (places, first) = (sight.places.len() / size, sample.count());
        if !is_seen(image) {
            at.extend(std::iter::repeat_n(None, places));
            continue;
        }
        at.extend((first..first + places).map(Some));
        sample.labels.extend(std::iter::repeat_n(sight.label, places));
        sample.images.extend(std::iter::repeat_n(image, places));
        sample.places.extend_from_slice(&sight.places);
    }
    sample.begun = cover.iter().filter_map(|&place| at[place]).collect();
    sample
}

/// The needs among some statistics that something has to be learnt for, in order.
pub fn learnt(statistics: &[Statistic]) -> Vec<Requirement> {
    let is_used = |requirement: &Requirement| {
        statistics
            .iter()
            .any(|statistic| statistic.requirements.contains(requirement))
    };
    Requirement::LEARNT.into_iter().filter(is_used).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 3;
    const BANK: usize = 30;

    fn nothing() -> Sample {
        Sample {
            size: SIZE,
            places: Vec::new(),
            labels: Vec::new(),
            images: Vec::new(),
            is_map: true,
            bank: BANK,
            begun: Vec::new(),
        }
    }

    /// Images of a few places each, no two of which have the same number of them.
    fn seen() -> Vec<Sight> {
        let sight = |image: usize| Sight {
            places: (0..SIZE * (5 + image % 4))
                .map(|number| Random::new(0, Stream::Probe, image as u64).normal(number as u32) as f32)
                .collect(),
            label: image % 2,
        };
        (0..40).map(sight).collect()
    }

    #[test]
    fn the_bank_of_a_fold_has_none_of_its_own_places_and_is_full() {
        let seen = seen();
        let all = gathered(nothing(), &seen, &[], |_| true);
        let cover = all.cover(0);
        assert_eq!(cover.len(), BANK);
        let mut missing = 0;
        for fold in 0..FOLDS {
            let sample = gathered(nothing(), &seen, &cover, |image| image % FOLDS != fold);
            // What is begun with is the cover's, in its order, less the places of the fold.
            let kept = cover.iter().filter(|&&place| all.images[place] % FOLDS != fold);
            let kept: Vec<&[f32]> = kept.map(|&place| &all.places[place * SIZE..][..SIZE]).collect();
            let begun = sample.begun.iter().map(|&place| &sample.places[place * SIZE..][..SIZE]);
            assert_eq!(begun.collect::<Vec<_>>(), kept);
            missing += BANK - kept.len();
            let knowledge = Knowledge::fit(&[Requirement::Neighbours], &sample, 0).unwrap();
            let (bank, scale) = (
                &knowledge.tensors["neighbours.bank"],
                &knowledge.tensors["neighbours.scale"],
            );
            assert_eq!(bank.shape, [BANK, SIZE]);
            let mut others = bank.values.chunks(SIZE);
            assert!(others.all(|row| {
                let own = sample.places.chunks(SIZE).zip(&sample.images);
                let mut same = own.filter(|(place, _)| place.iter().zip(row).all(|(x, b)| x * scale.values[0] == *b));
                same.next().is_some_and(|(_, image)| image % FOLDS != fold) && same.next().is_none()
            }));
        }
        // Every place of the cover is of one fold.
        assert_eq!(missing, BANK);
    }
}
