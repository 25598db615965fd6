//! Images from files, folders, npy and IDX arrays, read one at a time in a fixed order.
//!
//! A file that cannot be read is an item with an error: it does not stop the files after it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use clap::{Args, ValueEnum};
use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::{
    CliError,
    gather::{Gathered, Handling},
    labels::Labels,
    resume::Done,
    table::ImageName,
};
use crate::{
    domain::image::{Image, ImageShape},
    media::{self, DecodeLimits, DecodeOptions, Decoded, Frames, Resize},
    model::Model,
};

mod array;

use array::Array;

/// Endings of the files that are taken from a folder. A file that is named itself may be called anything.
const ENDINGS: [&str; 13] = [
    "bmp", "gif", "jpeg", "jpg", "npy", "pam", "pbm", "pgm", "png", "pnm", "ppm", "webp", "jfif",
];

/// How the names of IDX files of images end, with `.gz` after it if they are compressed.
const IDX_ENDINGS: [&str; 2] = ["idx3-ubyte", "idx4-ubyte"];

/// The first bytes of a gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Which images, and what may be done to them.
#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// Image files (PNG, JPEG, WebP, GIF, BMP, PNM), npy arrays of levels (uint8 [N, H, W] or [N, H, W, C]), IDX arrays
    /// (…idx3-ubyte, also .gz), and folders of these, which are searched to the bottom in order of name; - is standard
    /// input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    #[command(flatten)]
    decoding: DecodeArgs,
}

/// What may be done to image files.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct DecodeArgs {
    /// Resize images of another size than the model's, which changes their likelihood
    #[arg(long)]
    resize: bool,

    /// Convert between grey and colour and reduce 16 bits to 8, which changes the likelihood
    #[arg(long)]
    convert: bool,

    /// Turn and mirror images as the orientation tag of a camera asks; otherwise they are judged as they are stored
    #[arg(long)]
    orient: bool,

    /// What becomes of files with several frames or pages
    #[arg(long, value_enum, default_value_t = FramesName::Only)]
    frames: FramesName,
}

/// Which frames of a file are taken.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum FramesName {
    /// The only one; a file with more fails
    #[default]
    Only,
    /// The first
    First,
    /// All, each an image
    All,
}

impl DecodeArgs {
    /// The same for whoever decodes.
    pub(super) fn options(self) -> DecodeOptions {
        DecodeOptions {
            any_size: false,
            resize: self.resize.then(Resize::default),
            convert: self.convert,
            orient: self.orient,
            frames: match self.frames {
                FramesName::Only => Frames::Only,
                FramesName::First => Frames::First,
                FramesName::All => Frames::All,
            },
        }
    }
}

/// One image, or why there is none.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: ImageName,
    pub(super) image: Result<Image, String>,
}

/// Reads files into chunks of images.
pub(super) struct Reader {
    /// What the model takes.
    pub(super) shape: ImageShape,
    /// The inputs that were named, below which the files lie.
    pub(super) roots: Vec<PathBuf>,
    pub(super) options: DecodeOptions,
    /// Images a chunk.
    pub(super) chunk: usize,
    /// Told of arrays, which hold more images than one.
    pub(super) progress: ProgressBar,
    /// What the images are called.
    pub(super) labels: Labels,
    /// Images that are not wanted again.
    pub(super) done: Done,
}

/// What a file turned out to be.
enum Source {
    /// An image file, as bytes.
    Picture(Vec<u8>),
    Array(Array),
}

/// The command has ended, and nobody wants more images.
struct Gone;

impl InputArgs {
    /// Inputs that came by another way than as arguments.
    pub(super) fn of(inputs: Vec<PathBuf>, decoding: DecodeArgs) -> Self {
        Self { inputs, decoding }
    }

    /// Every file that was named or lies in a folder that was. Only names are held, not images.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, CliError> {
        let mut files = Vec::new();
        for input in &self.inputs {
            let unreadable = |error| CliError::io(format!("{} cannot be read", input.display()), error);
            if is_standard(input) || !fs::metadata(input).map_err(unreadable)?.is_dir() {
                files.push(input.clone());
                continue;
            }
            let before = files.len();
            collect(input, &mut files).map_err(unreadable)?;
            if files.len() == before {
                return Err(CliError::Usage(format!(
                    "the folder {} holds no images: wanted are files that end in {}, {}",
                    input.display(),
                    ENDINGS.join(", "),
                    IDX_ENDINGS.join(", ")
                )));
            }
        }
        Ok(files)
    }

    /// The inputs as they were named.
    pub(super) fn roots(&self) -> Vec<PathBuf> {
        self.inputs.clone()
    }

    /// What may be done to an image that does not fit, beside what the model declares.
    pub(super) fn decode_options(&self) -> DecodeOptions {
        self.decoding.options()
    }
}

