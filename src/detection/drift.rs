//! Drift of the streams that detectors judge, kept over restarts.
//!
//! Each stream has a thread of its own that hashes, counts and writes, so that no request waits for a disk. The state
//! of a run is a file of what was counted, in order: replaying it gives the same bets, because ties are broken by a
//! seed that is in the file too. Each record carries a checksum of itself and all before it: what a crash leaves half
//! written is cut off, and so is everything that is no record.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    thread::JoinHandle,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::{
    domain::{
        drift::{Counted, Drift, RUN},
        image::Image,
    },
    metrics::DriftMetrics,
    model::{
        Refusal,
        detect::{DriftReport, WatchesDrift},
    },
};

/// The probability of an alarm, ever, in a run without drift.
pub const ALARM_RATE: f64 = 0.01;

/// First bytes of a file, with the version of its format.
const MAGIC: &[u8; 8] = b"drift\0\0\x02";

/// Bytes of a checksum.
const CHECKSUM: usize = 8;

/// Magic, seed, the time at which the run began, and a checksum.
const HEADER: usize = 24 + CHECKSUM;

/// Score and digest of one image, and a checksum.
const RECORD: usize = 16 + CHECKSUM;

/// Requests whose images may wait to be counted. Those of further ones are left out: a slow disk must not hold up
/// answers.
const WAITING: usize = 1024;

