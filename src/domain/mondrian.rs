//! Conformal p-values among groups: an image is compared with the inliers of its own group, so that every group keeps
//! the false-alarm rate by itself and not only all of them together (Mondrian; Vovk, Gammerman and Shafer 2005).
//!
//! A group must be a function of the image alone, such as the label that a network gives it: given their group, inliers
//! are then as exchangeable as they are altogether.

use super::conformal::{Calibration, CalibrationError};

/// Scores of inliers, by group if there are groups.
#[derive(Debug, Clone)]
pub struct Mondrian {
    all: Calibration,
    /// None where all inliers are one group.
    groups: Vec<Calibration>,
}

/// Why there is no calibration by group.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MondrianError {
    /// A group of which there is no score.
    #[error("none of the scores is of group {0}")]
    Empty(usize),
    /// A score of a group that there is not.
    #[error("a score is of group {group}, and there are {groups}, counted from 0")]
    Unknown {
        /// The group.
        group: usize,
        /// Groups there are.
        groups: usize,
    },
    /// The scores themselves.
    #[error(transparent)]
    Scores(#[from] CalibrationError),
}

impl From<Calibration> for Mondrian {
    fn from(all: Calibration) -> Self {
        Self {
            all,
            groups: Vec::new(),
        }
    }
}

impl Mondrian {
    /// Takes scores in any order, each with the number of its group, one of `groups`. No group may be empty.
    pub fn new(scores: &[(f64, usize)], groups: usize) -> Result<Self, MondrianError> {
        let mut own = vec![Vec::new(); groups];
        for &(score, group) in scores {
            own.get_mut(group)
                .ok_or(MondrianError::Unknown { group, groups })?
                .push(score);
        }
        if let Some(group) = own.iter().position(Vec::is_empty) {
            return Err(MondrianError::Empty(group));
        }
        Ok(Self {
            all: Calibration::new(scores.iter().map(|&(score, _)| score).collect())?,
            groups: own.into_iter().map(Calibration::new).collect::<Result<_, _>>()?,
        })
    }

    /// All scores together.
    pub fn all(&self) -> &Calibration {
        &self.all
    }

    /// The groups; none where all inliers are one.
    pub fn groups(&self) -> &[Calibration] {
        &self.groups
    }

    /// What an image of a group is compared with: everything, where there are no groups.
    pub fn of(&self, group: Option<usize>) -> &Calibration {
        group.and_then(|group| self.groups.get(group)).unwrap_or(&self.all)
    }

    /// The group with the fewest scores, if there are groups, and these: a rate that they support all support.
    pub fn least(&self) -> (Option<usize>, &Calibration) {
        let groups = self.groups.iter().enumerate();
        let least = groups.min_by_key(|(_, own)| own.size());
        least.map_or((None, &self.all), |(group, own)| (Some(group), own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_score_is_compared_with_those_of_its_group() {
        let scores: Vec<(f64, usize)> = (0..9).map(|i| (f64::from(i), 0)).chain([(100.0, 1)]).collect();
        let calibration = Mondrian::new(&scores, 2).unwrap();
        assert_eq!(calibration.of(Some(0)).upper_p_value(50.0), 0.1);
        assert_eq!(calibration.of(Some(1)).upper_p_value(50.0), 1.0);
        assert_eq!(calibration.all().size(), 10);
        assert_eq!(calibration.least().0, Some(1));
        let ungrouped = Mondrian::from(Calibration::new(vec![1.0, 2.0]).unwrap());
        assert_eq!(ungrouped.of(Some(7)).size(), 2);
        assert_eq!(ungrouped.least().0, None);
    }

    #[test]
    fn every_group_has_scores_and_every_score_a_group() {
        assert_eq!(Mondrian::new(&[(1.0, 0)], 2).unwrap_err(), MondrianError::Empty(1));
        let unknown = MondrianError::Unknown { group: 2, groups: 1 };
        assert_eq!(Mondrian::new(&[(1.0, 0), (1.0, 2)], 1).unwrap_err(), unknown);
        assert!(matches!(
            Mondrian::new(&[(f64::NAN, 0)], 1),
            Err(MondrianError::Scores(_))
        ));
    }

    proptest! {
        /// Leave each of exchangeable scores out in turn: in every group at most α of its scores get p ≤ α, however
        /// different the groups are.
        #[test]
        fn p_values_are_super_uniform_in_every_group(
            scores in prop::collection::vec((-20i32..20, 0usize..3), 2..60),
            alpha in 0.01f64..0.99,
        ) {
            let mut rejected = [0; 3];
            for left_out in 0..scores.len() {
                let shifted = |(score, group): (i32, usize)| (f64::from(score + 15 * group as i32), group);
                let rest = scores.iter().enumerate().filter(|(place, _)| *place != left_out);
                let mut rest: Vec<(f64, usize)> = rest.map(|(_, &own)| shifted(own)).collect();
                let (score, group) = shifted(scores[left_out]);
                // What is left out may have been alone in its group, and nothing is rejected then.
                if rest.iter().all(|&(_, other)| other != group) {
                    continue;
                }
                // Groups that are not asked may not be empty either.
                rest.extend((0..3).filter(|&other| other != group).map(|other| (0.0, other)));
                let calibration = Mondrian::new(&rest, 3).unwrap();
                rejected[group] += usize::from(calibration.of(Some(group)).upper_p_value(score) <= alpha);
            }
            for (group, count) in rejected.into_iter().enumerate() {
                let of_group = scores.iter().filter(|(_, other)| *other == group).count();
                prop_assert!(count as f64 <= alpha * of_group as f64 + 1e-9);
            }
        }
    }
}
