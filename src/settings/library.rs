//! Where ONNX Runtime's shared library is. Owns the search only; nothing here loads anything.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::{Device, SettingsError};

/// The folder that `make runtime` fills.
const FOLDER: &str = ".runtime";

/// How many folders above the executable are searched: `target/release/deps` of a checkout is three below its root.
const LEVELS_ABOVE_EXECUTABLE: usize = 4;

/// The library that was named, or else the first one in a `.runtime/` above the executable, in the Python package
/// `onnxruntime` that was installed beside the executable, or in a `.runtime/` of the working folder. In a `.runtime/`
/// each device has a library of its own.
pub(super) fn find(named: Option<&Path>, device: Device) -> Result<PathBuf, SettingsError> {
    match named {
        Some(path) => resolve_named(path),
        None => search(&folders(device), device),
    }
}

fn resolve_named(path: &Path) -> Result<PathBuf, SettingsError> {
    if path.is_dir() {
        return newest_in(path).ok_or_else(|| SettingsError::NoLibraryIn(path.to_owned()));
    }
    if path.is_file() {
        return Ok(path.to_owned());
    }
    Err(SettingsError::NoLibraryAt(path.to_owned()))
}

fn search(folders: &[PathBuf], device: Device) -> Result<PathBuf, SettingsError> {
    folders
        .iter()
        .find_map(|folder| newest_in(folder))
        .ok_or_else(|| SettingsError::NoLibrary {
            folders: folders.to_vec(),
            command: device.fetched().0,
        })
}

/// The working folder comes last, so that an installed server never runs what lies about where it was started.
fn folders(device: Device) -> Vec<PathBuf> {
    let own = Path::new(FOLDER).join(device.fetched().1);
    let mut folders = Vec::new();
    if let Ok(executable) = env::current_exe() {
        let above = executable.ancestors().skip(1).take(LEVELS_ABOVE_EXECUTABLE);
        folders.extend(above.map(|folder| folder.join(&own)));
        folders.extend(beside_in_python(&executable));
    }
    folders.push(own);
    folders
}

/// Where Python packages keep `onnxruntime`'s library if they were installed together with this executable, which is
/// then `<prefix>/bin/density-server`: in an environment, for a user, for the system or by `pip install --target`.
fn beside_in_python(executable: &Path) -> Vec<PathBuf> {
    let Some(prefix) = executable.parent().and_then(Path::parent) else {
        return Vec::new();
    };
    let interpreters = prefix.join("lib").read_dir().into_iter().flatten();
    let mut libraries: Vec<PathBuf> = interpreters
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .map(|entry| entry.path())
        .collect();
    libraries.sort();
    let packages = libraries
        .iter()
        .flat_map(|library| ["site-packages", "dist-packages"].map(|name| library.join(name)));
    packages
        .chain([prefix.join("Lib").join("site-packages"), prefix.to_owned()])
        .map(|packages| packages.join("onnxruntime").join("capi"))
        .filter(|folder| folder.is_dir())
        .collect()
}

/// The library of the greatest file name, so that one answer does not depend on the order in which a folder is listed.
fn newest_in(folder: &Path) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = folder
        .read_dir()
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| is_library(path))
        .collect();
    found.sort();
    found.pop()
}

fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.is_file()
        && (name.starts_with("libonnxruntime.so")
            || (name.starts_with("libonnxruntime.") && name.ends_with(".dylib"))
            || name == "onnxruntime.dll")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_gives_its_newest_library_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "libonnxruntime.so.1.30.0",
            "libonnxruntime.so.1.31.1",
            "libonnxruntime_providers_shared.so",
            "notes.txt",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = find(Some(folder.path()), Device::Cpu).unwrap();
        assert_eq!(found, folder.path().join("libonnxruntime.so.1.31.1"));
    }

    #[test]
    fn packages_that_python_installed_with_the_executable_are_searched() {
        for packages in ["lib/python3.13/site-packages", "lib/python3/dist-packages", "."] {
            let prefix = tempfile::tempdir().unwrap();
            let library = prefix.path().join(packages).join("onnxruntime/capi");
            fs::create_dir_all(&library).unwrap();
            fs::write(library.join("libonnxruntime.so.1.31.1"), "").unwrap();
            let folders = beside_in_python(&prefix.path().join("bin/density-server"));
            let found = search(&folders, Device::Cpu).unwrap();
            assert!(found.ends_with("capi/libonnxruntime.so.1.31.1"), "{found:?}");
        }
        let prefix = tempfile::tempdir().unwrap();
        assert!(beside_in_python(&prefix.path().join("bin/density-server")).is_empty());
    }

    #[test]
    fn each_device_has_a_library_of_its_own() {
        let last = |device| folders(device).pop().unwrap();
        assert_eq!(last(Device::Cpu), Path::new(".runtime"));
        assert_eq!(last(Device::OpenVino), Path::new(".runtime/openvino"));
    }

    #[test]
    fn a_missing_library_says_where_it_was_looked_for() {
        let empty = tempfile::tempdir().unwrap();
        let message = search(&[empty.path().to_owned()], Device::OpenVino)
            .unwrap_err()
            .to_string();
        assert!(message.contains("make runtime DEVICE=openvino"), "{message}");
        assert!(message.contains(&*empty.path().to_string_lossy()), "{message}");
        let named = empty.path().join("absent.so");
        assert!(matches!(
            find(Some(&named), Device::Cpu),
            Err(SettingsError::NoLibraryAt(path)) if path == named
        ));
    }
}
