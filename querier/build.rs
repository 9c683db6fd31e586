//! Packs the built pages of `ui/dist` into the program: compressed once, here.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

const DIST: &str = "ui/dist";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={DIST}");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut names = Vec::new();
    list(Path::new(DIST), "", &mut names)?;
    names.sort();
    let mut table = "&[\n".to_owned();
    for (number, name) in names.iter().enumerate() {
        let content = fs::read(Path::new(DIST).join(name))?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&content)?;
        fs::write(out.join(format!("{number}.gz")), packed.finish()?)?;
        let tag = format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(&content));
        writeln!(
            table,
            "File {{ name: {name:?}, tag: {tag:?}, \
             packed: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{number}.gz\")) }},"
        )?;
    }
    table.push_str("]\n");
    fs::write(out.join("files.rs"), table)?;
    Ok(())
}

/// Names of all files below `folder`, with slashes.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}
