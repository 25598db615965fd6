//! Models whose network cannot be compiled are drawn by full passes, and say so.

use serde_json::{Value, json};

use crate::{
    client::{self, Call, call},
    exports::{self, LOOPED},
};

fn post(operation: &str) -> Call {
    client::post(LOOPED, operation).of(exports::service())
}

#[tokio::test]
async fn the_reason_is_told() {
    let path = format!("/v1/models/{LOOPED}");
    let model = call("GET", &path).of(exports::service()).send().await.ok();
    let sampler = &model["sampler"];
    assert_eq!(sampler["method"], "fixed_point", "{model}");
    let reason = sampler["reason"].as_str().unwrap();
    assert!(!reason.is_empty() && sampler.get("lag").is_none());
    let ready = call("GET", "/readyz").of(exports::service()).send().await.ok();
    let weaknesses = ready["weaknesses"].as_array().unwrap().iter();
    let told = format!("model {LOOPED:?} version 1: images are drawn by full passes: {reason}");
    assert_eq!(weaknesses.filter(|own| **own == *told).count(), 1, "{ready}");
    let refused = post("compress").body("application/x-npy", vec![]).send();
    let detail = refused.await.problem(422, "unsupported");
    assert!(detail.contains(reason), "{detail} {reason}");
}

#[tokio::test]
async fn images_are_watched_and_shown_row_by_row() {
    let options = json!({"n": 2, "seed": 3});
    let request = || post("sample").json(&options);
    let plain = request().send().await.ok();
    assert_eq!(plain["sampler"], "fixed_point");
    assert!(plain["passes"].as_u64().unwrap() > 0 && plain.get("steps").is_none());
    let events = request().accept("text/event-stream").send().await.text();
    let last = events.trim_end().rsplit("data:").next().unwrap();
    let mut last: Value = serde_json::from_str(last).unwrap();
    last["passes"] = plain["passes"].clone();
    assert_eq!(last, plain);
    let film = request().accept("image/gif").send().await;
    assert_eq!(crate::animations::frames(&film).len(), 1 + 7);
}
