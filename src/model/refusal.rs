//! The one error of a request, whatever transport it came by: what was wrong, and what would be right.
//!
//! Rejecting an outlier is an answer, not an error. A transport maps [`Kind`] to its own codes, in one exhaustive
//! table.

mod kind;

use std::{borrow::Cow, fmt, time::Duration};

pub use self::kind::Kind;
use super::Reason;
use crate::{media::MediaError, scheduling::JobError};

/// When to come back to a server that is shutting down: by then its successor should serve.
const RETRY_AFTER_SHUTDOWN: Duration = Duration::from_secs(5);

/// Longer texts of a client are cut where a message repeats them.
const LONGEST_ECHO: usize = 40;
/// Names of a list that fit into a message.
const LONGEST_LIST: usize = 20;

/// Why a request, or one image of it, was not answered.
///
/// Boxed, because results that are mostly good should not carry the room for this.
#[derive(Debug, Clone)]
pub struct Refusal(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    kind: Kind,
    option: Option<Cow<'static, str>>,
    detail: String,
    retry_after: Option<Duration>,
    limit: Option<u64>,
    image: Option<usize>,
    others: Vec<Refusal>,
    cause: Option<String>,
}

impl Refusal {
    /// A refusal of the given kind; `detail` says what was wrong and what would be right.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            option: None,
            detail: detail.into(),
            retry_after: None,
            limit: None,
            image: None,
            others: Vec::new(),
            cause: None,
        }))
    }

    /// An option that cannot be. `option` is its name; a transport writes it as its clients do.
    pub fn option(option: impl Into<Cow<'static, str>>, reason: impl fmt::Display) -> Self {
        let mut refusal = Self::new(Kind::InvalidOption, reason.to_string());
        refusal.0.option = Some(option.into());
        refusal
    }

    /// An image that does not fit.
    pub fn image(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidImage, detail)
    }

    /// A failure of the server: `cause` goes to the log only.
    pub fn internal(cause: impl fmt::Display) -> Self {
        let detail = "the server failed to answer this request; its log holds the cause under the request's id";
        let mut refusal = Self::new(Kind::Internal, detail);
        refusal.0.cause = Some(cause.to_string());
        refusal
    }

    /// A change of models that could not be written down: `cause` goes to the log only.
    pub fn not_kept(cause: impl fmt::Display) -> Self {
        let detail = "nothing was changed, because it could not be kept for restarts; the server's log holds the cause \
                      under the request's id";
        let mut refusal = Self::new(Kind::Internal, detail);
        refusal.0.cause = Some(format!(
            "what was asked for cannot be kept, so it was not done: {cause}"
        ));
        refusal
    }

    /// A model whose graph gave no number, which is an error of that image alone.
    pub fn not_a_number(what: &str) -> Self {
        let mut refusal = Self::new(
            Kind::Internal,
            format!("the model gives no number: {what} of this image is not finite"),
        );
        refusal.0.cause = Some(format!("{what} is not finite"));
        refusal
    }

    /// A model that cannot do what is asked.
    pub fn unsupported(model: &str, operation: &str, reason: &Reason) -> Self {
        Self::new(
            Kind::Unsupported,
            format!("model {model:?} cannot {operation}: {reason}"),
        )
    }

    /// A queue without room.
    pub fn overloaded(retry_after: Duration) -> Self {
        let seconds = whole_seconds(retry_after);
        Self::new(
            Kind::Overloaded,
            format!("the queue for this kind of work is full; try again in {seconds} s"),
        )
        .with_retry_after(retry_after)
    }

    /// A client that has had its share.
    pub fn quota_exceeded(retry_after: Duration) -> Self {
        let seconds = whole_seconds(retry_after);
        Self::new(
            Kind::QuotaExceeded,
            format!("this client has had its share of the workers for now; try again in {seconds} s"),
        )
        .with_retry_after(retry_after)
    }

    /// A server that takes no new work.
    pub fn shutting_down() -> Self {
        Self::new(Kind::ShuttingDown, "the server is shutting down and takes no new work")
            .with_retry_after(RETRY_AFTER_SHUTDOWN)
    }

    /// An answer that did not come in time.
    pub fn deadline_exceeded() -> Self {
        Self::new(
            Kind::DeadlineExceeded,
            "the request was not finished within its deadline",
        )
    }

    /// Says when another try makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Says more.
    #[must_use]
    pub fn with_detail(mut self, more: &str) -> Self {
        self.0.detail.push_str("; ");
        self.0.detail.push_str(more);
        self
    }

    /// The limit that was passed.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.0.limit = Some(limit);
        self
    }

    /// The image that was wrong, counted from 0.
    #[must_use]
    pub fn with_image(mut self, image: usize) -> Self {
        self.0.image = Some(image);
        self
    }

    /// The refusals of the other images.
    #[must_use]
    pub fn with_others(mut self, others: Vec<Self>) -> Self {
        self.0.others = others;
        self
    }

    /// What is one for a request of which no image is good: the refusal of the first, and the others with it.
    pub fn of_all(refusals: Vec<Self>) -> Self {
        let several = refusals.len() > 1;
        let mut refusals =
            refusals.into_iter().enumerate().map(
                |(index, refusal)| {
                    if several { refusal.with_image(index) } else { refusal }
                },
            );
        let first = refusals
            .next()
            .unwrap_or_else(|| Self::internal("a request without images was not refused"));
        first.with_others(refusals.collect())
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The option that was wrong, if it was one.
    pub fn option_name(&self) -> Option<&str> {
        self.0.option.as_deref()
    }

    /// What was wrong and what would be right, without the name of an option.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// When another try makes sense, in whole seconds and at least one: less would invite a storm.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.0.retry_after.map(whole_seconds)
    }

    /// The limit that was passed.
    pub fn limit(&self) -> Option<u64> {
        self.0.limit
    }

    /// The image that was wrong, where a request had several.
    pub fn image_index(&self) -> Option<usize> {
        self.0.image
    }

    /// The refusals of the other images, where no image was good.
    pub fn others(&self) -> &[Self] {
        &self.0.others
    }

    /// What is for the log only.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(option) = &self.0.option {
            write!(f, "{option}: ")?;
        }
        f.write_str(&self.0.detail)
    }
}

