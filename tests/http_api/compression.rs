//! Lossless compression: what comes back is what went in, or a problem, and never another image.

use std::f64::consts::LN_2;

use base64::{Engine, prelude::BASE64_STANDARD};
use density_server::{
    domain::image::{Image, ImageShape},
    media,
    transport::http::HttpConfig,
};
use serde_json::{Value, json};

use crate::client::{Answer, COLUMNS, ROWS, levels, npy, pixels, png, post};

const MODEL: &str = "tiny-pixelcnn";
const STREAM: &str = "application/vnd.density-server.image";

/// The streams of an answer.
fn streams(answer: &Value) -> Vec<Vec<u8>> {
    let stream = |result: &Value| {
        let text = result["stream"].as_str().unwrap();
        let stream = BASE64_STANDARD.decode(text).unwrap();
        assert_eq!(result["bytes"], stream.len());
        stream
    };
    answer["results"].as_array().unwrap().iter().map(stream).collect()
}

fn in_json(streams: &[Vec<u8>]) -> Value {
    let texts = streams.iter().map(|stream| BASE64_STANDARD.encode(stream));
    json!({"streams": texts.collect::<Vec<_>>()})
}

/// The stream of an image of [`MODEL`].
async fn stream(variant: usize) -> Vec<u8> {
    let request = post(MODEL, "compress").body("image/png", png(variant, 4));
    let answer = request.accept(STREAM).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), STREAM);
    answer.body
}

async fn decompress(model: &str, stream: &[u8]) -> Answer {
    let request = post(model, "decompress").body(STREAM, stream.to_vec());
    request.accept("application/x-npy").send().await
}

/// A stream that was tampered with: a problem, or by luck the very image.
async fn never_wrong(stream: &[u8], variant: usize, what: &str) {
    let answer = decompress(MODEL, stream).await;
    if answer.status == 200 {
        assert_eq!(answer.array().1, levels(variant), "{what}");
    } else {
        answer.problem(422, "invalid_stream");
    }
}

#[tokio::test]
async fn images_come_back_exactly_from_streams_of_about_their_ideal_length() {
    for model in [
        MODEL,
        "tiny-rgb-pixelcnn",
        "tiny-mixture-pixelcnn",
        "tiny-bernoulli-pixelcnn",
        "tiny-binary-pixelcnn",
        "tiny-pixelrnn",
    ] {
        let drawn = post(model, "sample?n=9&seed=4").accept("application/x-npy");
        let images = drawn.send().await;
        assert_eq!(images.status, 200, "{}", images.text());
        let array = "application/x-npy";
        let compressed = post(model, "compress").body(array, images.body.clone());
        let compressed = compressed.send().await.ok();
        let scores = post(model, "score").body(array, images.body.clone());
        let scores = scores.send().await.ok();
        for (result, score) in compressed["results"]
            .as_array()
            .unwrap()
            .iter()
            .zip(scores["results"].as_array().unwrap())
        {
            let bytes = result["bytes"].as_f64().unwrap();
            let ideal = result["ideal_bytes"].as_f64().unwrap();
            let scored = -score["log_likelihood"].as_f64().unwrap() / LN_2 / 8.0;
            assert!((ideal - scored).abs() < 1e-3, "{model}: {ideal} {scored}");
            // Beside the code there is the header.
            assert!(bytes <= 1.01 * ideal + 8.0 + 26.0, "{model}: {bytes} {ideal}");
        }
        let back = post(model, "decompress").json(&in_json(&streams(&compressed)));
        let back = back.accept(array).send().await;
        assert_eq!(back.status, 200, "{}", back.text());
        assert_eq!(back.body, images.body, "{model}");
    }
}

#[tokio::test]
async fn one_stream_goes_raw_and_comes_back_in_every_format() {
    let raw = stream(1).await;
    let shape = ImageShape::new(1, ROWS, COLUMNS, 4).unwrap();
    let image = Image::new(shape, levels(1)).unwrap();
    let request = || post(MODEL, "decompress").body(STREAM, raw.clone());
    let body = request().send().await.ok();
    assert_eq!(body["model"], MODEL);
    let picture = BASE64_STANDARD.encode(media::png(&image).unwrap());
    assert_eq!(body["results"][0]["image"]["base64"], picture);
    let picture = request().accept("image/png").send().await;
    assert_eq!(picture.body, media::png(&image).unwrap());
    assert_eq!(decompress(MODEL, &raw).await.array().1, levels(1));

    let json = post(MODEL, "compress").json(&json!({"images": [{"pixels": pixels(1)}]}));
    let json = json.send().await.ok();
    assert_eq!(streams(&json), std::slice::from_ref(&raw));
    let bits = json["results"][0]["bits_per_dim"].as_f64().unwrap();
    assert_eq!(bits, (8 * raw.len()) as f64 / (ROWS * COLUMNS) as f64);

    let several = post(MODEL, "compress").body("application/x-npy", npy(2));
    let several = several.accept(STREAM).send().await;
    assert!(several.problem(406, "not_acceptable").contains("one image"));
}