/// Files below `folder` in order of name. Links to folders are not followed, because they can lead in circles. What is
/// left out is told: files of other endings by their number, a folder that cannot be read by its name.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut ignored = BTreeMap::new();
    walk(folder, files, &mut ignored)?;
    if !ignored.is_empty() {
        let kinds: Vec<String> = ignored
            .iter()
            .map(|(ending, count)| format!("{count} × {ending}"))
            .collect();
        super::say(&format!("{}: left out are {}", folder.display(), kinds.join(", ")));
    }
    Ok(())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>, ignored: &mut BTreeMap<String, usize>) -> io::Result<()> {
    let mut entries = folder.read_dir()?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Hidden files are nobody's images; archives made on macOS are full of them (`._shoe.png`).
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            if let Err(error) = walk(&path, files, ignored) {
                super::say(&format!("{} cannot be read: {error}", path.display()));
                *ignored.entry("unreadable folders".to_owned()).or_default() += 1;
            }
        } else if !is_wanted(&path) {
            let ending = path.extension().map_or("files without an ending".into(), |ending| {
                format!(".{}", ending.to_string_lossy())
            });
            *ignored.entry(ending).or_default() += 1;
        } else if path.is_file() {
            files.push(path);
        } else {
            *ignored.entry("dangling links".to_owned()).or_default() += 1;
        }
    }
    Ok(())
}

/// The path of a file below the input that was named: its name alone, if it was named itself.
fn below(path: &Path, roots: &[PathBuf]) -> PathBuf {
    if is_standard(path) {
        return PathBuf::from("stdin");
    }
    roots
        .iter()
        .filter_map(|root| path.strip_prefix(root).ok())
        .find(|rest| !rest.as_os_str().is_empty())
        .or_else(|| path.file_name().map(Path::new))
        .unwrap_or(path)
        .to_owned()
}

fn is_wanted(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)) || is_named_idx(path)
}

