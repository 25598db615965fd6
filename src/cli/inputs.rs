//! Which images a command works on, and what may be done to them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{CliError, folder::Wanted};
use crate::{
    domain::image::ImageShape,
    media::{DecodeLimits, DecodeOptions, Frames, Resize},
};

mod array;
mod source;

pub(super) use self::source::{Source, open};

/// Files of images.
const IMAGES: Wanted = Wanted {
    what: "images",
    endings: &[
        ".bmp",
        ".gif",
        ".jpeg",
        ".jpg",
        ".jfif",
        ".npy",
        ".pam",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
        "idx3-ubyte",
        "idx3-ubyte.gz",
        "idx4-ubyte",
        "idx4-ubyte.gz",
    ],
};

/// Which images, and what may be done to them.
#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// Image files (PNG, JPEG, WebP, GIF, BMP, PNM, TIFF), npy arrays of levels (uint8 [N, H, W] or [N, H, W, C]), IDX
    /// arrays (…idx3-ubyte, also .gz), and folders of these, which are searched to the bottom in order of name; - is
    /// standard input
    #[arg(required = true, value_name = "INPUT")]
    pub(super) inputs: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) decoding: DecodeArgs,
}

/// What may be done to image files.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct DecodeArgs {
    /// Resize images of another size than the model's, which changes their likelihood
    #[arg(long)]
    resize: bool,

    /// Convert between grey and colour and reduce 16 bits to 8, which changes the likelihood
    #[arg(long)]
    convert: bool,

    /// Turn and mirror images as the orientation tag of a camera asks; otherwise they are judged as they are stored
    #[arg(long)]
    orient: bool,

    /// What becomes of files with several frames or pages
    #[arg(long, value_enum, default_value_t = FramesName::Only)]
    frames: FramesName,

    /// Most pixels that one file may unpack to [default: 26214400]
    #[arg(long, value_name = "PIXELS", env = "DENSITY_MAX_DECODED_PIXELS")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    max_decoded_pixels: Option<u64>,
}

/// Which frames of a file are taken.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum FramesName {
    /// The only one; a file with more fails
    #[default]
    Only,
    /// The first
    First,
    /// All, each an image
    All,
}

impl DecodeArgs {
    /// The same for whoever decodes.
    pub(super) fn options(self) -> DecodeOptions {
        DecodeOptions {
            any_size: false,
            resize: self.resize.then(Resize::default),
            convert: self.convert,
            orient: self.orient,
            frames: match self.frames {
                FramesName::Only => Frames::Only,
                FramesName::First => Frames::First,
                FramesName::All => Frames::All,
            },
        }
    }

    /// What one file may unpack to.
    pub(super) fn limits(self) -> DecodeLimits {
        let limits = DecodeLimits::default();
        DecodeLimits {
            max_pixels: self.max_decoded_pixels.unwrap_or(limits.max_pixels),
            ..limits
        }
    }
}

/// Every file of images that is named or lies in a folder that is. Only names are held, not images.
pub(super) fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    IMAGES.files(inputs)
}

/// How many images files hold, as their headers say; for commands that must know before they begin.
pub(super) fn count(files: &[PathBuf], shape: ImageShape) -> Result<u64, CliError> {
    files.iter().try_fold(0_u64, |count, path| {
        let found = match open(path, shape, false) {
            Ok(Source::Picture(_)) => 1,
            Ok(Source::Array(array)) => array.images(),
            Err(error) => {
                return Err(CliError::Usage(format!("{}: {error}", path.display())));
            }
        };
        Ok(count.saturating_add(found))
    })
}
