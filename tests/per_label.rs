//! Detectors that keep the false-alarm rate of every label: each image is compared with those that the network gives
//! the same label.

#![allow(clippy::unwrap_used)]

mod command;
mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{
    call, can, model, models_of,
    versions::{self, Draft, SCORED, Written},
};
use density_server::{
    detection::evidence::log_posterior,
    domain::{
        binomial::beta_binomial_interval,
        image::{Image, ImageShape},
        random::{Random, Stream},
    },
    families::{
        classifier::network::{Contract, Network},
        image_graph::ImageInput,
    },
    graph::{
        self,
        protobuf::{ElementType, Node, ValueInfo},
        rewrite::InputMap,
    },
    media,
    model::{
        Refusal,
        detect::{JudgeAsk, Judges, Verdict},
    },
    repository::Repository,
    runtime::Threads,
};

const SIDE: usize = 8;
const LABELS: [&str; 2] = ["left", "right"];

fn shape() -> ImageShape {
    ImageShape::new(1, SIDE, SIDE, 256).unwrap()
}

/// Noise around grey, brighter on the left or on the right; that of the images on the right is three times as loud for
/// every tenth image.
fn images(count: u64, seed: u64) -> Vec<Image> {
    let image = |index: u64| {
        let random = Random::new(seed, Stream::Probe, index);
        let is_right = index.is_multiple_of(4);
        let is_loud = is_right && index.is_multiple_of(40);
        let spread = if is_loud { 36.0 } else { 12.0 };
        let level = |place: usize| {
            let brighter = (place % SIDE >= SIDE / 2) == is_right;
            let level = if brighter { 160.0 } else { 100.0 };
            (level + spread * random.normal(place as u32)).clamp(0.0, 255.0) as u8
        };
        Image::new(shape(), (0..SIDE * SIDE).map(level).collect::<Vec<u8>>()).unwrap()
    };
    (0..count).map(image).collect()
}

/// A classifier that says which half is brighter, and whose features are that and seven random projections.
fn classifier() -> Written {
    let mut filters = versions::weights("filters", &[8, 1, SIDE, SIDE], 0.5).float_data;
    for (place, weight) in filters[..SIDE * SIDE].iter_mut().enumerate() {
        *weight = if place % SIDE < SIDE / 2 { 0.1 } else { -0.1 };
    }
    let mut towards = vec![0.0; 16];
    // Of one size, they would be taken for log-odds of each label by itself.
    (towards[0], towards[1]) = (1.0, -0.9);
    let mut graph = versions::model(
        vec![
            Node::new("Conv", &["image", "filters"], "planes"),
            Node::new("Flatten", &["planes"], "features"),
            Node::new("MatMul", &["features", "towards"], "logits"),
        ],
        vec![
            versions::floats("filters", &[8, 1, SIDE, SIDE], filters),
            versions::floats("towards", &[8, 2], towards),
        ],
        ("image", &[1, SIDE, SIDE]),
        ("logits", &[2]),
    );
    let features = ValueInfo::batched("features", ElementType::Float, &[8]);
    graph.graph.as_mut().unwrap().outputs.push(features);
    let scale = 1.0 / 255.0;
    let contract = Contract {
        classes: LABELS.len(),
        input: ImageInput {
            shape: shape(),
            map: InputMap::same(scale, 0.0),
            name: "image".to_owned(),
        },
        output: "logits".to_owned(),
        features: vec!["features".to_owned()],
    };
    let network = Network::load(&*common::engine(), "classifier", graph.clone(), contract).unwrap();
    let golden = images(4, 99);
    let levels: Vec<&[u8]> = golden.iter().map(Image::levels).collect();
    let predictions = network.classify(&levels, Threads::One).unwrap();
    let scores = predictions.iter().flat_map(|own| log_posterior(&own.logits));
    Draft {
        family: "classifier",
        tables: format!(
            "[input]\nscale = {scale}\noffset = 0.0\n\
             [graphs.logits]\nfile = \"model.onnx\"\ninput = \"image\"\noutput = \"logits\"\nfeatures = \"features\"\n\
             [labels]\nnames = {LABELS:?}\nprior = [0.5, 0.5]\n"
        ),
        files: vec![
            ("model.onnx".to_owned(), graph::serialize(&graph)),
            ("g.npy".to_owned(), media::write_images(&golden, shape())),
            ("s.npy".to_owned(), media::write_f64(&[4, 2], scores)),
        ],
        unhashed: Vec::new(),
        shape: shape(),
        golden: SCORED,
        tolerance: 1e-3,
        parameters: graph::weights::count(&graph),
    }
    .write()
}

