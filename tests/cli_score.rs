//! `score`, `encode` and `sample` on committed models, through the real binary.

#![allow(clippy::unwrap_used)]

mod command;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};

use command::{binary, golden_images, golden_scores, run, stderr, stdout, text};
use serde_json::Value;

/// Rows of a CSV by column name.
fn rows(csv: &str) -> Vec<std::collections::HashMap<String, String>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

fn lines(jsonl: &str) -> Vec<Value> {
    jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The sum over nested lists of numbers.
fn sum(value: &Value) -> f64 {
    match value.as_array() {
        Some(entries) => entries.iter().map(sum).sum(),
        None => value.as_f64().unwrap(),
    }
}

#[test]
fn golden_scores_come_out_as_csv() {
    for model in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-binary-pixelcnn",
        "tiny-pixelrnn",
    ] {
        let output = run(["score", model, text(&golden_images(model))]);
        let rows = rows(&stdout(&output, 0));
        let golden = golden_scores(model);
        assert_eq!(rows.len(), golden.len());
        for (index, (row, golden)) in rows.iter().zip(golden).enumerate() {
            let nats: f64 = row["log_likelihood"].parse().unwrap();
            assert!((nats - golden).abs() <= 1e-3, "{model}: {nats} {golden}");
            assert_eq!(row["index"], index.to_string());
            assert_eq!(row["bound"], "exact");
            assert_eq!(row["error"], "");
        }
    }
}

#[test]
fn json_lines_hold_the_map_whose_sum_is_the_likelihood() {
    let model = "tiny-rgb-pixelcnn";
    let output = run([
        "score",
        model,
        text(&golden_images(model)),
        "--map",
        "--format",
        "jsonl",
    ]);
    for line in lines(&stdout(&output, 0)) {
        let sum = sum(&line["log_probability_map"]);
        let nats = line["log_likelihood"].as_f64().unwrap();
        assert!((sum - nats).abs() < 1e-3, "{sum} {nats}");
    }
    let refused = run(["score", model, text(&golden_images(model)), "--map"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--format jsonl"), "{}", stderr(&refused));
}

#[test]
fn arrays_hold_what_the_table_holds() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scores.npy");
    let model = "tiny-pixelcnn";
    let images = golden_images(model);
    let output = run([
        "score",
        model,
        text(&images),
        "--format",
        "npy",
        "--output",
        text(&file),
    ]);
    assert_eq!(stdout(&output, 0), "");
    let bytes = fs::read(&file).unwrap();
    let array = npyz::NpyFile::new(&bytes[..]).unwrap();
    let golden = golden_scores(model);
    assert_eq!(array.shape(), [golden.len() as u64]);
    for (nats, golden) in array.into_vec::<f64>().unwrap().iter().zip(golden) {
        assert!((nats - golden).abs() <= 1e-3);
    }
    let piped = run(["score", model, text(&images), "--format", "npy"]);
    assert_eq!(piped.status.code(), Some(0), "{}", stderr(&piped));
    assert_eq!(piped.stdout, bytes, "a pipe gets what a file gets");
}

#[test]
fn bounds_are_the_vaes_and_options_are_checked() {
    let model = "tiny-vae";
    let images = golden_images(model);
    let score = |options: &[&str]| {
        binary()
            .args(["score", model, text(&images)])
            .args(options)
            .output()
            .unwrap()
    };
    let elbo = rows(&stdout(&score(&["--bound", "elbo", "--k", "64"]), 0));
    let iwae = rows(&stdout(&score(&["--bound", "iwae", "--k", "64"]), 0));
    let again = rows(&stdout(&score(&["--bound", "iwae", "--k", "64"]), 0));
    assert_eq!(iwae, again, "the same seed gives the same numbers");
    for (elbo, iwae) in elbo.iter().zip(&iwae) {
        let nats = |row: &std::collections::HashMap<String, String>| row["log_likelihood"].parse::<f64>().unwrap();
        assert!(nats(iwae) >= nats(elbo), "the bound of more samples is tighter");
        let size: f64 = iwae["effective_sample_size"].parse().unwrap();
        assert!((1.0..=64.0).contains(&size), "{size}");
    }
    let exact = score(&["--bound", "exact"]);
    assert_eq!(exact.status.code(), Some(2), "{}", stderr(&exact));
    let none = score(&["--k", "0"]);
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
}

#[test]
fn a_bad_image_is_a_row_and_the_others_are_scored() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let sampled = run(["sample", "tiny-pixelcnn", "-n", "2", "--output", text(folder.path())]);
    stdout(&sampled, 0);
    fs::write(path("00000b.png"), "not an image").unwrap();
    let output = run(["score", "tiny-pixelcnn", text(folder.path())]);
    let rows = rows(&stdout(&output, 1));
    let failed: Vec<bool> = rows.iter().map(|row| !row["error"].is_empty()).collect();
    assert_eq!(failed, [false, true, false]);
    assert!(rows[1]["input"].ends_with("00000b.png"));
    assert!(stderr(&output).contains("1 of 3 images failed"), "{}", stderr(&output));
}