/// The stream of one detector.
#[derive(Debug)]
pub struct Monitor {
    /// `None` only while it is dropped.
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread of a stream is asked for.
#[derive(Debug)]
enum Order {
    /// Images that were judged, in order.
    Take(Vec<(Image, f64)>),
    Report(oneshot::Sender<DriftReport>),
    Reset(oneshot::Sender<DriftReport>),
}

/// A stream on its thread.
struct Stream {
    label: String,
    calibration: Vec<f64>,
    metrics: DriftMetrics,
    drift: Drift,
    since: u64,
    /// `None` if the stream cannot be kept.
    log: Option<Log>,
}

/// A file of records.
struct Log {
    file: File,
    /// That of the last record, or of the header.
    checksum: [u8; CHECKSUM],
}

impl Monitor {
    /// Takes up the run in `folder` of the detector whose manifest has the hash `fingerprint`, or begins one. A folder
    /// that cannot be written to, or a run that another server is at, is a warning: the stream is watched all the same,
    /// but not kept.
    pub fn open(
        folder: &Path,
        (name, version, fingerprint): (&str, u32, &str),
        calibration: &[f64],
        metrics: DriftMetrics,
    ) -> io::Result<Self> {
        let short = fingerprint.get(..16).unwrap_or(fingerprint);
        let path = folder.join(format!("{name}-{version}-{short}.drift"));
        let mut stream = Stream {
            label: format!("{name} version {version}"),
            calibration: calibration.to_vec(),
            metrics,
            drift: Drift::new(calibration, 0),
            since: 0,
            log: None,
        };
        if let Err(error) = stream.take_up(&path) {
            let path = path.display();
            tracing::warn!(%path, %error, "the drift of this detector will not survive a restart");
            stream.begin(None);
        }
        if stream.is_alarmed() {
            stream.metrics.alarms.inc();
        }
        stream.show();
        let (orders, mut received) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new().name("drift".to_owned()).spawn(move || {
            while let Some(order) = received.blocking_recv() {
                stream.obey(order);
            }
        })?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Has images counted that were judged, in order.
    pub fn take(&self, judged: Vec<(Image, f64)>) {
        let sent = self.orders.as_ref().map(|orders| orders.try_send(Order::Take(judged)));
        if let Some(Err(error)) = sent {
            tracing::warn!(%error, "images were not counted for drift");
        }
    }

    async fn ask(&self, order: impl FnOnce(oneshot::Sender<DriftReport>) -> Order) -> Result<DriftReport, Refusal> {
        let gone = || Refusal::internal("the stream is no longer watched");
        let (reply, answer) = oneshot::channel();
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.send(order(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

#[async_trait]
impl WatchesDrift for Monitor {
    async fn drift(&self) -> Result<DriftReport, Refusal> {
        self.ask(Order::Report).await
    }

    async fn reset_drift(&self) -> Result<DriftReport, Refusal> {
        self.ask(Order::Reset).await
    }
}

impl Drop for Monitor {
    /// What has been judged is counted and written before the file is let go.
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Stream {
    fn obey(&mut self, order: Order) {
        // An answer that nobody waits for any more is no loss.
        match order {
            Order::Take(judged) => judged
                .iter()
                .for_each(|(image, score)| self.count(*score, digest(image))),
            Order::Report(reply) => drop(reply.send(self.report())),
            Order::Reset(reply) => {
                self.begin_again();
                drop(reply.send(self.report()));
            }
        }
        self.show();
    }

    fn count(&mut self, score: f64, digest: u64) {
        let before = self.is_alarmed();
        let mut counted = self.drift.take(score, digest);
        if counted == Counted::Full {
            self.begin_again();
            counted = self.drift.take(score, digest);
        }
        if matches!(counted, Counted::Bet { .. }) {
            self.append(score, digest);
        }
        if !before && self.is_alarmed() {
            self.metrics.alarms.inc();
            tracing::warn!(
                detector = self.label,
                "drift: the images are no longer like those that calibrated"
            );
        }
    }

    fn report(&self) -> DriftReport {
        let martingale = self.drift.martingale();
        DriftReport {
            images: self.drift.images(),
            repeated: self.drift.repeated(),
            run_length: RUN,
            log_capital: martingale.log_capital(),
            highest_log_capital: martingale.highest(),
            curve: self.drift.curve().values().to_vec(),
            curve_step: self.drift.curve().step(),
            alarm: self.is_alarmed(),
            alarm_rate: ALARM_RATE,
            since: self.since,
            kept: self.log.is_some(),
        }
    }

    fn is_alarmed(&self) -> bool {
        self.drift.martingale().highest() >= -ALARM_RATE.ln()
    }

    fn show(&self) {
        let log_capital = self.drift.martingale().log_capital();
        self.metrics.log_capital.set(log_capital);
    }

    fn begin_again(&mut self) {
        let file = self.log.take().and_then(|Log { mut file, .. }| {
            let emptied = file.set_len(0).and_then(|()| file.rewind());
            emptied.ok().map(|()| file)
        });
        self.begin(file);
    }

    /// Begins a run now, in an empty file if there is one.
    fn begin(&mut self, file: Option<File>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Nobody has to guess it: it only breaks ties.
        let seed = now.as_nanos() as u64;
        self.since = now.as_secs();
        self.drift = Drift::new(&self.calibration, seed);
        let mut header = MAGIC.to_vec();
        header.extend(seed.to_le_bytes());
        header.extend(self.since.to_le_bytes());
        self.log = file.and_then(|file| {
            Log {
                file,
                checksum: [0; CHECKSUM],
            }
            .write(&header)
            .ok()
        });
    }

    /// Takes up the run in a file, or begins one there.
    fn take_up(&mut self, path: &Path) -> io::Result<()> {
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
        let header = bytes
            .split_at_checked(HEADER)
            .filter(|(header, _)| header.starts_with(MAGIC));
        let start = header.and_then(|(header, rest)| Some((header, valid(header, [0; CHECKSUM])?, rest)));
        let Some((header, mut checksum, records)) = start else {
            if !bytes.is_empty() {
                tracing::warn!(path = %path.display(), "this is no record of drift; a new one is begun");
            }
            file.set_len(0)?;
            file.rewind()?;
            self.begin(Some(file));
            return Ok(());
        };
        self.drift = Drift::new(&self.calibration, number(&header[8..]));
        self.since = number(&header[16..]);
        let mut whole = HEADER;
        for record in records.chunks_exact(RECORD) {
            let Some(next) = valid(record, checksum) else {
                break;
            };
            self.drift.take(f64::from_bits(number(record)), number(&record[8..]));
            (checksum, whole) = (next, whole + RECORD);
        }
        if whole < bytes.len() {
            let (path, bytes) = (path.display(), bytes.len() - whole);
            tracing::warn!(%path, bytes, "the end of this record of drift is damaged and cut off");
        }
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        self.log = Some(Log { file, checksum });
        Ok(())
    }

    fn append(&mut self, score: f64, digest: u64) {
        let mut record = score.to_bits().to_le_bytes().to_vec();
        record.extend(digest.to_le_bytes());
        let written = self.log.take().map(|log| log.write(&record));
        self.log = match written {
            Some(Err(error)) => {
                tracing::warn!(detector = self.label, %error, "the drift of a detector can no longer be kept");
                None
            }
            Some(Ok(log)) => Some(log),
            None => None,
        };
    }
}

impl Log {
    /// Adds what is given, and its checksum.
    fn write(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.checksum = checksum(self.checksum, bytes);
        self.file.write_all(&[bytes, &self.checksum].concat())?;
        Ok(self)
    }
}

/// The checksum of a header or a record with its checksum at the end, if it is right.
fn valid(bytes: &[u8], before: [u8; CHECKSUM]) -> Option<[u8; CHECKSUM]> {
    let (content, stated) = bytes.split_last_chunk::<CHECKSUM>()?;
    let actual = checksum(before, content);
    (actual == *stated).then_some(actual)
}

fn checksum(before: [u8; CHECKSUM], content: &[u8]) -> [u8; CHECKSUM] {
    let hash = Sha256::new().chain_update(before).chain_update(content).finalize();
    let mut first = [0; CHECKSUM];
    first.copy_from_slice(&hash[..CHECKSUM]);
    first
}

fn digest(image: &Image) -> u64 {
    number(&Sha256::digest(image.levels()))
}

/// The first eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
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
        Monitor::open(folder, ("gate", 1, "0123456789abcdef0123"), &calibration, metrics).unwrap()
    }

    /// The one file in the folder.
    fn file(folder: &Path) -> std::path::PathBuf {
        fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
    }

    const ALARMS: &str = "density_drift_alarms_total{model=\"gate\"} 1";

    #[tokio::test]
    async fn a_run_is_taken_up_where_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let images = images(40);
        let first = monitor(folder.path(), &metrics);
        first.take(images.iter().cloned().zip((0..).map(|i| f64::from(i) * 7.0)).collect());
        let report = first.drift().await.unwrap();
        assert!(report.kept && report.images == 40);
        drop(first);
        // A crash in the middle of a record.
        let mut file = OpenOptions::new().append(true).open(file(folder.path())).unwrap();
        file.write_all(&[1, 2, 3]).unwrap();
        let second = monitor(folder.path(), &metrics);
        assert_eq!(second.drift().await.unwrap(), report);
        second.take(images.into_iter().map(|image| (image, 500.0)).collect());
        assert_eq!(second.drift().await.unwrap().repeated, 40);
        let reset = second.reset_drift().await.unwrap();
        assert_eq!((reset.images, reset.log_capital), (0, 0.0));
        drop(second);
        assert_eq!(monitor(folder.path(), &metrics).drift().await.unwrap().images, 0);
    }

    #[tokio::test]
    async fn an_alarm_is_counted_once_and_stays_until_reset() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let first = monitor(folder.path(), &metrics);
        first.take(images(60).into_iter().map(|image| (image, 1e6)).collect());
        assert!(first.drift().await.unwrap().alarm);
        assert!(metrics.encode().contains(ALARMS), "{}", metrics.encode());
        drop(first);
        // A server that starts into an alarm shows it.
        let metrics = Metrics::new();
        let second = monitor(folder.path(), &metrics);
        assert!(second.drift().await.unwrap().alarm);
        assert!(metrics.encode().contains(ALARMS), "{}", metrics.encode());
        assert!(!second.reset_drift().await.unwrap().alarm);
    }

    #[tokio::test]
    async fn what_is_no_record_is_begun_anew_and_two_servers_do_not_share_one() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        drop(monitor(folder.path(), &metrics));
        fs::write(
            file(folder.path()),
            b"something else entirely, and long enough to be more than a header",
        )
        .unwrap();
        let first = monitor(folder.path(), &metrics);
        let report = first.drift().await.unwrap();
        assert!(report.kept && report.images == 0);
        assert!(!monitor(folder.path(), &metrics).drift().await.unwrap().kept);
    }

    #[tokio::test]
    async fn damage_ends_a_record_and_raises_no_alarm() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        let first = monitor(folder.path(), &metrics);
        // All over the range of the calibration, in no order, and without ties, which would be broken at random: no
        // alarm is due.
        let scores = (0..).map(|i| f64::from(i * 67 % 200) + 0.5);
        first.take(images(40).into_iter().zip(scores).collect());
        drop(first);
        let path = file(folder.path());
        let whole = fs::read(&path).unwrap();
        for (at, images) in [
            (8, 0),
            (HEADER + 3, 0),
            (HEADER + 7 * RECORD + 20, 7),
            (whole.len() - 1, 39),
        ] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            fs::write(&path, bytes).unwrap();
            let report = monitor(folder.path(), &metrics).drift().await.unwrap();
            assert_eq!(
                (report.images, report.alarm, report.kept),
                (images, false, true),
                "byte {at}"
            );
        }
    }
}