fn repository(written: &Written) -> &Path {
    written.folder.parent().unwrap().parent().unwrap()
}

/// What `calibrate made` says with some more arguments, and its exit code.
fn calibrate(written: &Written, images: &[Image], more: &[&str]) -> (i32, String) {
    let data = repository(written).join("data.npy");
    fs::write(&data, media::write_images(images, shape())).unwrap();
    let output = command::binary()
        .args(["calibrate", "made", "--repository", command::text(repository(written))])
        .args(["--data", command::text(&data)])
        .args(more)
        .output()
        .unwrap();
    (output.status.code().unwrap(), command::said(&output))
}

async fn judge(models: &Repository, name: &str, images: Vec<Image>, ask: &JudgeAsk) -> Result<Vec<Verdict>, Refusal> {
    let judges = can::<dyn Judges>(&model(models, name));
    let judged = judges.judge(images, ask, &call(models)).await?;
    Ok(judged.into_iter().map(Result::unwrap).collect())
}

fn at(false_alarm_rate: f64, confidence: Option<f64>) -> JudgeAsk {
    JudgeAsk {
        false_alarm_rate,
        confidence,
        false_discovery_rate: None,
        map: false,
    }
}

/// Of each label how many images were rejected, and out of how many.
fn rejected(verdicts: &[Verdict], label: impl Fn(usize) -> String) -> BTreeMap<String, (u64, u64)> {
    let mut counts = BTreeMap::<String, (u64, u64)>::new();
    for (place, verdict) in verdicts.iter().enumerate() {
        let (rejected, all) = counts.entry(label(place)).or_default();
        *rejected += u64::from(verdict.reject);
        *all += 1;
    }
    counts
}

#[tokio::test]
async fn every_label_keeps_the_rate_where_all_together_would_not() {
    let written = classifier();
    let (code, said) = calibrate(&written, &images(1600, 1), &["--per-label"]);
    assert!(code == 0 && said.contains("label by label, with at least"), "{said}");
    let (code, said) = calibrate(&written, &images(1600, 1), &["--name", "together"]);
    assert_eq!(code, 0, "{said}");
    let models = models_of(repository(&written));
    let fresh = images(2000, 2);

    let (rate, share) = (0.05, 0.999);
    for confidence in [None, Some(0.95)] {
        let verdicts = judge(&models, "made-gate", fresh.clone(), &at(rate, confidence))
            .await
            .unwrap();
        let label = |place: usize| verdicts[place].calibration.label.clone().unwrap();
        for (label, (count, all)) in rejected(&verdicts, label) {
            let of_label = |verdict: &&Verdict| verdict.calibration.label.as_deref() == Some(&label);
            let own = verdicts.iter().find(of_label).unwrap();
            let scores = (own.calibration.size + 1) as f64;
            let k = (own.threshold.unwrap() * scores + 1e-9).floor();
            let (low, high) = beta_binomial_interval(all, k, scores - k, share);
            assert!(
                (low..=high).contains(&count),
                "{label}: {count} of {all}, not in {low}..={high}"
            );
        }
    }
    // Which half is brighter is plain in every image.
    let verdicts = judge(&models, "made-gate", fresh.clone(), &at(rate, None))
        .await
        .unwrap();
    for (place, verdict) in verdicts.iter().enumerate() {
        assert_eq!(
            verdict.calibration.label.as_deref(),
            Some(LABELS[usize::from(place % 4 == 0)])
        );
    }
    // Compared with all, images of one label would pay for those of the other.
    let verdicts = judge(&models, "together", fresh, &at(rate, None)).await.unwrap();
    assert!(verdicts.iter().all(|verdict| verdict.calibration.label.is_none()));
    let counts = rejected(&verdicts, |place| LABELS[usize::from(place % 4 == 0)].to_owned());
    let (count, all) = counts["right"];
    assert!(count as f64 > 1.6 * rate * all as f64, "{counts:?}");
}