#[test]
fn a_folder_of_tiff_files_and_a_large_one_among_them_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let of_size = |width, height| image::GrayImage::from_pixel(width, height, image::Luma([64]));
    of_size(5, 6).save(path("a.tif")).unwrap();
    of_size(5, 6).save(path("b.TIFF")).unwrap();
    of_size(9, 11).save(path("c.png")).unwrap();
    let score = |more: &[&str]| {
        let mut command = binary();
        let output = command
            .args(["score", "tiny-pixelcnn", text(folder.path())])
            .args(more)
            .output();
        let output = output.unwrap();
        rows(&stdout(&output, i32::from(more != ["--resize"])))
    };
    let told = score(&[]);
    assert_eq!(told.len(), 3);
    assert_eq!(told[0]["log_likelihood"], told[1]["log_likelihood"]);
    let error = &told[2]["error"];
    assert!(error.contains("--resize") && !error.contains("resize=true"), "{error}");
    assert_eq!(score(&["--resize"])[2]["error"], "");
    let told = score(&["--resize", "--max-decoded-pixels", "98"]);
    assert!(told[2]["error"].contains("at most 98"), "{told:?}");
}

#[test]
fn samples_follow_their_seed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let sample = |model: &str, seed: &str, file: &str| {
        let file = path(&format!("{model}-{file}"));
        let output = run(["sample", model, "-n", "3", "--seed", seed, "--output", text(&file)]);
        stdout(&output, 0);
        fs::read(file).unwrap()
    };
    for model in ["tiny-pixelcnn", "tiny-vae"] {
        let first = sample(model, "1", "a.npy");
        assert_eq!(first, sample(model, "1", "b.npy"), "{model}");
        assert_ne!(first, sample(model, "2", "c.npy"), "{model}");
        assert!(sample(model, "1", "grid.png").starts_with(b"\x89PNG"));
    }
    // What was drawn can be scored: the array has the model's shape.
    let output = run(["score", "tiny-pixelcnn", text(&path("tiny-pixelcnn-a.npy"))]);
    stdout(&output, 0);
}

#[test]
fn codes_are_the_same_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("codes.npy");
    let images = golden_images("tiny-vae");
    let encode = |options: &[&str]| {
        let arguments = ["encode", "tiny-vae", text(&images)];
        stdout(&binary().args(arguments).args(options).output().unwrap(), 0)
    };
    let csv = rows(&encode(&[]));
    let json = lines(&encode(&["--format", "jsonl"]));
    encode(&["--format", "npy", "--output", text(&file)]);
    let bytes = fs::read(&file).unwrap();
    let array = npyz::NpyFile::new(&bytes[..]).unwrap();
    let [images, size] = array.shape().try_into().unwrap();
    assert_eq!((csv.len() as u64, json.len() as u64), (images, images));
    let numbers = array.into_vec::<f32>().unwrap();
    for (index, row) in numbers.chunks(size as usize).enumerate() {
        let mean = json[index]["code"].as_array().unwrap();
        assert_eq!(json[index]["log_variance"].as_array().unwrap().len() as u64, size);
        for (i, number) in row.iter().enumerate() {
            assert_eq!(csv[index][&format!("code_{i}")], number.to_string());
            assert_eq!(mean[i].as_f64().unwrap() as f32, *number);
        }
    }
}

