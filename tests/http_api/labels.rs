//! Models that are conditioned on labels.

use serde_json::{Value, json};

use crate::{
    client::{self, Call},
    exports::{self, CONDITIONAL, LABELS},
};

const ARRAY: &str = "application/x-npy";

/// POST to an operation of the conditional model.
fn post(operation: &str) -> Call {
    client::post(CONDITIONAL, operation).of(exports::service())
}

/// Images of a label as an array file.
async fn drawn(label: &str, n: usize) -> Vec<u8> {
    let path = format!("sample?n={n}&seed=11&label={label}");
    let answer = post(&path).accept(ARRAY).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.body
}

async fn scores(label: &str, images: &[u8]) -> Vec<f64> {
    let path = format!("score?label={label}");
    let body = post(&path).body(ARRAY, images.to_vec());
    let body = body.send().await.ok();
    let score = |result: &Value| result["log_likelihood"].as_f64().unwrap();
    body["results"].as_array().unwrap().iter().map(score).collect()
}

#[tokio::test]
async fn a_label_is_a_name_or_a_number_in_the_query_or_in_the_body() {
    for (number, name) in LABELS.iter().enumerate() {
        let by_name = drawn(name, 2).await;
        assert_eq!(drawn(&number.to_string(), 2).await, by_name);
        for label in [json!(name), json!(number), json!(number.to_string())] {
            let options = json!({"n": 2, "seed": 11, "label": label});
            let request = post("sample").json(&options).accept(ARRAY);
            assert_eq!(request.send().await.body, by_name, "{options}");
        }
        assert_eq!(
            scores(name, &by_name).await,
            scores(&number.to_string(), &by_name).await
        );
    }
}

#[tokio::test]
async fn a_label_matters() {
    let images = drawn(LABELS[0], 4).await;
    assert_ne!(scores(LABELS[0], &images).await, scores(LABELS[1], &images).await);
    assert_ne!(drawn(LABELS[0], 8).await, drawn(LABELS[1], 8).await);
}

#[tokio::test]
async fn a_label_that_is_missing_unknown_or_unwanted_is_refused_by_name() {
    let images = drawn(LABELS[0], 1).await;
    let refusal = async |operation: &str| {
        let request = post(operation);
        let request = match operation.starts_with("sample") {
            true => request,
            false => request.body(ARRAY, images.clone()),
        };
        request.send().await.problem(422, "invalid_option")
    };
    let missing = refusal("compress").await;
    assert!(missing.contains("one label"), "{missing}");
    assert!(missing.contains(&LABELS.join(", ")), "{missing}");
    for operation in ["score?", "sample?", "complete?rows=1&", "compress?"] {
        for wrong in ["nonsense", "-1", &LABELS.len().to_string()] {
            let unknown = refusal(&format!("{operation}label={wrong}")).await;
            assert!(unknown.contains("no such label"), "{unknown}");
        }
    }
    for (model, operation) in [
        ("tiny-pixelcnn", "sample"),
        ("tiny-vae", "sample"),
        ("tiny-vae", "score"),
    ] {
        let request = client::post(model, &format!("{operation}?label=0"));
        let request = match operation {
            "sample" => request,
            _ => request.body(ARRAY, client::npy(1)),
        };
        let detail = request.send().await.problem(422, "invalid_option");
        assert!(detail.contains("not conditioned"), "{detail}");
    }
}

#[tokio::test]
async fn models_name_their_labels() {
    let path = format!("/v1/models/{CONDITIONAL}");
    let model = client::call("GET", &path).of(exports::service());
    let model = model.send().await.ok();
    assert_eq!(model["labels"], json!(LABELS));
    assert_eq!(model["prior"], json!([0.5, 0.25, 0.25]));
    assert_eq!(model["conditional"], true);
    assert_eq!(model["sampler"]["method"], "wavefront");
}

#[tokio::test]
async fn completions_and_streams_know_the_label() {
    for name in LABELS {
        let images = drawn(name, 3).await;
        let complete = |label: &str| {
            let path = format!("complete?rows=1&seed=2&label={label}");
            post(&path).body(ARRAY, images.clone()).accept(ARRAY)
        };
        let completed = complete(name).send().await;
        assert_eq!(completed.status, 200, "{}", completed.text());

        let compress = post(&format!("compress?label={name}"));
        let compressed = compress.body(ARRAY, images.clone()).send().await.ok();
        let streams: Vec<&Value> = compressed["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| &result["stream"])
            .collect();
        // The stream itself says which label it was.
        let back = post("decompress").json(&json!({"streams": streams}));
        assert_eq!(back.accept(ARRAY).send().await.body, images);
    }
}

#[tokio::test]
async fn conditional_images_can_be_watched_too() {
    let options = json!({"n": 2, "seed": 3, "label": LABELS[1]});
    let request = || post("sample").json(&options);
    let plain = request().send().await.ok();
    let events = request().accept("text/event-stream").send().await.text();
    let last = events.trim_end().rsplit("data:").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap(), plain);
}
