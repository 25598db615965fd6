//! Good answers of every operation, in every format.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::client::{COLUMNS, ROWS, levels, npy, pixels, png, post};

const PIXELCNN: &str = "tiny-pixelcnn";
const VAE: &str = "tiny-vae";

fn two_images() -> Value {
    json!({"images": [{"pixels": pixels(0)}, {"pixels": pixels(1)}]})
}

fn image_in(body: &Value) -> image::DynamicImage {
    assert_eq!(body["media_type"], "image/png");
    let file = BASE64_STANDARD.decode(body["base64"].as_str().unwrap()).unwrap();
    image::load_from_memory(&file).unwrap()
}

#[tokio::test]
async fn scores_are_consistent_numbers() {
    let body = post(PIXELCNN, "score").json(&two_images()).send().await.ok();
    assert_eq!((&body["model"], &body["version"]), (&json!(PIXELCNN), &json!(1)));
    assert_eq!(body["bound"], "exact");
    assert!(body.get("k").is_none() && body.get("seed").is_none());
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        let nats = result["log_likelihood"].as_f64().unwrap();
        let dimensions = (ROWS * COLUMNS) as f64;
        let bits = -nats / dimensions / 2f64.ln();
        assert!((result["bits_per_dim"].as_f64().unwrap() - bits).abs() < 1e-9);
        assert!((result["perplexity"].as_f64().unwrap() - bits.exp2()).abs() < 1e-6);
        assert!(result.get("log_probability_map").is_none());
    }
}

#[tokio::test]
async fn a_map_adds_up_to_the_score_in_every_format() {
    let body = post(PIXELCNN, "score?map=true").json(&two_images()).send().await.ok();
    let map = &body["results"][0]["log_probability_map"];
    assert_eq!(map.as_array().unwrap().len(), ROWS);
    let values: Vec<f64> = map
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|value| value.as_f64().unwrap())
        .collect();
    assert_eq!(values.len(), ROWS * COLUMNS);
    let score = body["results"][0]["log_likelihood"].as_f64().unwrap();
    assert!((values.iter().sum::<f64>() - score).abs() < 1e-3);

    let request = || post(PIXELCNN, "score?map=true").json(&two_images());
    let (header, items) = request().accept("application/x-npy").send().await.array();
    assert!(header.contains("'<f4'") && header.contains("(2, 1, 6, 5)"), "{header}");
    let first = f32::from_le_bytes(items[..4].try_into().unwrap());
    assert!((f64::from(first) - values[0]).abs() < 1e-6);
    let picture = request().accept("image/png").send().await.picture();
    assert!(picture.width() > picture.height(), "two maps beside each other");

    let (header, items) = post(PIXELCNN, "score")
        .json(&two_images())
        .accept("application/x-npy")
        .send()
        .await
        .array();
    assert!(header.contains("'<f8'") && header.contains("(2,"), "{header}");
    assert_eq!(f64::from_le_bytes(items[..8].try_into().unwrap()), score);
    let refused = post(PIXELCNN, "score").json(&two_images()).accept("image/png");
    assert!(refused.send().await.problem(406, "not_acceptable").contains("map=true"));
}

#[tokio::test]
async fn bounds_report_their_samples_and_seed() {
    let body = post(VAE, "score?bound=iwae&k=8&seed=5")
        .json(&two_images())
        .send()
        .await
        .ok();
    assert_eq!(body["bound"], "iwae");
    assert_eq!((&body["k"], &body["seed"]), (&json!(8), &json!(5)));
    let size = body["results"][0]["effective_sample_size"].as_f64().unwrap();
    assert!((1.0..=8.0).contains(&size));
    let again = json!({"images": [{"pixels": pixels(0)}], "bound": "iwae", "k": 8, "seed": 5});
    let again = post(VAE, "score").json(&again).send().await.ok();
    assert_eq!(
        again["results"][0], body["results"][0],
        "options in the body mean the same"
    );
}

