//! `classify`, and the other commands on a model that is conditioned on labels, through the real binary.

#![allow(clippy::unwrap_used)]

mod command;

use std::{collections::HashMap, fs};

use command::{binary, golden_images, golden_scores, run, stderr, stdout, text};
use serde_json::{Value, json};

const MODEL: &str = "tiny-conditional-pixelcnn";

/// The model's labels and their prior.
const LABELS: [(&str, f64); 3] = [("round", 0.5), ("square", 0.25), ("other", 0.25)];

fn classify(options: &[&str]) -> std::process::Output {
    let images = golden_images(MODEL);
    let arguments = ["classify", MODEL, text(&images)];
    binary().args(arguments).args(options).output().unwrap()
}

/// Golden log p(x|y) + log p(y), a row an image.
fn joint() -> Vec<Vec<f64>> {
    let add = |row: &[f64]| {
        let labels = row.iter().zip(LABELS);
        labels.map(|(nats, (_, prior))| nats + prior.ln()).collect()
    };
    golden_scores(MODEL).chunks(LABELS.len()).map(add).collect()
}

fn log_sum(values: &[f64]) -> f64 {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + values.iter().map(|value| (value - max).exp()).sum::<f64>().ln()
}

fn lines(jsonl: &str) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).unwrap();
    jsonl.lines().map(line).collect()
}

#[test]
fn the_table_follows_from_the_golden_scores() {
    let csv = stdout(&classify(&[]), 0);
    let header: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    assert_eq!(header[..4], ["input", "index", "label", "probability"]);
    assert_eq!(header.last(), Some(&"error"));
    let rows: Vec<HashMap<String, String>> = csv::Reader::from_reader(csv.as_bytes())
        .deserialize()
        .map(Result::unwrap)
        .collect();
    let joint = joint();
    assert_eq!(rows.len(), joint.len());
    for (row, joint) in rows.iter().zip(joint) {
        let cell = |name: &str| row[name].parse::<f64>().unwrap();
        let evidence = log_sum(&joint);
        assert!((cell("log_likelihood") - evidence).abs() < 2e-3);
        let mut best = (0.0, "");
        for ((label, _), joint) in LABELS.into_iter().zip(joint) {
            let probability = cell(&format!("probabilities.{label}"));
            assert!((probability - (joint - evidence).exp()).abs() < 2e-3);
            if probability > best.0 {
                best = (probability, label);
            }
        }
        assert_eq!((cell("probability"), row["label"].as_str()), best);
    }
}

#[test]
fn json_lines_and_arrays_hold_what_the_table_holds_and_more() {
    let folder = tempfile::tempdir().unwrap();
    let listed = lines(&stdout(&classify(&["--format", "jsonl", "--map"]), 0));
    let array = |options: &[&str], name: &str| {
        let file = folder.path().join(name);
        let output = ["--format", "npy", "--output", text(&file)];
        stdout(&classify(&[options, &output].concat()), 0);
        fs::read(file).unwrap()
    };
    let images = listed.len();
    let bytes = array(&[], "posterior.npy");
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    assert_eq!(file.shape(), [images as u64, 3]);
    let posterior = file.into_vec::<f64>().unwrap();
    let bytes = array(&["--map"], "evidence.npy");
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    assert_eq!(file.shape(), [images as u64, 3, 1, 6, 5]);
    let evidence = file.into_vec::<f32>().unwrap();
    for (own, (posterior, evidence)) in listed.iter().zip(posterior.chunks(3).zip(evidence.chunks(3 * 30))) {
        for (place, (label, prior)) in LABELS.into_iter().enumerate() {
            let probability = own["probabilities"][label].as_f64().unwrap();
            assert!((probability - posterior[place]).abs() < 1e-12);
            let learnt = own["log_posterior"][label].as_f64().unwrap() - prior.ln();
            let map = &evidence[30 * place..30 * (place + 1)];
            let sum: f64 = map.iter().copied().map(f64::from).sum();
            assert!((sum - learnt).abs() < 1e-3, "{sum} {learnt}");
            let rows = own["pixel_evidence"][label].as_array().unwrap();
            let columns = rows.iter().map(|row| row.as_array().unwrap().len());
            assert_eq!(columns.collect::<Vec<_>>(), [5; 6]);
            assert!(own["log_likelihoods"][label].is_f64());
        }
    }
    let refused = classify(&["--map"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--format jsonl"), "{}", stderr(&refused));
}

#[test]
fn scores_say_whether_they_are_given_a_label() {
    let images = golden_images(MODEL);
    let score = |options: &[&str]| {
        let arguments = ["score", MODEL, text(&images), "--format", "jsonl"];
        lines(&stdout(&binary().args(arguments).args(options).output().unwrap(), 0))
    };
    for (own, joint) in score(&[]).iter().zip(joint()) {
        assert_eq!(own["likelihood_of"], "p(x)");
        assert!(own.get("label").is_none());
        let nats = own["log_likelihood"].as_f64().unwrap();
        assert!((nats - log_sum(&joint)).abs() < 2e-3);
    }
    assert_eq!(score(&["--label", "square"])[0]["label"], "square");
    let csv = stdout(&run(["score", MODEL, text(&images), "--label", "0"]), 0);
    assert!(csv.lines().nth(1).unwrap().contains(",exact,p(x|y),round,"), "{csv}");
}

#[test]
fn labels_of_samples_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drawn.npy");
    let output = run(["sample", MODEL, "-n", "3", "--output", text(&file)]);
    stdout(&output, 0);
    let told = stderr(&output);
    let names: Vec<&str> = told.trim().strip_prefix("labels: ").unwrap().split(", ").collect();
    assert_eq!(names.len(), 3, "{told}");
    for name in names {
        assert!(LABELS.iter().any(|(label, _)| *label == name), "{name}");
    }
}

#[test]
fn what_is_not_conditioned_on_labels_cannot_classify_and_check_says_so() {
    let refused = run(["classify", "tiny-pixelcnn", "Cargo.toml"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused);
    assert!(said.contains("not conditioned on labels"), "{said}");
    let report = stdout(&run(["check", MODEL, "--json"]), 0);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["conditional"], true);
    assert_eq!(report["labels"], json!(LABELS.map(|(label, _)| label)));
    assert_eq!(report["prior"], json!(LABELS.map(|(_, prior)| prior)));
    let report = stdout(&run(["check", MODEL]), 0);
    assert!(
        report.contains("prior") && report.contains("0.5, 0.25, 0.25"),
        "{report}"
    );
}
