//! What one request may ask for and how long it may take.

use std::time::Duration;

use crate::model::{Kind, Refusal};

/// What one request may ask for and how long it may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Images in one request, sent or asked for. Default 256.
    pub max_images: usize,
    /// Images drawn by one request, completions included. Default 64.
    pub max_samples: u32,
    /// Pixels that all image files of one request may decode to, checked from their headers, so that a small file
    /// cannot claim much memory. Default 25 Mi, which lets a photograph of 24 million in where it is resized.
    pub max_decoded_pixels: u64,
    /// Bytes that all requests together may hold: bodies, decoded pixels, answers. Default 512 MiB.
    pub max_held_bytes: usize,
    /// Requests whose images are decoded at once. Default: the number of cores.
    pub decoding: usize,
    /// Time for a whole request that names none. Default 60 s.
    pub request_timeout: Duration,
    /// The longest time that a client may ask for, and the time of bulk work that names none. Default 600 s.
    pub max_request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_images: 256,
            max_samples: 64,
            max_decoded_pixels: 25 << 20,
            max_held_bytes: 512 << 20,
            decoding: std::thread::available_parallelism().map_or(1, usize::from),
            request_timeout: Duration::from_secs(60),
            max_request_timeout: Duration::from_secs(600),
        }
    }
}

impl Limits {
    /// Refuses more images than one request may have drawn: `n` for each of some images.
    pub(super) fn check_draws(&self, images: usize, n: u32) -> Result<(), Refusal> {
        let total = images.saturating_mul(n as usize);
        let limit = self.max_images.min(self.max_samples as usize);
        if total <= limit {
            return Ok(());
        }
        let detail = format!("{total} images to draw in one request; at most {limit} are allowed");
        Err(Refusal::new(Kind::TooLarge, detail).with_limit(limit as u64))
    }

    /// Refuses a time that the server does not grant.
    pub(super) fn check_timeout(&self, timeout: Duration) -> Result<Duration, Refusal> {
        if timeout <= self.max_request_timeout {
            return Ok(timeout);
        }
        let reason = format!(
            "{} s is more than this server grants: at most {} s",
            timeout.as_secs_f64(),
            self.max_request_timeout.as_secs_f64()
        );
        Err(Refusal::option("timeout", reason))
    }
}
