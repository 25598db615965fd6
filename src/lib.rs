//! density-server puts a probability on an image.
//!
//! # A map of the code
//!
//! ```text
//! main → cli → app (composition root) → everything below
//! transport    decode → one operation → encode; no default, no limit, no policy
//! operations   one file an operation: options, answer, tensors, class of work; what a request goes through
//! intake       bodies → images, codes, streams and options: formats, budgets, masks, failure image by image
//! repository   versions on disk, which of them serve, hot swap
//! families     one room a family: its manifest, its networks, its proof, what it can do and why it cannot do the rest
//! access       keys, what each is good for, and who a client is
//! detection    statistics of what models say of an image, joint densities, calibration, drift
//! model        what a loaded model is to everybody else: capabilities that are there or absent with a reason
//! scheduling   queues, admission by cost, batch formation, workers; knows nothing of HTTP or of ONNX
//! import       graphs as people export them, read and written again for the server's contracts; knows no family
//! runtime      ONNX Runtime: the only place that says `ort::`
//! graph        ONNX graphs as data: reading, checking, rewriting and compiling protobuf, without a runtime
//! media        image files, npy arrays, heat maps and grids, to and from the domain's images
//! trace        what became of a request, for a collector of OpenTelemetry
//! domain       images, likelihood, Bayes' rule, conformal p-values, sampling and coding arithmetic, random numbers
//! ```
//!
//! Arrows point down only; a test holds them. Start reading at [`operations`] for what can be asked of a model, at
//! [`families::gate`] for what it must prove before it serves, at [`scheduling`] for what happens under load, and at
//! [`graph::wavefront`] for how an image is drawn at the price of a score.

pub mod access;
pub mod app;
pub mod cli;
pub mod detection;
pub mod domain;
pub mod families;
pub mod graph;
pub mod import;
pub mod intake;
pub mod logging;
pub mod media;
pub mod metrics;
pub mod model;
pub mod operations;
pub mod repository;
pub mod runtime;
pub mod scheduling;
pub mod settings;
pub mod trace;
pub mod transport;
