//! From bodies to images, codes and streams, with the options beside them: formats, budgets, masks, resizing, failure
//! image by image.
//!
//! Every transport and the command line read through here, so that a file means the same wherever it comes in.
//!
//! Architecture invariant: nothing here knows of a transport, of an operation or of a family.

mod decode;
mod decode_queue;
mod form;
mod json;
mod memory_budget;
pub mod options;

use bytes::Bytes;

pub use self::{
    decode::{Budget, DecodeOptions, Decoding, Frames},
    json::{read_json, read_stream},
    memory_budget::{MemoryBudget, Reservation},
};
/// The shape of an image of levels, of a model that takes any size.
pub use crate::media::of_size;
use crate::{
    domain::image::Image,
    media::{self, Pixels},
    model::{Kind, Refusal, info::Preprocessing, refusal::clip},
};

/// Image types that a raw body may declare. What counts is the content, not which of them it is.
pub const IMAGE_TYPES: [&str; 10] = [
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/gif",
    "image/bmp",
    "image/tiff",
    "image/x-portable-anymap",
    "image/x-portable-graymap",
    "image/x-portable-pixmap",
    "image/x-portable-bitmap",
];

/// The media types of arrays.
pub const NPY_TYPES: [&str; 2] = ["application/x-npy", "application/npy"];

/// The media type of one compressed image.
pub const STREAM_TYPE: &str = "application/vnd.density-server.image";

/// What an operation takes beside its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Options only.
    Nothing,
    /// One or more images.
    Images,
    /// One or more images, and perhaps a mask of their given pixels.
    MaskedImages,
    /// Exactly two images.
    TwoImages,
    /// One or more latent codes.
    Codes,
    /// One or more compressed images.
    Streams,
}

impl Takes {
    /// Whether it takes images.
    pub fn images(self) -> bool {
        matches!(self, Self::Images | Self::MaskedImages | Self::TwoImages)
    }
}

/// One image as it came.
#[derive(Debug, Clone)]
pub enum Source {
    /// An image file.
    File(Bytes),
    /// An image file in base64.
    Base64(String),
    /// Nested lists of levels.
    Pixels(Pixels),
    /// An array file, which may hold several images.
    Array(Bytes),
    /// An image that is read already.
    Image(Image),
}

/// A mask as it came.
#[derive(Debug, Clone)]
pub enum MaskSource {
    /// An image file.
    File(Bytes),
    /// An image file in base64.
    Base64(String),
    /// Nested lists of zeros and ones.
    Pixels(Pixels),
    /// One flag a pixel in row order.
    Flags(Vec<bool>),
}

/// A body taken apart, its images not yet decoded.
#[derive(Debug, Default)]
pub struct Content {
    /// Images.
    pub sources: Vec<Source>,
    /// The name of the file of each image, empty if it has none; no names at all where images come without.
    pub files: Vec<String>,
    /// The mask.
    pub mask: Option<MaskSource>,
    /// Latent codes.
    pub codes: Vec<Vec<f32>>,
    /// Compressed images.
    pub streams: Vec<Result<Vec<u8>, Refusal>>,
}

