//! Decoding: work with a cost in pixels, of which so much runs at once as there are workers, and which ends with its request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{Content, Given, MaskSource, Source, check_count};
use crate::{
    domain::image::{Image, ImageShape},
    media::{self, DecodeLimits},
    model::{Refusal, refusal::clip},
};

/// What one request may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Images, codes or streams.
    pub max_images: usize,
    /// Pixels that its image files may decode to, all together.
    pub max_pixels: u64,
    /// Numbers in a latent code.
    pub code_size: usize,
}

/// What may be done to image files that do not fit. Either changes the likelihood, so it has to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct DecodeOptions {
    /// Whether to resize image files that are not of the model's size, by a triangle filter.
    #[serde(default)]
    pub resize: bool,
    /// Whether to convert between colour and grey, blend transparent pixels over black and reduce 16 bits to 8 in image files.
    #[serde(default)]
    pub convert: bool,
}

/// Decodes the images of requests, a bounded number at once.
#[derive(Debug)]
pub struct Decoding {
    slots: Arc<Semaphore>,
}

/// Below this many pixels, decoding takes less than handing it to another thread would.
const INLINE_PIXELS: u64 = 4096;

impl Decoding {
    /// So many requests decode at once.
    pub fn new(parallel: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(parallel.max(1))),
        }
    }

    /// Decodes what a request brought. Ends soon after the future is dropped or `deadline` has passed.
    pub async fn decode(
        &self,
        content: Content,
        shape: ImageShape,
        options: DecodeOptions,
        budget: Budget,
        deadline: Instant,
    ) -> Result<Given, Refusal> {
        let work = Work {
            shape,
            options,
            budget,
            deadline,
            gone: Arc::default(),
        };
        if content.pixels(shape, options) <= INLINE_PIXELS {
            return work.run(content);
        }
        let until = tokio::time::Instant::from_std(deadline);
        let slot = Arc::clone(&self.slots).acquire_owned();
        let slot = tokio::time::timeout_at(until, slot)
            .await
            .map_err(|_| Refusal::deadline_exceeded())?
            .map_err(Refusal::internal)?;
        let _leaves = Leaves(Arc::clone(&work.gone));
        let run = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work.run(content)
        });
        run.await
            .unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Refusal::shutting_down()),
            })
    }
}

/// Tells the thread that decodes that nobody waits any more.
struct Leaves(Arc<AtomicBool>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Content {
    /// About how many pixels there are to decode.
    fn pixels(&self, shape: ImageShape, options: DecodeOptions) -> u64 {
        let own = shape.pixels() as u64;
        let cost = |source: &Source| match source {
            Source::Image(_) => 0,
            Source::Pixels(_) => own,
            Source::Array(bytes) => bytes.len() as u64,
            // Without a resize another size is refused by its header.
            Source::File(_) | Source::Base64(_) if !options.resize => own,
            Source::File(bytes) => pixels_of_file(bytes),
            Source::Base64(_) => u64::MAX,
        };
        let images = self.sources.iter().map(cost);
        let mask = self.mask.iter().map(|_| own);
        images.chain(mask).fold(0, u64::saturating_add)
    }
}

fn pixels_of_file(bytes: &[u8]) -> u64 {
    media::file_dimensions(bytes).map_or(0, |(width, height)| u64::from(width) * u64::from(height))
}

/// Everything that decoding needs, in one place that can move to another thread.
struct Work {
    shape: ImageShape,
    options: DecodeOptions,
    budget: Budget,
    deadline: Instant,
    /// Set when nobody waits any more.
    gone: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self, content: Content) -> Result<Given, Refusal> {
        let limits = DecodeLimits {
            max_pixels: self.budget.max_pixels,
        };
        let mask = content
            .mask
            .map(|mask| self.mask(mask, limits))
            .transpose()?;
        let mut images = Vec::with_capacity(content.sources.len());
        for source in content.sources {
            if self.gone.load(Ordering::Relaxed) || Instant::now() >= self.deadline {
                return Err(Refusal::deadline_exceeded());
            }
            self.source(source, &mut images);
            check_count(images.len(), self.budget.max_images)?;
        }
        Ok(Given {
            images,
            mask,
            codes: content.codes,
            streams: content.streams,
        })
    }

    /// Decodes one source, which is one image, or several if it is an array.
    fn source(&mut self, source: Source, images: &mut Vec<Result<Image, Refusal>>) {
        let image = match source {
            Source::Array(bytes) => {
                // One more than allowed is enough to see that there are too many.
                match media::read_images(&bytes, self.shape, self.budget.max_images) {
                    Ok(read) => images.extend(read.into_iter().map(Ok)),
                    Err(error) => images.push(Err(error.into())),
                }
                return;
            }
            Source::Image(image) => Ok(image),
            Source::Pixels(pixels) => pixels.into_image(self.shape).map_err(Refusal::from),
            Source::File(bytes) => self.file(&bytes),
            Source::Base64(text) => base64(&text).and_then(|bytes| self.file(&bytes)),
        };
        images.push(image);
    }

    /// Decodes one file and takes its pixels off what the request may still decode.
    fn file(&mut self, bytes: &[u8]) -> Result<Image, Refusal> {
        let options = media::DecodeOptions {
            resize: self.options.resize,
            convert: self.options.convert,
        };
        let limits = DecodeLimits {
            max_pixels: self.budget.max_pixels,
        };
        let image = media::decode(bytes, self.shape, options, limits)?;
        let pixels = if self.options.resize {
            pixels_of_file(bytes)
        } else {
            self.shape.pixels() as u64
        };
        self.budget.max_pixels = self.budget.max_pixels.saturating_sub(pixels);
        Ok(image)
    }

    fn mask(&self, mask: MaskSource, limits: DecodeLimits) -> Result<Vec<bool>, Refusal> {
        let shape = self.shape;
        let flags = match mask {
            MaskSource::Flags(flags) if flags.len() == shape.pixels() => return Ok(flags),
            MaskSource::Flags(flags) => {
                let reason = format!(
                    "it has {} flags, but the image has {}×{} = {} pixels",
                    flags.len(),
                    shape.height(),
                    shape.width(),
                    shape.pixels()
                );
                return Err(Refusal::option("mask", reason));
            }
            MaskSource::Pixels(pixels) => media::mask_from_pixels(pixels, shape),
            MaskSource::File(bytes) => media::decode_mask(&bytes, shape, limits),
            MaskSource::Base64(text) => {
                let bytes = base64(&text).map_err(|e| Refusal::option("mask", e.detail()))?;
                media::decode_mask(&bytes, shape, limits)
            }
        };
        flags.map_err(|error| Refusal::option("mask", error))
    }
}

fn base64(text: &str) -> Result<Vec<u8>, Refusal> {
    media::decode_base64(text).map_err(|error| Refusal::image(clip_message(&error.to_string())))
}

/// Messages of decoders may repeat what they read.
fn clip_message(text: &str) -> String {
    if text.len() < 200 {
        text.to_owned()
    } else {
        clip(text)
    }
}
