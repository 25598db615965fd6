//! Standard input, which a path of `-` means.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    sync::OnceLock,
};

/// Whether a path means standard input or output.
pub(super) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// All of standard input, which can only be read once.
pub(super) fn standard_input() -> io::Result<&'static [u8]> {
    static ALL: OnceLock<Result<Vec<u8>, io::ErrorKind>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| error.kind())
    });
    all.as_deref().map_err(|kind| io::Error::from(*kind))
}

/// A whole file, or standard input.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if is_standard(path) {
        return standard_input().map(<[u8]>::to_vec);
    }
    fs::read(path)
}
