//! Image files, npy arrays and pixel lists, to and from the domain's images; heat maps, grids and animations to look
//! at.
//!
//! A density judges levels, so nothing here changes a level unless it was asked to: no silent resize, no silent loss of
//! colour, depth or opacity. Headers are checked before pixels are decoded, so that a small file cannot claim much
//! memory.
//!
//! Architecture invariant: nothing here knows of HTTP, of threads or of models. Every function takes bytes and gives
//! values.

mod animation;
mod base64;
mod convert;
mod decode;
mod error;
mod idx;
mod mask;
mod npy;
mod pixels;
mod render;
mod resize;

pub use self::{
    animation::{Appearance, animation},
    base64::decode_base64,
    decode::{
        Cost, DecodeLimits, DecodeOptions, Decoded, FORMATS, Frames, Note, Orientation, cost, decode, decode_file,
    },
    error::{MediaError, of_size},
    idx::{IdxError, IdxReader, is_idx},
    mask::{decode_mask, mask_from_pixels},
    npy::{
        NPY_MAGIC, NpyImages, read_f64, read_f64_table, read_images, read_images_of_any_size, read_integers,
        read_numbers, read_vectors, write_f32, write_f64, write_images, write_levels,
    },
    pixels::{PixelFault, Pixels},
    render::{evidence_grid, heat_map_grid, overlay_grid, png, png_grid},
    resize::{Filter, Resize},
};
