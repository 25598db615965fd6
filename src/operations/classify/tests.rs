use serde_json::json;

use super::*;

#[test]
fn an_impossible_image_has_a_label_and_a_reason() {
    let names: Arc<[Arc<str>]> = Arc::new(["bag".into(), "shoe".into()]);
    let classification = Classification {
        log_posterior: vec![f64::NEG_INFINITY, 0.0],
        log_likelihoods: Some(vec![f64::NEG_INFINITY; 2]),
        log_evidence: Some(f64::NEG_INFINITY),
        maps: None,
        doubts: None,
    };
    let shape = ImageShape::new(1, 1, 1, 2).unwrap();
    let labelling = Labelling::new(&names, classification, None, shape).unwrap();
    let text = serde_json::to_value(labelling).unwrap();
    assert_eq!(text["label"], "shoe");
    assert_eq!(text["probabilities"]["bag"], 0.0);
    assert!(text["log_posterior"]["bag"].is_null());
    assert!(text["log_likelihood"].is_null() && text["log_likelihoods"]["shoe"].is_null());
    assert!(text["reason"].as_str().unwrap().contains("minus infinity"));
}

#[test]
fn the_most_probable_labels_are_told_first_and_tensors_hold_all() {
    let names: Arc<[Arc<str>]> = Arc::new(["bag".into(), "coat".into(), "shoe".into()]);
    let classification = Classification {
        log_posterior: [0.2_f64, 0.3, 0.5].map(f64::ln).to_vec(),
        log_likelihoods: None,
        log_evidence: None,
        maps: None,
        doubts: None,
    };
    let shape = ImageShape::new(1, 1, 1, 2).unwrap();
    let labelling = Labelling::new(&names, classification, Some(2), shape).unwrap();
    let text = serde_json::to_value(&labelling).unwrap();
    let labels = [&text["top"][0]["label"], &text["top"][1]["label"], &text["top"][2]];
    assert_eq!(labels, [&json!("shoe"), &json!("coat"), &json!(null)]);
    assert!(text.get("probabilities").is_none() && text.get("log_posterior").is_none());
    let [tensor] = &Classify::tensors(&NoHead {}, &[labelling])[..] else {
        panic!("one tensor is expected");
    };
    assert_eq!(tensor.shape, [1, 3]);
}
