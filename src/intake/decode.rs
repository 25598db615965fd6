//! Decoding: work with a cost in pixels, of which so much runs at once as there are workers, which is refused where it
//! could not be done in time (`decode_queue`), and which ends with its request.

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

use super::{Content, Given, MaskSource, Source, check_count, decode_queue::DecodeQueue};
use crate::{
    domain::image::ImageShape,
    media::{self, DecodeLimits},
    model::Refusal,
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
    /// Whether images may be larger than the model's, as those are that are cut into windows.
    pub any_size: bool,
}

/// What may be done to image files that do not fit. Each changes the likelihood, so it has to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
pub struct DecodeOptions {
    /// Whether to resize image files that are not of the model's size, by a bilinear filter (widened when it shrinks,
    /// as Pillow's is) unless the model declares its own way.
    #[serde(default)]
    pub resize: bool,
    /// Whether to convert between colour and grey, blend transparent pixels over black and reduce 16 bits to 8 in image
    /// files.
    #[serde(default)]
    pub convert: bool,
    /// Whether to turn and mirror image files as the orientation tag of a camera asks; otherwise they are judged as
    /// they are stored, and the answer notes it.
    #[serde(default)]
    pub orient: bool,
    /// What becomes of files with several frames or pages: `only` refuses them, `first` takes the first, `all` makes an
    /// image of each.
    #[serde(default)]
    pub frames: Frames,
}

/// Which frames of a file are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Frames {
    /// The only one; a file with more is refused.
    #[default]
    Only,
    /// The first.
    First,
    /// Each.
    All,
}

impl From<DecodeOptions> for media::DecodeOptions {
    fn from(options: DecodeOptions) -> Self {
        Self {
            any_size: false,
            resize: options.resize.then(media::Resize::default),
            convert: options.convert,
            orient: options.orient,
            frames: match options.frames {
                Frames::Only => media::Frames::Only,
                Frames::First => media::Frames::First,
                Frames::All => media::Frames::All,
            },
        }
    }
}

/// Decodes the images of requests, a bounded number at once.
#[derive(Debug)]
pub struct Decoding {
    slots: Arc<Semaphore>,
    line: Arc<DecodeQueue>,
}

/// Below this many pixels, decoding takes less than handing it to another thread would.
const INLINE_PIXELS: u64 = 4096;

