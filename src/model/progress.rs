//! How far the images of a request are, for a client that watches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The images of a request while they are drawn. Only the latest state of each is kept: a slow watcher sees fewer,
/// never older ones.
#[derive(Debug, Default)]
pub struct Board {
    /// Values of an image.
    dimensions: usize,
    slots: Mutex<Vec<Slot>>,
    changed: Notify,
}

#[derive(Debug, Default, Clone)]
struct Slot {
    rows: usize,
    levels: Vec<u8>,
    is_new: bool,
}

/// The state of one image that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Which image of the request.
    pub index: usize,
    /// Rows from the top that are settled.
    pub rows: usize,
    /// Levels in channel, row, column order; zero where they are not settled.
    pub levels: Vec<u8>,
}

impl Board {
    /// A board for images of `dimensions` values. It grows with the images that are told of.
    pub fn new(dimensions: usize) -> Arc<Self> {
        Arc::new(Self {
            dimensions,
            ..Self::default()
        })
    }

    /// Waits until something has changed, and takes what has. For one watcher.
    pub async fn changes(&self) -> Vec<Update> {
        loop {
            let updates: Vec<Update> = self
                .slots()
                .iter_mut()
                .enumerate()
                .filter_map(|(index, slot)| {
                    std::mem::take(&mut slot.is_new).then(|| Update {
                        index,
                        rows: slot.rows,
                        levels: slot.levels.clone(),
                    })
                })
                .collect();
            if !updates.is_empty() {
                return updates;
            }
            self.changed.notified().await;
        }
    }

    /// Where the drawing of image `index` tells how far it is.
    pub fn progress(self: &Arc<Self>, index: usize, width: usize, height: usize) -> Progress {
        let mut slots = self.slots();
        if slots.len() <= index {
            let blank = Slot {
                levels: vec![0; self.dimensions],
                ..Slot::default()
            };
            slots.resize(index + 1, blank);
        }
        drop(slots);
        Progress {
            board: Arc::clone(self),
            index,
            width,
            height,
        }
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One image's place on a board.
#[derive(Debug)]
pub struct Progress {
    board: Arc<Board>,
    index: usize,
    width: usize,
    height: usize,
}

impl Progress {
    /// Shows the settled rows, if there are more than before.
    pub fn tell(&self, rows: usize, levels: &[u8]) {
        let mut slots = self.board.slots();
        let Some(slot) = slots.get_mut(self.index) else {
            return;
        };
        if rows <= slot.rows {
            return;
        }
        let (from, to) = (slot.rows * self.width, rows * self.width);
        let plane = self.width * self.height;
        for (old, new) in slot.levels.chunks_mut(plane).zip(levels.chunks(plane)) {
            old[from..to].copy_from_slice(&new[from..to]);
        }
        slot.rows = rows;
        slot.is_new = true;
        drop(slots);
        self.board.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_sees_settled_rows_only_and_the_latest_state() {
        let board = Board::new(6);
        let progress = board.progress(1, 2, 3);
        progress.tell(1, &[1, 2, 9, 9, 9, 9]);
        progress.tell(2, &[1, 2, 3, 4, 9, 9]);
        progress.tell(1, &[7; 6]);
        let updates = board.changes().await;
        assert_eq!(
            updates,
            [Update {
                index: 1,
                rows: 2,
                levels: vec![1, 2, 3, 4, 0, 0]
            }]
        );
    }
}
