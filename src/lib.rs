//! density-server puts a probability on an image.
//!
//! # A map of the code
//!
//! ```text
//! main → cli → app (composition root) → everything below
//! http         decode → one service call → encode
//! service      the use cases: score, detect, classify, sample, complete, compress, encode, decode, reconstruct, interpolate
//! scheduling   queues, admission by cost, batch formation, workers; knows nothing of HTTP or of ONNX
//! repository   manifests, versions, the load gate, hot swap
//! network      what loaded graphs mean: logits, posteriors, distributions over images
//! runtime      ONNX Runtime: the only place that says `ort::`
//! graph        ONNX graphs as data: reading, checking, rewriting and compiling protobuf, without a runtime
//! media        image files, npy arrays, heat maps and grids, to and from the domain's images
//! domain       images, likelihood, Bayes' rule, conformal p-values, sampling and coding arithmetic, random numbers
//! ```
//!
//! Arrows point down only; a test holds them. Start reading at [`service`] for what the server can do, at
//! [`repository`] for what a model must prove before it serves, at [`scheduling`] for what happens under load, and at
//! [`graph::wavefront`] for how an image is drawn at the price of a score.

pub mod domain;
pub mod graph;
pub mod intake;
pub mod logging;
pub mod media;
pub mod metrics;
pub mod model;
pub mod network;
pub mod operations;
pub mod repository;
pub mod runtime;
pub mod scheduling;
pub mod settings;
pub mod transport;
