//! Formats of answers, and what becomes of an answer in a format that is to be looked at.

use crate::{
    domain::image::{Image, ImageShape},
    intake::STREAM_TYPE,
    media::{self, Appearance, MediaError},
    model::{Kind, Refusal, draw::Order},
};

/// A format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `image/png`.
    Png,
    /// `application/x-npy`.
    Npy,
    /// `image/gif`: how images appear.
    Gif,
    /// A compressed image.
    Stream,
    /// `text/event-stream`: how far images are, while they are drawn.
    Events,
}

impl Format {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Png => "image/png",
            Self::Npy => "application/x-npy",
            Self::Stream => STREAM_TYPE,
            Self::Gif => "image/gif",
            Self::Events => "text/event-stream",
        }
    }
}

/// The refusal of a format that an operation does not answer in.
pub fn not_acceptable(offered: &[Format]) -> Refusal {
    let names: Vec<_> = offered.iter().map(|format| format.media_type()).collect();
    Refusal::new(
        Kind::NotAcceptable,
        format!(
            "this endpoint answers as {}; name one of them in the header Accept",
            names.join(", ")
        ),
    )
}

/// What there is to look at.
#[derive(Debug, Clone)]
pub enum Rendering {
    /// Nothing.
    Nothing,
    /// Images, and how they appear.
    Images {
        /// The images, all of one size.
        images: Vec<Image>,
        /// One flag a pixel that was given, or none.
        known: Vec<bool>,
        /// In which order pixels appear.
        order: Order,
    },
    /// Heat maps, dark where values are expected.
    HeatMaps {
        /// Size of the images.
        shape: ImageShape,
        /// Values in channel, row, column order.
        maps: Vec<Vec<f32>>,
    },
    /// What speaks against images, laid over them.
    Overlays {
        /// The images.
        images: Vec<Image>,
        /// Values in channel, row, column order.
        maps: Vec<Vec<f32>>,
    },
    /// What dimensions say for and against labels: a row an image.
    Evidence {
        /// Size of the images.
        shape: ImageShape,
        /// Labels.
        labels: usize,
        /// For each image and label the values in channel, row, column order.
        maps: Vec<Vec<f32>>,
    },
    /// A file as it is.
    File(Vec<u8>),
}

impl Rendering {
    /// As a PNG file; a grid if there are several.
    pub fn png(&self) -> Result<Vec<u8>, Refusal> {
        let png: Result<Vec<u8>, MediaError> = match self {
            Self::Images { images, .. } => match images.first() {
                Some(first) => media::png_grid(images, first.shape()),
                None => return Err(nothing()),
            },
            Self::HeatMaps { shape, maps } => media::heat_map_grid(&slices(maps), *shape),
            Self::Overlays { images, maps } => match images.first() {
                Some(first) => media::overlay_grid(images, &slices(maps), first.shape()),
                None => return Err(nothing()),
            },
            Self::Evidence { shape, labels, maps } => media::evidence_grid(&slices(maps), *labels, *shape),
            Self::Nothing | Self::File(_) => return Err(nothing()),
        };
        Ok(png?)
    }

    /// As a GIF file: how the images appear.
    pub fn gif(&self) -> Result<Vec<u8>, Refusal> {
        let Self::Images { images, known, order } = self else {
            return Err(nothing());
        };
        let first = images.first().ok_or_else(nothing)?;
        let appearance = match *order {
            Order::AtOnce => Appearance::AtOnce,
            Order::Rows => Appearance::Rows,
            Order::Wavefront { lag } => Appearance::Wavefront { lag },
        };
        Ok(media::animation(images, first.shape(), known, appearance)?)
    }
}

fn slices(maps: &[Vec<f32>]) -> Vec<&[f32]> {
    maps.iter().map(Vec::as_slice).collect()
}

fn nothing() -> Refusal {
    Refusal::internal("an answer without a picture was to be shown")
}
