//! What a connection is doing, and until when it may go on doing it.
//!
//! The stream tells what arrives, the service which requests are in flight and which answers their clients have yet to
//! take; the task of the connection asks for the deadline. Nothing here reads, writes or closes.

mod flight;

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, ready},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

pub(super) use self::flight::Flight;
use super::{super::config::ServerLimits, request_heads::RequestHeads};

/// What an HTTP/2 client sends first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Time for a connection that was told to close, and that has nothing in flight, to do so.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// The same where others wait for its place.
const LEAVING_TIME: Duration = Duration::from_secs(1);

/// A connection that has been idle for so long can be spared where others wait for its place.
pub(super) const SPARE_TIME: Duration = Duration::from_secs(1);

/// Bytes of a body or an answer that a client sends or takes in a second, at least, in the long run.
const SLOWEST: u32 = 16 << 10;

/// The time that a client has for so many bytes.
pub(super) fn time_for(bytes: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / f64::from(SLOWEST))
}

/// Why a connection must not go on as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// The head of a request, or the first bytes of all, did not come in time.
    Head,
    /// A client has not taken any more of an answer for too long, or takes it too slowly.
    Unread,
    /// Nothing has been asked for too long. Pings ask nothing.
    Idle,
    /// It is old.
    Age,
    /// It was told to close and has not.
    Closing,
}

/// The version of HTTP, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// So many bytes of the preface of HTTP/2 have come.
    Unknown(usize),
    One,
    Two,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Activity {
    limits: Arc<ServerLimits>,
    opened: Instant,
    state: Mutex<State>,
    /// Woken when the place of the connection is wanted.
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    version: Version,
    heard: bool,
    /// When the first byte of a head came that is not complete yet. HTTP/1 only.
    head_since: Option<Instant>,
    /// Where heads begin and end. HTTP/1 only.
    heads: RequestHeads,
    in_flight: usize,
    /// Since when nothing has been in flight.
    quiet_since: Instant,
    /// Answers that could go on if their clients took more, and until when they wait for that.
    unread: HashMap<u64, Instant>,
    /// Requests of which more has to come, and until when enough has.
    arriving: HashMap<u64, Instant>,
    /// Requests that wait for their turn to be refused, and since when.
    waiting: HashMap<u64, Instant>,
    /// Requests so far.
    requests: u64,
    /// Whether the newest request has been read to its end.
    read: bool,
    /// Whether the client said that the newest request is its last.
    last: bool,
    /// Until when its client was told to wait when it was last refused for want of room.
    wait_until: Option<Instant>,
    /// Since when the connection is to close.
    closing_since: Option<Instant>,
    /// Whether others wait for its place.
    is_wanted: bool,
}

