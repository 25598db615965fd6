//! Reading a manifest: tables as they are written, checked into types that cannot be wrong in themselves.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    CalibrationFile, Golden, GoldenFiles, Labels, Manifest, Provenance, Tolerance,
    declared::{Declared, Serving},
    families::FamilyTables,
};
use crate::{
    domain::{family::Family, image::ImageShape},
    graph::{
        recurrence::{Offset, Recurrence},
        rewrite::InputMap,
    },
};

/// The file as it is written by families with graphs; `Tables` are those of the family.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound = "Tables: FamilyTables")]
struct File<Tables: FamilyTables> {
    name: String,
    #[expect(dead_code, reason = "read before")]
    family: String,
    description: String,
    image: ImageTable,
    input: Option<InputTable>,
    graphs: Tables,
    latent: Option<LatentTable>,
    recurrence: Option<RecurrenceTable>,
    labels: Option<Labels>,
    likelihood: Option<LikelihoodTable>,
    golden: Tables::Golden,
    calibration: Option<CalibrationFile>,
    provenance: Provenance,
    #[serde(default)]
    serving: Serving,
    #[serde(default)]
    declared: Declared,
    sha256: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageTable {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) levels: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputTable {
    pub(super) scale: f64,
    pub(super) offset: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LatentTable {
    pub(super) size: usize,
}

/// Places are [dy, dx]: rows down, columns to the right.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecurrenceTable {
    pub(super) state_size: usize,
    pub(super) neighbours: Vec<Vec<i64>>,
    pub(super) window: Vec<Vec<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LikelihoodTable {
    pub(super) head: Head,
}

#[derive(Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Head {
    Categorical,
    Bernoulli,
    DiscretizedLogistic,
}

/// `[golden]` of families that say something of images.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScoredTable {
    images: String,
    scores: String,
    absolute_tolerance: f64,
    relative_tolerance: f64,
}

/// `[golden]` of families that only draw.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrawnTable {
    latents: String,
    labels: Option<String>,
    images: String,
    absolute_tolerance: f64,
    relative_tolerance: f64,
}

impl TryFrom<ScoredTable> for Golden {
    type Error = String;

    fn try_from(table: ScoredTable) -> Result<Self, String> {
        Ok(Self {
            tolerance: tolerance(table.absolute_tolerance, table.relative_tolerance)?,
            files: GoldenFiles::Scored {
                images: table.images,
                scores: table.scores,
            },
        })
    }
}

impl TryFrom<DrawnTable> for Golden {
    type Error = String;

    fn try_from(table: DrawnTable) -> Result<Self, String> {
        Ok(Self {
            tolerance: tolerance(table.absolute_tolerance, table.relative_tolerance)?,
            files: GoldenFiles::Drawn {
                latents: table.latents,
                labels: table.labels,
                images: table.images,
            },
        })
    }
}

pub(super) fn tolerance(absolute: f64, relative: f64) -> Result<Tolerance, String> {
    let is_valid = |value: f64| value.is_finite() && value >= 0.0;
    if is_valid(absolute) && is_valid(relative) {
        return Ok(Tolerance { absolute, relative });
    }
    Err("golden: tolerances must be finite, and not negative".to_owned())
}

/// What the tables of a family may need besides themselves. Each is to be asked for, or refused, by the family.
pub(super) struct Common<'a> {
    pub(super) family: Family,
    pub(super) shape: ImageShape,
    pub(super) input: Option<InputTable>,
    pub(super) latent: Option<LatentTable>,
    pub(super) recurrence: Option<RecurrenceTable>,
    pub(super) labels: Option<&'a Labels>,
    pub(super) head: Option<Head>,
}

impl Common<'_> {
    pub(super) fn needs(&self, what: &str) -> String {
        format!("a {} needs {what}", self.family)
    }

    pub(super) fn has_no(&self, what: &str) -> String {
        format!("a {} has no {what}", self.family)
    }

    /// The map from levels to what the graph takes.
    pub(super) fn input_map(&self) -> Result<InputMap, String> {
        let InputTable { scale, offset } =
            self.input.as_ref().ok_or_else(|| self.needs("[input]"))?;
        let map = InputMap {
            scale: *scale,
            offset: *offset,
        };
        if map.scale.is_finite() && map.offset.is_finite() && map.scale != 0.0 {
            return Ok(map);
        }
        Err("input: scale and offset must be finite, and scale not 0".to_owned())
    }

    pub(super) fn latent_size(&self) -> Result<usize, String> {
        self.latent
            .as_ref()
            .map(|latent| latent.size)
            .filter(|size| (1..=65_536).contains(size))
            .ok_or_else(|| self.needs("[latent] with a size from 1 to 65536"))
    }

    pub(super) fn no_latent(&self) -> Result<(), String> {
        refuse(self.latent.is_some(), || self.has_no("[latent]"))
    }

    pub(super) fn recurrence(&self) -> Result<Recurrence, String> {
        let channels = self.shape.channels();
        refuse(channels != 1, || {
            format!(
                "image.channels: a {} has images of 1 channel, not of {channels}",
                self.family
            )
        })?;
        let table = self.recurrence.as_ref();
        let table = table.ok_or_else(|| self.needs("[recurrence]"))?;
        let neighbours = offsets("neighbours", &table.neighbours)?;
        let window = offsets("window", &table.window)?;
        Recurrence::new(self.shape, table.state_size, neighbours, window)
            .map_err(|error| format!("recurrence.{error}"))
    }

    pub(super) fn no_recurrence(&self) -> Result<(), String> {
        refuse(self.recurrence.is_some(), || self.has_no("[recurrence]"))
    }

    pub(super) fn no_labels(&self) -> Result<(), String> {
        refuse(self.labels.is_some(), || self.has_no("[labels]"))
    }

    pub(super) fn no_likelihood(&self) -> Result<(), String> {
        refuse(self.head.is_some(), || {
            format!(
                "{}: it has no explicit density over images",
                self.has_no("[likelihood]")
            )
        })
    }
}

