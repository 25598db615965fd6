//! Generates the gRPC services from `proto/`, with a compiler of its own: no `protoc` has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;
use tonic_prost_build::{Config, configure};

const FILES: [&str; 2] = ["proto/density_v1.proto", "proto/inference.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // What reflection tells clients.
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut config = Config::new();
    // Tensors are taken out of messages without a copy.
    config.bytes(["."]);
    // The fields of options are read by their names.
    config.type_attribute("Options", "#[derive(serde::Serialize)]");
    configure()
        .build_client(false)
        .build_transport(false)
        .codec_path("crate::transport::rpc::codec::Messages")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