#[tokio::test]
async fn streams_that_were_cut_or_changed_never_give_another_image() {
    let good = stream(0).await;
    for length in 0..good.len() {
        never_wrong(&good[..length], 0, &format!("cut to {length}")).await;
    }
    for place in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[place] ^= change;
            never_wrong(&bad, 0, &format!("byte {place} ^ {change:#x}")).await;
        }
    }
    for length in [0, 4, 25] {
        let cut = decompress(MODEL, &good[..length]).await;
        let detail = cut.problem(422, "invalid_stream");
        assert!(detail.contains(&format!("these are {length} bytes")), "{detail}");
    }
    for rest in [vec![0], vec![7], vec![0; 4], vec![7; 1 << 20]] {
        let long = [&good[..], &rest].concat();
        decompress(MODEL, &long).await.problem(422, "invalid_stream");
    }
    let detail = decompress(MODEL, &[&good[..], &[0; 4]].concat()).await;
    let detail = detail.problem(422, "invalid_stream");
    assert!(detail.contains("ends 4 bytes before"), "{detail}");
}

#[tokio::test]
async fn what_is_no_stream_is_a_problem() {
    let mut random = 1u64;
    let mut byte = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 56) as u8
    };
    let noise: Vec<u8> = (0..5000).map(|_| byte()).collect();
    let mut disguised = noise.clone();
    disguised[..4].copy_from_slice(b"DSI1");
    // The header of an image and the code of none.
    let headed = [&stream(0).await[..26], &noise].concat();
    for bad in [noise, disguised, headed, png(0, 4), npy(1)] {
        let answer = decompress(MODEL, &bad).await;
        answer.problem(422, "invalid_stream");
    }
    let other = decompress("tiny-bernoulli-pixelcnn", &stream(0).await).await;
    let detail = other.problem(422, "invalid_stream");
    assert!(detail.contains("another model"), "{detail}");

    let config = HttpConfig {
        max_body_bytes: 1000,
        ..HttpConfig::default()
    };
    let huge = post(MODEL, "decompress").body(STREAM, vec![0; 1001]);
    huge.within(config).send().await.problem(413, "body_too_large");
    let many = in_json(&vec![stream(0).await; 257]);
    let many = post(MODEL, "decompress").json(&many).send().await;
    many.problem(413, "too_many_images");
}

#[tokio::test]
async fn a_bad_stream_keeps_its_place_and_spoils_nothing() {
    let (first, third) = (stream(0).await, stream(2).await);
    let request = json!({"streams": [
        BASE64_STANDARD.encode(&first), "no base64!", BASE64_STANDARD.encode(&third), BASE64_STANDARD.encode(b"DSI1"),
    ]});
    let request = || post(MODEL, "decompress").json(&request);
    let body = request().send().await.ok();
    let results = body["results"].as_array().unwrap();
    for (place, variant) in [(0, 0), (2, 2)] {
        let picture = BASE64_STANDARD.decode(results[place]["image"]["base64"].as_str().unwrap());
        assert_eq!(picture.unwrap(), png(variant, 4));
    }
    for place in [1, 3] {
        assert_eq!(results[place]["index"], place);
        assert_eq!(results[place]["error"]["status"], 422);
    }
    let array = request().accept("application/x-npy").send().await;
    array.problem(422, "invalid_stream");
    assert_eq!(array.json()["image"], 1);
}

#[tokio::test]
async fn what_cannot_be_is_said() {
    let vae = post("tiny-vae", "compress").body("image/png", png(0, 16));
    let detail = vae.send().await.problem(422, "unsupported");
    assert!(detail.contains("autoregressive"), "{detail}");
    let vae = decompress("tiny-vae", &stream(0).await).await;
    vae.problem(422, "unsupported");
    let none = post(MODEL, "decompress").json(&json!({"streams": []}));
    let none = none.send().await;
    assert!(none.problem(422, "invalid_option").contains("streams"));
    let wrong = post(MODEL, "decompress").json(&json!({"streams": [7]}));
    wrong.send().await.problem(422, "invalid_option");
    let file = post(MODEL, "decompress").body("image/png", png(0, 4));
    let detail = file.send().await.problem(415, "unsupported_media_type");
    assert!(detail.contains(STREAM), "{detail}");
    let option = post(MODEL, "decompress?label=1").body(STREAM, stream(0).await);
    option.send().await.problem(422, "invalid_option");
    let label = post(MODEL, "compress?label=1").body("image/png", png(0, 4));
    let detail = label.send().await.problem(422, "invalid_option");
    assert!(detail.contains("not conditioned"), "{detail}");
}
