//! Drift of the streams that detectors judge, kept over restarts.
//!
//! Each stream has a thread of its own that hashes, counts and writes, so that no request waits for a disk. The state
//! of a run is a file of what was counted, in order: replaying it gives the same bets, because ties are broken by a
//! seed that is in the file too. What cannot be written waits in memory, and is written as soon as it can be.

mod log;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, mpsc::RecvTimeoutError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use self::log::{Header, Log, Record, Run, number};
use crate::{
    domain::{
        drift::{Counted, Drift, RUN},
        image::Image,
    },
    metrics::DriftMetrics,
    model::{
        Kind, Refusal,
        detect::{DriftReport, WatchesDrift},
    },
};

/// The probability of an alarm, ever, in a run without drift.
pub const ALARM_RATE: f64 = 0.01;

/// Requests whose images may wait to be counted. Those of further ones are left out: a slow disk must not hold up
/// answers.
const WAITING: usize = 1024;

/// How often it is told, at most, that requests were left out.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How long whoever asks for drift waits for a disk that does not answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the end of a stream waits for a disk that does not answer.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// The stream of one detector.
#[derive(Debug)]
pub struct Monitor {
    label: String,
    /// `None` only while it is dropped.
    orders: Option<mpsc::Sender<Order>>,
    /// Hears of the end of the stream's thread.
    ended: Mutex<std::sync::mpsc::Receiver<()>>,
    left_out: Mutex<LeftOut>,
}

/// Requests whose images were not counted.
#[derive(Debug, Default)]
struct LeftOut {
    requests: u64,
    /// When that was told.
    told: Option<Instant>,
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
    path: PathBuf,
    calibration: Vec<f64>,
    metrics: DriftMetrics,
    header: Header,
    drift: Drift,
    /// `None` as long as the file cannot be had.
    log: Option<Log>,
    unwritten: Unwritten,
    /// Whether the run is not kept, and that was told.
    is_failing: bool,
    /// When it was last told that somebody else was at the file.
    told: Option<Instant>,
}

/// What the file of the run has still to be given.
#[derive(Debug, Default)]
struct Unwritten {
    header: bool,
    /// No more than a run has.
    records: Vec<Record>,
}

impl Monitor {
    /// Takes up the run in `folder` of the detector whose manifest has the hash `fingerprint`, or begins one. As long
    /// as the folder cannot be written to, or another server is at the run, the stream is watched all the same, but not
    /// kept, which is a warning; then what was counted is added to what the file holds.
    pub fn open(
        folder: &Path,
        (name, version, fingerprint): (&str, u32, &str),
        calibration: &[f64],
        metrics: DriftMetrics,
    ) -> io::Result<Self> {
        let short = fingerprint.get(..16).unwrap_or(fingerprint);
        let label = format!("{name} version {version}");
        let mut stream = Stream {
            label: label.clone(),
            path: folder.join(format!("{name}-{version}-{short}.drift")),
            calibration: calibration.to_vec(),
            metrics,
            header: Header { seed: 0, since: 0 },
            drift: Drift::new(calibration, 0),
            log: None,
            unwritten: Unwritten::default(),
            is_failing: false,
            told: None,
        };
        stream.begin();
        stream.keep();
        stream.show();
        let (orders, mut received) = mpsc::channel(WAITING);
        let (end, ended) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("drift".to_owned()).spawn(move || {
            // The file is let go before that is heard.
            let _end = end;
            let mut stream = stream;
            while let Some(order) = received.blocking_recv() {
                stream.obey(order);
            }
        })?;
        Ok(Self {
            label,
            orders: Some(orders),
            ended: Mutex::new(ended),
            left_out: Mutex::default(),
        })
    }

    /// Has images counted that were judged, in order.
    pub fn take(&self, judged: Vec<(Image, f64)>) {
        let sent = self.orders.as_ref().map(|orders| orders.try_send(Order::Take(judged)));
        if let Some(Err(_)) = sent {
            self.leave_out();
        }
    }

    fn leave_out(&self) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left_out.requests += 1;
        if left_out.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            let requests = left_out.requests;
            tracing::warn!(
                detector = self.label,
                requests,
                "images are not counted for drift: its folder does not take what is written as fast as it comes"
            );
            *left_out = LeftOut {
                requests: 0,
                told: Some(Instant::now()),
            };
        }
    }

    async fn ask(&self, order: impl FnOnce(oneshot::Sender<DriftReport>) -> Order) -> Result<DriftReport, Refusal> {
        let gone = || Refusal::internal("the stream is no longer watched");
        let (reply, answer) = oneshot::channel();
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        let told = tokio::time::timeout(ANSWER, async {
            orders.send(order(reply)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())
        });
        told.await.unwrap_or_else(|_| {
            let detail = format!("the folder where the drift of {} is kept does not answer", self.label);
            Err(Refusal::new(Kind::DeadlineExceeded, detail))
        })
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
    /// What has been judged is counted and written before the file is let go, unless the disk stands still.
    fn drop(&mut self) {
        drop(self.orders.take());
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(LAST_RECORDS) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                detector = self.label,
                "its last images are not counted for drift: its folder does not answer"
            );
        }
    }
}

