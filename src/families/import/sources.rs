//! The graphs that somebody brings: found, read, and parted where one holds two.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::{Path, PathBuf},
};

use super::{Golden, LABEL, Plan, Request, picture_of_image};
use crate::{
    import::{
        Problem, causal,
        export::Export,
        interview::Interview,
        learning,
        reading::{self, Reading, Taken},
        split, tables,
    },
    runtime::Engine,
};

/// What was read of files: reading is done again after every round of questions, and most answers are about something
/// else.
#[derive(Default)]
pub(super) struct Known(HashMap<PathBuf, Brought>);

/// What was read of a file.
struct Brought {
    export: Export,
    /// What its inputs were taken for when it was last read, and what that gave.
    reading: Option<(Vec<Taken>, Reading)>,
}

/// Reads all graphs. Problems of all of them are told together.
pub(super) fn read(
    engine: &dyn Engine,
    request: &Request,
    interview: &mut Interview,
    known: &mut Known,
) -> Result<Vec<Reading>, Vec<Problem>> {
    let files = graphs(&request.files).map_err(|problem| vec![problem])?;
    let (mut readings, mut problems) = (Vec::new(), Vec::new());
    for path in files {
        match read_one(engine, &path, interview, known) {
            Ok(reading) => readings.push(reading),
            Err(own) => problems.extend(own),
        }
    }
    if problems.is_empty() {
        Ok(readings)
    } else {
        Err(problems)
    }
}

/// Encoders and decoders apart, and encoders without the draw of their code, if nobody says that they are something
/// else.
pub(super) fn parted(
    engine: &dyn Engine,
    brought: Vec<Reading>,
    interview: &mut Interview,
) -> Result<Vec<Reading>, Vec<Problem>> {
    let family = interview.answers().get("family").map(String::as_str);
    let is_meant = matches!(family, None | Some("vae" | "autoencoder"));
    let brought = in_two(engine, brought, is_meant, interview)?;
    if !is_meant {
        return Ok(brought);
    }
    let undrawn = |reading: Reading| split::undrawn(engine, &reading, interview).unwrap_or(Ok(reading));
    brought.into_iter().map(undrawn).collect()
}

/// An encoder and its decoder, if one graph holds both.
fn in_two(
    engine: &dyn Engine,
    brought: Vec<Reading>,
    is_meant: bool,
    interview: &mut Interview,
) -> Result<Vec<Reading>, Vec<Problem>> {
    let [reading] = &brought[..] else { return Ok(brought) };
    if let Some((taken, size)) = reading.code()
        && !reading.drawing.is_empty()
    {
        return Err(vec![Problem::new(
            &reading.file,
            format!(
                "it takes {size} numbers ({:?}) and draws random ones inside, as no decoder and no generator does here",
                taken.port.name
            ),
            "if these are a code, export it in evaluation mode and without draws inside (a StyleGAN with \
             noise_mode=\"const\"); if they are images, say so by --size HxW; if they are an image and its label in \
             one row, export it with two inputs",
        )]);
    }
    if !is_meant {
        return Ok(brought);
    }
    if let Some(picture) = picture_of_image(reading)
        && !causal::predicts(reading, picture)
        && causal::predicts_in_another_order(reading, picture)
    {
        return Err(vec![Problem::new(
            &reading.file,
            format!(
                "{:?} predicts each pixel of others, as a MADE does, but not in the order of rows and columns, in \
                 which images are drawn here",
                picture.port.name
            ),
            "train it with the pixels in their natural order and export it again",
        )]);
    }
    if let Some(picture) = picture_of_image(reading)
        && !interview.answers().contains_key("family")
        // A normalising flow may be of that form, and gives logarithms of a determinant beside.
        && !reading.gives.iter().any(|given| {
            given.place != picture.place && [1, picture.numbers()].contains(&given.numbers())
        })
        && causal::sees_up_to_itself(reading, picture)
    {
        return Err(vec![Problem::new(
            &reading.file,
            format!(
                "{:?} predicts each pixel of those before it and of itself, and of none after it: it looks like a \
                 density that sees what it predicts, so that the product of its predictions is no probability",
                picture.port.name
            ),
            "mask its own pixel in the first layer, or in the last one of a MADE (<, not ≤), and train it again; if it \
             is an autoencoder after all, say --family autoencoder",
        )]);
    }
    let predicts = |given: &_| causal::predicts(reading, given);
    match split::parted(engine, reading, predicts, interview) {
        Some(parts) => parts.map(Vec::from),
        None => Ok(brought),
    }
}

/// What a density computes of its label alone is looked up.
pub(super) fn tabulated<'a>(engine: &dyn Engine, mut plan: Plan<'a>) -> Plan<'a> {
    if let Golden::OfImages {
        labels: Some(labels), ..
    } = &plan.golden
    {
        for (name, model) in &mut plan.graphs {
            if let Some(tables) = tables::tabulated(engine, model, LABEL, *labels) {
                plan.notes
                    .push(format!("{name}: what it computes of a label alone is kept as a table"));
                *model = tables;
            }
        }
    }
    plan
}

fn read_one(
    engine: &dyn Engine,
    path: &Path,
    interview: &mut Interview,
    known: &mut Known,
) -> Result<Reading, Vec<Problem>> {
    let brought = match known.0.entry(path.to_owned()) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => {
            let export = export(path).map_err(|problem| vec![problem])?;
            place.insert(Brought { export, reading: None })
        }
    };
    if brought.reading.is_none() {
        learning::learn(engine, &mut brought.export, interview);
    }
    let takes = reading::inputs(&brought.export, interview)?;
    match &brought.reading {
        Some((same, reading)) if *same == takes => Ok(reading.clone()),
        _ => {
            let reading = Reading::taking(engine, brought.export.clone(), takes.clone())?;
            brought.reading = Some((takes, reading.clone()));
            Ok(reading)
        }
    }
}

fn export(path: &Path) -> Result<Export, Problem> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // A graph that is named may be a link; what it names beside itself may not.
    let bytes = std::fs::read(path).map_err(|error| Problem::new(&file, format!("it cannot be read: {error}"), ""))?;
    let beside = |name: &str| match crate::families::files::read(folder, name) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(format!("{name}: {error}")),
    };
    Export::read(&file, bytes.into(), beside)
}

/// The files that are meant: those that were named, and those in folders that were.
fn graphs(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Problem> {
    let mut files = Vec::new();
    for input in inputs {
        if !input.is_dir() {
            files.push(input.clone());
            continue;
        }
        let unreadable = |error: std::io::Error| Problem::new(input.display().to_string(), error.to_string(), "");
        let mut own = Vec::new();
        for entry in input.read_dir().map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path
                .extension()
                .is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"))
            {
                own.push(path);
            }
        }
        own.sort();
        if own.is_empty() {
            return Err(Problem::new(
                input.display().to_string(),
                "the folder holds no graphs",
                "graphs are files that end in .onnx",
            ));
        }
        files.extend(own);
    }
    Ok(files)
}
