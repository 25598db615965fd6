//! `evaluate` and labelled inputs on committed models, through the real binary.

#![allow(clippy::unwrap_used)]

mod command;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Output,
};

use command::{binary, fixtures, golden_images, golden_scores, stderr, stdout, text};
use density_server::{detection::trained_on::TrainedOn, families::manifest::sha256};
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use sha2::{Digest, Sha256};

const MODEL: &str = "tiny-pixelcnn";

fn run(arguments: &[&str]) -> Output {
    binary().args(arguments).output().unwrap()
}

/// Runs `evaluate` with an output folder and gives its report.
fn report(arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&[&["evaluate"], arguments, &["--output", text(folder.path())]].concat());
    stdout(&output, 0);
    let json = fs::read(folder.path().join("report.json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// What a command that cannot be carried out says.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(stdout(&output, 2), "");
    stderr(&output)
}

/// The golden images of a model with one channel: their sides and levels.
fn golden(model: &str) -> (Vec<usize>, Vec<u8>) {
    let bytes = fs::read(golden_images(model)).unwrap();
    let array = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = array.shape().iter().map(|&side| side as usize).collect();
    (shape, array.into_vec().unwrap())
}

fn idx(shape: &[usize], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    for &length in shape {
        bytes.extend((length as u32).to_be_bytes());
    }
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The golden images of `tiny-vae` in every form that is read. It has 16 levels, so that a file's level is 16 times the
/// model's.
struct Forms {
    folder: tempfile::TempDir,
    images: usize,
}

const LABELS: [&str; 2] = ["ankle boot", "coat"];

impl Forms {
    const MODEL: &str = "tiny-vae";

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (shape, levels) = golden(Self::MODEL);
        let file = idx(&shape, &levels);
        fs::write(path("images-idx3-ubyte"), &file).unwrap();
        fs::write(path("images-idx3-ubyte.gz"), gzip(&file)).unwrap();
        let [images, height, width] = shape[..] else {
            panic!("one channel");
        };
        // The first half of the images has the first label, so that folders give the images in the same order as arrays
        // do.
        for (place, image) in levels.chunks(height * width).enumerate() {
            let label = path("folders").join(LABELS[place * 2 / images]);
            fs::create_dir_all(&label).unwrap();
            let header = format!("P5 {width} {height} 255\n").into_bytes();
            fs::write(
                label.join(format!("{place:03}.pgm")),
                [header, image.iter().map(|level| level * 16).collect()].concat(),
            )
            .unwrap();
        }
        let numbers: Vec<u8> = (0..images).map(|place| (place * 2 / images) as u8).collect();
        fs::write(path("labels-idx1-ubyte"), idx(&[images], &numbers)).unwrap();
        fs::write(path("labels-idx1-ubyte.gz"), gzip(&idx(&[images], &numbers))).unwrap();
        let names: String = numbers
            .iter()
            .map(|&number| format!("{}\n", LABELS[usize::from(number)]))
            .collect();
        fs::write(path("names.txt"), names).unwrap();
        Self { folder, images }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn every_form_of_the_same_images_gives_the_same_figures() {
    let forms = Forms::new();
    let npy = golden_images(Forms::MODEL);
    let wanted = report(&[Forms::MODEL, "--data", text(&npy)]);
    assert_eq!(wanted["images"], forms.images);
    for quantity in ["log_likelihood_nats", "bits_per_dim"] {
        assert!(wanted["density"][quantity]["mean"].is_number());
    }
    for name in ["images-idx3-ubyte", "images-idx3-ubyte.gz", "folders"] {
        let found = report(&[Forms::MODEL, "--data", text(&forms.path(name))]);
        for quantity in ["log_likelihood_nats", "bits_per_dim", "perplexity"] {
            assert_eq!(found["density"][quantity], wanted["density"][quantity], "{name}");
        }
        assert_eq!(
            found["reconstruction"]["mean_squared_error"],
            wanted["reconstruction"]["mean_squared_error"]
        );
        let ends = |report: &Value| report["density"]["least_likely"]["index"].clone();
        assert_eq!(ends(&found), ends(&wanted), "{name}");
    }
}

#[test]
fn figures_are_those_of_the_golden_scores_and_of_score() {
    let images = golden_images(MODEL);
    let found = report(&[MODEL, "--data", text(&images)]);
    let density = &found["density"];
    let golden = golden_scores(MODEL);
    let n = golden.len() as f64;
    let mean = golden.iter().sum::<f64>() / n;
    let squares: f64 = golden.iter().map(|nats| (nats - mean).powi(2)).sum();
    let error = (squares / (n - 1.0) / n).sqrt();
    let near = |value: &Value, wanted: f64, tolerance: f64| {
        let value = value.as_f64().unwrap();
        assert!((value - wanted).abs() < tolerance, "{value} {wanted}");
    };
    near(&density["log_likelihood_nats"]["mean"], mean, 1e-3);
    near(&density["log_likelihood_nats"]["standard_error"], error, 1e-3);
    assert_eq!(density["bound"], "exact");
    assert_eq!(density["zero_probability"], 0);

    let scores = stdout(&run(&["score", MODEL, text(&images)]), 0);
    let mut rows = csv::Reader::from_reader(scores.as_bytes());
    let place = rows.headers().unwrap().iter().position(|name| name == "bits_per_dim");
    let bits: Vec<f64> = rows
        .records()
        .map(|row| row.unwrap()[place.unwrap()].parse().unwrap())
        .collect();
    let mean_bits = bits.iter().sum::<f64>() / n;
    near(&density["bits_per_dim"]["mean"], mean_bits, 1e-9);
    let (low, high) = bits
        .iter()
        .fold((f64::MAX, f64::MIN), |(low, high), &bit| (low.min(bit), high.max(bit)));
    near(&density["bits_per_dim"]["minimum"], low, 1e-12);
    near(&density["bits_per_dim"]["maximum"], high, 1e-12);

    let dimensions = density["dimensions"].as_f64().unwrap();
    let perplexity = (-density["log_likelihood_nats"]["mean"].as_f64().unwrap() / dimensions).exp();
    near(&density["perplexity"]["value"], perplexity, 1e-9);
    let error = density["log_likelihood_nats"]["standard_error"].as_f64().unwrap();
    near(
        &density["perplexity"]["standard_error"],
        perplexity * error / dimensions,
        1e-9,
    );
}

#[test]
fn a_bound_is_named_with_its_samples_and_is_tighter_with_importance() {
    let images = golden_images("tiny-vae");
    let with = |options: &[&str]| report(&[&["tiny-vae", "--data", text(&images)], options].concat());
    let elbo = with(&["--k", "32"]);
    let iwae = with(&["--bound", "iwae", "--k", "32", "--seed", "5"]);
    let density = &elbo["density"];
    assert_eq!(
        (&density["bound"], &density["k"], &density["seed"]),
        (&"elbo".into(), &32.into(), &0.into())
    );
    let density = &iwae["density"];
    assert_eq!(
        (&density["bound"], &density["k"], &density["seed"]),
        (&"iwae".into(), &32.into(), &5.into())
    );
    let mean = |report: &Value| report["density"]["bits_per_dim"]["mean"].as_f64().unwrap();
    assert!(mean(&iwae) < mean(&elbo));
    let size = density["mean_effective_sample_size"].as_f64().unwrap();
    assert!((1.0..=32.0).contains(&size));
}

#[test]
fn labels_of_every_source_part_the_figures_alike() {
    let forms = Forms::new();
    let images = forms.path("images-idx3-ubyte.gz");
    let from = |labels: &str| {
        let labels = forms.path(labels);
        report(&[Forms::MODEL, "--data", text(&images), "--labels", text(&labels)])
    };
    let rows = |report: &Value| report["density"]["bits_per_dim_by_label"].clone();
    let named = rows(&from("names.txt"));
    let folders = forms.path("folders");
    let foldered = report(&[Forms::MODEL, "--data", text(&folders), "--labels-from-folders"]);
    assert_eq!(rows(&foldered), named);
    assert_eq!(named[0]["label"], LABELS[0]);
    assert_eq!(named[0]["images"], forms.images / 2);
    assert_ne!(named[0]["mean"], named[1]["mean"]);
    let numbered = rows(&from("labels-idx1-ubyte.gz"));
    assert_eq!(numbered[1]["label"], "1");
    assert_eq!(numbered[1]["mean"], named[1]["mean"]);
    assert_eq!(rows(&from("labels-idx1-ubyte")), numbered);

    // Rows that name their files may come in any order, and speak of others, too.
    let mut lines: Vec<String> = (0..forms.images)
        .map(|place| {
            let label = LABELS[place * 2 / forms.images];
            format!("{label}/{place:03}.pgm,{label}\n")
        })
        .collect();
    lines.reverse();
    lines.push("coat/elsewhere.pgm,coat\n".to_owned());
    let table = forms.path("labels.csv");
    let evaluate = |lines: &[String]| {
        fs::write(&table, format!("file,label\n{}", lines.concat())).unwrap();
        [Forms::MODEL, "--data", text(&folders), "--labels", text(&table)]
    };
    assert_eq!(rows(&report(&evaluate(&lines))), named);
    let message = refused(&[&["evaluate"], &evaluate(&lines[1..])[..]].concat());
    assert!(
        message.contains("no row names") && message.contains(".pgm"),
        "{message}"
    );
}

#[test]
fn encode_writes_labels_beside_codes() {
    let forms = Forms::new();
    let images = forms.path("images-idx3-ubyte");
    let labels = forms.path("names.txt");
    let arguments = ["encode", Forms::MODEL, text(&images), "--labels", text(&labels)];
    let table = stdout(&run(&arguments), 0);
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    assert_eq!(rows.headers().unwrap().iter().position(|name| name == "label"), Some(2));
    let found: Vec<String> = rows.records().map(|row| row.unwrap()[2].to_owned()).collect();
    let wanted = fs::read_to_string(&labels).unwrap();
    assert_eq!(found, wanted.lines().collect::<Vec<_>>());

    // What was written is read as labels again.
    let table_path = forms.path("codes.csv");
    fs::write(&table_path, &table).unwrap();
    let lines = run(&[
        "encode",
        Forms::MODEL,
        text(&images),
        "--labels",
        text(&table_path),
        "--format",
        "jsonl",
    ]);
    for (line, wanted) in stdout(&lines, 0).lines().zip(wanted.lines()) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["label"], wanted);
    }

    let plain = stdout(&run(&["encode", Forms::MODEL, text(&images)]), 0);
    assert!(!plain.lines().next().unwrap().contains("label"));
    let (one, other) = (forms.path("one.npy"), forms.path("other.npy"));
    for (path, options) in [(&one, &arguments[..]), (&other, &arguments[..3])] {
        let end = ["--format", "npy", "--output", text(path)];
        stdout(&run(&[options, &end].concat()), 0);
    }
    assert_eq!(
        fs::read(one).unwrap(),
        fs::read(other).unwrap(),
        "an array has codes only"
    );
}

#[test]
fn the_page_needs_nothing_else_and_holds_what_was_measured() {
    let forms = Forms::new();
    let folder = forms.path("report");
    let output = run(&[
        "evaluate",
        Forms::MODEL,
        "--data",
        text(&forms.path("folders")),
        "--labels-from-folders",
        "--output",
        text(&folder),
    ]);
    let table = stdout(&output, 0);
    for word in [
        "log p(x), elbo with 16 posterior samples",
        "bits/dim",
        "perplexity",
        "mean squared error",
        "ankle boot",
    ] {
        assert!(table.contains(word), "{word} in {table}");
    }
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    for word in [
        "<svg",
        "prefers-color-scheme:dark",
        "data:image/png;base64,",
        "ankle boot",
        "Reconstruction",
    ] {
        assert!(page.contains(word), "{word}");
    }
    for word in ["http:", "https:", "<script", "<link", "NaN"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn a_conditional_density_is_measured_as_a_density_and_as_a_classifier() {
    let model = "tiny-conditional-pixelcnn";
    let images = golden_images(model);
    let scores = golden_scores(model);
    let count = golden(model).0[0];
    let labels = scores.len() / count;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("labels.txt");
    let numbers: Vec<usize> = (0..count).map(|place| place % labels).collect();
    let lines: String = numbers.iter().map(|number| format!("{number}\n")).collect();
    fs::write(&file, lines).unwrap();
    let found = report(&[model, "--data", text(&images), "--labels", text(&file)]);

    let near = |value: &Value, wanted: f64| {
        let value = value.as_f64().unwrap();
        assert!((value - wanted).abs() < 1e-3, "{value} {wanted}");
    };
    let given: f64 = scores
        .chunks(labels)
        .zip(&numbers)
        .map(|(of_image, &number)| of_image[number])
        .sum();
    near(
        &found["density_given_label"]["log_likelihood_nats"]["mean"],
        given / count as f64,
    );

    let table = stdout(&run(&["classify", model, text(&images), "--format", "jsonl"]), 0);
    let rows: Vec<Value> = table.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let evidence: f64 = rows.iter().map(|row| row["log_likelihood"].as_f64().unwrap()).sum();
    near(
        &found["density"]["log_likelihood_nats"]["mean"],
        evidence / count as f64,
    );
    let classification = &found["classification"];
    let names: Vec<&str> = classification["labels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let mut confusion = vec![vec![0; labels]; labels];
    let mut right = 0;
    for (row, &number) in rows.iter().zip(&numbers) {
        let answer = names.iter().position(|name| row["label"] == *name).unwrap();
        confusion[number][answer] += 1;
        right += usize::from(answer == number);
    }
    assert_eq!(classification["confusion"], serde_json::json!(confusion));
    near(&classification["accuracy"], right as f64 / count as f64);
    let posterior: f64 = rows
        .iter()
        .zip(&numbers)
        .map(|(row, &number)| row["log_posterior"][names[number]].as_f64().unwrap())
        .sum();
    near(&classification["log_posterior_nats"]["mean"], posterior / count as f64);
    let binned: u64 = classification["reliability"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bin| bin["images"].as_u64().unwrap())
        .sum();
    assert_eq!(binned, count as u64);

    let without = report(&[model, "--data", text(&images)]);
    assert_eq!(without["density"]["bits_per_dim"], found["density"]["bits_per_dim"]);
    assert_eq!(without["classification"], Value::Null);

    fs::write(&file, "nonsense\n".repeat(count)).unwrap();
    let message = refused(&["evaluate", model, "--data", text(&images), "--labels", text(&file)]);
    assert!(message.contains("\"nonsense\" is none of the model's"), "{message}");
    assert!(message.contains(names[0]), "{message}");
}

#[test]
fn a_classifier_is_measured_with_labels_only() {
    let model = "tiny-classifier";
    let images = golden_images(model);
    let message = refused(&["evaluate", model, "--data", text(&images)]);
    assert!(message.contains("--labels-from-folders"), "{message}");

    let log_posteriors = golden_scores(model);
    let labels = 3;
    let file = tempfile::NamedTempFile::new().unwrap();
    let count = log_posteriors.len() / labels;
    fs::write(file.path(), "square\n".repeat(count)).unwrap();
    let found = report(&[model, "--data", text(&images), "--labels", text(file.path())]);
    let rows = || log_posteriors.chunks(labels);
    let mean = rows().map(|row| row[1]).sum::<f64>() / count as f64;
    let classification = &found["classification"];
    let measured = classification["log_posterior_nats"]["mean"].as_f64().unwrap();
    assert!((measured - mean).abs() < 1e-4, "{measured} {mean}");
    let right = rows().filter(|row| row[1] > row[0].max(row[2])).count();
    assert_eq!(classification["right"], right);
    assert_eq!(found["density"], Value::Null);
}

#[test]
fn an_autoencoder_is_measured_by_its_reconstructions() {
    let model = "tiny-autoencoder";
    let images = golden_images(model);
    let found = report(&[model, "--data", text(&images)]);
    // Golden scores are sums over the dimensions of an image.
    let (sums, levels) = (golden_scores(model), golden(model).1.len());
    let mean = sums.iter().sum::<f64>() / levels as f64;
    let measured = found["reconstruction"]["mean_squared_error"]["mean"].as_f64().unwrap();
    assert!((measured - mean).abs() < 1e-5, "{measured} {mean}");
    assert_eq!(found["density"], Value::Null);
    let message = refused(&["evaluate", model, "--data", text(&images), "--k", "4"]);
    assert!(message.contains("an autoencoder has no density"), "{message}");
}

#[test]
fn a_gan_cannot_be_measured_on_images_and_says_why() {
    let images = golden_images("tiny-gan");
    let message = refused(&["evaluate", "tiny-gan", "--data", text(&images)]);
    for word in [
        "there is nothing to measure of \"tiny-gan\"",
        "the density of a GAN is implicit",
    ] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn outliers_are_judged_beside_the_density() {
    let images = golden_images(MODEL);
    let outliers = format!("same={}", text(&images));
    let found = report(&[MODEL, "--data", text(&images), "--outliers", &outliers]);
    let set = &found["detection"]["sets"][0];
    assert_eq!(set["name"], "same");
    assert_eq!(set["combined"]["auroc"], 0.5, "a set does not differ from itself");
    assert!(found["density"]["bits_per_dim"]["mean"].is_number());
    let without = report(&[MODEL, "--data", text(&images)]);
    assert_eq!(without["detection"], Value::Null);
    assert_eq!(without["density"], found["density"]);
}

#[test]
fn mistakes_are_told_with_what_would_be_right() {
    let forms = Forms::new();
    let folder = forms.folder.path();
    let images = forms.path("images-idx3-ubyte");
    let labels = forms.path("labels-idx1-ubyte");
    let expect = |arguments: &[&str], words: &[&str]| {
        let message = refused(arguments);
        for word in words {
            assert!(message.contains(word), "{word:?} in {message:?}");
        }
    };
    let data = ["evaluate", Forms::MODEL, "--data", text(&images)];
    let with = |more: &[&str], words: &[&str]| expect(&[&data[..], more].concat(), words);

    let few = folder.join("few.txt");
    fs::write(&few, "a\nb\n").unwrap();
    with(
        &["--labels", text(&few)],
        &["few.txt", &format!("2 labels for {} images", forms.images)],
    );
    let encode = ["encode", Forms::MODEL, text(&images), "--labels", text(&few)];
    expect(&encode, &[&format!("2 labels for {} images", forms.images)]);
    with(&["--labels", text(&images)], &["labels are of shape [N]"]);
    with(&["--labels", "absent.npy"], &["absent.npy"]);
    with(
        &["--labels", text(&labels), "--labels-from-folders"],
        &["cannot be used with"],
    );
    with(&["--outliers", "nameless"], &["NAME=PATH"]);
    with(&["--bound", "exact"], &["bound", "elbo"]);

    let (shape, levels) = golden(Forms::MODEL);
    let cut = folder.join("cut-idx3-ubyte");
    let whole = idx(&shape, &levels);
    fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    expect(
        &["evaluate", Forms::MODEL, "--strict", "--data", text(&cut)],
        &["cut-idx3-ubyte", "ends after"],
    );
    let long = folder.join("long-idx3-ubyte");
    fs::write(&long, [&whole[..], &[0]].concat()).unwrap();
    expect(
        &["evaluate", Forms::MODEL, "--strict", "--data", text(&long)],
        &["more bytes follow"],
    );
    let none = folder.join("none-idx3-ubyte");
    fs::write(&none, idx(&[0, shape[1], shape[2]], &[])).unwrap();
    expect(&["evaluate", Forms::MODEL, "--data", text(&none)], &["holds no images"]);
    let sized = folder.join("sized-idx3-ubyte");
    fs::write(&sized, idx(&[1, 3, 3], &[0; 9])).unwrap();
    expect(
        &["evaluate", Forms::MODEL, "--data", text(&sized)],
        &["[1, 3, 3]", &format!("[N, {}, {}]", shape[1], shape[2])],
    );
    let claims = folder.join("claims-idx3-ubyte");
    fs::write(&claims, idx(&[u32::MAX as usize, shape[1], shape[2]], &levels)).unwrap();
    expect(
        &["evaluate", Forms::MODEL, "--strict", "--data", text(&claims)],
        &["ends after"],
    );
    expect(&["evaluate", "nobody", "--data", text(&images)], &["tiny-vae"]);
}

/// Commands that read images elsewhere read IDX files, too.
#[test]
fn score_reads_idx_files() {
    let forms = Forms::new();
    let rows = |path: &Path| {
        let table = stdout(&run(&["score", Forms::MODEL, text(path)]), 0);
        let rows: Vec<String> = table
            .lines()
            .skip(1)
            .map(|row| row.split_once(',').unwrap().1.to_owned())
            .collect();
        rows
    };
    let wanted = rows(&golden_images(Forms::MODEL));
    assert_eq!(rows(&forms.path("images-idx3-ubyte")), wanted);
    assert_eq!(rows(&forms.path("images-idx3-ubyte.gz")), wanted);
}

/// One bad file among many costs that file and no other.
#[test]
fn an_image_that_fails_is_named_and_the_others_are_measured() {
    let forms = Forms::new();
    let images = forms.path("folders");
    let whole = report(&[Forms::MODEL, "--data", text(&images)]);
    let bad = images.join(LABELS[0]).join("bad.png");
    fs::write(&bad, "not an image").unwrap();
    let folder = forms.path("report");
    let arguments = ["evaluate", Forms::MODEL, "--data", text(&images)];
    let output = run(&[&arguments[..], &["--output", text(&folder)]].concat());
    let said = stdout(&output, 1);
    assert!(
        said.contains("1 images could not be measured") && said.contains("bad.png"),
        "{said}"
    );
    let told = stderr(&output);
    assert!(
        told.contains(&format!("1 of {} images failed", forms.images + 1)),
        "{told}"
    );
    let json = fs::read(folder.join("report.json")).unwrap();
    let found: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(found["density"]["bits_per_dim"], whole["density"]["bits_per_dim"]);
    assert_eq!(found["failed"].as_array().unwrap().len(), 1);
    assert!(found["failed"][0]["error"].as_str().unwrap().contains("not an image"));
    assert_eq!(whole["failed"], Value::Null);
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("could not be measured"));

    let message = refused(&[&arguments[..], &["--strict"]].concat());
    assert!(message.contains("bad.png"), "{message}");
    let only = refused(&["evaluate", Forms::MODEL, "--data", text(&bad)]);
    assert!(only.contains("nothing of --data could be measured"), "{only}");
}

/// A detector is measured on the images that calibrated it, on others, and on such as it was not made for.
#[test]
fn images_that_say_nothing_of_new_ones_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (model, version) = (folder.path().join(MODEL), fixtures().join(MODEL).join("1"));
    fs::create_dir_all(model.join("1")).unwrap();
    for file in version.read_dir().unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), model.join("1").join(file.file_name())).unwrap();
    }
    let path = |name: &str| folder.path().join(name);
    let run = |arguments: &[&str]| {
        let mut command = binary();
        command.env("DENSITY_REPOSITORY", folder.path()).args(arguments);
        stdout(&command.output().unwrap(), 0)
    };
    let draw = |seed: &str, count: &str, temperature: &str, file: &Path| {
        let options = ["--temperature", temperature, "-o", text(file)];
        run(&[&["sample", MODEL, "-n", count, "--seed", seed], &options[..]].concat());
    };
    let (data, fresh, other) = (path("data.npy"), path("fresh.npy"), path("other.npy"));
    draw("1", "1000", "1", &data);
    draw("2", "200", "1", &fresh);
    draw("3", "200", "0.3", &other);
    let made = run(&["calibrate", MODEL, "--data", text(&data), "--name", "gate"]);
    assert!(
        made.contains("nothing says which images tiny-pixelcnn was trained on"),
        "{made}"
    );

    let evaluate = |images: &Path| {
        let output = path("report");
        let said = run(&["evaluate", "gate", "--data", text(images), "--output", text(&output)]);
        let report: Value = serde_json::from_slice(&fs::read(output.join("report.json")).unwrap()).unwrap();
        let warnings = serde_json::to_string(&report["warnings"]).unwrap();
        (said, warnings)
    };
    let (said, warnings) = evaluate(&data);
    let seen = "350 of 1000 images are among those that gate was calibrated with";
    assert!(said.contains(seen) && warnings.contains(seen), "{said}");
    let (said, warnings) = evaluate(&fresh);
    assert!(!said.contains("was calibrated with"), "{said}");
    let outside = |text: &str| text.contains("outside the");
    assert_eq!(outside(&said), outside(&warnings));
    let (said, warnings) = evaluate(&other);
    assert!(outside(&said) && outside(&warnings), "{said}");
}

