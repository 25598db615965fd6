//! What strangers send and what folders hold, spoilt in many ways: nothing crashes, hangs or is answered with 500.
//!
//! Inputs are good ones, changed by chance. `cargo test` takes the same few hundred for each target every time, and
//! those in `tests/fuzz/<target>/`, which were found once; `make fuzz` goes on for as long as FUZZ_SECONDS says.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, http::Request};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use density_server::{
    families::{Registry, manifest::Manifest},
    graph::{self, bounds, signature},
    operations::Limits,
    transport::{
        Door,
        http::{self, HttpConfig, HttpState},
        openinference::{OpenInference, rest},
    },
};
use tower::ServiceExt;

/// Inputs of each target in a plain test run.
const ROUNDS: u64 = 300;

/// The longest that one input may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const MODEL: &str = "tiny-pixelcnn";

/// Numbers that do not repeat for long, the same every time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A few changes to one of the seeds.
    fn spoil(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, seeds);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        const NUMBERS: [&str; 8] = [
            "-1",
            "0",
            "1e999",
            "NaN",
            "4294967296",
            "18446744073709551616",
            "\"\"",
            "null",
        ];
        const WORDS: [u32; 6] = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x0100_0000];
        // Heads are where formats say how much is to come.
        let reach = if self.below(2) == 0 {
            64.min(bytes.len())
        } else {
            bytes.len()
        };
        let (at, other) = (self.below(reach), self.below(bytes.len()));
        let (from, to) = (at.min(other), at.max(other));
        match self.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => bytes[at] = self.next() as u8,
            2 if at + 4 <= bytes.len() => {
                let word = WORDS[self.below(WORDS.len())];
                let word = if self.below(2) == 0 {
                    word.to_be_bytes()
                } else {
                    word.to_le_bytes()
                };
                bytes[at..at + 4].copy_from_slice(&word);
            }
            3 => bytes.truncate(other),
            4 => drop(bytes.drain(from..to)),
            5 => {
                let piece = bytes[from..to.min(from + 4096)].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let text = NUMBERS[self.below(NUMBERS.len())].bytes();
                bytes.splice(at..(at + self.below(4)).min(bytes.len()), text);
            }
            _ => {
                let donor = &seeds[self.below(seeds.len())];
                let cut = self.below(donor.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&donor[cut..]);
            }
        }
    }
}

/// Tries the kept inputs of a target and many spoilt ones. `check` says what is wrong, or panics.
fn fuzz(target: &str, seeds: &[Vec<u8>], mut check: impl FnMut(&[u8]) -> Result<(), String>) {
    let mut tried = |bytes: &[u8]| {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(bytes))).unwrap_or_else(|_| Err("a panic".to_owned()));
        let outcome = outcome.and_then(|()| match start.elapsed() {
            taken if taken > PATIENCE => Err(format!("it took {taken:?}")),
            _ => Ok(()),
        });
        if let Err(wrong) = outcome {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target);
            fs::create_dir_all(&folder).unwrap();
            let file = folder.join(format!(
                "{:016x}",
                Chance(bytes.len() as u64).next() ^ bytes.len() as u64
            ));
            fs::write(&file, bytes).unwrap();
            panic!(
                "{target}: {wrong}; the input is {}; keep it in tests/fuzz/{target}/",
                file.display()
            );
        }
    };
    for seed in seeds {
        tried(seed);
    }
    let kept: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(target);
    for file in kept.read_dir().into_iter().flatten() {
        tried(&fs::read(file.unwrap().path()).unwrap());
    }
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut chance = match end {
        None => Chance(1),
        Some(_) => Chance(std::process::id().into()),
    };
    let mut rounds = 0;
    while end.map_or(rounds < ROUNDS, |end| Instant::now() < end) {
        tried(&chance.spoil(seeds));
        rounds += 1;
    }
    eprintln!("{target}: {rounds} inputs");
}

/// The server without a socket.
struct Asked {
    router: Router,
    runtime: tokio::runtime::Runtime,
}

impl Asked {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let version = folder.path().join(MODEL).join("1");
        fs::create_dir_all(&version).unwrap();
        for file in files().read_dir().unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), version.join(file.file_name())).unwrap();
        }
        let repository = std::sync::Arc::new(common::models_of(folder.path()));
        let service = common::service_of(repository, Limits::default());
        let protocol = std::sync::Arc::new(OpenInference::new(std::sync::Arc::clone(&service)));
        let others = rest::router(&protocol, HttpConfig::default(), Door::Only);
        let state = HttpState::new(service, HttpConfig::default());
        Self {
            router: http::shared(state, others, Door::Only),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// Asks; the status, and the body.
    fn ask(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Vec<u8>) {
        let mut request = Request::post(path).header("x-request-timeout", "10");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await.unwrap();
            let status = answer.status().as_u16();
            (
                status,
                axum::body::to_bytes(answer.into_body(), 1 << 26)
                    .await
                    .unwrap()
                    .to_vec(),
            )
        })
    }

    fn fuzz(&self, target: &str, path: &str, headers: &[(&str, &str)], seeds: &[Vec<u8>]) {
        // Spoilt inputs get as far as good ones do.
        let (status, body) = self.ask(path, headers, &seeds[0]);
        assert_eq!(status, 200, "{target}: {}", String::from_utf8_lossy(&body));
        fuzz(target, seeds, |bytes| match self.ask(path, headers, bytes) {
            (500, body) => Err(String::from_utf8_lossy(&body).into_owned()),
            _ => Ok(()),
        });
    }
}

