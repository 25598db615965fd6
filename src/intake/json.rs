//! JSON bodies: images, a mask, latent codes or compressed images under their own keys, and every other key an option.
//!
//! The keys may be in the singular (`image`, `latent`, `stream`), and an entry may be what another operation answered:
//! an image with its media type, an object with a `code`. What is too much is refused while it is read.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer, SeqDeserializer, StrDeserializer},
    },
};

use super::{Budget, Content, MaskSource, Source, Takes, options::RawOptions};
use crate::{
    media::{self, Pixels},
    model::{Kind, Refusal},
};

/// Reads a body; its options join those that are there.
pub fn read_json(body: &[u8], takes: Takes, options: &mut RawOptions, budget: Budget) -> Result<Content, Refusal> {
    let mut refusal = None;
    let reader = Reader {
        takes,
        options,
        budget,
        refusal: &mut refusal,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let result = reader.deserialize(&mut json).and_then(|content| {
        json.end()?;
        Ok(content)
    });
    result.map_err(|error| {
        refusal.unwrap_or_else(|| {
            let kind = if error.is_data() {
                Kind::InvalidOption
            } else {
                Kind::Malformed
            };
            let text: String = error.to_string().chars().take(200).collect();
            Refusal::new(kind, format!("the JSON body cannot be read: {text}"))
        })
    })
}

struct Reader<'a> {
    takes: Takes,
    options: &'a mut RawOptions,
    budget: Budget,
    /// A refusal that a JSON error cannot carry.
    refusal: &'a mut Option<Refusal>,
}

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Images,
    Mask,
    Codes,
    Streams,
    Option,
}

impl Key {
    fn of(name: &str, takes: Takes) -> Self {
        match name {
            "images" | "image" if takes.images() => Self::Images,
            "mask" if takes == Takes::MaskedImages => Self::Mask,
            "latents" | "latent" | "codes" | "code" if takes == Takes::Codes => Self::Codes,
            "streams" | "stream" if takes == Takes::Streams => Self::Streams,
            _ => Self::Option,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Content;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut content = Content::default();
        let mut seen = Vec::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let key = Key::of(&name, self.takes);
            if key != Key::Option && seen.contains(&key) {
                return Err(A::Error::custom(format_args!("the key {name:?} is given twice")));
            }
            seen.push(key);
            let limit = self.budget.max_images;
            let refused = match key {
                Key::Images => {
                    let list = List::<ImageEntry<'de>>::new(limit, self.refusal);
                    content.sources = map.next_value_seed(list)?;
                    continue;
                }
                Key::Codes => {
                    let list = List::<Code>::new(limit, self.refusal);
                    content.codes = map.next_value_seed(list)?;
                    continue;
                }
                Key::Streams => {
                    let list = List::<Stream>::new(limit, self.refusal);
                    content.streams = map.next_value_seed(list)?;
                    continue;
                }
                Key::Mask => {
                    content.mask = Some(map.next_value()?);
                    continue;
                }
                Key::Option if self.options.knows(&name) => {
                    let value: serde_json::Value = map.next_value()?;
                    // The key must not hide that it was seen: options have a memory of their own.
                    seen.pop();
                    self.options.add_json(&name, value)
                }
                // Refused for its name, without a look at what may be a long value.
                Key::Option => self.options.add_json(&name, serde_json::Value::Null),
            };
            if let Err(refusal) = refused {
                *self.refusal = Some(name_fields(refusal, self.takes));
                return Err(A::Error::custom("an option"));
            }
        }
        Ok(content)
    }
}

/// Says where the data of the operation goes, in case the unknown option was meant for it.
fn name_fields(refusal: Refusal, takes: Takes) -> Refusal {
    let fields = match takes {
        Takes::Nothing => return refusal,
        Takes::Images | Takes::TwoImages => "the images go under the key \"images\"",
        Takes::MaskedImages => "the images go under the key \"images\", the mask under the key \"mask\"",
        Takes::Codes => "the codes go under the key \"latents\"",
        Takes::Streams => "the streams go under the key \"streams\"",
    };
    refusal.with_detail(fields)
}

/// An entry of a list of data.
trait Entry<'de>: Deserialize<'de> {
    /// What it becomes.
    type Output;
    /// What a list of it is, for messages.
    const LIST: &'static str;
    /// Whether an entry is itself a list of numbers, so that a flat list is a single entry.
    const IS_LIST: bool = false;

    /// What it says.
    fn read(self) -> Result<Self::Output, String>;
}

/// A list of at most so many entries, or a single entry in its place.
struct List<'a, E> {
    limit: usize,
    refusal: &'a mut Option<Refusal>,
    entry: PhantomData<E>,
}

impl<'a, E> List<'a, E> {
    fn new(limit: usize, refusal: &'a mut Option<Refusal>) -> Self {
        Self {
            limit,
            refusal,
            entry: PhantomData,
        }
    }

