//! `compress` and `decompress`: images as streams and back, a file each.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args};
use indicatif::ProgressBar;
use serde::Serialize;

use super::{
    CliError, OfflineSettings, Outcome,
    inputs::InputArgs,
    model::{self, Loaded},
    npy, pipeline, say,
    table::{Answer, Format, ImageName, Layout, OutputArgs, Table},
};
use crate::{
    domain::{family::Capability, image::Image},
    media,
    service::requests::PerImage,
};

/// What the names of streams end in.
const ENDING: &str = "dsi";

/// Compress images without loss, to about −log₂ p(image) bits each
///
/// Prints what became of each image. A stream is decompressed with the same model, on the same version of ONNX Runtime and kind of
/// processor.
#[derive(Debug, Args)]
pub(super) struct CompressArgs {
    /// Name of a model in the repository, or path of a model's folder
    model: String,

    #[command(flatten)]
    inputs: InputArgs,

    /// Folder that gets a file `<name>.dsi` for every image, `<name>-<index>.dsi` for those of an array
    #[arg(long, short, value_name = "FOLDER")]
    output: PathBuf,

    /// The label of the images, by name or number; only for models that are conditioned on labels
    #[arg(long)]
    label: Option<String>,

    #[command(flatten)]
    settings: OfflineSettings,
}

/// Get compressed images back, exactly
#[derive(Debug, Args)]
pub(super) struct DecompressArgs {
    /// Name of a model in the repository, or path of a model's folder: the one that compressed them
    model: String,

    /// Files that `compress` wrote, and folders of them
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Folder that gets a file `<name>.png` for every stream
    #[arg(long, short, value_name = "FOLDER")]
    output: PathBuf,

    #[command(flatten)]
    settings: OfflineSettings,
}

/// The row of one image.
#[derive(Debug, Serialize)]
struct Row {
    stream: String,
    bytes: usize,
    bits_per_dim: f64,
    ideal_bytes: f64,
}

impl Answer for Row {
    fn cells(&self) -> Vec<String> {
        vec![
            self.stream.clone(),
            self.bytes.to_string(),
            self.bits_per_dim.to_string(),
            self.ideal_bytes.to_string(),
        ]
    }

    fn numbers(&self) -> Vec<f64> {
        vec![self.bytes as f64, self.bits_per_dim, self.ideal_bytes]
    }
}

pub(super) fn compress(arguments: CompressArgs, matches: &ArgMatches) -> Result<Outcome, CliError> {
    let loaded = model::load(
        &arguments.model,
        Capability::Compress,
        arguments.settings,
        matches,
    )?;
    let inputs = (arguments.inputs.files()?, arguments.inputs.decode_options());
    let mut folder = Folder::create(&arguments.output)?;
    let dimensions = loaded.model.shape().dimensions() as f64;
    let columns = ["stream", "bytes", "bits_per_dim", "ideal_bytes"];
    let layout = Layout {
        columns: columns.map(str::to_owned).to_vec(),
        element: npy::Element::F64,
        row_shape: vec![columns.len() - 1],
    };
    let output = OutputArgs {
        format: Format::Csv,
        output: None,
    };
    let mut table = Table::open(&output, layout)?;
    let (service, model) = (&loaded.app.service, &loaded.model);
    let label = arguments.label.as_deref();
    let operation = |images| service.compress(model, images, label, pipeline::no_deadline());
    let outcome = pipeline::each(
        &loaded,
        inputs,
        output.is_terminal(),
        operation,
        |name, answer| {
            let row = answer.map_err(str::to_owned).and_then(|compressed| {
                let path = folder.write(&stem(name), ENDING, &compressed.bytes)?;
                let bytes = compressed.bytes.len();
                Ok(Row {
                    stream: path.display().to_string(),
                    bytes,
                    bits_per_dim: (8 * bytes) as f64 / dimensions,
                    ideal_bytes: compressed.ideal_bits / 8.0,
                })
            });
            let row = row.as_ref().map_err(String::as_str);
            table.push(name, row)?;
            table.flush()?;
            Ok(row.is_ok())
        },
    )?;
    table.finish()?;
    Ok(outcome)
}