pub(super) fn offsets(list: &str, places: &[Vec<i64>]) -> Result<Vec<Offset>, String> {
    places
        .iter()
        .map(|place| match place[..] {
            [dy, dx] => Ok(Offset { dy, dx }),
            _ => Err(format!("recurrence.{list}: {place:?} is not [dy, dx]")),
        })
        .collect()
}

pub(super) fn refuse(wrong: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if wrong { Err(reason()) } else { Ok(()) }
}

/// The manifest of a family with graphs.
pub(super) fn parse<Tables: FamilyTables>(text: &str, folder: &str) -> Result<Manifest, String> {
    let file: File<Tables> =
        toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    check_name(&file.name, folder)?;
    if let Some(labels) = &file.labels {
        check_labels(labels)?;
    }
    let shape = shape(&file.image)?;
    let common = Common {
        family: Tables::FAMILY,
        shape,
        input: file.input,
        latent: file.latent,
        recurrence: file.recurrence,
        labels: file.labels.as_ref(),
        head: file.likelihood.map(|likelihood| likelihood.head),
    };
    let graphs = file.graphs.into_graphs(&common)?;
    if let Some(calibration) = &file.calibration {
        let Some(wanted) = Tables::STATISTIC else {
            return Err(format!(
                "calibration: {}",
                common.has_no("statistic to calibrate")
            ));
        };
        if calibration.statistic != wanted {
            return Err(format!(
                "calibration.statistic: a {} is calibrated on {:?}",
                Tables::FAMILY,
                wanted.name()
            ));
        }
    }
    Ok(Manifest {
        name: file.name,
        family: Tables::FAMILY,
        description: file.description,
        shape,
        graphs,
        labels: file.labels,
        golden: file.golden.try_into()?,
        calibration: file.calibration,
        provenance: file.provenance,
        serving: file.serving.checked(Tables::FAMILY)?,
        declared: file
            .declared
            .checked(Tables::FAMILY, Tables::STATISTIC.is_some())?,
        sha256: file.sha256,
    })
}

/// The family that a manifest names, which decides on everything else in it.
pub(super) fn family_of(text: &str) -> Result<Family, String> {
    #[derive(Deserialize)]
    struct Kind {
        family: String,
    }
    let kind: Kind = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    kind.family
        .parse()
        .map_err(|error| format!("family: {error}"))
}

pub(super) fn check_name(name: &str, folder: &str) -> Result<(), String> {
    refuse(name != folder, || {
        format!("name: {name:?} is not the name of its folder, {folder:?}")
    })
}

pub(super) fn shape(image: &ImageTable) -> Result<ImageShape, String> {
    ImageShape::new(image.channels, image.height, image.width, image.levels)
        .map_err(|error| format!("image: {error}"))
}

/// Names that differ, and a prior that is a distribution over them.
pub(super) fn check_labels(labels: &Labels) -> Result<(), String> {
    let Labels { names, prior } = labels;
    if names.len() < 2 || names.iter().any(String::is_empty) {
        return Err("labels.names: at least two names, none of them empty, are needed".to_owned());
    }
    if let Some(twice) = names
        .iter()
        .enumerate()
        .find(|(at, name)| names[..*at].contains(name))
    {
        return Err(format!("labels.names: {:?} is there twice", twice.1));
    }
    let sum: f64 = prior.iter().sum();
    if prior.len() != names.len()
        || prior.iter().any(|&p| p.is_nan() || p <= 0.0)
        || (sum - 1.0).abs() > 1e-6
    {
        return Err(format!(
            "labels.prior: {} numbers with sum {sum}; wanted are {} positive ones with sum 1",
            prior.len(),
            names.len()
        ));
    }
    Ok(())
}
