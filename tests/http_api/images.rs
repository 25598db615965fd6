//! Every way in for images gives the same image; every bad one its own problem.

use std::io::Cursor;

use base64::{Engine, prelude::BASE64_STANDARD};
use density_server::operations::Limits;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use serde_json::json;

use crate::client::{npy, pixels, png, post};

const MODEL: &str = "tiny-pixelcnn";

fn file(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn every_way_in_gives_the_same_score() {
    let json = json!({"images": [{"pixels": pixels(0)}]});
    let expected = post(MODEL, "score").json(&json).send().await.ok();
    let base64 = json!({"images": [{"base64": BASE64_STANDARD.encode(png(0, 4))}]});
    for request in [
        post(MODEL, "score").json(&base64),
        post(MODEL, "score").body("image/png", png(0, 4)),
        post(MODEL, "score").body("application/x-npy", npy(1)),
        post(MODEL, "score").form(&[("image", "a.png", &png(0, 4))]),
        post(MODEL, "score").form(&[("file", "a.npy", &npy(1))]),
    ] {
        let mut answer = request.send().await.ok();
        // Forms name their files.
        answer.as_object_mut().unwrap().remove("files");
        assert_eq!(answer, expected);
    }
    let grey = image::load_from_memory(&png(0, 4)).unwrap().to_luma8();
    for (format, media_type) in [
        (ImageFormat::Bmp, "image/bmp"),
        (ImageFormat::Pnm, "image/x-portable-graymap"),
    ] {
        let request = post(MODEL, "score?convert=true").body(media_type, file(grey.clone(), format));
        let answer = request.send().await.ok();
        assert_eq!(answer["results"], expected["results"], "{media_type}");
        assert_eq!(answer["preprocessing"]["convert"], true);
    }
}

#[tokio::test]
async fn forms_hold_any_number_of_files() {
    let request = post(MODEL, "score").form(&[
        ("image", "a.png", &png(0, 4)),
        ("images", "b.png", &png(1, 4)),
        ("file", "c.npy", &npy(2)),
        ("map", "", b"true"),
    ]);
    let results = request.send().await.ok()["results"].clone();
    assert_eq!(results.as_array().unwrap().len(), 4);
    assert_eq!(results[0], results[2]);
    assert_eq!(results[1], results[3]);
    assert!(results[0]["log_probability_map"].is_array());
}

#[tokio::test]
async fn results_of_a_form_are_told_with_the_names_of_their_files() {
    let good = png(0, 4);
    let parts = [("image", "a.png", &good[..])];
    let body = post("tiny-pixelcnn", "score").form(&parts[..1]).send().await.ok();
    assert_eq!(body["files"], json!(["a.png"]));
    let two = npy(2);
    let long = "x".repeat(300);
    let parts = [
        ("image", "two.npy", &two[..]),
        ("file", "bad.png", b"no image"),
        ("file", &long, &good),
    ];
    let body = post("tiny-pixelcnn", "score").form(&parts).send().await.ok();
    assert_eq!(body["files"], json!(["two.npy", "two.npy", "bad.png", long[..255]]));
    assert_eq!(body["results"].as_array().unwrap().len(), 4);
    assert_eq!(body["results"][2]["index"], 2);
    let plain = post("tiny-pixelcnn", "score").body("image/png", good).send().await.ok();
    assert!(plain.get("files").is_none(), "{plain}");
}

#[tokio::test]
async fn an_image_in_json_that_is_none_is_told_what_one_is() {
    let rows = pixels(0);
    for body in [
        json!({"image": rows}),
        json!({"images": [rows]}),
        json!({"images": [7]}),
        json!({"images": "x"}),
    ] {
        let detail = post("tiny-pixelcnn", "score").json(&body).send().await;
        let detail = detail.problem(422, "invalid_option");
        assert!(
            detail.contains("an object with either \"base64\" or \"pixels\""),
            "{body}: {detail}"
        );
    }
}

#[tokio::test]
async fn a_bad_image_carries_its_own_problem() {
    let request = json!({"images": [
        {"pixels": pixels(0)},
        {"pixels": [[0, 1], [1, 0]]},
        {"base64": BASE64_STANDARD.encode(file(GrayImage::new(7, 7), ImageFormat::Png))},
        {"pixels": pixels(1)},
    ]});
    let body = post(MODEL, "score")
        .header("x-request-id", "me")
        .json(&request)
        .send()
        .await
        .ok();
    let results = &body["results"];
    assert!(results[0]["log_likelihood"].is_number() && results[3]["log_likelihood"].is_number());
    for index in [1, 2] {
        assert_eq!(results[index]["index"], index);
        assert_eq!(
            results[index]["error"]["type"],
            "urn:density-server:error:invalid_image"
        );
        assert_eq!(results[index]["error"]["request_id"], "me");
    }
    let detail = results[2]["error"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("7×7") && detail.contains("5×6") && detail.contains("resize=true"),
        "{detail}"
    );
    let array = post(MODEL, "score")
        .json(&request)
        .accept("application/x-npy")
        .send()
        .await;
    array.problem(422, "invalid_image");
    assert_eq!(array.json()["image"], 1);
}

#[tokio::test]
async fn a_request_of_bad_images_only_fails_with_the_problem_of_the_first() {
    let request = json!({"images": [{"pixels": [[300]]}, {"pixels": [[-1]]}]});
    let answer = post(MODEL, "score").json(&request).send().await;
    assert!(answer.problem(422, "invalid_image").contains("300 at [0][0]"));
    assert_eq!(answer.json()["image"], 0);
    let second = &answer.json()["errors"][0];
    assert!(second["detail"].as_str().unwrap().contains("-1 at [0][0]"));
    let single = post(MODEL, "score").body("image/png", "no image at all").send().await;
    assert!(single.problem(422, "invalid_image").contains("known format"));
    assert!(single.json().get("image").is_none());
}

#[tokio::test]
async fn a_request_without_images_is_refused_however_it_comes() {
    for operation in ["score", "detect", "complete?rows=1", "compress"] {
        let none = npy(0);
        let empty = post(MODEL, operation).body("application/x-npy", none).send();
        let empty = empty.await.problem(422, "invalid_image");
        assert!(empty.contains("send at least one"), "{operation}: {empty}");
    }
}

#[tokio::test]
async fn size_and_colour_change_only_on_request() {
    let colour = file(RgbImage::new(7, 9), ImageFormat::Png);
    for (query, part) in [
        ("", "resize=true"),
        ("?resize=true", "convert=true"),
        ("?convert=true", "resize=true"),
    ] {
        let answer = post(MODEL, &format!("score{query}")).body("image/png", colour.clone());
        assert!(answer.send().await.problem(422, "invalid_image").contains(part));
    }
    let both = post(MODEL, "score?resize=true&convert=true").body("image/png", colour);
    both.send().await.ok();
    let grey = file(GrayImage::new(4, 4), ImageFormat::Png);
    let refused = post("tiny-rgb-pixelcnn", "score")
        .body("image/png", grey.clone())
        .send()
        .await;
    refused.problem(422, "invalid_image");
    post("tiny-rgb-pixelcnn", "score?convert=true")
        .body("image/png", grey)
        .send()
        .await
        .ok();
    let map = post("tiny-rgb-pixelcnn", "score?map=true&convert=true")
        .body("image/png", file(RgbImage::new(4, 4), ImageFormat::Png));
    let map = map.send().await.ok();
    let map = map["results"][0]["log_probability_map"].as_array().unwrap();
    assert_eq!((map.len(), map[0].as_array().unwrap().len()), (3, 4));
}

#[tokio::test]
async fn a_bomb_costs_nothing_and_gets_a_clear_error() {
    let bomb = b"P5 60000 60000 255\n".to_vec();
    let answer = post(MODEL, "score?resize=true")
        .body("image/x-portable-graymap", bomb)
        .send()
        .await;
    assert!(answer.problem(413, "too_large").contains("60000×60000"));
    assert_eq!(answer.json()["limit"], 25 << 20);
}

#[tokio::test]
async fn more_images_than_allowed_are_refused() {
    let limits = Limits {
        max_images: 2,
        ..Limits::default()
    };
    let images: Vec<_> = (0..3).map(|v| json!({"pixels": pixels(v)})).collect();
    let file = png(0, 4);
    for request in [
        post(MODEL, "score").json(&json!({"images": images})),
        post(MODEL, "score").body("application/x-npy", npy(3)),
        post(MODEL, "score").form(&[("file", "a", &file), ("file", "b", &file), ("file", "c", &file)]),
        post("tiny-vae", "decode").json(&json!({"latents": [[0, 0, 0], [0, 0, 0], [0, 0, 0]]})),
    ] {
        let answer = request.limited(limits.clone()).send().await;
        answer.problem(413, "too_many_images");
        assert_eq!(answer.json()["limit"], 2);
    }
    let drawn = post(MODEL, "sample?n=3").limited(limits.clone()).send().await;
    drawn.problem(413, "too_large");
    assert_eq!(drawn.json()["limit"], 2);
    let two = post(MODEL, "score").body("application/x-npy", npy(2)).limited(limits);
    two.send().await.ok();
}