/// Its next version judges by other images, is the same in all else, and tells what it was calibrated with.
#[test]
fn a_density_is_given_a_calibration_of_its_own() {
    for model in [MODEL, "tiny-vae"] {
        let folder = tempfile::tempdir().unwrap();
        let (first, version) = (folder.path().join(model).join("1"), fixtures().join(model).join("1"));
        fs::create_dir_all(&first).unwrap();
        for file in version.read_dir().unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), first.join(file.file_name())).unwrap();
        }
        let run = |arguments: &[&str], code: i32| {
            let mut command = binary();
            command.env("DENSITY_REPOSITORY", folder.path()).args(arguments);
            let output = command.output().unwrap();
            let said = stdout(&output, code);
            if code == 2 { stderr(&output) } else { said }
        };
        let data = folder.path().join("data.npy");
        let options = ["-n", "150", "--seed", "1", "--temperature", "1.5", "-o", text(&data)];
        let observed: &[&str] = if model == MODEL {
            &[]
        } else {
            &["--observation", "sample"]
        };
        run(&[&["sample", model], &options[..], observed].concat(), 0);

        let few = folder.path().join("few.npy");
        run(&["sample", model, "-n", "20", "-o", text(&few)], 0);
        let refused = run(&["new-calibration", model, "--data", text(&few)], 2);
        assert!(refused.contains("at least 100"), "{refused}");

        let made = run(
            &[
                "new-calibration",
                model,
                "--data",
                text(&data),
                "--description",
                "drawn warmly",
            ],
            0,
        );
        assert!(made.contains("150 images calibrate"), "{made}");
        assert!(made.contains("nothing says which images"), "{made}");
        let second = folder.path().join(model).join("2");
        for file in first.read_dir().unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            if !["calibration.npy", "model.toml"].contains(&&*name) {
                assert_eq!(
                    fs::read(file.path()).unwrap(),
                    fs::read(second.join(&name)).unwrap(),
                    "{name}"
                );
            }
        }
        let report: Value = serde_json::from_str(&run(&["check", model, "--json"], 0)).unwrap();
        assert_eq!(report["version"], 2);
        assert_eq!(report["calibration"]["size"], 150);
        assert_eq!(report["calibration"]["description"], "drawn warmly");
        let said = run(&["evaluate", model, "--data", text(&data)], 0);
        let seen = format!("150 of 150 images are among those that {model} was calibrated with");
        assert!(said.contains(&seen), "{said}");

        // Once the manifest tells what it was trained on, the same images are refused.
        let images = npyz_images(&data);
        let hashes = TrainedOn::of(images.iter().map(|levels| Sha256::digest(levels).into()));
        fs::write(second.join("trained_on.bin"), hashes.bytes()).unwrap();
        let manifest = fs::read_to_string(second.join("model.toml")).unwrap();
        let hash = sha256(hashes.bytes());
        let manifest = manifest
            .replace("[provenance]\n", "[provenance]\ntrained_on = \"trained_on.bin\"\n")
            .replace("[sha256]\n", &format!("[sha256]\n\"trained_on.bin\" = \"{hash}\"\n"));
        fs::write(second.join("model.toml"), manifest).unwrap();
        let refused = run(&["new-calibration", model, "--data", text(&data)], 2);
        assert!(refused.contains("was trained on"), "{refused}");
    }
    let refused = {
        let images = golden_images("tiny-autoencoder");
        let output = binary()
            .args(["new-calibration", "tiny-autoencoder", "--data", text(&images)])
            .output();
        stderr(&output.unwrap())
    };
    assert!(refused.contains("cannot be calibrated"), "{refused}");
}

/// Levels of each image of an array of grey ones.
fn npyz_images(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let array = npyz::NpyFile::new(&bytes[..]).unwrap();
    let count = array.shape()[0] as usize;
    let levels: Vec<u8> = array.into_vec().unwrap();
    levels.chunks(levels.len() / count).map(<[u8]>::to_vec).collect()
}