fn is_named_idx(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    IDX_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

impl Reader {
    /// Sends every image of `files` in chunks, until all are sent or the receiver is gone.
    pub(super) fn read(&self, files: &[PathBuf], sender: &mpsc::Sender<Vec<Item>>) {
        let mut chunk = Vec::with_capacity(self.chunk);
        let mut send = |item| {
            chunk.push(item);
            if chunk.len() < self.chunk {
                return Ok(());
            }
            sender.blocking_send(std::mem::take(&mut chunk)).map_err(|_| Gone)
        };
        let (mut position, mut turned) = (0, 0);
        let sent = files
            .iter()
            .try_for_each(|file| self.file(file, (&mut position, &mut turned), &mut send));
        if turned > 0 {
            super::say(&format!(
                "{turned} files ask to be shown another way up and are judged as they are stored: --orient turns them"
            ));
        }
        if sent.is_ok() && !chunk.is_empty() {
            // The receiver may have gone after the last full chunk; then nobody wants this one either.
            let _ = sender.blocking_send(chunk);
        }
    }

    /// Sends the images of one file, the first of which is at `position` among all; counts files that were to be
    /// `turned` and are not.
    fn file(
        &self,
        path: &Path,
        (position, turned): (&mut u64, &mut u64),
        send: &mut impl FnMut(Item) -> Result<(), Gone>,
    ) -> Result<(), Gone> {
        let first = *position;
        let input = shown(path);
        let named = |index: Option<u64>, image| Item {
            name: ImageName {
                input: input.clone(),
                below: below(path, &self.roots),
                index,
                label: self.labels.of(path, first + index.unwrap_or_default()),
            },
            image,
        };
        *position += 1;
        if self.done.has(&input, None) {
            return Ok(());
        }
        let mut array = match open(path, self.shape, self.options.any_size) {
            Ok(Source::Array(array)) => array,
            Ok(Source::Picture(bytes)) => match self.picture(&bytes) {
                Ok(decoded) => {
                    *turned += u64::from(!decoded.notes.is_empty());
                    let several = decoded.images.len() > 1;
                    *position = first.saturating_add(decoded.images.len() as u64);
                    for (index, image) in (0..).zip(decoded.images) {
                        let index = several.then_some(index);
                        if !self.done.has(&input, index) {
                            send(named(index, Ok(image)))?;
                        }
                    }
                    return Ok(());
                }
                Err(error) => return send(named(None, Err(error))),
            },
            Err(error) => return send(named(None, Err(error))),
        };
        *position = first.saturating_add(array.images());
        self.progress.inc_length(array.images().saturating_sub(1));
        for index in 0..array.images() {
            let image = array.next(self.shape);
            let ended = image.is_err() && array.is_cut_short();
            if self.done.has(&input, Some(index)) {
                continue;
            }
            send(named(Some(index), image))?;
            if ended {
                // Nothing after the place where the file ends can be read, and one row says so.
                return Ok(());
            }
        }
        match array.finish() {
            Ok(()) => Ok(()),
            Err(error) => send(Item {
                name: ImageName {
                    input: input.clone(),
                    below: below(path, &self.roots),
                    index: None,
                    label: None,
                },
                image: Err(error),
            }),
        }
    }

    fn picture(&self, bytes: &[u8]) -> Result<Decoded, String> {
        let limits = DecodeLimits::default();
        media::decode_file(bytes, self.shape, self.options, limits, &|| false).map_err(|error| error.to_string())
    }
}

/// Every image of the inputs, for commands that need them all. The first that cannot be read ends the command.
pub(super) fn read_all(inputs: &InputArgs, model: &Model) -> Result<Vec<Image>, CliError> {
    let handling = Handling {
        decoding: inputs.decoding,
        strict: true,
    };
    Ok(Gathered::read(&inputs.inputs, model, handling)?.images)
}

/// The codes of npy arrays, each of `size` numbers.
pub(super) fn read_codes(paths: &[PathBuf], size: usize) -> Result<Vec<Part<Vec<f32>>>, CliError> {
    let mut codes = Vec::new();
    for path in paths {
        let bytes =
            read_file(path).map_err(|error| CliError::io(format!("{} cannot be read", path.display()), error))?;
        let read = media::read_vectors(&bytes, size, usize::MAX)
            .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?;
        codes.extend((0..).zip(read).map(|(index, code)| {
            let name = ImageName {
                input: shown(path),
                below: below(path, &[]),
                index: Some(index),
                label: None,
            };
            (name, Ok(code))
        }));
    }
    Ok(codes)
}

/// The streams of files, and of those in folders whose names end in `dsi`.
pub(super) fn read_streams(inputs: &[PathBuf]) -> Result<Vec<Part<Vec<u8>>>, CliError> {
    let mut files = Vec::new();
    for input in inputs {
        let unreadable = |error: io::Error| CliError::io(format!("{} cannot be read", input.display()), error);
        if is_standard(input) || !fs::metadata(input).map_err(unreadable)?.is_dir() {
            files.push(input.clone());
            continue;
        }
        let mut all = Vec::new();
        streams_below(input, &mut all).map_err(unreadable)?;
        if all.is_empty() {
            return Err(CliError::Usage(format!(
                "the folder {} holds no streams: wanted are files that end in dsi",
                input.display()
            )));
        }
        files.extend(all);
    }
    let part = |path: PathBuf| {
        let name = ImageName {
            input: shown(&path),
            below: below(&path, inputs),
            index: None,
            label: None,
        };
        (name, read_file(&path).map_err(|error| error.to_string()))
    };
    Ok(files.into_iter().map(part).collect())
}

fn streams_below(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = folder.read_dir()?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            streams_below(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "dsi") && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// Something of an input, or what is wrong with it.
pub(super) type Part<T> = (ImageName, Result<T, String>);

/// How many images files hold, as their headers say; for commands that must know before they begin.
pub(super) fn count(files: &[PathBuf], shape: ImageShape) -> Result<u64, CliError> {
    files.iter().try_fold(0_u64, |count, path| {
        let found = match open(path, shape, false) {
            Ok(Source::Picture(_)) => 1,
            Ok(Source::Array(array)) => array.images(),
            Err(error) => {
                return Err(CliError::Usage(format!("{}: {error}", path.display())));
            }
        };
        Ok(count.saturating_add(found))
    })
}

/// Whether a path means standard input or output.
pub(super) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A path as text. What is not UTF-8 is written as `\\xff`, so that files whose names differ only there keep apart.
pub(super) fn shown(path: impl AsRef<Path>) -> String {
    let mut text = String::new();
    for chunk in path.as_ref().as_os_str().as_encoded_bytes().utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text
}

/// All of standard input, which can only be read once.
fn standard_input() -> io::Result<&'static [u8]> {
    static ALL: OnceLock<Result<Vec<u8>, io::ErrorKind>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| error.kind())
    });
    all.as_deref().map_err(|kind| io::Error::from(*kind))
}

/// A whole file, or standard input.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if is_standard(path) {
        return standard_input().map(<[u8]>::to_vec);
    }
    fs::read(path)
}

fn has_ending(path: &Path, wanted: &str) -> bool {
    let ending = path.extension();
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case(wanted))
}

/// Opens a file and tells by its name and its first bytes what it is.
fn open(path: &Path, shape: ImageShape, any_size: bool) -> Result<Source, String> {
    let failed = |error: io::Error| error.to_string();
    let mut file: Box<dyn BufRead> = if is_standard(path) {
        Box::new(Cursor::new(standard_input().map_err(failed)?))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(failed)?))
    };
    let start = file.fill_buf().map_err(failed)?;
    if start.starts_with(media::NPY_MAGIC) || has_ending(path, "npy") {
        return Array::npy(file, shape, any_size).map(Source::Array);
    }
    if start.starts_with(&GZIP_MAGIC) {
        let mut inside = BufReader::new(MultiGzDecoder::new(file));
        let start = inside.fill_buf().map_err(failed)?;
        if !media::is_idx(start) && !is_named_idx(path) {
            return Err("the gzip file holds no IDX array of images".to_owned());
        }
        return Array::idx(Box::new(inside), shape).map(Source::Array);
    }
    if media::is_idx(start) || is_named_idx(path) {
        return Array::idx(file, shape).map(Source::Array);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Source::Picture(bytes))
}

#[cfg(test)]
mod tests;
