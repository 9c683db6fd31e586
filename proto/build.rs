//! Generates the gRPC types and services without needing `protoc`.

use std::{error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: &[&str] = &[
    "narthex/v1/query.proto",
    "narthex/v1/cluster.proto",
    "narthex/internal/v1/shard.proto",
    "narthex/internal/v1/control.proto",
    "narthex/internal/v1/raft.proto",
];

/// The part that outside clients may use: what gRPC reflection shows.
const PUBLIC_PROTOS: &[&str] = &["narthex/v1/query.proto", "narthex/v1/cluster.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=narthex");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let public = protox::compile(PUBLIC_PROTOS, ["."])?;
    fs::write(out.join("public_descriptors.bin"), public.encode_to_vec())?;
    let all = protox::compile(PROTOS, ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(all)?;
    Ok(())
}
