//! Images and streams as files: one grid, one animation, one array, or a folder with a file for each.

use std::{
    collections::HashSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{CliError, name::ImageName, partial_file::write_beside, stdin::is_standard};
use crate::{
    domain::image::Image,
    media,
    model::{Refusal, draw::Order},
    operations::{AnyAnswer, Rendering},
};

/// What the output's name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Grid,
    Animation,
    Array,
    Folder,
}

impl Form {
    /// Told before anything is computed, because drawing may take minutes.
    pub(super) fn of(output: &Path) -> Result<Self, CliError> {
        let ending = output.extension().unwrap_or_default().to_string_lossy();
        match ending.to_lowercase().as_str() {
            _ if is_standard(output) => Ok(Self::Grid),
            _ if output.is_dir() => Ok(Self::Folder),
            "png" => Ok(Self::Grid),
            "gif" => Ok(Self::Animation),
            "npy" => Ok(Self::Array),
            "" => Ok(Self::Folder),
            _ => Err(CliError::Usage(format!(
                "images cannot be written as {}: wanted is a name that ends in .png (one grid), .gif (an animation), \
                 .npy (one array), a folder, or - for a PNG grid to standard output",
                output.display()
            ))),
        }
    }

    /// Writes images that came together.
    pub(super) fn write(self, output: &Path, rendering: Rendering) -> Result<(), CliError> {
        let bytes = match self {
            Self::Grid => rendering.png(),
            Self::Animation => rendering.gif(),
            Self::Array => Ok(array(&rendering)),
            Self::Folder => {
                let mut folder = Folder::create(output)?;
                for (index, image) in images(rendering).iter().enumerate() {
                    let written = png(image)
                        .and_then(|bytes| folder.write(Path::new(&format!("{index:05}.png")), &bytes).map(drop));
                    written.map_err(|error| CliError::writing(Some(output), io::Error::other(error)))?;
                }
                return Ok(());
            }
        };
        save(output, &bytes?)
    }

    /// Opens an output for images that come one by one.
    pub(super) fn open(self, output: &Path) -> Result<Sink, CliError> {
        Ok(match self {
            Self::Folder => Sink::Folder(Folder::create(output)?),
            _ => Sink::Gathered {
                form: self,
                output: output.to_owned(),
                images: Vec::new(),
                how: None,
            },
        })
    }
}

/// Where images go that come one by one.
pub(super) enum Sink {
    Folder(Folder),
    /// All in one file, which is written at the end.
    Gathered {
        form: Form,
        output: PathBuf,
        images: Vec<Image>,
        /// Which pixels were given, and in which order the others appeared.
        how: Option<(Vec<bool>, Order)>,
    },
}

impl Sink {
    /// Takes the answer for one image, and tells the file that it went into if it has one of its own.
    pub(super) fn push(&mut self, name: &ImageName, answer: Box<dyn AnyAnswer>) -> Result<Option<PathBuf>, String> {
        let told = |refusal: Refusal| refusal.to_string();
        let rendering = answer.rendering().map_err(told)?;
        match self {
            Self::Folder(folder) => match rendering {
                Rendering::File(bytes) => folder.write(&file_name(name, None, "dsi"), &bytes).map(Some),
                rendering => {
                    let images = images(rendering);
                    let several = images.len() > 1;
                    let mut written = None;
                    for (index, image) in images.iter().enumerate() {
                        let path = file_name(name, several.then_some(index), "png");
                        written = Some(folder.write(&path, &png(image)?)?);
                    }
                    Ok(written.filter(|_| !several))
                }
            },
            Self::Gathered { images: all, how, .. } => {
                if let Rendering::Images { known, order, .. } = &rendering {
                    how.get_or_insert_with(|| (known.clone(), *order));
                }
                all.extend(images(rendering));
                Ok(None)
            }
        }
    }

    /// Writes what waits.
    pub(super) fn finish(self) -> Result<(), CliError> {
        let Self::Gathered {
            form,
            output,
            images,
            how,
        } = self
        else {
            return Ok(());
        };
        if images.is_empty() {
            return Ok(());
        }
        let (known, order) = how.unwrap_or((Vec::new(), Order::AtOnce));
        let rendering = Rendering::Images { images, known, order };
        form.write(&output, rendering)
    }
}

