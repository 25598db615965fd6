//! furnace-server with ONNX Runtime behind its `TensorModel`, as its documentation says for engines other than Burn.
//!
//! Batches are on, with a forward pass a core at once. A worker has a session of its own with one thread, since that of
//! `ort` runs one image or batch at a time. Levels are numbers, because furnace-server takes no bytes.
//!
//! PEER_PORT and PEER_GRPC_PORT say where it listens, PEER_WORKERS how many runs go on at once, PEER_PIXELS how many
//! pixels `sample` draws, see model.py.

use std::{env, fmt, sync::Mutex};

use furnace::{FurnaceError, HostTensor, IoSpec, Model, ModelError, Server, TensorModel, Values};
use ort::{environment::Environment, session::Session, value::TensorRef};
use rand::RngExt;

/// Images are 28×28.
const PIXELS: usize = 28 * 28;
/// Levels that logits are given for.
const LEVELS: usize = 256;
/// Numbers of a code.
const CODE: usize = 16;
/// Images in one forward pass at most.
const BATCH: usize = 32;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let workers = number("PEER_WORKERS", 1);
    let repository = env::var("DENSITY_REPOSITORY")?;
    let environment = ort::init_from(env::var("ORT_DYLIB_PATH")?)?.build()?;
    let mut server = Server::new().max_batch_size(BATCH);
    for (operation, file) in [
        (Operation::Score, "fashion-mnist-pixelcnn/1/model.onnx"),
        (Operation::Encode, "fashion-mnist-vae/1/encoder.onnx"),
        (
            Operation::Sample(number("PEER_PIXELS", PIXELS)),
            "fashion-mnist-pixelcnn/1/model.onnx",
        ),
    ] {
        let file = format!("{repository}/{file}");
        let sessions: Result<Vec<Session>, _> = (0..workers).map(|_| session(&environment, &file)).collect();
        server = server.model(Model::custom(Peer {
            operation,
            sessions: Mutex::new(sessions?),
        }));
    }
    let server = server.configure(|config| {
        config.port = number("PEER_PORT", 3000) as u16;
        config.grpc_port = Some(number("PEER_GRPC_PORT", 3001) as u16);
        config.batching.workers = workers;
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(server.serve())?)
}

fn number(name: &str, default: usize) -> usize {
    env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn session(environment: &Environment, file: &str) -> ort::Result<Session> {
    let builder = Session::builder(environment)?
        .with_intra_threads(1)?
        .with_config_entry("session.intra_op.allow_spinning", "0")?;
    { builder }.commit_from_file(file)
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Score,
    Encode,
    Sample(usize),
}

/// A model for one operation.
struct Peer {
    operation: Operation,
    /// Those that nobody runs; as many as there are workers.
    sessions: Mutex<Vec<Session>>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

impl TensorModel for Peer {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Score => "score",
            Operation::Encode => "encode",
            Operation::Sample(_) => "sample",
        }
    }

    fn backend(&self) -> &str {
        "cpu"
    }

    fn inputs(&self) -> Vec<IoSpec> {
        vec![IoSpec::fp32("input", &[1, 28, 28])]
    }

    fn outputs(&self) -> Vec<IoSpec> {
        let size = match self.operation {
            Operation::Score => 1,
            Operation::Encode => CODE,
            Operation::Sample(_) => PIXELS,
        };
        vec![IoSpec::fp32("output", &[size])]
    }

    fn run(&self, inputs: Vec<HostTensor>) -> furnace::Result<Vec<HostTensor>> {
        let Some(HostTensor {
            values: Values::F32(levels),
            ..
        }) = inputs.into_iter().next()
        else {
            return Err(failed("levels are FP32"));
        };
        let mut session = self
            .sessions
            .lock()
            .map_err(failed)?
            .pop()
            .ok_or_else(|| failed("more runs than workers"))?;
        let result = match self.operation {
            Operation::Score => score(&mut session, &levels),
            Operation::Encode => run(&mut session, "mean", &levels),
            Operation::Sample(pixels) => sample(&mut session, levels.len() / PIXELS, pixels),
        };
        self.sessions.lock().map_err(failed)?.push(session);
        let values = result.map_err(failed)?;
        let images = levels.len() / PIXELS;
        Ok(vec![HostTensor {
            shape: vec![images, values.len() / images],
            values: Values::F32(values),
        }])
    }
}

fn failed(cause: impl ToString) -> FurnaceError {
    ModelError::InferenceFailed(cause.to_string()).into()
}

/// One output for levels of images.
fn run(session: &mut Session, output: &str, levels: &[f32]) -> ort::Result<Vec<f32>> {
    let scaled: Vec<f32> = levels.iter().map(|level| level / 255.0).collect();
    let shape = [scaled.len() / PIXELS, 1, 28, 28];
    let image = TensorRef::from_array_view((shape, &scaled[..]))?;
    let outputs = session.run(ort::inputs!["image" => image])?;
    Ok(outputs[output].try_extract_tensor::<f32>()?.1.to_vec())
}

/// Log-likelihoods in nats.
fn score(session: &mut Session, levels: &[f32]) -> ort::Result<Vec<f32>> {
    let logits = run(session, "logits", levels)?;
    let of_image = |(logits, levels): (&[f32], &[f32])| {
        let of_pixel = |(pixel, &level): (usize, &f32)| {
            let at = |level: usize| logits[level * PIXELS + pixel];
            let top = (0..LEVELS).map(at).fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = (0..LEVELS).map(|level| (at(level) - top).exp()).sum();
            f64::from(at(level as usize) - top - sum.ln())
        };
        levels.iter().enumerate().map(of_pixel).sum::<f64>() as f32
    };
    Ok(logits
        .chunks(LEVELS * PIXELS)
        .zip(levels.chunks(PIXELS))
        .map(of_image)
        .collect())
}

/// New images, one full pass a pixel.
fn sample(session: &mut Session, images: usize, pixels: usize) -> ort::Result<Vec<f32>> {
    let (mut drawn, mut random) = (vec![0.0; images * PIXELS], rand::rng());
    for pixel in 0..pixels {
        let logits = run(session, "logits", &drawn)?;
        for (drawn, logits) in drawn.chunks_mut(PIXELS).zip(logits.chunks(LEVELS * PIXELS)) {
            // The largest of logits and Gumbel noise is a draw from their softmax.
            let mut noisy = |level: usize| {
                let uniform: f32 = random.random_range(f32::MIN_POSITIVE..1.0);
                logits[level * PIXELS + pixel] - (-uniform.ln()).ln()
            };
            let scores: Vec<f32> = (0..LEVELS).map(&mut noisy).collect();
            let best = (0..LEVELS).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            drawn[pixel] = best.unwrap_or_default() as f32;
        }
    }
    Ok(drawn)
}