impl Activity {
    /// A connection that has just been accepted.
    pub(super) fn new(limits: Arc<ServerLimits>) -> Arc<Self> {
        let opened = Instant::now();
        Arc::new(Self {
            limits,
            opened,
            state: Mutex::new(State {
                version: Version::Unknown(0),
                heard: false,
                head_since: None,
                heads: RequestHeads::default(),
                in_flight: 0,
                quiet_since: opened,
                unread: HashMap::new(),
                arriving: HashMap::new(),
                waiting: HashMap::new(),
                requests: 0,
                read: true,
                last: false,
                wait_until: None,
                closing_since: None,
                is_wanted: false,
            }),
            wanted: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes bytes that came.
    pub(super) fn received(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.heard = true;
        if let Version::Unknown(matched) = state.version {
            state.version = version(matched, bytes);
        }
        if state.version == Version::Two {
            return;
        }
        state.heads.read(bytes);
        if state.version == Version::One && state.in_flight == 0 {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether any byte has come.
    pub(super) fn heard(&self) -> bool {
        self.state().heard
    }

    /// Whether a client that stops sending still waits for its answer: it said that this request is its last, and the
    /// request is here. From all others an end means that they are gone.
    pub(super) fn may_half_close(&self) -> bool {
        let state = self.state();
        state.last && state.read
    }

    /// Whether the head of a request has begun that is not complete, or that could not be understood.
    pub(super) fn has_head_open(&self) -> bool {
        self.state().head_since.is_some()
    }

    /// Whether it has not asked for anything, unless with a head that is not complete.
    pub(super) fn has_asked_nothing(&self) -> bool {
        let state = self.state();
        state.in_flight == 0 && (state.requests == 0 || state.head_since.is_some())
    }

    /// Whether the client may have sent what nobody has read. To close then would reset the connection and destroy the
    /// answer on its way.
    pub(super) fn has_unread_input(&self) -> bool {
        let state = self.state();
        state.version == Version::One && (!state.read || state.head_since.is_some())
    }

    /// Whether a line of the head that is about to begin a request ended without CR.
    pub(super) fn has_bare_line(&self) -> bool {
        let state = self.state();
        state.version != Version::Two && state.heads.are_bare()
    }

    /// Notes a request, the length of its body if its head says it, and whether it is the client's last.
    pub(super) fn begin(self: &Arc<Self>, last: bool, length: Option<u64>) -> Flight {
        let mut state = self.state();
        state.head_since = None;
        if state.version != Version::Two {
            state.heads.begin(length);
        }
        state.in_flight += 1;
        state.requests += 1;
        state.last = last;
        let is_impatient = state.wait_until.is_some_and(|until| Instant::now() < until);
        state.read = length == Some(0);
        Flight::new(Arc::clone(self), state.requests, is_impatient)
    }

    /// Notes that the newest request has been read to its end.
    pub(super) fn read(&self) {
        self.state().read = true;
    }

    /// Notes that more of a request has to come, of which enough has come until `due`.
    pub(super) fn awaits(&self, id: u64, due: Instant) {
        self.state().arriving.insert(id, due);
    }

    /// Notes that it came.
    pub(super) fn came(&self, id: u64) {
        self.state().arriving.remove(&id);
    }

    /// Ends when others wait for the place of the connection, and not before `due`.
    pub(super) async fn late(&self, due: Instant) {
        self.wanted().await;
        sleep_until(due).await;
    }

    /// Notes that the connection was told to close.
    pub(super) fn close(&self) {
        self.state().closing_since.get_or_insert_with(Instant::now);
    }

    /// Since when nobody would lose much by its end: it is idle, or all that is asked waits to be refused or comes too
    /// slowly. A client that was told to come back later has nothing to lose from the start.
    pub(super) fn spare_since(&self) -> Option<Instant> {
        let state = self.state();
        if state.is_wanted {
            return None;
        }
        let now = Instant::now();
        if state.in_flight > 0 {
            let late = state.arriving.values().filter(|&&due| due <= now);
            let all: Vec<&Instant> = state.waiting.values().chain(late).collect();
            return all
                .iter()
                .max()
                .filter(|_| all.len() == state.in_flight)
                .map(|&&since| since);
        }
        let is_to_wait = state.wait_until.is_some_and(|until| now < until);
        (is_to_wait || now >= state.quiet_since + SPARE_TIME).then_some(state.quiet_since)
    }

    /// Notes that others wait for its place.
    pub(super) fn want(&self) {
        self.state().is_wanted = true;
        self.wanted.notify_waiters();
    }

    /// Ends when others wait for its place.
    pub(super) async fn wanted(&self) {
        let mut wanted = pin!(self.wanted.notified());
        // From here on a call to `want` is heard; one before it is seen.
        wanted.as_mut().enable();
        if !self.state().is_wanted {
            wanted.await;
        }
    }

    /// The next deadline; without a reason it is only the time to look again.
    fn deadline(&self) -> (Instant, Option<Expired>) {
        let state = self.state();
        let limits = &*self.limits;
        let mut next = (Instant::now() + limits.keep_alive_timeout, None);
        let mut at = |instant: Instant, why| {
            if instant <= next.0 {
                next = (instant, Some(why));
            }
        };
        if matches!(state.version, Version::Unknown(_)) {
            at(self.opened + limits.header_timeout, Expired::Head);
        }
        if let Some(since) = state.head_since {
            at(since + limits.header_timeout, Expired::Head);
        }
        if let Some(&until) = state.unread.values().min() {
            at(until, Expired::Unread);
        }
        match state.closing_since {
            Some(since) if state.in_flight == 0 => {
                let time = if state.is_wanted { LEAVING_TIME } else { CLOSING_TIME };
                at(since.max(state.quiet_since) + time, Expired::Closing);
            }
            Some(_) => {}
            None => {
                if state.in_flight == 0 && state.head_since.is_none() {
                    at(state.quiet_since + limits.keep_alive_timeout, Expired::Idle);
                }
                // HTTP/2 alone can say that a connection goes away without failing a request that is under way.
                if state.version == Version::Two {
                    at(self.opened + limits.max_connection_age, Expired::Age);
                }
            }
        }
        next
    }

    /// Ends when the connection has done something for too long.
    pub(super) async fn expired(&self) -> Expired {
        let mut sleep = pin!(sleep_until(self.deadline().0));
        // Whatever brings the deadline forward wakes the task of the connection, which asks again here.
        poll_fn(|context| {
            loop {
                let (deadline, why) = self.deadline();
                if let Some(why) = why
                    && deadline <= Instant::now()
                {
                    return Poll::Ready(why);
                }
                if deadline < sleep.deadline() || sleep.is_elapsed() {
                    sleep.as_mut().reset(deadline);
                }
                ready!(sleep.as_mut().poll(context));
            }
        })
        .await
    }
}

fn version(matched: usize, bytes: &[u8]) -> Version {
    let expected = &HTTP2_PREFACE[matched..];
    let common = expected.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    if common == expected.len() {
        Version::Two
    } else if common < bytes.len() {
        Version::One
    } else {
        Version::Unknown(matched + common)
    }
}

#[cfg(test)]
mod tests;