#[tokio::test]
async fn decisions_come_with_what_they_rest_on() {
    let body = post(PIXELCNN, "detect?false_alarm_rate=0.05")
        .json(&two_images())
        .send()
        .await
        .ok();
    let result = &body["results"][1];
    assert!(["accept", "reject"].contains(&result["decision"].as_str().unwrap()));
    assert_eq!(result["false_alarm_rate"], 0.05);
    let p_value = result["p_value"].as_f64().unwrap();
    assert!(p_value > 0.0 && p_value <= 1.0);
    assert_eq!(result["statistics"]["log_likelihood"]["p_value"], p_value);
    assert!(result["statistics"]["log_likelihood"]["value"].is_number());
    assert_eq!(result["calibration"]["size"], 200);
    let default = post(PIXELCNN, "detect").json(&two_images()).send().await.ok();
    assert_eq!(default["results"][0]["false_alarm_rate"], 0.01);
}

#[tokio::test]
async fn samples_come_again_with_their_seed_in_every_format() {
    let body = post(PIXELCNN, "sample?n=2").send().await.ok();
    assert_eq!(body["temperature"], 1.0);
    assert_eq!(body["images"].as_array().unwrap().len(), 2);
    let seed = body["seed"].as_u64().unwrap();
    assert!(seed < 1 << 53);
    let options = json!({"n": 2, "seed": seed});
    let again = post(PIXELCNN, "sample").json(&options).send().await.ok();
    assert_eq!(again["images"], body["images"]);
    let other = post(PIXELCNN, "sample?n=2").send().await.ok();
    assert_ne!(other["seed"], body["seed"]);

    let request = |n| post(PIXELCNN, "sample").json(&json!({"n": n, "seed": seed}));
    let array = request(2).accept("application/x-npy").send().await;
    assert_eq!(array.header("x-seed"), seed.to_string());
    let (header, items) = array.array();
    assert!(header.contains("'|u1'") && header.contains("(2, 6, 5)"), "{header}");
    let first = image_in(&body["images"][0]).to_luma8();
    let stretched: Vec<u8> = items[..ROWS * COLUMNS].iter().map(|level| level * 85).collect();
    assert_eq!(first.as_raw(), &stretched);
    let one = request(1).accept("image/png").send().await.picture();
    assert_eq!(one.to_luma8(), first);
    let grid = request(2).accept("image/png").send().await.picture();
    assert!(grid.width() > 2 * one.width());
}