#[test]
fn a_capability_that_lacks_is_refused_before_any_image_is_read() {
    let output = run(["encode", "tiny-pixelcnn", "Cargo.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no latent code"), "{}", stderr(&output));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.npy");
    many_images(&golden_images("tiny-pixelcnn"), &file);
    let mut child = binary()
        .args(["score", "tiny-pixelcnn", text(&file)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut reader = BufReader::with_capacity(1, child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    assert!(first.starts_with("input,index,bound"), "{first}");
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

/// The images of an array a few thousand times over, so that their rows fill any pipe.
fn many_images(from: &Path, to: &Path) {
    let bytes = fs::read(from).unwrap();
    let array = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = array.shape().to_vec();
    let levels = array.into_vec::<u8>().unwrap();
    let times = 4000 / shape[0] + 1;
    let sides: String = shape[1..].iter().map(|side| format!(" {side},")).collect();
    let text = format!(
        "{{'descr': '|u1', 'fortran_order': False, 'shape': ({},{sides}), }}",
        times * shape[0]
    );
    let mut file = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    file.extend(format!("{text:<117}\n").as_bytes());
    file.extend(levels.repeat(times as usize));
    fs::write(to, file).unwrap();
}

/// Runs the binary with something on standard input.
fn piped(arguments: &[&str], input: &[u8]) -> std::process::Output {
    let mut child = binary()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_dash_is_standard_input_and_standard_output() {
    let model = "tiny-pixelcnn";
    let images = golden_images(model);
    let bytes = fs::read(&images).unwrap();
    let scores = |csv: &str| -> Vec<String> { rows(csv).iter().map(|row| row["log_likelihood"].clone()).collect() };
    let wanted = scores(&stdout(&run(["score", model, text(&images)]), 0));
    let found = stdout(&piped(&["score", model, "-", "-o", "-"], &bytes), 0);
    assert_eq!(scores(&found), wanted);
    assert!(rows(&found).iter().all(|row| row["input"] == "-"));

    let drawn = run(["sample", model, "-n", "1", "-o", "-"]);
    assert!(drawn.stdout.starts_with(b"\x89PNG"), "{}", stderr(&drawn));
    let scored = stdout(&piped(&["score", model, "-"], &drawn.stdout), 0);
    assert_eq!(rows(&scored).len(), 1);
}

#[test]
fn two_runs_without_a_seed_draw_the_same() {
    let draw = || run(["sample", "tiny-pixelcnn", "-n", "3", "-o", "-"]).stdout;
    assert_eq!(draw(), draw());
}

#[test]
fn an_image_of_probability_zero_is_minus_infinity_in_a_table_and_null_in_json() {
    let images = golden_images("tiny-binary-pixelcnn");
    let csv = stdout(&run(["score", "tiny-binary-pixelcnn", text(&images)]), 0);
    assert!(rows(&csv).iter().all(|row| {
        let nats: f64 = row["log_likelihood"].parse().unwrap();
        nats == f64::NEG_INFINITY || nats.is_finite()
    }));
}

#[test]
fn a_table_appears_when_it_is_whole_and_what_was_interrupted_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (file, part) = (folder.path().join("rows"), folder.path().join("rows.part"));
    let images = golden_images("tiny-pixelcnn");
    for format in ["csv", "jsonl"] {
        let arguments = ["score", "tiny-pixelcnn", text(&images), "--format", format];
        let score = |more: &[&str]| {
            let output = binary().args(arguments).args(["-o", text(&file)]).args(more).output();
            stdout(&output.unwrap(), 0);
            fs::read_to_string(&file).unwrap()
        };
        let whole = score(&[]);
        assert!(!part.exists());
        // A run that was killed in the middle of a row; the first score tells which rows are kept.
        let cut = whole.len() * 2 / 3;
        let marked = whole[..cut].replacen("exact", "EXACT", 1);
        fs::remove_file(&file).unwrap();
        fs::write(&part, &marked).unwrap();
        let resumed = score(&["--resume"]);
        assert_eq!(resumed, whole.replacen("exact", "EXACT", 1), "{format}");
        assert!(!part.exists());
    }
    fs::write(&part, "another,table\n1,2\n").unwrap();
    let refused = binary()
        .args(["score", "tiny-pixelcnn", text(&images), "-o", text(&file), "--resume"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("input,index"), "{}", stderr(&refused));
    assert!(part.exists(), "what this command did not write is left alone");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8_keep_apart() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let drawn = run(["sample", "tiny-pixelcnn", "-o", "-"]).stdout;
    let inputs = folder.path().join("in");
    fs::create_dir(&inputs).unwrap();
    for name in [&b"a\xff.png"[..], b"a\xfe.png"] {
        fs::write(inputs.join(std::ffi::OsStr::from_bytes(name)), &drawn).unwrap();
    }
    let table = stdout(&run(["score", "tiny-pixelcnn", text(&inputs)]), 0);
    let rows = rows(&table);
    assert!(rows[0]["input"].ends_with("a\\xfe.png"), "{table}");
    assert!(rows[1]["input"].ends_with("a\\xff.png"), "{table}");
    let streams = folder.path().join("out");
    let output = run(["compress", "tiny-pixelcnn", text(&inputs), "-o", text(&streams)]);
    stdout(&output, 0);
    assert_eq!(streams.read_dir().unwrap().count(), 2);
}
