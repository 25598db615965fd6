//! Drift of the streams that detectors judge, kept over restarts.
//!
//! The state of a run is a file of what was counted, in order: replaying it gives the same bets, because ties are broken by a seed that
//! is in the file too. What a crash leaves half written at its end is cut off.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use crate::{
    domain::{
        drift::{Counted, Drift, RUN},
        image::Image,
    },
    metrics::DriftMetrics,
};

/// The probability of an alarm, ever, in a run without drift.
pub const ALARM_RATE: f64 = 0.01;

/// First bytes of a file, with the version of its format.
const MAGIC: &[u8; 8] = b"drift\0\0\x01";

/// Magic, seed and the time at which the run began.
const HEADER: usize = 24;

/// Score and digest of one image.
const RECORD: usize = 16;

/// What is known of the stream of one detector.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftReport {
    /// Images that were counted in this run.
    pub images: usize,
    /// Images that were not, because the very same image had been.
    pub repeated: u64,
    /// Images after which the next run begins.
    pub run_length: usize,
    /// log of the capital: 0 at the start.
    pub log_capital: f64,
    /// The largest so far.
    pub highest_log_capital: f64,
    /// Whether that has reached 1 / [`ALARM_RATE`].
    pub alarm: bool,
    /// When the run began, in seconds since 1970.
    pub since: u64,
    /// Whether a restart will find it again.
    pub kept: bool,
}

/// The stream of one detector.
#[derive(Debug)]
pub(super) struct Monitor {
    calibration: Vec<f64>,
    path: PathBuf,
    metrics: DriftMetrics,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    drift: Drift,
    since: u64,
    /// `None` if the stream cannot be kept.
    file: Option<File>,
}

impl Monitor {
    /// Takes up the run in `folder` of the detector whose manifest has the hash `fingerprint`, or begins one. A folder that cannot be
    /// written to, or a run that another server is at, is a warning: the stream is watched all the same, but not kept.
    pub(super) fn open(
        folder: &Path,
        (name, version, fingerprint): (&str, u32, &str),
        calibration: &[f64],
        metrics: DriftMetrics,
    ) -> Self {
        let short = fingerprint.get(..16).unwrap_or(fingerprint);
        let path = folder.join(format!("{name}-{version}-{short}.drift"));
        let state = open(&path, calibration).unwrap_or_else(|error| {
            let path = path.display();
            tracing::warn!(%path, %error, "the drift of this detector will not survive a restart");
            fresh(calibration, None)
        });
        let monitor = Self {
            calibration: calibration.to_vec(),
            path,
            metrics,
            state: Mutex::new(state),
        };
        monitor.show(&monitor.state());
        monitor
    }

    /// Counts images that were judged, in order.
    pub(super) fn take<'a>(&self, judged: impl Iterator<Item = (&'a Image, f64)>) {
        let mut state = self.state();
        for (image, score) in judged {
            let digest = digest(image);
            let before = state.drift.martingale().highest() >= alarm_level();
            let mut counted = state.drift.take(score, digest);
            if counted == Counted::Full {
                *state = self.begin(&mut state);
                counted = state.drift.take(score, digest);
            }
            if matches!(counted, Counted::Bet { .. }) {
                append(&mut state, score, digest);
            }
            if !before && state.drift.martingale().highest() >= alarm_level() {
                self.metrics.alarms.inc();
                tracing::warn!(path = %self.path.display(), "drift: the images are no longer like those that calibrated");
            }
        }
        self.show(&state);
    }

    /// Begins a new run.
    pub(super) fn reset(&self) {
        let mut state = self.state();
        *state = self.begin(&mut state);
        self.show(&state);
    }

    pub(super) fn report(&self) -> DriftReport {
        let state = self.state();
        let martingale = state.drift.martingale();
        DriftReport {
            images: state.drift.images(),
            repeated: state.drift.repeated(),
            run_length: RUN,
            log_capital: martingale.log_capital(),
            highest_log_capital: martingale.highest(),
            alarm: martingale.highest() >= alarm_level(),
            since: state.since,
            kept: state.file.is_some(),
        }
    }

    fn begin(&self, state: &mut State) -> State {
        let file = state.file.take().and_then(|mut file| {
            let written = file.set_len(0).and_then(|()| file.rewind());
            written.ok().map(|()| file)
        });
        fresh(&self.calibration, file)
    }

    fn show(&self, state: &State) {
        self.metrics
            .log_capital
            .set(state.drift.martingale().log_capital());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn alarm_level() -> f64 {
    -ALARM_RATE.ln()
}

/// A run that begins now, in an empty file if there is one.
fn fresh(calibration: &[f64], file: Option<File>) -> State {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Nobody has to guess it: it only breaks ties.
    let seed = now.as_nanos() as u64;
    let since = now.as_secs();
    let mut header = MAGIC.to_vec();
    header.extend(seed.to_le_bytes());
    header.extend(since.to_le_bytes());
    let file = file.and_then(|mut file| file.write_all(&header).ok().map(|()| file));
    State {
        drift: Drift::new(calibration, seed),
        since,
        file,
    }
}

fn open(path: &Path, calibration: &[f64]) -> io::Result<State> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.try_lock().map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let Some((header, records)) = bytes
        .split_at_checked(HEADER)
        .filter(|(h, _)| h.starts_with(MAGIC))
    else {
        if !bytes.is_empty() {
            tracing::warn!(path = %path.display(), "this is no record of drift; a new one is begun");
        }
        file.set_len(0)?;
        file.rewind()?;
        return Ok(fresh(calibration, Some(file)));
    };
    let number = |bytes: &[u8]| {
        bytes
            .first_chunk()
            .map_or(0, |chunk| u64::from_le_bytes(*chunk))
    };
    let mut drift = Drift::new(calibration, number(&header[8..]));
    let (records, _) = records.as_chunks::<RECORD>();
    for record in records {
        drift.take(f64::from_bits(number(record)), number(&record[8..]));
    }
    let whole = (HEADER + records.len() * RECORD) as u64;
    file.set_len(whole)?;
    file.seek(SeekFrom::End(0))?;
    Ok(State {
        drift,
        since: number(&header[16..]),
        file: Some(file),
    })
}

