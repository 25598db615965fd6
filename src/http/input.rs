//! Images of a request: as one file, as the files of a form, as JSON, or as one array.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::{
    domain::image::{Image, ImageShape},
    media::{self, DecodeLimits, DecodeOptions},
    service::error::ErrorKind,
};

use super::{
    call::{Call, offload},
    config::HttpConfig,
    options::Options,
    problem::{Problem, ProblemKind},
};

mod form;
mod json;

pub(crate) use self::json::{MaskSource, Source, Wanted, read_json};

/// Image types that a raw body may declare. What counts is the content, not which of them it is.
pub(crate) const IMAGE_TYPES: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/gif",
    "image/bmp",
    "image/x-portable-anymap",
    "image/x-portable-graymap",
    "image/x-portable-pixmap",
    "image/x-portable-bitmap",
];

/// The media types of arrays.
pub(crate) const NPY_TYPES: &[&str] = &["application/x-npy", "application/npy"];

/// What a request brings: images, good or bad, and options.
#[derive(Debug)]
pub(crate) struct Input<T> {
    /// Each image, or what is wrong with it.
    pub(crate) images: Vec<Result<Image, Problem>>,
    /// Which pixels are given, where a request may say so.
    pub(crate) mask: Option<Vec<bool>>,
    /// The options of the operation.
    pub(crate) options: T,
}

/// Reads the images and options of a call. A request without images, with too many, or in which none is good is refused here.
pub(crate) async fn read_images<T>(call: &mut Call, takes_mask: bool) -> Result<Input<T>, Problem>
where
    T: DeserializeOwned + Send + 'static,
{
    let kind = match BodyKind::of(&call.headers) {
        Ok(kind) => kind,
        Err(problem) => return Err(call.refuse(problem).await),
    };
    let body = call.read_body().await?;
    let mut options = call.take_options();
    let size = body.len();
    let content = match kind {
        BodyKind::File => Content::from(vec![file_source(body)]),
        BodyKind::Npy => Content::from(vec![Source::Array(body)]),
        BodyKind::Json => Content {
            json: Some(body),
            ..Content::default()
        },
        BodyKind::Form { boundary } => {
            form::read(body, &boundary, &mut options, takes_mask).await?
        }
    };
    // A resize may have to decode many pixels out of few bytes, so it is never small. A JSON body that has the word in it
    // is taken for one that asks for it.
    let resize: Option<bool> = options.take("resize")?;
    let asks = |body: &Bytes| body.windows(6).any(|word| word == b"resize");
    let cost = if resize == Some(true) || content.json.as_ref().is_some_and(asks) {
        usize::MAX
    } else {
        size
    };
    let reading = Reading {
        shape: call.shape(),
        config: Arc::clone(&call.state.config),
        takes_mask,
        resize,
        options,
    };
    let input = offload(cost, move || reading.finish(content)).await?;
    call.count_images(input.images.len())?;
    Ok(input)
}

/// Refuses more images than the limit.
pub(crate) fn check_count(count: usize, limit: usize) -> Result<(), Problem> {
    if count > limit {
        let detail = format!("{count} images in one request; at most {limit} are allowed");
        return Err(Problem::new(ProblemKind::TooManyImages, detail).with_limit(limit as u64));
    }
    Ok(())
}

/// What the content type says a body is.
#[derive(Debug, PartialEq)]
pub(crate) enum BodyKind {
    /// One image file.
    File,
    /// Image files and fields.
    Form {
        /// What separates them.
        boundary: String,
    },
    /// Images and options.
    Json,
    /// An array of images.
    Npy,
}

impl BodyKind {
    /// The kind of body that the headers declare.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let refused = |found: &str| {
            Problem::new(
                ProblemKind::UnsupportedMediaType,
                format!(
                    "{found}; send an image file as {}, files as multipart/form-data (curl -F image=@file.png), JSON as \
                     application/json, or an array as application/x-npy",
                    IMAGE_TYPES.join(", ")
                ),
            )
        };
        let value = headers
            .get(header::CONTENT_TYPE)
            .ok_or_else(|| refused("the request has no Content-Type"))?;
        let text = value
            .to_str()
            .map_err(|_| refused("the Content-Type is not readable text"))?;
        let essence = text.split(';').next().unwrap_or_default().trim();
        let is = |known: &str| essence.eq_ignore_ascii_case(known);
        if IMAGE_TYPES.iter().any(|known| is(known)) {
            Ok(Self::File)
        } else if NPY_TYPES.iter().any(|known| is(known)) {
            Ok(Self::Npy)
        } else if is("application/json") {
            Ok(Self::Json)
        } else if is("multipart/form-data") {
            let boundary = multer::parse_boundary(text).map_err(|_| {
                Problem::new(
                    ProblemKind::Malformed,
                    "the multipart body declares no boundary",
                )
            })?;
            Ok(Self::Form { boundary })
        } else {
            let found = super::options::short(essence);
            Err(refused(&format!("bodies of type {found:?} are not read")))
        }
    }
}

