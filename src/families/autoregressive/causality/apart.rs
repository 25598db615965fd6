//! Many places tried at once, for networks that see so far and no farther.
//!
//! Where a pixel is seen only so many rows below and columns aside, pixels that lie farther apart than that can be
//! changed in the same image, and each must still leave its own prediction alone. So a few images try every place, on
//! many kinds of image. A change that nothing earlier accounts for is tried again with all that is earlier left out:
//! what was wrong about the reach of the network is no leak.

use super::{
    Asked, Leak, Trial,
    bases::{Base, KINDS, NOISE},
};

/// Changes without account that were no leaks, before it is given up.
const PATIENCE: usize = 32;
/// Images in all, unless the first round takes more.
const IMAGES: usize = 1024;

/// How far a pixel is seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reach {
    rows: usize,
    columns: usize,
}

impl Reach {
    /// Rows from one of a set to the next, so that the row above each is out of reach: what it sees there is a leak.
    fn rows_apart(self) -> usize {
        self.rows + 2
    }

    /// Columns from one of a set to the next, so that those to the left of each are out of reach.
    fn columns_apart(self) -> usize {
        2 * self.columns + 1
    }
}

/// One place of each window of pixels that do not see one another.
#[derive(Debug, Clone, Copy)]
struct Set {
    reach: Reach,
    row: usize,
    column: usize,
    channel: usize,
}

/// Tries all places apart, round after round on another kind of image until `enough` says so. Notes those that were
/// tried, and answers a leak if there is one.
pub(super) fn probe<E>(
    trial: &Trial<'_>,
    (label, rows): (u32, usize),
    asked: &mut Asked<'_, '_, E>,
    enough: &mut dyn FnMut() -> bool,
    tried: &mut [bool],
) -> Result<Option<Leak>, E> {
    let Some(reach) = reach(trial, label, asked)? else {
        return Ok(None);
    };
    let sets = Set::all(trial, reach);
    let shape = trial.shape;
    let all = shape.dimensions();
    let mut patience = PATIENCE;
    let mut images = 0;
    for round in 0..KINDS {
        let kind = (NOISE + round) % KINDS;
        for (turn, sets) in sets.chunks(rows - 1).enumerate() {
            images += sets.len();
            if (round > 0 && images > IMAGES) || enough() {
                return Ok(None);
            }
            let random = trial.random(usize::MAX - 1 - round * all - turn);
            let base = Base::new(trial, kind, turn, &random);
            let own = |(number, set): (usize, &Set)| base.changed(set.places(trial), number, shape, &random);
            let changed: Vec<Vec<u8>> = sets.iter().enumerate().map(own).collect();
            let answers = asked.of((&base, label), &changed)?;
            for (number, (set, after)) in sets.iter().zip(&answers.changed).enumerate() {
                for place in set.places(trial) {
                    tried[place] = true;
                }
                let differ = answers.differences(after, all, shape);
                for place in differ.into_iter().filter(|&place| !set.accounts_for(place, trial)) {
                    if patience == 0 {
                        return Ok(None);
                    }
                    let later = || set.places(trial).filter(|&own| own >= place);
                    let Some(changed) = later().next() else { continue };
                    let again = base.changed(later(), number, shape, &random);
                    let again = asked.of((&base, label), &[again])?;
                    let differ = again.differences(&again.changed[0], changed, shape);
                    if let Some(&predicted) = differ.first() {
                        return Ok(Some(Leak { predicted, changed }));
                    }
                    patience -= 1;
                }
            }
        }
    }
    Ok(None)
}

/// How far pixels in the middle and near the borders are seen, unless it is too far to be of use.
fn reach<E>(trial: &Trial<'_>, label: u32, asked: &mut Asked<'_, '_, E>) -> Result<Option<Reach>, E> {
    let shape = trial.shape;
    let (height, width, channels) = (shape.height(), shape.width(), shape.channels());
    let all = shape.dimensions();
    let random = trial.random(usize::MAX);
    let base = Base::new(trial, NOISE, 0, &random);
    let mut reach = Reach::default();
    for (row, column) in [
        (0, width / 2),
        (height / 2, width / 2),
        (height / 3, 0),
        (height / 2, width - 1),
    ] {
        let pixel = row * width + column;
        let changed = base.changed(pixel * channels..(pixel + 1) * channels, row, shape, &random);
        let answers = asked.of((&base, label), &[changed])?;
        for place in answers.differences(&answers.changed[0], all, shape) {
            let (seen_row, seen_column) = (place / channels / width, place / channels % width);
            reach.rows = reach.rows.max(seen_row.saturating_sub(row));
            reach.columns = reach.columns.max(seen_column.abs_diff(column));
        }
    }
    let sets = reach.rows_apart() * reach.columns_apart() * channels;
    Ok((2 * sets <= shape.dimensions()).then_some(reach))
}

impl Set {
    fn all(trial: &Trial<'_>, reach: Reach) -> Vec<Self> {
        let channels = trial.shape.channels();
        let mut all = Vec::new();
        for row in 0..reach.rows_apart() {
            for column in 0..reach.columns_apart() {
                all.extend((0..channels).map(|channel| Self {
                    reach,
                    row,
                    column,
                    channel,
                }));
            }
        }
        all
    }

    /// Its places in autoregressive order.
    fn places(self, trial: &Trial<'_>) -> impl Iterator<Item = usize> {
        let shape = trial.shape;
        let rows = (self.row..shape.height()).step_by(self.reach.rows_apart());
        rows.flat_map(move |row| {
            let columns = (self.column..shape.width()).step_by(self.reach.columns_apart());
            columns.map(move |column| (row * shape.width() + column) * shape.channels() + self.channel)
        })
    }

    /// Whether a place is within reach of an earlier one of the set.
    fn accounts_for(self, place: usize, trial: &Trial<'_>) -> bool {
        let (shape, reach) = (trial.shape, self.reach);
        let (pixel, channel) = (place / shape.channels(), place % shape.channels());
        let (row, column) = (pixel / shape.width(), pixel % shape.width());
        let Some(down) = row.checked_sub(self.row) else {
            return false;
        };
        // Columns to the right of the last of the set.
        let right = column
            .checked_sub(self.column)
            .map(|right| right % reach.columns_apart());
        match down % reach.rows_apart() {
            0 => right
                .is_some_and(|right| (1..=reach.columns).contains(&right) || (right == 0 && self.channel < channel)),
            down if down > reach.rows => false,
            _ => {
                let next = right.map_or(self.column, |right| column + reach.columns_apart() - right);
                right.is_some_and(|right| right <= reach.columns)
                    || (next < shape.width() && next - column <= reach.columns)
            }
        }
    }
}
