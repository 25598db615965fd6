//! Animations of how images appear.

use std::io::Cursor;

use image::{AnimationDecoder, DynamicImage, RgbaImage, codecs::gif::GifDecoder};
use serde_json::json;

use crate::client::{Answer, COLUMNS, ROWS, levels, pixels, post};

pub(crate) fn frames(answer: &Answer) -> Vec<RgbaImage> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "image/gif");
    let decoder = GifDecoder::new(Cursor::new(&answer.body)).unwrap();
    let frames = decoder.into_frames().collect_frames().unwrap();
    frames.into_iter().map(image::Frame::into_buffer).collect()
}

/// A picture of one image, as large as a frame.
fn magnified(picture: &DynamicImage, frame: &RgbaImage) -> RgbaImage {
    let nearest = image::imageops::FilterType::Nearest;
    picture.resize_exact(frame.width(), frame.height(), nearest).to_rgba8()
}

#[tokio::test]
async fn the_last_frame_is_what_was_drawn() {
    for model in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-mixture-pixelcnn",
        "tiny-binary-pixelcnn",
        "tiny-pixelrnn",
        "tiny-vae",
    ] {
        for n in [1, 5] {
            let options = json!({"n": n, "seed": 7});
            let request = || post(model, "sample").json(&options);
            let film = request().accept("image/gif").send().await;
            assert_eq!(film.header("x-seed"), "7");
            let film = frames(&film);
            let picture = request().accept("image/png").send().await.picture();
            let last = film.last().unwrap();
            assert!(magnified(&picture, last) == *last, "{model} {n}");
            assert!(film.len() <= 60);
            let is_drawn_by_pixel = model != "tiny-vae";
            assert_eq!(film.len() > 2, is_drawn_by_pixel, "{model}");
        }
    }
}

#[tokio::test]
async fn pixels_appear_along_the_wavefront() {
    let model = crate::client::call("GET", "/v1/models/tiny-pixelcnn");
    let lag = model.send().await.ok()["sampler"]["lag"].as_u64().unwrap() as usize;
    let request = || post("tiny-pixelcnn", "sample?seed=3");
    let film = frames(&request().accept("image/gif").send().await);
    let picture = request().accept("image/png").send().await.picture();
    let picture = picture.to_luma8();
    assert_eq!(film.len(), 1 + (COLUMNS - 1) + lag * (ROWS - 1) + 1);
    for (step, frame) in film.iter().enumerate() {
        let scale = frame.width() / COLUMNS as u32;
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                let (x, y) = (column as u32, row as u32);
                let is_there = column + lag * row < step;
                let wanted = if is_there { picture.get_pixel(x, y).0[0] } else { 0 };
                let shown = frame.get_pixel(x * scale, y * scale).0[0];
                assert_eq!(shown, wanted, "step {step}, row {row}, column {column}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_given_is_there_from_the_first_frame() {
    let request = json!({"images": [{"pixels": pixels(0)}], "rows": 3, "seed": 1});
    let request = || post("tiny-pixelcnn", "complete").json(&request);
    let film = frames(&request().accept("image/gif").send().await);
    let scale = film[0].width() / COLUMNS as u32;
    let level = |frame: &RgbaImage, pixel: usize| {
        let (x, y) = ((pixel % COLUMNS) as u32, (pixel / COLUMNS) as u32);
        frame.get_pixel(x * scale, y * scale).0[0]
    };
    for (pixel, given) in levels(0).into_iter().enumerate() {
        let wanted = if pixel < 3 * COLUMNS { given * 85 } else { 0 };
        assert_eq!(level(&film[0], pixel), wanted);
    }
    let picture = request().accept("image/png").send().await.picture();
    let last = film.last().unwrap();
    assert!(magnified(&picture, last) == *last);
    let masked = json!({
        "images": [{"pixels": pixels(0)}],
        "mask": (0..ROWS).map(|_| vec![0, 0, 1, 1, 0]).collect::<Vec<_>>(),
    });
    let film = post("tiny-vae", "complete").json(&masked).accept("image/gif");
    assert_eq!(frames(&film.send().await).len(), 2, "a VAE knows no order");
}