pub(super) fn decompress(
    arguments: DecompressArgs,
    matches: &ArgMatches,
) -> Result<Outcome, CliError> {
    let loaded = model::load(
        &arguments.model,
        Capability::Compress,
        arguments.settings,
        matches,
    )?;
    let files = files(&arguments.inputs)?;
    let mut folder = Folder::create(&arguments.output)?;
    let progress = ProgressBar::new(files.len() as u64);
    let runtime = pipeline::runtime()?;
    let mut failed = 0;
    for files in files.chunks(loaded.settings.work.max_batch_rows.max(1)) {
        let images = runtime.block_on(images_of(&loaded, files))?;
        for (file, image) in files.iter().zip(images) {
            let written = image.and_then(|image| {
                let png = media::png(&image).map_err(|error| error.to_string())?;
                folder.write(&file_stem(file), "png", &png)
            });
            if let Err(error) = written {
                failed += 1;
                progress.suspend(|| say(&format!("{}: {error}", file.display())));
            }
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    if failed == 0 {
        return Ok(Outcome::Done);
    }
    say(&format!("{failed} of {} streams failed", files.len()));
    Ok(Outcome::Refused)
}

/// The image of each file, or what is wrong with it.
async fn images_of(
    loaded: &Loaded,
    files: &[PathBuf],
) -> Result<Vec<Result<Image, String>>, CliError> {
    let read: Vec<Result<Vec<u8>, String>> = files
        .iter()
        .map(|file| fs::read(file).map_err(|error| error.to_string()))
        .collect();
    let streams = read.iter().flatten().cloned().collect();
    let images: PerImage<Image> = loaded
        .app
        .service
        .decompress(&loaded.model, streams, pipeline::no_deadline())
        .await?;
    let mut images = images.into_iter();
    Ok(read
        .into_iter()
        .map(|stream| {
            stream?;
            let image = images.next().ok_or("no answer came back")?;
            image.map_err(|error| error.to_string())
        })
        .collect())
}

/// Files that were named, and streams in folders that were.
fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for input in inputs {
        let unreadable =
            |error: io::Error| CliError::io(format!("{} cannot be read", input.display()), error);
        if !fs::metadata(input).map_err(unreadable)?.is_dir() {
            files.push(input.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in input.read_dir().map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) && path.is_file() {
                found.push(path);
            }
        }
        if found.is_empty() {
            return Err(CliError::Usage(format!(
                "the folder {} holds no streams: wanted are files that end in {ENDING}",
                input.display()
            )));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// A folder that gets a file for every image.
struct Folder {
    path: PathBuf,
    /// Names of this run: two inputs of one name must not become one output.
    written: HashSet<String>,
}

impl Folder {
    fn create(path: &Path) -> Result<Self, CliError> {
        fs::create_dir_all(path).map_err(|error| CliError::writing(Some(path), error))?;
        Ok(Self {
            path: path.to_owned(),
            written: HashSet::new(),
        })
    }

    fn write(&mut self, stem: &str, ending: &str, bytes: &[u8]) -> Result<PathBuf, String> {
        let name = format!("{stem}.{ending}");
        let path = self.path.join(&name);
        if !self.written.insert(name) {
            return Err(format!(
                "{} has already been written for another input of the same name; give them apart",
                path.display()
            ));
        }
        fs::write(&path, bytes)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        Ok(path)
    }
}

fn stem(name: &ImageName) -> String {
    let stem = file_stem(Path::new(&name.input));
    name.index
        .map_or(stem.clone(), |index| format!("{stem}-{index:05}"))
}

fn file_stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_of_one_name_do_not_overwrite_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(&folder.path().join("new")).unwrap();
        folder.write("shoe", ENDING, b"1").unwrap();
        assert!(folder.write("shoe", ENDING, b"2").is_err());
        assert_eq!(fs::read(folder.path.join("shoe.dsi")).unwrap(), b"1");
        let array = ImageName {
            input: "some/images.npy".to_owned(),
            index: Some(7),
            label: None,
        };
        assert_eq!(stem(&array), "images-00007");
    }

    #[test]
    fn folders_are_searched_for_streams() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = [folder.path().to_owned()];
        assert!(files(&inputs).unwrap_err().to_string().contains("dsi"));
        for name in ["b.dsi", "a.dsi", "c.png"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = files(&inputs).unwrap();
        assert_eq!(
            found,
            ["a.dsi", "b.dsi"].map(|name| folder.path().join(name))
        );
    }
}
