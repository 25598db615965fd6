//! The HTTP interface, through the real router over the tiny models: what clients may send, and what they get.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod animations;
mod answers;
mod browsers;
mod classify;
mod client;
mod codes;
mod compression;
mod errors;
mod evidence;
mod exports;
mod full_passes;
mod images;
mod labels;
mod models;
mod openapi;
mod sockets;
mod streams;