#[tokio::test]
async fn completions_keep_what_is_given() {
    let request = json!({"images": [{"pixels": pixels(0)}], "rows": 3, "n": 2, "seed": 1});
    let body = post(PIXELCNN, "complete").json(&request).send().await.ok();
    assert_eq!((&body["method"], &body["seed"]), (&json!("exact"), &json!(1)));
    let images = body["results"][0]["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    let given: Vec<u8> = levels(0)[..3 * COLUMNS].iter().map(|level| level * 85).collect();
    for image in images {
        assert_eq!(image_in(image).to_luma8().as_raw()[..3 * COLUMNS], given);
    }
    let (header, items) = post(PIXELCNN, "complete")
        .json(&request)
        .accept("application/x-npy")
        .send()
        .await
        .array();
    assert!(header.contains("(2, 6, 5)"), "{header}");
    assert_eq!(items[..3 * COLUMNS], levels(0)[..3 * COLUMNS]);
}

#[tokio::test]
async fn masks_come_as_files_and_as_rows() {
    let mask = image::GrayImage::from_fn(5, 6, |x, _| image::Luma([if x < 2 { 255 } else { 0 }]));
    let mut file = std::io::Cursor::new(Vec::new());
    mask.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let file = file.into_inner();
    let rows: Value = (0..ROWS).map(|_| json!([1, 1, 0, 0, 0])).collect();
    let form = post(PIXELCNN, "complete?seed=3").form(&[("image", "a.png", &png(0, 4)), ("mask", "m.png", &file)]);
    let form = form.send().await.ok();
    assert_eq!(form["method"], "ancestral");
    for mask in [rows, json!(BASE64_STANDARD.encode(&file))] {
        let request = json!({"images": [{"pixels": pixels(0)}], "mask": mask, "seed": 3});
        let body = post(PIXELCNN, "complete").json(&request).send().await.ok();
        assert_eq!(body["results"], form["results"]);
    }
    let neither = post(PIXELCNN, "complete").json(&two_images()).send().await;
    assert!(neither.problem(422, "invalid_option").contains("rows=K or by a mask"));
}

#[tokio::test]
async fn codes_go_there_and_back() {
    let body = post(VAE, "encode").json(&two_images()).send().await.ok();
    let mean = &body["results"][0]["code"];
    assert_eq!(mean.as_array().unwrap().len(), 3);
    assert_eq!(body["results"][1]["log_variance"].as_array().unwrap().len(), 3);
    let array = post(VAE, "encode")
        .json(&two_images())
        .accept("application/x-npy")
        .send()
        .await;
    let (header, items) = array.array();
    assert!(header.contains("(2, 2, 3)"), "{header}");
    let first = f32::from_le_bytes(items[..4].try_into().unwrap());
    assert_eq!(f64::from(first), f64::from(mean[0].as_f64().unwrap() as f32));

    let decoded = post(VAE, "decode")
        .json(&json!({"latents": [mean, mean]}))
        .send()
        .await
        .ok();
    assert_eq!(decoded["observation"], "mean");
    assert!(decoded.get("seed").is_none());
    let reconstructed = post(VAE, "reconstruct").json(&two_images()).send().await.ok();
    let result = &reconstructed["results"][0];
    assert_eq!(result["image"], decoded["results"][0]["image"]);
    assert!(result["mean_squared_error"].as_f64().unwrap() >= 0.0);
    assert!(result["log_likelihood_given_code"].as_f64().unwrap() < 0.0);

    let drawn = post(VAE, "decode?observation=sample").json(&json!({"latents": [mean]}));
    assert!(drawn.send().await.ok()["seed"].is_u64());
    let vector: Vec<f64> = mean.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    let array = density_server::media::write_f64(&[1, 3], vector.into_iter());
    let picture = post(VAE, "decode").body("application/x-npy", array).accept("image/png");
    let picture = picture.send().await.picture();
    assert_eq!(picture.to_luma8(), image_in(&decoded["results"][0]["image"]).to_luma8());
}

#[tokio::test]
async fn interpolation_goes_from_one_image_to_the_other() {
    let body = post(VAE, "interpolate?steps=4").json(&two_images()).send().await.ok();
    let images = body["images"].as_array().unwrap();
    assert_eq!(images.len(), 4);
    let ends = post(VAE, "reconstruct").json(&two_images()).send().await.ok();
    assert_eq!(images[0], ends["results"][0]["image"]);
    assert_eq!(images[3], ends["results"][1]["image"]);
    let one = json!({"images": [{"pixels": pixels(0)}]});
    let refused = post(VAE, "interpolate").json(&one).send().await;
    assert!(refused.problem(422, "invalid_image").contains("exactly two"));
}

#[tokio::test]
async fn versions_can_be_named_in_the_path_and_in_the_query() {
    let unnamed = post(PIXELCNN, "score").json(&two_images()).send().await.ok();
    for path in ["versions/1/score", "score?version=1"] {
        assert_eq!(post(PIXELCNN, path).json(&two_images()).send().await.ok(), unnamed);
    }
    let missing = post(PIXELCNN, "versions/7/score").json(&two_images()).send().await;
    assert!(missing.problem(404, "model_not_found").contains("no version 7"));
    let both = post(PIXELCNN, "versions/1/score?version=1")
        .json(&two_images())
        .send()
        .await;
    both.problem(422, "invalid_option");
    let word = post(PIXELCNN, "versions/latest/score").json(&two_images()).send().await;
    word.problem(404, "unknown_route");
}

#[tokio::test]
async fn large_answers_shrink_for_clients_that_ask() {
    let request = || post(PIXELCNN, "score?map=true").body("application/x-npy", npy(200));
    let plain = request().send().await;
    let small = request().header("accept-encoding", "gzip").send().await;
    assert_eq!(plain.header("content-encoding"), "");
    assert_eq!(small.header("content-encoding"), "gzip");
    assert!(small.body.len() < plain.body.len() / 2);
    let brief = post(PIXELCNN, "score").body("application/x-npy", npy(1));
    let brief = brief.header("accept-encoding", "gzip").send().await;
    assert_eq!(brief.header("content-encoding"), "");
}
