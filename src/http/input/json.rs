//! JSON bodies: images, a mask, latent codes or compressed images under their own keys, and every other key an option.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
        value::SeqAccessDeserializer,
    },
};

use crate::{
    http::{
        options::Options,
        problem::{Problem, ProblemKind},
    },
    media::Pixels,
    service::error::ErrorKind,
};

/// One image as it came.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// An image file.
    File(Bytes),
    /// An image file in base64.
    Base64(String),
    /// Nested lists of levels.
    Pixels(Pixels),
    /// An array file, which may hold several images.
    Array(Bytes),
}

/// A mask as it came.
#[derive(Debug)]
pub(crate) enum MaskSource {
    /// An image file.
    File(Bytes),
    /// An image file in base64.
    Base64(String),
    /// Nested lists of zeros and ones.
    Pixels(Pixels),
}

/// Which keys of a body hold data; all others are options.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// `images`.
    pub(crate) images: bool,
    /// `mask`.
    pub(crate) mask: bool,
    /// `latents`.
    pub(crate) latents: bool,
    /// `streams`.
    pub(crate) streams: bool,
}

/// The data of a body.
#[derive(Debug, Default)]
pub(crate) struct JsonBody {
    /// Images.
    pub(crate) images: Option<Vec<Source>>,
    /// The mask.
    pub(crate) mask: Option<MaskSource>,
    /// Latent codes.
    pub(crate) latents: Option<Vec<Vec<f32>>>,
    /// Compressed images in base64.
    pub(crate) streams: Option<Vec<String>>,
}

/// Reads a body and adds its options to those that are there.
pub(crate) fn read_json(
    body: &[u8],
    wanted: Wanted,
    options: &mut Options,
) -> Result<JsonBody, Problem> {
    let mut problem = None;
    let reader = Reader {
        wanted,
        options,
        problem: &mut problem,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let result = reader.deserialize(&mut json).and_then(|body| {
        json.end()?;
        Ok(body)
    });
    result.map_err(|error| {
        problem.unwrap_or_else(|| {
            let kind = if error.is_data() {
                ProblemKind::Service(ErrorKind::InvalidOption)
            } else {
                ProblemKind::Malformed
            };
            Problem::new(kind, format!("the JSON body cannot be read: {error}"))
        })
    })
}

struct Reader<'a> {
    wanted: Wanted,
    options: &'a mut Options,
    /// A problem that a JSON error cannot carry.
    problem: &'a mut Option<Problem>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = JsonBody;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<JsonBody, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = JsonBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonBody, A::Error> {
        let mut body = JsonBody::default();
        while let Some(key) = map.next_key::<String>()? {
            let repeated = match key.as_str() {
                "images" if self.wanted.images => {
                    let Entries(images) = map.next_value()?;
                    body.images.replace(images).is_some()
                }
                "mask" if self.wanted.mask => body.mask.replace(map.next_value()?).is_some(),
                "latents" if self.wanted.latents => {
                    body.latents.replace(map.next_value()?).is_some()
                }
                "streams" if self.wanted.streams => {
                    body.streams.replace(map.next_value()?).is_some()
                }
                _ => {
                    if let Err(problem) = self.options.add_json(key, map.next_value()?) {
                        *self.problem = Some(problem);
                        return Err(A::Error::custom("an option"));
                    }
                    continue;
                }
            };
            if repeated {
                return Err(A::Error::custom(format_args!(
                    "the key {key:?} is given twice"
                )));
            }
        }
        Ok(body)
    }
}

/// The list of images. Its entries are read one by one into what will be decoded later.
struct Entries(Vec<Source>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<Entry<'de>>::deserialize(deserializer)?;
        entries
            .into_iter()
            .map(|entry| match entry {
                Entry {
                    base64: Some(text),
                    pixels: None,
                } => Ok(Source::Base64(text.into_owned())),
                Entry {
                    base64: None,
                    pixels: Some(pixels),
                } => Ok(Source::Pixels(pixels)),
                _ => Err(D::Error::custom(
                    "an image is an object with either \"base64\" (an image file) or \"pixels\" (levels)",
                )),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an image: an object with either \"base64\" or \"pixels\""
)]
struct Entry<'a> {
    #[serde(borrow)]
    base64: Option<Cow<'a, str>>,
    pixels: Option<Pixels>,
}

impl<'de> Deserialize<'de> for MaskSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MaskVisitor;

        impl<'de> Visitor<'de> for MaskVisitor {
            type Value = MaskSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mask: an image file in base64, or rows of zeros and ones")
            }

            fn visit_str<E>(self, text: &str) -> Result<MaskSource, E> {
                Ok(MaskSource::Base64(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<MaskSource, A::Error> {
                Pixels::deserialize(SeqAccessDeserializer::new(list)).map(MaskSource::Pixels)
            }
        }

        deserializer.deserialize_any(MaskVisitor)
    }
}