/// A body taken apart, its images not yet decoded.
#[derive(Debug, Default)]
struct Content {
    sources: Vec<Source>,
    mask: Option<MaskSource>,
    json: Option<Bytes>,
}

impl From<Vec<Source>> for Content {
    fn from(sources: Vec<Source>) -> Self {
        Self {
            sources,
            ..Self::default()
        }
    }
}

/// A file by its first bytes: clients seldom declare an array in a form as one.
fn file_source(bytes: Bytes) -> Source {
    if bytes.starts_with(media::NPY_MAGIC) {
        Source::Array(bytes)
    } else {
        Source::File(bytes)
    }
}

/// Everything that decoding needs, in one place that can move to another thread.
struct Reading {
    shape: ImageShape,
    config: Arc<HttpConfig>,
    takes_mask: bool,
    resize: Option<bool>,
    options: Options,
}

impl Reading {
    fn finish<T: DeserializeOwned>(mut self, mut content: Content) -> Result<Input<T>, Problem> {
        if let Some(body) = content.json.take() {
            let wanted = Wanted {
                images: true,
                mask: self.takes_mask,
                ..Wanted::default()
            };
            let body = read_json(&body, wanted, &mut self.options)?;
            content.sources = body.images.unwrap_or_default();
            content.mask = body.mask;
        }
        // A JSON body may bring the option after the query did not.
        let resize = match self.options.take("resize")? {
            Some(_) if self.resize.is_some() => {
                return Err(Problem::option("resize", "given twice; give it once"));
            }
            given => given.or(self.resize).unwrap_or(false),
        };
        let decode = DecodeOptions {
            resize,
            convert: self.options.take("convert")?.unwrap_or(false),
            ..DecodeOptions::default()
        };
        let options = std::mem::take(&mut self.options).parse()?;
        if content.sources.is_empty() {
            return Err(no_image());
        }
        check_count(content.sources.len(), self.config.max_images)?;
        let mut budget = DecodeLimits {
            max_pixels: self.config.max_decoded_pixels,
            ..DecodeLimits::default()
        };
        let mask = content
            .mask
            .map(|mask| read_mask(mask, self.shape, budget))
            .transpose()?;
        let mut images = Vec::with_capacity(content.sources.len());
        for source in content.sources {
            self.decode(source, decode, &mut budget, &mut images);
        }
        // Arrays may come without items.
        if images.is_empty() {
            return Err(no_image());
        }
        Ok(Input {
            images,
            mask,
            options,
        })
    }

    /// Decodes one source, which is one image, or several if it is an array.
    fn decode(
        &self,
        source: Source,
        options: DecodeOptions,
        budget: &mut DecodeLimits,
        images: &mut Vec<Result<Image, Problem>>,
    ) {
        let image = match source {
            Source::Array(bytes) => {
                // One more than allowed is enough to see that there are too many.
                let limit = self.config.max_images;
                match media::read_images(&bytes, self.shape, limit) {
                    Ok(read) => images.extend(read.into_iter().map(Ok)),
                    Err(error) => images.push(Err(error.into())),
                }
                return;
            }
            Source::Pixels(pixels) => pixels.into_image(self.shape).map_err(Problem::from),
            Source::File(bytes) => self.decode_file(&bytes, options, budget),
            Source::Base64(text) => {
                base64(&text).and_then(|bytes| self.decode_file(&bytes, options, budget))
            }
        };
        images.push(image);
    }

    /// Decodes one file and takes its pixels off what the request may still decode.
    fn decode_file(
        &self,
        bytes: &[u8],
        options: DecodeOptions,
        budget: &mut DecodeLimits,
    ) -> Result<Image, Problem> {
        let image = media::decode(bytes, self.shape, options, *budget)?;
        let pixels = if options.resize {
            media::file_dimensions(bytes).map_or(0, |(w, h)| u64::from(w) * u64::from(h))
        } else {
            self.shape.pixels() as u64
        };
        budget.max_pixels = budget.max_pixels.saturating_sub(pixels);
        Ok(image)
    }
}

fn no_image() -> Problem {
    Problem::new(
        ProblemKind::Service(ErrorKind::InvalidImage),
        "the request brings no image; send at least one",
    )
}

fn read_mask(
    mask: MaskSource,
    shape: ImageShape,
    limits: DecodeLimits,
) -> Result<Vec<bool>, Problem> {
    let flags = match mask {
        MaskSource::Pixels(pixels) => media::mask_from_pixels(pixels, shape),
        MaskSource::File(bytes) => media::decode_mask(&bytes, shape, limits),
        MaskSource::Base64(text) => media::decode_mask(&base64(&text)?, shape, limits),
    };
    flags.map_err(|error| Problem::option("mask", error))
}

fn base64(text: &str) -> Result<Vec<u8>, Problem> {
    BASE64_STANDARD.decode(text).map_err(|error| {
        Problem::new(
            ProblemKind::Service(ErrorKind::InvalidImage),
            format!(
                "base64: {error}; wanted is the standard alphabet with padding, without line breaks and without a data: prefix"
            ),
        )
    })
}

#[cfg(test)]
mod tests;