impl Content {
    /// Images, codes or streams, as far as they can be counted before they are decoded.
    pub fn len(&self) -> usize {
        self.sources.len() + self.codes.len() + self.streams.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a request brings, ready to work on.
#[derive(Debug, Default)]
pub struct Given {
    /// Each image, or what is wrong with it.
    pub images: Vec<Result<Image, Refusal>>,
    /// The name of the file of each image, where names came: empty if it has none.
    pub files: Vec<String>,
    /// Which pixels are given, one flag a pixel in row order.
    pub mask: Option<Vec<bool>>,
    /// Latent codes.
    pub codes: Vec<Vec<f32>>,
    /// Each compressed image, or what is wrong with it.
    pub streams: Vec<Result<Vec<u8>, Refusal>>,
    /// What a user should know of an image: its place, and a sentence.
    pub notes: Vec<(usize, String)>,
    /// What was done to image files so that they fit, where anything was declared or asked for.
    pub preprocessing: Option<Preprocessing>,
}

/// What a content type says a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyType {
    /// One image file.
    File,
    /// Image files and fields.
    Form {
        /// What separates them.
        boundary: String,
    },
    /// Data and options.
    Json,
    /// An array.
    Npy,
    /// One compressed image.
    Stream,
}

impl BodyType {
    /// The type that a content type declares, if an operation that takes `takes` reads it.
    pub fn of(content_type: Option<&str>, takes: Takes) -> Result<Self, Refusal> {
        let refused = |found: &str| {
            let detail = format!("{found}; {}", wanted(takes));
            Refusal::new(Kind::UnsupportedMediaType, detail)
        };
        let Some(text) = content_type else {
            return Err(refused("the request has no Content-Type"));
        };
        let essence = text.split(';').next().unwrap_or_default().trim();
        let is = |known: &str| essence.eq_ignore_ascii_case(known);
        let images = takes.images();
        if is("application/json") {
            Ok(Self::Json)
        } else if images && IMAGE_TYPES.iter().any(|known| is(known)) {
            Ok(Self::File)
        } else if (images || takes == Takes::Codes) && NPY_TYPES.iter().any(|known| is(known)) {
            Ok(Self::Npy)
        } else if takes == Takes::Streams && is(STREAM_TYPE) {
            Ok(Self::Stream)
        } else if images && is("multipart/form-data") {
            let boundary = multer::parse_boundary(text)
                .map_err(|_| Refusal::new(Kind::Malformed, "the multipart body declares no boundary"))?;
            Ok(Self::Form { boundary })
        } else {
            let found = clip(essence);
            Err(refused(&format!("bodies of type {found:?} are not read here")))
        }
    }
}

/// What would be right.
fn wanted(takes: Takes) -> String {
    match takes {
        Takes::Nothing => "options come in the query or as a JSON object of type application/json".to_owned(),
        Takes::Images | Takes::MaskedImages | Takes::TwoImages => format!(
            "send an image file as {}, files as multipart/form-data (curl -F image=@file.png), JSON as \
             application/json, or an array as application/x-npy",
            IMAGE_TYPES.join(", ")
        ),
        Takes::Codes => "latent codes come as application/json or as application/x-npy".to_owned(),
        Takes::Streams => {
            format!("streams come as application/json, or one of them as {STREAM_TYPE}")
        }
    }
}

/// Takes a body apart. Its options join those that are there already. Nothing is decoded yet; the time it takes is
/// linear in the size of the body, and it ends at the first thing too many.
pub fn take_apart(
    body: Bytes,
    body_type: &BodyType,
    takes: Takes,
    options: &mut options::RawOptions,
    budget: Budget,
) -> Result<Content, Refusal> {
    match body_type {
        BodyType::File => Ok(Content {
            sources: vec![file_source(body)],
            ..Content::default()
        }),
        BodyType::Npy if takes == Takes::Codes => Ok(Content {
            codes: media::read_vectors(&body, budget.code_size, budget.max_images).map_err(|error| {
                if error.is_too_large() {
                    Refusal::from(error)
                } else {
                    Refusal::option("latents", error)
                }
            })?,
            ..Content::default()
        }),
        BodyType::Npy => Ok(Content {
            sources: vec![Source::Array(body)],
            ..Content::default()
        }),
        BodyType::Stream => Ok(Content {
            streams: vec![Ok(body.to_vec())],
            ..Content::default()
        }),
        BodyType::Json => read_json(&body, takes, options, budget),
        BodyType::Form { boundary } => form::read(body, boundary, options, takes, budget),
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

/// Refuses more images than one request may bring.
pub fn check_count(count: usize, limit: usize) -> Result<(), Refusal> {
    if count <= limit {
        return Ok(());
    }
    let detail = format!("{count} images in one request; at most {limit} are allowed");
    Err(Refusal::new(Kind::TooManyImages, detail).with_limit(limit as u64))
}

/// Refuses a request without data, and names the field that holds it.
pub fn check_present(given: &Given, takes: Takes) -> Result<(), Refusal> {
    match takes {
        Takes::Images | Takes::MaskedImages | Takes::TwoImages if given.images.is_empty() => Err(Refusal::image(
            "the request brings no image; send at least one, in JSON under the key \"images\"",
        )),
        Takes::Codes if given.codes.is_empty() => Err(Refusal::option(
            "latents",
            "the request brings no latent code; send at least one, in JSON as a list of lists of numbers",
        )),
        Takes::Streams if given.streams.is_empty() => Err(Refusal::option(
            "streams",
            "the request brings no stream; send at least one, in JSON as a list of base64",
        )),
        _ => Ok(()),
    }
}