fn files() -> PathBuf {
    common::fixtures().join(MODEL).join("1")
}

fn images() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let files = folder
        .read_dir()
        .unwrap()
        .map(|file| fs::read(file.unwrap().path()).unwrap());
    let png: Vec<Vec<u8>> = files.collect();
    let picture = image::load_from_memory(&png[0]).unwrap();
    let other = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let (grey, colour) = (picture.to_luma8(), picture.to_rgb8());
        if format == image::ImageFormat::WebP {
            colour.write_to(&mut bytes, format).unwrap();
        } else {
            grey.write_to(&mut bytes, format).unwrap();
        }
        bytes.into_inner()
    };
    use image::ImageFormat::{Bmp, Gif, Jpeg, Pnm, Tiff, WebP};
    let gif = {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.to_rgba8().write_to(&mut bytes, Gif).unwrap();
        bytes.into_inner()
    };
    png.into_iter()
        .chain([Bmp, Jpeg, Pnm, Tiff, WebP].map(other))
        .chain([gif])
        .collect()
}

#[test]
fn spoilt_bodies_are_answered_and_never_with_500() {
    let asked = Asked::new();
    let score = format!("/v1/models/{MODEL}/score?resize=true&convert=true");
    let images = images();
    // A type that is wrong is found out from the bytes.
    asked.fuzz("image", &score, &[("content-type", "image/png")], &images);

    let npy = fs::read(files().join("golden_images.npy")).unwrap();
    asked.fuzz("npy", &score, &[("content-type", "application/x-npy")], &[npy]);

    let base64 = BASE64_STANDARD.encode(&images[0]);
    let json = [
        format!("{{\"images\": [{{\"base64\": \"{base64}\"}}, {{\"base64\": \"data:image/png;base64,{base64}\"}}]}}"),
        "{\"images\": [{\"pixels\": [[0, 1.0, 255], [3, 4, 5]]}], \"resize\": true, \"timeout\": 5, \"k\": [1, {}]}"
            .to_owned(),
    ];
    let json = json.map(String::into_bytes);
    asked.fuzz("json", &score, &[("content-type", "application/json")], &json);

    let mut form = b"--x\r\ncontent-disposition: form-data; name=\"resize\"\r\n\r\ntrue\r\n".to_vec();
    form.extend_from_slice(b"--x\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n");
    form.extend_from_slice(&images[0]);
    form.extend_from_slice(b"\r\n--x--\r\n");
    asked.fuzz(
        "multipart",
        &score,
        &[("content-type", "multipart/form-data; boundary=x")],
        &[form],
    );

    let stream = ("accept", "application/vnd.density-server.image");
    let compress = format!("/v1/models/{MODEL}/compress?resize=true&convert=true");
    let (status, dsi) = asked.ask(&compress, &[("content-type", "image/png"), stream], &images[0]);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&dsi));
    let dsi_type = [("content-type", "application/vnd.density-server.image")];
    asked.fuzz("dsi", &format!("/v1/models/{MODEL}/decompress"), &dsi_type, &[dsi]);

    let infer = format!("/v2/models/{MODEL}/infer");
    let head = concat!(
        r#"{"id": "1", "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 6, 5], "#,
        r#""parameters": {"binary_data_size": 30}}], "#,
        r#""outputs": [{"name": "log_likelihood", "parameters": {"binary_data": true}}]}"#
    );
    let length = head.len().to_string();
    let binary = [head.as_bytes(), &[0; 30]].concat();
    asked.fuzz(
        "v2-binary",
        &infer,
        &[("inference-header-content-length", &length)],
        &[binary],
    );
    let v2 = concat!(
        r#"{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 6, 5], "#,
        r#""data": [0,1,2,0,1,2,0,1,2,0,1,2,0,1,2,0,1,2,0,1,2,0,1,2,0,1,2,0,1,2]}], "parameters": {"map": true}}"#
    );
    asked.fuzz("v2-json", &infer, &[], &[v2.as_bytes().to_owned()]);
}

#[test]
fn spoilt_models_are_refused_in_words() {
    let seeds = [fs::read(files().join("model.onnx")).unwrap()];
    fuzz("onnx", &seeds, |bytes| {
        // What comes of it is no matter; that it comes is.
        if let Ok(model) = graph::parse(bytes) {
            let _ = bounds::check(&model);
            let outputs = model.graph.iter().flat_map(|graph| &graph.outputs);
            for name in outputs.filter_map(|output| output.name.clone()).collect::<Vec<_>>() {
                let _ = signature::row_shape(&model, &name);
            }
        }
        Ok(())
    });
    let seeds = [fs::read(files().join("model.toml")).unwrap()];
    let registry = Registry::standard();
    fuzz("manifest", &seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match Manifest::parse(&text, MODEL, &registry) {
            Err(reason) if reason.is_empty() => Err("a refusal without a reason".to_owned()),
            _ => Ok(()),
        }
    });
}
