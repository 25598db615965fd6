//! The npy arrays of a model version: golden images, golden scores, calibration scores.

use npyz::{NpyFile, Order, TypeStr};

use crate::domain::image::{Image, ImageShape};

/// Reads float64 [n].
pub fn scores(bytes: &[u8]) -> Result<Vec<f64>, String> {
    let file = open(bytes)?;
    if file.shape().len() != 1 {
        return Err(format!(
            "it must have one axis, not shape {:?}",
            file.shape()
        ));
    }
    expect_type(&file, "<f8")?;
    file.into_vec::<f64>().map_err(|error| error.to_string())
}

/// Reads uint8 [n, H, W] or [n, H, W, C] into images of the given shape.
pub fn images(bytes: &[u8], shape: ImageShape) -> Result<Vec<Image>, String> {
    let file = open(bytes)?;
    expect_type(&file, "|u1")?;
    if file.order() != Order::C {
        return Err("it must be in C order".to_owned());
    }
    let (c, h, w) = (shape.channels(), shape.height(), shape.width());
    let sizes: Vec<usize> = file.shape().iter().map(|&size| size as usize).collect();
    let fits = match sizes[..] {
        [_, height, width] => (height, width, 1) == (h, w, c),
        [_, height, width, channels] => (height, width, channels) == (h, w, c),
        _ => false,
    };
    if !fits {
        return Err(format!(
            "it must have shape [n, {h}, {w}] or [n, {h}, {w}, {c}] for images of {shape}, not {sizes:?}"
        ));
    }
    let values = file.into_vec::<u8>().map_err(|error| error.to_string())?;
    values
        .chunks_exact(shape.dimensions())
        .map(|pixels| {
            let mut levels = vec![0; shape.dimensions()];
            for (place, &value) in pixels.iter().enumerate() {
                levels[shape.index_of(place)] = value;
            }
            Image::new(shape, levels).map_err(|error| error.to_string())
        })
        .collect()
}

fn open(bytes: &[u8]) -> Result<NpyFile<&[u8]>, String> {
    let file = NpyFile::new(bytes).map_err(|error| format!("not an npy file: {error}"))?;
    // The header alone decides how much is allocated, so it must not claim more than there is.
    let claimed = file
        .shape()
        .iter()
        .try_fold(1u64, |product, &size| product.checked_mul(size));
    if claimed.is_none_or(|values| values > bytes.len() as u64) {
        return Err("its header claims more values than the file has bytes".to_owned());
    }
    Ok(file)
}

fn expect_type(file: &NpyFile<&[u8]>, wanted: &str) -> Result<(), String> {
    let found = file.dtype();
    let wanted_type: TypeStr = wanted
        .parse()
        .map_err(|_| format!("unknown element type {wanted}"))?;
    if found == npyz::DType::Plain(wanted_type) {
        return Ok(());
    }
    Err(format!(
        "its element type must be {wanted:?}, not {}",
        found.descr()
    ))
}
