//! Lossless compression: images coded by the probabilities that a model gives them.
//!
//! A stream is a header and a code, all numbers big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `DSI1` |
//! | 8 | the model: the first bytes of a SHA-256 over the hash of its graph, the form of its images and its likelihood |
//! | 8 | the numerics: a hash of the bits that this runtime on this processor computes for a known image |
//! | 2 | the label; 0 for models without one |
//! | 4 | the image: the first bytes of the SHA-256 of its levels |
//! | … | the code |
//!
//! Model and numerics must be the same where the stream is read: another prediction, even in its last bit, can make another image of
//! a code. The hash of the image is checked at the end, so that whatever slipped through is an error, not a wrong image.

use std::time::Instant;

use sha2::{Digest, Sha256};

use super::{
    ServedModel, Service,
    autoregressive::follow,
    drawing::{Drawing, Order, Purpose},
    error::ServiceError,
    image_of,
    labels::{self, Condition},
    models::Lanes,
    requests::{Compressed, PerImage},
};
use crate::{
    domain::{
        coding::{Decoder, Encoder},
        family::Capability,
        image::Image,
    },
    network::autoregressive::Autoregressive,
    repository::manifest::Graphs,
    scheduling::Lane,
};

const MAGIC: [u8; 4] = *b"DSI1";

impl Compressed {
    /// Bytes of a stream before the code.
    pub const HEADER_BYTES: usize = 26;
}

/// What a stream says of itself.
struct Header {
    model: [u8; 8],
    numerics: [u8; 8],
    label: u16,
    image: [u8; 4],
}

/// The label that codes images; a conditional model needs one. Without it each pixel would have to be predicted by the mixture over
/// labels, for which the compiled programs of all labels would have to run side by side.
pub(super) fn label(model: &ServedModel, label: Option<&str>) -> Result<u32, ServiceError> {
    match model.condition(label)? {
        Condition::None => Ok(0),
        Condition::Label(label) => Ok(label),
        Condition::Open(_) => Err(labels::invalid(format!(
            "each pixel is coded by the prediction of one label, which the stream remembers, and not by the mixture over all; name \
             one of: {}",
            model.label_names().join(", ")
        ))),
    }
}

pub(super) async fn compress(
    service: &Service,
    model: &ServedModel,
    images: Vec<Image>,
    label: u32,
    deadline: Instant,
) -> Result<PerImage<Compressed>, ServiceError> {
    let lane = lane(model)?;
    let orders = images
        .iter()
        .map(|image| Order {
            levels: image.levels().to_vec(),
            label,
            purpose: Purpose::Encode(Box::default()),
            progress: None,
        })
        .collect();
    let coded = follow(service, lane, orders, deadline).await?;
    Ok(coded
        .into_iter()
        .zip(&images)
        .map(|(drawn, image)| {
            let Purpose::Encode(encoder) = drawn?.purpose else {
                return Err(ServiceError::Inference(
                    "an image came back uncoded".to_owned(),
                ));
            };
            let (code, ideal_bits) = Encoder::finish(*encoder)
                .ok_or_else(|| ServiceError::Inference("a level had no prediction".to_owned()))?;
            let header = Header {
                model: identity(model),
                numerics: numerics(lane.work().network()),
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

pub(super) async fn decompress(
    service: &Service,
    model: &ServedModel,
    streams: &[Vec<u8>],
    deadline: Instant,
) -> Result<PerImage<Image>, ServiceError> {
    let lane = lane(model)?;
    let shape = model.shape();
    let headers: PerImage<Header> = streams
        .iter()
        .map(|stream| Header::read(stream).and_then(|header| header.check(model, lane)))
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
    let mut read = follow(service, lane, orders, deadline).await?.into_iter();
    headers
        .into_iter()
        .map(|header| {
            let header = match header {
                Ok(header) => header,
                Err(error) => return Ok(Err(error)),
            };
            let drawn = read.next().ok_or_else(|| {
                ServiceError::Inference("a stream came back unread".to_owned())
            })?;
            Ok(drawn.map_err(ServiceError::from).and_then(|drawn| {
                let failed = matches!(&drawn.purpose, Purpose::Decode(decoder) if decoder.has_failed());
                if failed || checksum(&drawn.levels) != header.image {
                    return Err(ServiceError::InvalidStream(
                        "the stream is damaged: what it decodes to is not the image that was compressed".to_owned(),
                    ));
                }
                image_of(shape, drawn.levels)
            }))
        })
        .collect()
}

fn lane(model: &ServedModel) -> Result<&Lane<Drawing>, ServiceError> {
    match &model.lanes {
        Lanes::Autoregressive { draw, .. } => Ok(draw),
        _ => Err(model.unsupported(Capability::Compress)),
    }
}

/// Whatever decides on the predictions of a model.
fn identity(model: &ServedModel) -> [u8; 8] {
    let manifest = &model.version.manifest;
    let mut hash = Sha256::new();
    let decisive = match &manifest.graphs {
        Graphs::Autoregressive { file, contract } => Some((file, format!("{contract:?}"))),
        Graphs::Recurrent { file, contract } => Some((file, format!("{contract:?}"))),
        _ => None,
    };
    if let Some((file, contract)) = decisive {
        let graph = manifest.sha256.get(file).map(|hash| hash.to_lowercase());
        hash.update(graph.unwrap_or_default());
        hash.update(contract);
    }
    first(&hash.finalize())
}

fn numerics(network: &Autoregressive) -> [u8; 8] {
    network.numerics().to_be_bytes()
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

    fn read(stream: &[u8]) -> Result<Self, ServiceError> {
        if stream.len() < Compressed::HEADER_BYTES || stream[..4] != MAGIC {
            return Err(ServiceError::InvalidStream(format!(
                "this is not a compressed image: one begins with \"DSI1\" and has a header of {} bytes; these are {} bytes",
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

    fn check(self, model: &ServedModel, lane: &Lane<Drawing>) -> Result<Self, ServiceError> {
        if self.model != identity(model) {
            return Err(ServiceError::InvalidStream(format!(
                "it was compressed with another model than {:?} version {}",
                model.name(),
                model.version()
            )));
        }
        if self.numerics != numerics(lane.work().network()) {
            return Err(ServiceError::InvalidStream(
                "it was compressed with the same model, but another version of ONNX Runtime or another kind of processor, whose \
                 predictions differ in their last bits: decompress it where it was compressed"
                    .to_owned(),
            ));
        }
        let classes = lane
            .work()
            .network()
            .label()
            .map_or(1, |label| label.classes);
        if u32::from(self.label) >= classes {
            return Err(ServiceError::InvalidStream(format!(
                "its label {} is not one of the model's",
                self.label
            )));
        }
        Ok(self)
    }
}
