//! `check`: what the load gate says of committed models, through the real binary.

#![allow(clippy::unwrap_used)]

mod command;

use command::{fixtures, refused, run, stderr, stdout, text};
use serde_json::Value;

/// Whether a report has a row of that name which begins so.
fn says(report: &str, name: &str, finding: &str) -> bool {
    let mut rows = report.lines().filter_map(|line| line.trim().split_once("  "));
    rows.any(|(own, text)| own == name && text.trim_start().starts_with(finding))
}

/// What a report in JSON says of a capability.
fn capability<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut all = report["capabilities"].as_array().unwrap().iter();
    all.find(|own| own["name"] == name).unwrap()
}

#[test]
fn a_good_model_is_described_with_every_check() {
    let report = stdout(&run(["check", text(&fixtures().join("tiny-pixelcnn"))]), 0);
    for word in ["tiny-pixelcnn version 1 is ready", "checks", "causal", "capabilities"] {
        assert!(report.contains(word), "{word} in {report}");
    }
    for (name, finding) in [
        ("family", "pixelcnn"),
        ("sampler", "wavefront"),
        ("sampling", "along wavefronts: lag 3, 20 steps"),
        ("score", "yes"),
        ("compress", "yes"),
        ("encode", "no: an autoregressive model"),
    ] {
        assert!(says(&report, name, finding), "{name} in {report}");
    }
}

#[test]
fn a_recurrent_model_is_described_with_every_check() {
    let report = stdout(&run(["check", text(&fixtures().join("tiny-pixelrnn"))]), 0);
    for word in [
        "tiny-pixelrnn version 1 is ready",
        "pixelrnn",
        // Five rows of lag two and five columns.
        "along wavefronts: lag 2, 15 steps",
        "the 3 states and 22 levels that a step reads all come before its pixel",
    ] {
        assert!(report.contains(word), "{word} in {report}");
    }
    for (name, finding) in [
        ("golden scores", "8 reproduced"),
        ("detect", "yes"),
        ("compress", "yes"),
        ("encode", "no: an autoregressive model"),
    ] {
        assert!(says(&report, name, finding), "{name} in {report}");
    }
}

#[test]
fn a_version_folder_a_model_folder_and_a_name_mean_the_same() {
    let model = fixtures().join("tiny-vae");
    let version = model.join("1");
    let check = |argument: &str| -> Value {
        let report = stdout(&run(["check", argument, "--json"]), 0);
        serde_json::from_str(&report).unwrap()
    };
    let report = check("tiny-vae");
    assert_eq!(report["state"], "ready");
    assert_eq!(report["family"], "vae");
    assert!(report["sampler"].is_null() && report["labels"].is_null());
    assert_eq!(capability(&report, "encode")["available"], true);
    let classify = capability(&report, "classify");
    assert_eq!(classify["available"], false);
    assert!(classify["reason"].is_string());
    for argument in [text(&model), text(&version)] {
        assert_eq!(check(argument)["name"], report["name"]);
        assert_eq!(check(argument)["version"], report["version"]);
    }
}

#[test]
fn a_leaking_model_is_refused_with_the_reason() {
    let model = refused().join("leaking-pixelcnn");
    let output = run(["check", text(&model)]);
    let said = stdout(&output, 1) + &stderr(&output);
    assert!(said.contains("is not causal"), "{said}");

    let report = stdout(&run(["check", text(&model), "--json"]), 1);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["state"], "failed");
    assert!(report["reason"].as_str().unwrap().contains("is not causal"), "{report}");
}

#[test]
fn the_sampler_is_reported_with_its_cost() {
    let report = stdout(&run(["check", "tiny-pixelcnn", "--json"]), 0);
    let report: Value = serde_json::from_str(&report).unwrap();
    let sampler = &report["sampler"];
    assert_eq!(sampler["method"], "wavefront", "{report}");
    let number = |name: &str| sampler[name].as_u64().unwrap();
    // A 6×5 image: the last row begins after five lags and takes five steps.
    assert_eq!(number("steps"), 5 * number("lag") + 5);
    assert!(number("multiply_adds") > 0 && number("bytes_per_image") > 0);
}