fn append(state: &mut State, score: f64, digest: u64) {
    let Some(file) = &mut state.file else {
        return;
    };
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&score.to_bits().to_le_bytes());
    record[8..].copy_from_slice(&digest.to_le_bytes());
    if let Err(error) = file.write_all(&record) {
        tracing::warn!(%error, "the drift of a detector can no longer be kept");
        state.file = None;
    }
}

fn digest(image: &Image) -> u64 {
    let hash = Sha256::digest(image.levels());
    hash.first_chunk()
        .map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::image::ImageShape, metrics::Metrics};

    fn images(count: u32) -> Vec<Image> {
        let shape = ImageShape::new(1, 1, 4, 256).unwrap();
        (0..count)
            .map(|i| Image::new(shape, i.to_le_bytes().to_vec()).unwrap())
            .collect()
    }

    fn monitor(folder: &Path, metrics: &Metrics) -> Monitor {
        let calibration: Vec<f64> = (0..200).map(f64::from).collect();
        let metrics = DriftMetrics::new(metrics, "gate");
        Monitor::open(
            folder,
            ("gate", 1, "0123456789abcdef0123"),
            &calibration,
            metrics,
        )
    }

    #[test]
    fn a_run_is_taken_up_where_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let images = images(40);
        let first = monitor(folder.path(), &metrics);
        first.take(images.iter().zip((0..).map(|i| f64::from(i) * 7.0)));
        let report = first.report();
        assert!(report.kept && report.images == 40);
        drop(first);
        // A crash in the middle of a record.
        let path = fs::read_dir(folder.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(&[1, 2, 3])
            .unwrap();
        let second = monitor(folder.path(), &metrics);
        assert_eq!(second.report(), report);
        second.take(images.iter().map(|image| (image, 500.0)));
        assert_eq!(second.report().repeated, 40);
        second.reset();
        assert_eq!(
            (second.report().images, second.report().log_capital),
            (0, 0.0)
        );
        drop(second);
        assert_eq!(monitor(folder.path(), &metrics).report().images, 0);
    }

    #[test]
    fn an_alarm_is_counted_once_and_stays_until_reset() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let monitor = monitor(folder.path(), &metrics);
        monitor.take(images(60).iter().map(|image| (image, 1e6)));
        assert!(monitor.report().alarm);
        let text = metrics.encode();
        assert!(
            text.contains("density_drift_alarms_total{model=\"gate\"} 1"),
            "{text}"
        );
        monitor.reset();
        assert!(!monitor.report().alarm);
    }

    #[test]
    fn what_is_no_record_is_begun_anew_and_two_servers_do_not_share_one() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        drop(monitor(folder.path(), &metrics));
        let path = fs::read_dir(folder.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        fs::write(&path, b"something else entirely, and long enough").unwrap();
        let first = monitor(folder.path(), &metrics);
        assert!(first.report().kept && first.report().images == 0);
        assert!(!monitor(folder.path(), &metrics).report().kept);
    }
}