    fn push<'de, X: serde::de::Error>(&mut self, entries: &mut Vec<E::Output>, entry: E) -> Result<(), X>
    where
        E: Entry<'de>,
    {
        if entries.len() == self.limit {
            *self.refusal = Some(too_many(self.limit));
            return Err(X::custom("too many"));
        }
        entries.push(entry.read().map_err(X::custom)?);
        Ok(())
    }
}

impl<'de, E: Entry<'de>> DeserializeSeed<'de> for List<'_, E> {
    type Value = Vec<E::Output>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E: Entry<'de>> Visitor<'de> for List<'_, E> {
    type Value = Vec<E::Output>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(E::LIST)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        let entry = E::deserialize(MapAccessDeserializer::new(map))?;
        self.push(&mut entries, entry)?;
        Ok(entries)
    }

    fn visit_str<X: serde::de::Error>(mut self, text: &str) -> Result<Self::Value, X> {
        let mut entries = Vec::new();
        let entry = E::deserialize(StrDeserializer::<X>::new(text))?;
        self.push(&mut entries, entry)?;
        Ok(entries)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        if !E::IS_LIST {
            while let Some(entry) = list.next_element::<E>()? {
                self.push(&mut entries, entry)?;
            }
            return Ok(entries);
        }
        let mut numbers: Vec<f32> = Vec::new();
        while let Some(part) = list.next_element::<NumberOr<E>>()? {
            match part {
                NumberOr::Number(number) if entries.is_empty() => numbers.push(number),
                NumberOr::Entry(entry) if numbers.is_empty() => self.push(&mut entries, entry)?,
                _ => return Err(A::Error::custom("numbers and lists of numbers are mixed")),
            }
        }
        if !numbers.is_empty() {
            let one = SeqDeserializer::<_, A::Error>::new(numbers.into_iter());
            self.push(&mut entries, E::deserialize(one)?)?;
        }
        Ok(entries)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOr<E> {
    Number(f32),
    Entry(E),
}

fn too_many(limit: usize) -> Refusal {
    let detail = format!("more than {limit} entries in one request; at most {limit} are allowed");
    Refusal::new(Kind::TooManyImages, detail).with_limit(limit as u64)
}

/// One image.
struct ImageEntry<'a>(ImageFields<'a>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageFields<'a> {
    #[serde(borrow)]
    base64: Option<Cow<'a, str>>,
    pixels: Option<Pixels>,
    /// As answers have it; what counts is the content.
    #[serde(borrow)]
    #[expect(dead_code, reason = "read and ignored")]
    media_type: Option<Cow<'a, str>>,
}

impl<'de> Entry<'de> for ImageEntry<'de> {
    type Output = Source;
    const LIST: &'static str = "a list of images, each an object with either \"base64\" or \"pixels\"";

    fn read(self) -> Result<Source, String> {
        match (self.0.base64, self.0.pixels) {
            (Some(text), None) => Ok(Source::Base64(text.into_owned())),
            (None, Some(pixels)) => Ok(Source::Pixels(pixels)),
            _ => Err("an image is an object with either \"base64\" (an image file) or \"pixels\" (levels)".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for ImageEntry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = ImageFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an image: an object with either \"base64\" or \"pixels\"")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                ImageFields::deserialize(MapAccessDeserializer::new(map))
            }
        }

        // A list would be taken for the fields in their order.
        deserializer.deserialize_any(Fields).map(Self)
    }
}

/// One latent code: a list of numbers, or an object that has it under `code`.
struct Code(Vec<f32>);

impl<'de> Entry<'de> for Code {
    type Output = Vec<f32>;
    const LIST: &'static str = "a list of latent codes, each a list of numbers";
    const IS_LIST: bool = true;

    fn read(self) -> Result<Vec<f32>, String> {
        Ok(self.0)
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a latent code: a list of numbers")]
        enum Form {
            Numbers(Vec<f32>),
            Encoding { code: Vec<f32> },
        }
        Form::deserialize(deserializer).map(|form| match form {
            Form::Numbers(code) | Form::Encoding { code } => Self(code),
        })
    }
}

/// One compressed image: base64, or an object that has it under `stream`.
struct Stream(String);

impl<'de> Entry<'de> for Stream {
    type Output = Result<Vec<u8>, Refusal>;
    const LIST: &'static str = "a list of streams, each base64";

    fn read(self) -> Result<Self::Output, String> {
        Ok(read_stream(&self.0))
    }
}

/// A compressed image in base64.
pub fn read_stream(base64: &str) -> Result<Vec<u8>, Refusal> {
    let decoded = media::decode_base64(base64);
    decoded.map_err(|error| Refusal::new(Kind::InvalidStream, error.to_string()))
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a stream: base64")]
        enum Form {
            Text(String),
            Answer { stream: String },
        }
        Form::deserialize(deserializer).map(|form| match form {
            Form::Text(text) | Form::Answer { stream: text } => Self(text),
        })
    }
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
