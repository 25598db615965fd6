//! Writing a version: whole or not at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{MANIFEST, sha256, version_number};

/// Writes files as the next version of the model `name` in `repository`, with the manifest that `manifest` makes of
/// their sha256, and answers its folder. Everything is written beside its place, in a folder that no server looks at,
/// and then moved there in one step.
pub(crate) fn version(
    repository: &Path,
    name: &str,
    files: &[(&str, Vec<u8>)],
    manifest: impl FnOnce(&[(&str, String)]) -> String,
) -> io::Result<PathBuf> {
    let model = repository.join(name);
    fs::create_dir_all(&model)?;
    let write = || {
        let number = next_version(&model)?;
        let draft = model.join(format!(".{number}.{}", std::process::id()));
        let target = model.join(number.to_string());
        let written = fs::create_dir_all(&draft)
            .and_then(|()| write_files(&draft, files, manifest))
            .and_then(|()| fs::rename(&draft, &target));
        if written.is_err() {
            // What is left of a draft is in nobody's way, but it should not stay.
            let _ = fs::remove_dir_all(&draft);
        }
        written.map(|()| target)
    };
    // A model without a version is none. One that has others stays, since its folder is not empty.
    write().inspect_err(|_| drop(fs::remove_dir(&model)))
}

fn next_version(model: &Path) -> io::Result<u32> {
    let mut last = 0;
    for entry in fs::read_dir(model)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(version_number);
        last = last.max(number.unwrap_or_default());
    }
    Ok(last + 1)
}

fn write_files(
    folder: &Path,
    files: &[(&str, Vec<u8>)],
    manifest: impl FnOnce(&[(&str, String)]) -> String,
) -> io::Result<()> {
    let mut hashes = Vec::new();
    for (name, bytes) in files {
        hashes.push((*name, sha256(bytes)));
        write_synced(&folder.join(name), bytes)?;
    }
    write_synced(&folder.join(MANIFEST), manifest(&hashes).as_bytes())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write;
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
