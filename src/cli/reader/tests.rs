//! Tests of what is read, in which order, and of what fails alone.

use std::{fs, io};

use super::*;
use crate::cli::inputs::{self, count};

fn files_in(folder: &Path) -> Vec<PathBuf> {
    inputs::files(&[folder.to_owned()]).unwrap()
}

fn read(files: &[PathBuf], shape: ImageShape, chunk: usize) -> Vec<Vec<Item>> {
    let (sender, mut receiver) = mpsc::channel(100);
    let reader = Reader {
        shape,
        roots: files.to_vec(),
        options: DecodeOptions::default(),
        limits: DecodeLimits::default(),
        chunk,
        progress: ProgressBar::hidden(),
        labels: Labels::None,
        done: Done::default(),
    };
    reader.read(files, &sender);
    drop(sender);
    std::iter::from_fn(|| receiver.blocking_recv()).collect()
}

/// A 1×1 image with one level, as PGM.
fn pgm(path: &Path, level: u8) {
    fs::write(path, [b"P5 1 1 255\n".as_slice(), &[level]].concat()).unwrap();
}

fn npy(path: &Path, shape: &str, description: &str, bytes: &[u8]) {
    let text = format!("{{'descr': '{description}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut file = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    file.extend(format!("{text:<117}\n").as_bytes());
    file.extend(bytes);
    fs::write(path, file).unwrap();
}

#[test]
fn a_bad_file_fails_alone_and_chunks_are_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    pgm(&path("1.pgm"), 7);
    fs::write(path("2.png"), "no image").unwrap();
    pgm(&path("3.pgm"), 9);
    let files = files_in(folder.path());
    let chunks = read(&files, ImageShape::new(1, 1, 1, 256).unwrap(), 2);
    assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    let items: Vec<Item> = chunks.into_iter().flatten().collect();
    assert_eq!(items[0].image.as_ref().unwrap().levels(), [7]);
    assert!(items[1].image.is_err());
    assert_eq!(items[2].image.as_ref().unwrap().levels(), [9]);
}

#[test]
fn an_array_gives_its_images_with_channels_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("colour.npy");
    npy(&path, "(2, 1, 2, 3)", "|u1", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let shape = ImageShape::new(3, 1, 2, 256).unwrap();
    let chunks = read(&[path], shape, 10);
    let second = &chunks[0][1];
    assert_eq!(second.name.index, Some(1));
    assert_eq!(second.image.as_ref().unwrap().levels(), [7, 10, 8, 11, 9, 12]);
}

#[test]
fn an_array_that_does_not_fit_says_what_would() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let shape = ImageShape::new(1, 2, 2, 4).unwrap();
    let first = |path: &PathBuf| {
        let chunks = read(std::slice::from_ref(path), shape, 10);
        chunks[0][0].image.clone().map(|_| ())
    };
    npy(&path, "(1, 3, 3)", "|u1", &[0; 9]);
    let error = first(&path).unwrap_err();
    assert!(
        error.contains("of shape [1, 3, 3]; wanted: uint8 of shape [N, 2, 2, 1] or [N, 2, 2]"),
        "{error}"
    );
    // Options are worded as on the command line.
    assert!(!error.contains("resize=true"), "{error}");
    npy(&path, "(1, 2, 2)", "<f4", &[0; 16]);
    assert!(first(&path).unwrap_err().contains("wanted: uint8"));
    npy(&path, "(1, 2, 2)", "|u1", &[0, 1, 4, 0]);
    assert!(first(&path).unwrap_err().contains("outside the levels 0 to 3"));
    npy(&path, "(5, 2, 2)", "|u1", &[0; 6]);
    let items: Vec<Item> = read(&[path], shape, 10).into_iter().flatten().collect();
    assert_eq!(items.len(), 2, "one row for the image that is cut short");
    assert!(items[0].image.is_ok() && items[1].image.is_err());
}

fn idx(shape: &[u32], levels: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    file.extend(shape.iter().flat_map(|length| length.to_be_bytes()));
    file.extend(levels);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_arrays_are_found_by_name_in_folders_and_by_content_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = idx(&[2, 1, 2], &[1, 2, 3, 4]);
    fs::write(path("a-images-idx3-ubyte"), &file).unwrap();
    fs::write(path("b-images.idx3-ubyte.gz"), gzip(&file)).unwrap();
    fs::write(path("b-labels-idx1-ubyte"), idx(&[2], &[0, 0])).unwrap();
    fs::write(path("other"), &file).unwrap();
    fs::write(path("other.gz"), gzip(&file)).unwrap();
    let found = files_in(folder.path());
    let wanted = ["a-images-idx3-ubyte", "b-images.idx3-ubyte.gz"].map(path);
    assert_eq!(found, wanted);
    let shape = ImageShape::new(1, 1, 2, 256).unwrap();
    for name in ["other", "other.gz", "b-images.idx3-ubyte.gz"] {
        let items: Vec<Item> = read(&[path(name)], shape, 10).into_iter().flatten().collect();
        assert_eq!(items.len(), 2, "{name}");
        assert_eq!(items[1].image.as_ref().unwrap().levels(), [3, 4]);
    }
    assert_eq!(count(&found, shape).unwrap(), 4);
}

#[test]
fn a_wrong_idx_array_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x-idx3-ubyte");
    let shape = ImageShape::new(1, 1, 2, 256).unwrap();
    let outcome = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let items = read(std::slice::from_ref(&path), shape, 10);
        let images = items.into_iter().flatten().map(|item| item.image);
        let (good, bad): (Vec<_>, Vec<_>) = images.partition(Result::is_ok);
        let errors: Vec<String> = bad.into_iter().filter_map(Result::err).collect();
        (good.len(), errors.join("; "))
    };
    let whole = idx(&[2, 1, 2], &[1, 2, 3, 4]);
    let expect = |bytes: &[u8], good: usize, words: &str| {
        let (images, errors) = outcome(bytes);
        assert_eq!(images, good, "{errors}");
        assert!(errors.contains(words), "{errors}");
    };
    expect(&whole[..whole.len() - 1], 1, "ends after 3 of the 4 values");
    expect(&whole[..9], 0, "ends inside its header");
    expect(b"hello", 0, "does not begin as an IDX file does");
    expect(&idx(&[u32::MAX, 1, 2], &[1, 2, 3]), 1, "ends after 3 of");
    expect(
        &idx(&[2, 2, 1], &[0; 4]),
        0,
        "of shape [2, 2, 1]; the model takes unsigned bytes",
    );
    expect(&idx(&[1, 1, 2], &[0; 3]), 1, "more bytes follow");
    let packed = gzip(&whole);
    expect(&packed[..packed.len() - 4], 2, "");
    assert!(!outcome(&packed[..packed.len() - 4]).1.is_empty(), "a cut end is said");
    let other = gzip(b"no array");
    fs::write(folder.path().join("x.gz"), other).unwrap();
    let items = read(&[folder.path().join("x.gz")], shape, 1);
    assert!(items[0][0].image.as_ref().unwrap_err().contains("holds no IDX array"));
}