impl Decoding {
    /// So many requests decode at once.
    pub fn new(parallel: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(parallel.max(1))),
            line: DecodeQueue::new(parallel),
        }
    }

    /// Decodes what a request brought. Ends soon after the future is dropped or `deadline` has passed.
    ///
    /// # Errors
    /// Where others are before it, and it would not be done in time after them: when to come back.
    pub async fn decode(
        &self,
        content: Content,
        shape: ImageShape,
        options: media::DecodeOptions,
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
        let pixels = content.pixels(shape, options);
        if pixels <= INLINE_PIXELS {
            return work.run(content);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let place = self.line.join(pixels, left).map_err(Refusal::overloaded)?;
        let until = tokio::time::Instant::from_std(deadline);
        let slot = Arc::clone(&self.slots).acquire_owned();
        let slot = tokio::time::timeout_at(until, slot)
            .await
            .map_err(|_| Refusal::deadline_exceeded())?
            .map_err(Refusal::internal)?;
        let _leaves = Leaves(Arc::clone(&work.gone));
        let run = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let start = Instant::now();
            let given = work.run(content);
            // What was given up, or could not be read, says nothing of the rest.
            if let Ok(given) = &given
                && given.images.iter().all(Result::is_ok)
            {
                place.took(start.elapsed());
            }
            given
        });
        run.await.unwrap_or_else(|error| match error.try_into_panic() {
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
    fn pixels(&self, shape: ImageShape, options: media::DecodeOptions) -> u64 {
        let own = shape.pixels() as u64;
        let cost = |source: &Source| match source {
            Source::Image(_) => 0,
            Source::Pixels(_) => own,
            Source::Array(bytes) => bytes.len() as u64,
            Source::File(bytes) => {
                let limits = DecodeLimits::default();
                media::cost(bytes, shape, options, limits).map_or(0, |cost| cost.pixels)
            }
            // Its size is known when the text is decoded. Without a resize another size is refused by its header; with
            // one, it is rather guessed too large than decoded here.
            Source::Base64(_) if options == media::DecodeOptions::default() => own,
            Source::Base64(text) => 2 * text.len() as u64 + INLINE_PIXELS,
        };
        let images = self.sources.iter().map(cost);
        let mask = self.mask.iter().map(|_| own);
        images.chain(mask).fold(0, u64::saturating_add)
    }
}

/// Everything that decoding needs, in one place that can move to another thread.
struct Work {
    shape: ImageShape,
    options: media::DecodeOptions,
    budget: Budget,
    deadline: Instant,
    /// Set when nobody waits any more.
    gone: Arc<AtomicBool>,
}

impl Work {
    fn run(mut self, content: Content) -> Result<Given, Refusal> {
        let mask = content.mask.map(|mask| self.mask(mask)).transpose()?;
        let mut given = Given {
            images: Vec::with_capacity(content.sources.len()),
            files: Vec::new(),
            mask,
            codes: content.codes,
            streams: content.streams,
            notes: Vec::new(),
            preprocessing: None,
        };
        let mut files = content.files.into_iter();
        for source in content.sources {
            if self.is_over() {
                return Err(Refusal::deadline_exceeded());
            }
            self.source(source, &mut given);
            check_count(given.images.len(), self.budget.max_images)?;
            // A file may hold several images.
            if let Some(name) = files.next() {
                given.files.resize(given.images.len(), name);
            }
        }
        Ok(given)
    }

    /// Whether nobody waits any more.
    fn is_over(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }

    fn limits(&self) -> DecodeLimits {
        DecodeLimits {
            max_pixels: self.budget.max_pixels,
            max_frames: self.budget.max_images,
        }
    }

    /// Decodes one source, which is one image, or several if it is an array or has frames.
    fn source(&mut self, source: Source, given: &mut Given) {
        let image = match source {
            Source::Array(bytes) => {
                // One more than allowed is enough to see that there are too many.
                let read = if self.options.any_size {
                    media::read_images_of_any_size
                } else {
                    media::read_images
                };
                match read(&bytes, self.shape, self.budget.max_images) {
                    Ok(read) => given.images.extend(read.into_iter().map(Ok)),
                    Err(error) => given.images.push(Err(error.into())),
                }
                return;
            }
            Source::Image(image) => Ok(image),
            Source::Pixels(pixels) => pixels.into_image(self.shape).map_err(Refusal::from),
            Source::File(bytes) => return self.file(&bytes, given),
            Source::Base64(text) => match media::decode_base64(&text) {
                Ok(bytes) => return self.file(&bytes, given),
                Err(error) => Err(Refusal::from(error)),
            },
        };
        given.images.push(image);
    }

    /// Decodes one file and takes its pixels off what the request may still decode.
    fn file(&mut self, bytes: &[u8], given: &mut Given) {
        let (options, limits) = (self.options, self.limits());
        let cost = media::cost(bytes, self.shape, options, limits);
        let decoded = cost.and_then(|cost| {
            self.budget.max_pixels = self.budget.max_pixels.saturating_sub(cost.pixels);
            media::decode_file(bytes, self.shape, options, limits, &|| self.is_over())
        });
        match decoded {
            Ok(decoded) => {
                let first = given.images.len();
                let notes = decoded.notes.iter().map(|note| (first, note.to_string()));
                given.notes.extend(notes);
                given.images.extend(decoded.images.into_iter().map(Ok));
            }
            Err(error) => given.images.push(Err(error.into())),
        }
    }

    fn mask(&self, mask: MaskSource) -> Result<Vec<bool>, Refusal> {
        let (shape, limits) = (self.shape, self.limits());
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
            MaskSource::File(bytes) => media::decode_mask(&bytes, shape, None, limits),
            MaskSource::Base64(text) => {
                media::decode_base64(&text).and_then(|bytes| media::decode_mask(&bytes, shape, None, limits))
            }
        };
        flags.map_err(|error| Refusal::option("mask", error))
    }
}
