//! `import`: graphs as people export them, from a file to numbers that the training framework gives, through the real
//! binary.
//!
//! `tests/fixtures/imports` holds small networks; `cases.json` there says how each is imported, and what has to come of
//! it.

#![allow(clippy::unwrap_used)]

mod command;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use command::{binary, stderr, stdout, text};
use serde::Deserialize;
use serde_json::Value;

/// A line of `cases.json`.
#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    graphs: Vec<String>,
    #[serde(default)]
    arguments: Vec<String>,
    family: String,
    /// Whether there are images and numbers of the framework.
    golden: bool,
    /// Whether these numbers are what `score` answers.
    scored: bool,
    tolerance: f64,
    /// How images are drawn pixel by pixel.
    sampler: Option<String>,
    /// What the report says.
    #[serde(default)]
    says: Vec<String>,
    /// What the refusal says, if it has to be refused.
    refused: Option<String>,
}

fn imports() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/imports")
}

fn cases() -> Vec<Case> {
    serde_json::from_str(&fs::read_to_string(imports().join("cases.json")).unwrap()).unwrap()
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

/// Runs `import` into `repository`, under the name of the case.
fn import(case: &Case, repository: &Path, more: &[&str]) -> Output {
    let folder = imports().join(&case.name);
    let graphs = case.graphs.iter().map(|graph| folder.join(graph));
    binary()
        .env("DENSITY_REPOSITORY", repository)
        .arg("import")
        .args(graphs)
        .args(["--name", &case.name])
        .args(&case.arguments)
        .args(more)
        .output()
        .unwrap()
}

/// What of a case is not as it should be.
fn wrong_with(case: &Case, repository: &Path) -> Option<String> {
    let folder = imports().join(&case.name);
    let (images, numbers) = (folder.join("images.npy"), folder.join("numbers.npy"));
    let golden = ["--golden", text(&images), text(&numbers)];
    let more: Vec<&str> = if case.golden { golden.to_vec() } else { vec![] };
    let output = import(case, repository, &[&["--yes"], &more[..]].concat());
    let (code, said) = (output.status.code(), stderr(&output));
    if let Some(refused) = &case.refused {
        let is_right = code == Some(1) && said.contains(refused.as_str());
        return (!is_right).then(|| format!("is not refused with {refused:?} ({code:?}): {said}"));
    }
    if code != Some(0) {
        return Some(format!("is not imported: {said}"));
    }
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    if !report.contains(&format!("{} of ", case.family)) {
        return Some(format!("is no {}: {report}", case.family));
    }
    let sampler = case.sampler.as_ref().map(|sampler| match sampler.as_str() {
        "wavefront" => "along wavefronts",
        _ => "over full passes",
    });
    let missing = case.says.iter().map(String::as_str).chain(sampler);
    for word in missing {
        if !report.contains(word) {
            return Some(format!("does not say {word:?}: {report}"));
        }
    }
    if !case.scored {
        return None;
    }
    let scored = binary()
        .env("DENSITY_REPOSITORY", repository)
        .args(["score", &case.name, text(&images)])
        .output()
        .unwrap();
    if scored.status.code() != Some(0) {
        return Some(format!("is not scored: {}", stderr(&scored)));
    }
    let table = String::from_utf8_lossy(&scored.stdout).into_owned();
    let expected: Vec<f64> = npyz::NpyFile::new(&fs::read(&numbers).unwrap()[..])
        .unwrap()
        .into_vec()
        .unwrap();
    let actual = scores(&table);
    let close = |(actual, expected): (&f64, &f64)| (actual - expected).abs() <= case.tolerance;
    let is_conditional = expected.len() != actual.len();
    let agrees = is_conditional || actual.iter().zip(&expected).all(close);
    (!agrees).then(|| format!("scores {actual:?}, and the framework {expected:?}"))
}

/// The column of log-likelihoods of a table of scores.
fn scores(table: &str) -> Vec<f64> {
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let headers = rows.headers().unwrap().clone();
    let column = headers.iter().position(|name| name.contains("log_likelihood")).unwrap();
    rows.records()
        .map(|row| row.unwrap()[column].parse().unwrap())
        .collect()
}

#[test]
fn every_network_of_the_corpus_gives_the_numbers_of_its_framework() {
    let (cases, next) = (cases(), AtomicUsize::new(0));
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let repository = tempfile::tempdir().unwrap();
    let work = || {
        let mut wrong = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(wrong_with(case, repository.path()).map(|what| format!("{} {what}", case.name)));
        }
        wrong
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_no_file_tells_is_asked_all_at_once() {
    let repository = tempfile::tempdir().unwrap();
    let output = import(&case("vae-nameless"), repository.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for word in [
        "input=0..1",
        "log_variance=log-variance",
        "log_variance=deviation",
        "--yes",
        "nothing was imported",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert_eq!(repository.path().read_dir().unwrap().count(), 0);
}

#[test]
fn what_depends_on_company_is_served_alone_only_if_somebody_says_so() {
    let repository = tempfile::tempdir().unwrap();
    // One differs much from its numbers in company, the other by little.
    for name in ["batch-standardised", "classifier-batch-statistics"] {
        let case = case(name);
        let refused = |more: &[&str], words: [&str; 2]| {
            let output = import(&case, repository.path(), more);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        };
        refused(&["--input", "0..1"], ["depends on the batch", "--declare \"batch=1\""]);
        refused(&["--yes"], ["depends on the batch", "--one-at-a-time serves these"]);
        refused(&["--yes", "--declare", "batch=2"], ["\"2\" is no answer", "say 1"]);
        assert_eq!(repository.path().read_dir().unwrap().count(), 0);
        let report = stdout(&import(&case, repository.path(), &["--yes", "--one-at-a-time"]), 0);
        assert!(report.contains("one at a time, as was said"), "{report}");
        let version = repository.path().join(name);
        let manifest = fs::read_to_string(version.join("1/model.toml")).unwrap();
        assert!(manifest.contains("[serving]\nbatch = 1\n"), "{manifest}");
        fs::remove_dir_all(version).unwrap();
    }
}

#[test]
fn all_problems_are_told_with_their_cures() {
    let folder = tempfile::tempdir().unwrap();
    let repository = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.onnx"), b"no graph").unwrap();
    // Its weights stay behind.
    let graph = imports().join("grey-default/model.onnx");
    fs::copy(graph, folder.path().join("b.onnx")).unwrap();
    let output = binary()
        .env("DENSITY_REPOSITORY", repository.path())
        .args(["import", text(folder.path()), "--name", "m", "--yes"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for word in [
        "2 problems",
        "a.onnx: not an ONNX model",
        "export the network again",
        "b.onnx: tensor",
        "beside the graph",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[test]
fn an_answer_that_nothing_asks_for_is_a_slip() {
    let repository = tempfile::tempdir().unwrap();
    let output = import(&case("grey"), repository.path(), &["--yes", "--declare", "lables=a,b"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--declare lables: nothing of this model depends on it"));
}

#[test]
fn a_version_can_be_calibrated_and_knows_its_training_images() {
    let repository = tempfile::tempdir().unwrap();
    let images = imports().join("grey/images.npy");
    let more = [
        "--yes",
        "--input",
        "0..1",
        "--calibrate",
        text(&images),
        "--trained-on",
        text(&images),
    ];
    let report = stdout(&import(&case("grey"), repository.path(), &more), 0);
    assert!(report.contains("3 scores of held-out inliers"), "{report}");
    let version = repository.path().join("grey/1");
    assert_eq!(fs::metadata(version.join("trained_on.bin")).unwrap().len(), 24);
    assert!(
        report.contains("curl -s -F image=@IMAGE.png localhost:8000/v1/models/grey/"),
        "{report}"
    );
    // A second import is the next version.
    let report = stdout(&import(&case("grey"), repository.path(), &["--yes"]), 0);
    assert!(report.contains("grey/2 is ready"), "{report}");
}

#[test]
fn check_repeats_what_was_taken_for_granted() {
    let repository = tempfile::tempdir().unwrap();
    let report = stdout(&import(&case("grey"), repository.path(), &["--yes"]), 0);
    let assumed = "0..1, as is likely; --declare input=…";
    assert_eq!(report.matches(assumed).count(), 1, "{report}");
    let folder = repository.path().join("grey/1");
    let checked = stdout(&binary().args(["check", text(&folder)]).output().unwrap(), 0);
    assert!(checked.contains(assumed), "{checked}");
}

#[test]
fn an_answer_that_makes_flat_images_improbable_is_doubted() {
    let repository = tempfile::tempdir().unwrap();
    let case = case("grey-copies-mistaken");
    let report = stdout(&import(&case, repository.path(), &["--yes"]), 0);
    assert!(report.contains("\"0..1\" is taken, as was said"), "{report}");
}

#[test]
fn masked_layers_over_all_pixels_draw_by_passes_and_code_along_wavefronts() {
    let repository = tempfile::tempdir().unwrap();
    let name = "grey-autoencoder";
    stdout(&import(&case(name), repository.path(), &["--yes"]), 0);
    let run = |arguments: &[&str]| {
        let more = ["--repository", text(repository.path())];
        stdout(&binary().args(arguments).args(more).output().unwrap(), 0)
    };
    let report: Value = serde_json::from_str(&run(&["check", name, "--json"])).unwrap();
    assert_eq!(report["sampler"]["method"], "fixed_point", "{report}");
    assert!(!report["weaknesses"].to_string().contains("passes"), "{report}");
    let images = repository.path().join("drawn.npy");
    run(&["sample", name, "--n", "3", "--output", text(&images)]);
    let (streams, back) = (repository.path().join("streams"), repository.path().join("back.npy"));
    run(&["compress", name, text(&images), "--output", text(&streams)]);
    run(&["decompress", name, text(&streams), "--output", text(&back)]);
    assert_eq!(fs::read(&back).unwrap(), fs::read(&images).unwrap());
}
