//! Lossless compression: images coded by the probabilities that a model gives them.
//!
//! A stream is a header and a code, all numbers big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `DSI1` |
//! | 8 | the model: the first bytes of a SHA-256 over its graph's hash, the form of its images and its likelihood |
//! | 8 | the numerics: a hash of the bits that this runtime on this processor computes for the first golden image |
//! | 2 | the label; 0 for models without one |
//! | 4 | the image: the first bytes of the SHA-256 of its levels |
//! | … | the code |
//!
//! Model and numerics must be the same where the stream is read: another prediction, even in its last bit, can make
//! another image of a code. The hash of the image is checked at the end, so that whatever slipped through is an error,
//! not a wrong image.

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::{
    Model,
    drawing::{Order, Purpose},
};
use crate::{
    domain::{
        coding::{BadCode, Decoder, Encoder},
        image::Image,
    },
    families::codes::image_of,
    model::{
        Call, Kind, PerImage, Refusal,
        compress::{Compressed, Compresses},
        labels::Condition,
        refusal::clip_list,
    },
};

const MAGIC: [u8; 4] = *b"DSI1";

/// What a stream says of itself.
struct Header {
    model: [u8; 8],
    numerics: [u8; 8],
    label: u16,
    image: [u8; 4],
}

#[async_trait]
impl Compresses for Model {
    async fn compress(
        &self,
        images: Vec<Image>,
        condition: &Condition,
        call: &Call,
    ) -> Result<PerImage<Compressed>, Refusal> {
        let label = self.coding_label(condition)?;
        let orders = images
            .iter()
            .map(|image| Order {
                levels: image.levels().to_vec(),
                label,
                purpose: Purpose::Encode(Box::default()),
                progress: None,
            })
            .collect();
        let coded = self.follow(orders, call).await?;
        Ok(coded
            .into_iter()
            .zip(&images)
            .map(|(drawn, image)| {
                let Purpose::Encode(encoder) = drawn?.purpose else {
                    return Err(Refusal::internal("an image came back uncoded"));
                };
                let (code, ideal_bits) =
                    Encoder::finish(*encoder).ok_or_else(|| Refusal::not_a_number("the prediction of a pixel"))?;
                let header = Header {
                    model: self.identity,
                    numerics: self.numerics(),
                    // There are fewer labels than that in any manifest.
                    label: u16::try_from(label).unwrap_or(u16::MAX),
                    image: checksum(image.levels()),
                };
                Ok(Compressed {
                    bytes: [header.write().as_slice(), &code].concat(),
                    ideal_bits,
                })
            })
            .collect())
    }

    async fn decompress(&self, streams: Vec<Vec<u8>>, call: &Call) -> Result<PerImage<Image>, Refusal> {
        let shape = self.shape;
        let headers: PerImage<Header> = streams
            .iter()
            .map(|stream| Header::read(stream).and_then(|header| header.check(self)))
            .collect();
        let orders = streams
            .iter()
            .zip(&headers)
            .filter_map(|(stream, header)| header.as_ref().ok().map(|header| (stream, header)))
            .map(|(stream, header)| Order {
                levels: vec![0; shape.dimensions()],
                label: u32::from(header.label),
                purpose: Purpose::Decode(Box::new(Decoder::new(&stream[Compressed::HEADER_BYTES..]))),
                progress: None,
            })
            .collect();
        let mut read = self.follow(orders, call).await?.into_iter();
        headers
            .into_iter()
            .map(|header| {
                let header = match header {
                    Ok(header) => header,
                    Err(error) => return Ok(Err(error)),
                };
                let drawn = read
                    .next()
                    .ok_or_else(|| Refusal::internal("a stream came back unread"))?;
                Ok(drawn.map_err(Refusal::from).and_then(|drawn| {
                    let Purpose::Decode(decoder) = drawn.purpose else {
                        return Err(Refusal::internal("a stream came back as something else"));
                    };
                    match Decoder::finish(*decoder) {
                        _ if checksum(&drawn.levels) != header.image => Err(damaged()),
                        Err(BadCode::Damaged) => Err(damaged()),
                        Err(BadCode::Followed(rest)) => Err(invalid(format!(
                            "the stream ends {rest} bytes before the data do: send it without what follows"
                        ))),
                        Ok(()) => image_of(shape, drawn.levels),
                    }
                }))
            })
            .collect()
    }
}

impl Model {
    /// The label that codes images; a conditional model needs one. Without it each pixel would have to be predicted by
    /// the mixture over labels, for which the compiled programs of all labels would have to run side by side.
    fn coding_label(&self, condition: &Condition) -> Result<u32, Refusal> {
        match condition {
            Condition::None => Ok(0),
            Condition::Label(label) => Ok(*label),
            Condition::Open(_) => Err(Refusal::option(
                "label",
                format!(
                    "each pixel is coded by the prediction of one label, which the stream remembers, and not by the \
                     mixture over all; name one of: {}",
                    clip_list(self.label_names())
                ),
            )),
        }
    }

    fn numerics(&self) -> [u8; 8] {
        self.network.numerics().to_be_bytes()
    }
}

/// Whatever decides on the predictions of a model.
pub(super) fn identity(graph_sha256: &str, contract: &str) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(graph_sha256.to_lowercase());
    hash.update(contract);
    first(&hash.finalize())
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Kind::InvalidStream, detail)
}

fn damaged() -> Refusal {
    invalid("the stream is damaged: what it decodes to is not the image that was compressed")
}

fn checksum(levels: &[u8]) -> [u8; 4] {
    first(&Sha256::digest(levels))
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut result = [0; N];
    result.copy_from_slice(&bytes[..N]);
    result
}

impl Header {
    fn write(&self) -> [u8; Compressed::HEADER_BYTES] {
        let mut bytes = [0; Compressed::HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..12].copy_from_slice(&self.model);
        bytes[12..20].copy_from_slice(&self.numerics);
        bytes[20..22].copy_from_slice(&self.label.to_be_bytes());
        bytes[22..].copy_from_slice(&self.image);
        bytes
    }

    fn read(stream: &[u8]) -> Result<Self, Refusal> {
        if stream.len() < Compressed::HEADER_BYTES || stream[..4] != MAGIC {
            return Err(invalid(format!(
                "this is not a compressed image: one begins with \"DSI1\" and has a header of {} bytes; these are {} \
                 bytes",
                Compressed::HEADER_BYTES,
                stream.len()
            )));
        }
        Ok(Self {
            model: first(&stream[4..12]),
            numerics: first(&stream[12..20]),
            label: u16::from_be_bytes(first(&stream[20..22])),
            image: first(&stream[22..26]),
        })
    }

    fn check(self, model: &Model) -> Result<Self, Refusal> {
        if self.model != model.identity {
            return Err(invalid(format!(
                "it was compressed with another model than {:?} version {}",
                model.name, model.version
            )));
        }
        if self.numerics != model.numerics() {
            return Err(invalid(
                "it was compressed with the same graph, but another version of ONNX Runtime or another kind of \
                 processor, whose predictions differ in their last bits, or by a version with other golden images, \
                 which show that: decompress it where it was compressed"
                    .to_owned(),
            ));
        }
        let classes = model.network.label().map_or(1, |label| label.classes);
        if u32::from(self.label) >= classes {
            return Err(invalid(format!("its label {} is not one of the model's", self.label)));
        }
        Ok(self)
    }
}
