//! `compress` and `decompress`: files through the real binary, there and back.

#![allow(clippy::unwrap_used)]

mod command;

use std::fs;

use command::{golden_images, golden_scores, run, stderr, stdout, text};

const MODEL: &str = "tiny-pixelcnn";

#[test]
fn images_come_back_from_files_of_about_their_ideal_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (drawn, streams, back) = (path("drawn"), path("streams"), path("back"));
    let sample = ["sample", MODEL, "-n", "3", "--output", text(&drawn)];
    stdout(&run(sample), 0);
    let compressed = run(["compress", MODEL, text(&drawn), "-o", text(&streams)]);
    let rows = stdout(&compressed, 0);
    assert_eq!(rows.lines().count(), 4, "{rows}");
    let header = "input,index,stream,bytes,bits_per_dim,ideal_bytes,error";
    assert!(rows.starts_with(header), "{rows}");
    stdout(&run(["decompress", MODEL, text(&streams), "-o", text(&back)]), 0);
    for name in ["00000.png", "00001.png", "00002.png"] {
        assert_eq!(fs::read(back.join(name)).unwrap(), fs::read(drawn.join(name)).unwrap());
    }
}

#[test]
fn the_ideal_length_is_the_golden_score() {
    let folder = tempfile::tempdir().unwrap();
    let images = golden_images(MODEL);
    let rows = run(["compress", MODEL, text(&images), "-o", text(folder.path())]);
    let rows = stdout(&rows, 0);
    let mut reader = csv::Reader::from_reader(rows.as_bytes());
    let golden = golden_scores(MODEL);
    let mut count = 0;
    for (row, golden) in reader.records().zip(&golden) {
        let row = row.unwrap();
        let (bytes, ideal): (f64, f64) = (row[3].parse().unwrap(), row[5].parse().unwrap());
        let wanted = -golden / 2f64.ln() / 8.0;
        assert!((ideal - wanted).abs() < 1e-3, "{ideal} {wanted}");
        assert!(bytes <= 1.01 * ideal + 8.0 + 26.0, "{bytes} {ideal}");
        let file = fs::metadata(&row[2]).unwrap();
        assert_eq!(file.len() as f64, bytes);
        count += 1;
    }
    assert_eq!(count, golden.len());
}

#[test]
fn a_damaged_stream_is_named_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let images = golden_images(MODEL);
    let streams = path("streams");
    let compressed = run(["compress", MODEL, text(&images), "-o", text(&streams)]);
    let count = stdout(&compressed, 0).lines().count() - 1;
    let bad = streams.join("golden_images-00001.dsi");
    let mut bytes = fs::read(&bad).unwrap();
    bytes[30] ^= 0x55;
    fs::write(&bad, bytes).unwrap();
    let back = path("back");
    let output = run(["decompress", MODEL, text(&streams), "-o", text(&back)]);
    stdout(&output, 1);
    let said = stderr(&output);
    assert!(said.contains("golden_images-00001.dsi: "), "{said}");
    assert!(said.contains(&format!("1 of {count} inputs failed")), "{said}");
    assert_eq!(back.read_dir().unwrap().count(), count - 1);

    let other = run(["decompress", "tiny-vae", text(&streams), "-o", text(&back)]);
    assert_eq!(other.status.code(), Some(2));
    assert!(stderr(&other).contains("cannot decompress"), "{}", stderr(&other));
}