#[tokio::test]
async fn answers_and_metadata_tell_of_labels() {
    let written = classifier();
    calibrate(&written, &images(1600, 1), &["--per-label"]);
    let models = models_of(repository(&written));
    let gate = model(&models, "made-gate");
    let info = gate.card.calibration.as_ref().unwrap();
    let by_label = info.by_label.as_ref().unwrap();
    assert_eq!(by_label.values().sum::<usize>(), info.size);
    let least = *by_label.values().min().unwrap();
    assert_eq!(info.smallest_false_alarm_rate, 1.0 / (least + 1) as f64);

    let scores = can::<dyn Judges>(&gate).calibration();
    let labels = scores.labels.unwrap();
    assert_eq!((labels.len(), scores.scores.len()), (info.size, info.size));
    assert!(scores.scores.is_sorted());
    // A p-value can be recomputed from what is told.
    let verdicts = judge(&models, "made-gate", images(20, 3), &at(0.05, None))
        .await
        .unwrap();
    for verdict in verdicts {
        let own = scores
            .scores
            .iter()
            .zip(&labels)
            .filter(|(_, label)| Some(*label) == verdict.calibration.label.as_ref());
        let (mut all, mut as_strange) = (0, 0);
        for (&score, _) in own {
            all += 1;
            as_strange += usize::from(score >= verdict.strangeness);
        }
        assert_eq!(all, verdict.calibration.size);
        assert_eq!(verdict.p_value, (as_strange + 1) as f64 / (all + 1) as f64);
    }

    // A rate that all images together would support and one label does not is refused, with the label.
    let refusal = judge(&models, "made-gate", images(2, 3), &at(0.004, None))
        .await
        .unwrap_err();
    assert!(refusal.detail().contains("\"right\""), "{refusal:?}");
    assert_eq!(refusal.option_name(), Some("false_alarm_rate"));
}

#[test]
fn what_cannot_promise_anything_of_a_label_is_refused() {
    let written = classifier();
    let of_one_label: Vec<Image> = images(1400, 1)
        .into_iter()
        .enumerate()
        .filter(|(place, _)| place % 4 != 0)
        .map(|(_, own)| own)
        .collect();
    let (code, said) = calibrate(&written, &of_one_label, &["--per-label"]);
    assert!(
        code != 0 && said.contains("\"right\"") && said.contains("at least 100"),
        "{said}"
    );
    let (code, said) = calibrate(&written, &images(1600, 1), &["--per-label", "--tiles"]);
    assert!(code != 0 && said.contains("--per-label: windows"), "{said}");

    // The manifest and the calibration must agree.
    calibrate(&written, &images(1600, 1), &["--per-label"]);
    let manifest = repository(&written).join("made-gate/1/model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("per_label = true\n"), "{text}");
    fs::write(&manifest, text.replace("per_label = true\n", "")).unwrap();
    let output = command::binary()
        .arg("check")
        .arg(manifest.parent().unwrap())
        .output()
        .unwrap();
    let said = command::said(&output);
    assert!(
        !output.status.success() && said.contains("calibration.per_label"),
        "{said}"
    );
}