impl Stream {
    fn obey(&mut self, order: Order) {
        let asked = match order {
            Order::Take(judged) => {
                for (image, score) in &judged {
                    self.count(Record {
                        score: *score,
                        digest: digest(image),
                    });
                }
                None
            }
            Order::Report(reply) => Some(reply),
            Order::Reset(reply) => {
                self.begin();
                Some(reply)
            }
        };
        self.keep();
        // Whoever has an answer finds the same in the metrics.
        self.show();
        if let Some(reply) = asked {
            // An answer that nobody waits for any more is no loss.
            drop(reply.send(self.report()));
        }
    }

    fn count(&mut self, record: Record) {
        let before = self.is_alarmed();
        let mut counted = self.drift.take(record.score, record.digest);
        if counted == Counted::Full {
            self.begin();
            counted = self.drift.take(record.score, record.digest);
        }
        if matches!(counted, Counted::Bet { .. }) {
            self.unwritten.records.push(record);
        }
        self.tell_alarm(before);
    }

    fn tell_alarm(&self, before: bool) {
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
            since: self.header.since,
            kept: !self.is_failing,
        }
    }

    fn is_alarmed(&self) -> bool {
        self.drift.martingale().highest() >= -ALARM_RATE.ln()
    }

    fn show(&self) {
        let log_capital = self.drift.martingale().log_capital();
        self.metrics.log_capital.set(log_capital);
        self.metrics.kept.set(i64::from(!self.is_failing));
    }

    /// Begins a run now.
    fn begin(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Nobody has to guess it: it only breaks ties.
        let seed = now.as_nanos() as u64;
        self.header = Header {
            seed,
            since: now.as_secs(),
        };
        self.drift = Drift::new(&self.calibration, seed);
        self.unwritten = Unwritten {
            header: true,
            records: Vec::new(),
        };
    }

    /// Has the file hold all that was counted. What prevents that is told once.
    fn keep(&mut self) {
        match self.write() {
            Ok(()) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(detector = self.label, "the drift of this detector is kept again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let path = self.path.display();
                    tracing::warn!(
                        detector = self.label, %path, %error,
                        "the drift of this detector cannot be kept: until it can, it will not survive a restart"
                    );
                }
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let was_changed = self.log.as_ref().is_some_and(|log| !log.is_at(&self.path));
        if was_changed {
            self.log = None;
        }
        if self.log.is_none() {
            let (log, run) = Log::open(&self.path)?;
            // A new run that is still to be written replaces what others did to the file.
            if !(was_changed && self.unwritten.header) {
                self.take_over(run, was_changed);
            }
            self.log = Some(log);
        }
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        let Unwritten { header, records } = &mut self.unwritten;
        if *header {
            log.begin(self.header)?;
            *header = false;
        }
        let failed = records.iter().map(|&record| log.append(record)).enumerate();
        let failed = failed.into_iter().find_map(|(at, added)| Some((at, added.err()?)));
        records.drain(..failed.as_ref().map_or(records.len(), |(at, _)| *at));
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// The run is what the file says, whoever changed it. Deleting the file begins one.
    fn take_over(&mut self, run: Option<Run>, was_changed: bool) {
        let images = run.as_ref().map_or(0, |run| run.records.len());
        match run {
            Some(run) => self.go_on(run),
            None if !self.unwritten.header => {
                let records = std::mem::take(&mut self.unwritten.records);
                self.begin();
                for record in records {
                    self.count(record);
                }
            }
            None => {}
        }
        let is_due = self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY);
        if was_changed && is_due {
            self.told = Some(Instant::now());
            let path = self.path.display();
            tracing::warn!(
                detector = self.label, %path, images,
                "the record of drift was deleted or changed while it was in use, and the run is now what it holds; \
                 DELETE …/drift begins a new one, and no two servers may write to one file"
            );
        }
    }

    /// Takes up the run of a file, and adds what was counted meanwhile.
    fn go_on(&mut self, run: Run) {
        let before = self.is_alarmed();
        self.header = run.header;
        self.drift = Drift::new(&self.calibration, run.header.seed);
        for Record { score, digest } in run.records {
            self.drift.take(score, digest);
        }
        let mut records = std::mem::take(&mut self.unwritten.records);
        records.retain(|record| matches!(self.drift.take(record.score, record.digest), Counted::Bet { .. }));
        self.unwritten = Unwritten { header: false, records };
        self.tell_alarm(before);
    }
}

fn digest(image: &Image) -> u64 {
    number(&Sha256::digest(image.levels()))
}

#[cfg(test)]
mod tests;