impl std::error::Error for Refusal {}

impl From<JobError> for Refusal {
    fn from(error: JobError) -> Self {
        match error {
            JobError::DeadlineExceeded => Self::deadline_exceeded(),
            JobError::Failed(cause) => Self::internal(cause),
        }
    }
}

impl From<MediaError> for Refusal {
    fn from(error: MediaError) -> Self {
        let (kind, limit) = match error {
            MediaError::Cancelled => return Self::deadline_exceeded(),
            MediaError::TooManyItems { limit, .. } => (Kind::TooManyImages, Some(limit as u64)),
            MediaError::TooManyPixels { limit, .. } => (Kind::TooLarge, Some(limit)),
            _ if error.is_too_large() => (Kind::TooLarge, None),
            _ => (Kind::InvalidImage, None),
        };
        let mut refusal = Self::new(kind, error.to_string());
        refusal.0.limit = limit;
        refusal
    }
}

/// Cuts what a client made up to a length that fits into a message.
pub fn clip(text: &str) -> String {
    clip_to(LONGEST_ECHO, text)
}

/// Cuts a text to so many characters.
pub fn clip_to(longest: usize, text: &str) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest).chain(['…']).collect()
}

/// Names as a list, of many the first and how many more there are: a message of thousands is not read.
pub fn clip_list(names: &[impl ToString]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    first_of(LONGEST_LIST, names)
}

/// At most so many of names, and how many more there are.
pub fn first_of(most: usize, names: &[impl ToString]) -> String {
    let first: Vec<String> = names.iter().take(most).map(ToString::to_string).collect();
    let first = first.join(", ");
    match names.len().saturating_sub(most) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_names_the_first_are_told() {
        assert_eq!(clip_list(&["a", "b"]), "a, b");
        assert_eq!(clip_list(&[""; 0]), "none");
        let all: Vec<u32> = (0..1000).collect();
        let told = clip_list(&all);
        assert!(
            told.starts_with("0, 1, 2,") && told.ends_with("18, 19 and 980 more"),
            "{told}"
        );
    }

    #[test]
    fn waits_are_whole_seconds_and_at_least_one() {
        for (wait, seconds) in [(0, 1), (900, 1), (1001, 2), (7000, 7)] {
            let refusal = Refusal::overloaded(Duration::from_millis(wait));
            assert_eq!(refusal.retry_after_seconds(), Some(seconds));
        }
    }

    #[test]
    fn what_a_client_made_up_is_clipped() {
        assert_eq!(clip("short"), "short");
        assert_eq!(clip(&"é".repeat(10_000)).chars().count(), 41);
    }
}
