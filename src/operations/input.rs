//! What operations take: each type says what of a request's data it is, and which of its parts have failed.

use crate::{
    domain::image::Image,
    intake::{Given, Takes},
    model::Refusal,
};

/// Data that an operation takes.
pub trait Input: Sized + Send + 'static {
    /// What has to be read for it.
    const TAKES: Takes;

    /// The good parts, and for each part of the request `None` if it is good, else what is wrong with it. There is at
    /// least one good part.
    fn part(given: Given) -> Result<(Self, Vec<Option<Refusal>>), Refusal>;
}

/// One or more images.
#[derive(Debug, Clone)]
pub struct Images(pub Vec<Image>);

/// Images, and one flag a pixel in row order that is given, if a mask came.
#[derive(Debug, Clone)]
pub struct MaskedImages {
    /// The images.
    pub images: Vec<Image>,
    /// The mask.
    pub mask: Option<Vec<bool>>,
}

/// Exactly two images.
#[derive(Debug, Clone)]
pub struct TwoImages(pub Image, pub Image);

/// One or more latent codes.
#[derive(Debug, Clone)]
pub struct Codes(pub Vec<Vec<f32>>);

/// One or more compressed images.
#[derive(Debug, Clone)]
pub struct Streams(pub Vec<Vec<u8>>);

/// Nothing.
#[derive(Debug, Clone)]
pub struct Nothing;

impl Input for Images {
    const TAKES: Takes = Takes::Images;

    fn part(given: Given) -> Result<(Self, Vec<Option<Refusal>>), Refusal> {
        let (images, problems) = good_and_bad(given.images)?;
        Ok((Self(images), problems))
    }
}

impl Input for MaskedImages {
    const TAKES: Takes = Takes::MaskedImages;

    fn part(given: Given) -> Result<(Self, Vec<Option<Refusal>>), Refusal> {
        let (images, problems) = good_and_bad(given.images)?;
        let mask = given.mask;
        Ok((Self { images, mask }, problems))
    }
}

impl Input for TwoImages {
    const TAKES: Takes = Takes::TwoImages;

    fn part(given: Given) -> Result<(Self, Vec<Option<Refusal>>), Refusal> {
        let count = given.images.len();
        let images = all(given.images)?;
        let [from, to] = <[Image; 2]>::try_from(images).map_err(|_| {
            Refusal::image(format!(
                "interpolation goes between exactly two images; the request brings {count}"
            ))
        })?;
        Ok((Self(from, to), Vec::new()))
    }
}

impl Input for Codes {
    const TAKES: Takes = Takes::Codes;

    fn part(given: Given) -> Result<(Self, Vec<Option<Refusal>>), Refusal> {
        let problems = given.codes.iter().map(|_| None).collect();
        Ok((Self(given.codes), problems))
    }
}

impl Input for Streams {
    const TAKES: Takes = Takes::Streams;

    fn part(given: Given) -> Result<(Self, Vec<Option<Refusal>>), Refusal> {
        let (streams, problems) = good_and_bad(given.streams)?;
        Ok((Self(streams), problems))
    }
}

impl Input for Nothing {
    const TAKES: Takes = Takes::Nothing;

    fn part(_: Given) -> Result<(Self, Vec<Option<Refusal>>), Refusal> {
        Ok((Self, Vec::new()))
    }
}

/// Parts the good from the bad. If none is good, the whole request has failed.
fn good_and_bad<T>(parts: Vec<Result<T, Refusal>>) -> Result<(Vec<T>, Vec<Option<Refusal>>), Refusal> {
    let (mut good, mut problems) = (Vec::with_capacity(parts.len()), Vec::new());
    for part in parts {
        match part {
            Ok(part) => {
                good.push(part);
                problems.push(None);
            }
            Err(refusal) => problems.push(Some(refusal)),
        }
    }
    if good.is_empty() {
        return Err(Refusal::of_all(problems.into_iter().flatten().collect()));
    }
    Ok((good, problems))
}

/// All of them, for what has no place for a failure: one bad one fails the request.
pub(super) fn all<T>(parts: Vec<Result<T, Refusal>>) -> Result<Vec<T>, Refusal> {
    let single = parts.len() == 1;
    parts
        .into_iter()
        .enumerate()
        .map(|(index, part)| part.map_err(|refusal| if single { refusal } else { refusal.with_image(index) }))
        .collect()
}