fn images(rendering: Rendering) -> Vec<Image> {
    match rendering {
        Rendering::Images { images, .. } | Rendering::Overlays { images, .. } => images,
        _ => Vec::new(),
    }
}

fn array(rendering: &Rendering) -> Vec<u8> {
    match rendering {
        Rendering::Images { images, .. } => images
            .first()
            .map_or_else(Vec::new, |first| media::write_images(images, first.shape())),
        _ => Vec::new(),
    }
}

fn png(image: &Image) -> Result<Vec<u8>, String> {
    media::png(image).map_err(|error| error.to_string())
}

/// A folder that gets a file for every image, in the tree that the inputs have.
pub(super) struct Folder {
    path: PathBuf,
    /// Names of this run: two inputs of one name must not become one output.
    written: HashSet<PathBuf>,
}

impl Folder {
    fn create(path: &Path) -> Result<Self, CliError> {
        fs::create_dir_all(path).map_err(|error| CliError::writing(Some(path), error))?;
        Ok(Self {
            path: path.to_owned(),
            written: HashSet::new(),
        })
    }

    fn write(&mut self, name: &Path, bytes: &[u8]) -> Result<PathBuf, String> {
        let path = self.path.join(name);
        if !self.written.insert(name.to_owned()) {
            return Err(format!(
                "{} has already been written for another input of the same name; give them apart",
                path.display()
            ));
        }
        let parent = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(parent)
            .and_then(|()| write_beside(&path, bytes))
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        Ok(path)
    }
}

/// The output of an input: its path below the folder that was named, with another ending.
fn file_name(name: &ImageName, completion: Option<usize>, ending: &str) -> PathBuf {
    let below = name.below.clone();
    let mut stem = below.file_stem().unwrap_or_default().to_owned();
    for number in name.index.into_iter().chain(completion.map(|at| at as u64)) {
        stem.push(format!("-{number:05}"));
    }
    stem.push(format!(".{ending}"));
    below.with_file_name(stem)
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    if is_standard(path) {
        let mut output = io::stdout().lock();
        return output
            .write_all(bytes)
            .and_then(|()| output.flush())
            .map_err(|error| CliError::writing(None, error));
    }
    write_beside(path, bytes).map_err(|error| CliError::writing(Some(path), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::ImageShape;

    #[test]
    fn the_ending_of_the_output_tells_its_form() {
        let folder = tempfile::tempdir().unwrap();
        let shape = ImageShape::new(1, 2, 3, 256).unwrap();
        let images = vec![Image::new(shape, vec![0, 50, 100, 150, 200, 250]).unwrap(); 5];
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str| {
            let rendering = Rendering::Images {
                images: images.clone(),
                known: Vec::new(),
                order: Order::Rows,
            };
            let form = Form::of(&path(name)).unwrap();
            form.write(&path(name), rendering).unwrap();
        };
        let starts = |name: &str, magic: &[u8]| fs::read(path(name)).unwrap().starts_with(magic);
        write("grid.png");
        assert!(starts("grid.png", b"\x89PNG\r\n"));
        write("film.gif");
        assert!(starts("film.gif", b"GIF89a"));
        write("array.npy");
        assert!(starts("array.npy", media::NPY_MAGIC));
        write("each/of/them");
        assert!(path("each/of/them/00004.png").is_file());
        assert!(Form::of(&path("movie.mp4")).is_err());
    }

    #[test]
    fn inputs_of_one_name_keep_their_folders_and_do_not_overwrite_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = Folder::create(&folder.path().join("new")).unwrap();
        sink.write(Path::new("a/x.dsi"), b"1").unwrap();
        sink.write(Path::new("b/x.dsi"), b"2").unwrap();
        assert!(sink.write(Path::new("a/x.dsi"), b"3").is_err());
        assert_eq!(fs::read(folder.path().join("new/a/x.dsi")).unwrap(), b"1");
    }
}
