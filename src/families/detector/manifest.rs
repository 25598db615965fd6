//! The manifest of a detector: which models it asks, and what it makes of their answers.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{
    detection::{
        rule::{DensityPlan, Plan},
        statistics::{Requirement, Statistic},
        tiles::TilePlan,
    },
    domain::image::ImageShape,
    families::manifest::{
        Scored, Tables,
        members::{Member, members},
        placement::CalibratedAt,
    },
    runtime::Placement,
};

/// What a detector's manifest says beside what every manifest says.
#[derive(Debug)]
pub(super) struct Own {
    /// The models it asks, each with a role of its own.
    pub(super) members: Vec<Member<Requirement>>,
    /// Its statistics and densities.
    pub(super) plan: Plan,
    /// What was learnt of features of inliers, if anything was.
    pub(super) learnt: Option<String>,
    /// JSON file of its calibration.
    pub(super) calibration: String,
    /// Whether images are compared with those to which a member gives the same label.
    pub(super) per_label: bool,
    /// Where the images that calibrated it came from.
    pub(super) description: String,
    /// Where they were judged, and how exactly.
    pub(super) calibrated_at: Placement,
    pub(super) golden: Scored,
    /// How larger images are cut, if they may be.
    pub(super) tiles: Option<TilePlan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TilesTable {
    stride: usize,
    map: String,
    smoothing: f64,
    share: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DetectorTable {
    statistics: Vec<String>,
    #[serde(default)]
    excess: Vec<String>,
    #[serde(default)]
    guard: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DensityTable {
    name: String,
    statistics: Vec<String>,
    axes: usize,
    components: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LearntTable {
    file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CalibrationTable {
    file: String,
    description: String,
    #[serde(default)]
    per_label: bool,
    device: Option<String>,
    precision: Option<String>,
}

impl Own {
    pub(super) fn read(tables: &mut Tables) -> Result<Self, String> {
        let calibration: CalibrationTable = tables.needed("calibration")?;
        let densities = tables.optional("densities")?.unwrap_or_default();
        let plan = plan(tables.needed("detector")?, densities)?;
        let tiles: Option<TilesTable> = tables.optional("tiles")?;
        let tiles = tiles.map(|table| table.plan(&plan, tables.shape())).transpose()?;
        if tiles.is_some() && calibration.per_label {
            return Err(
                "calibration.per_label: windows of one image may have several labels, leave it or [tiles] out"
                    .to_owned(),
            );
        }
        Ok(Self {
            members: own(members(tables)?)?,
            plan,
            tiles,
            learnt: tables.optional::<LearntTable>("learnt")?.map(|table| table.file),
            calibration: calibration.file,
            per_label: calibration.per_label,
            description: calibration.description,
            calibrated_at: CalibratedAt::new(calibration.device, calibration.precision).placement()?,
            golden: tables.scored()?,
        })
    }
}

impl TilesTable {
    fn plan(&self, windows: &Plan, window: ImageShape) -> Result<TilePlan, String> {
        let map = windows.statistics.iter().find(|own| own.name == self.map);
        let map = map.filter(|own| own.is_map()).ok_or_else(|| {
            format!(
                "tiles.map: {:?} is none of detector.statistics that is a number for every dimension",
                self.map
            )
        })?;
        TilePlan::new(window, *map, self.stride, self.smoothing, self.share).map_err(|error| format!("tiles.{error}"))
    }
}

/// Needs that are met by asking another member have none of their own.
fn own(members: Vec<Member<Requirement>>) -> Result<Vec<Member<Requirement>>, String> {
    match members.iter().find(|member| member.role.is_derived()) {
        None => Ok(members),
        Some(member) => Err(format!(
            "members: {:?} asks another member and has none of its own",
            member.role.name()
        )),
    }
}

fn plan(detector: DetectorTable, densities: Vec<DensityTable>) -> Result<Plan, String> {
    let parse = |names: &[String], place: &str| {
        let mut seen = BTreeSet::new();
        let one = |name: &String| {
            if !seen.insert(name.clone()) {
                return Err(format!("{place}: {name:?} is named twice"));
            }
            name.parse().map_err(|e| format!("{place}: {e}"))
        };
        names.iter().map(one).collect::<Result<Vec<Statistic>, _>>()
    };
    let statistics = parse(&detector.statistics, "detector.statistics")?;
    if densities.is_empty() && detector.excess.is_empty() {
        return Err(
            "densities: at least one is needed where there is no detector.excess: one of them decides".to_owned(),
        );
    }
    let densities = densities
        .into_iter()
        .map(|table| {
            let place = format!("densities: {:?}", table.name);
            let own = parse(&table.statistics, &place)?;
            if own.is_empty() {
                return Err(format!("{place}: it has no statistics"));
            }
            if let Some(other) = own.iter().find(|s| !statistics.contains(s)) {
                return Err(format!("{place}: {:?} is not among detector.statistics", other.name));
            }
            if !(1..=1024).contains(&table.axes) || !(1..=256).contains(&table.components) {
                return Err(format!("{place}: axes must be 1 to 1024 and components 1 to 256"));
            }
            Ok(DensityPlan {
                name: table.name,
                statistics: own,
                axes: table.axes,
                components: table.components,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    let numbers = |names: &[String], place: &str| {
        let own = parse(names, place)?;
        match own.iter().find(|own| !statistics.contains(own) || !own.is_number()) {
            None => Ok(own),
            Some(other) => Err(format!(
                "{place}: {:?} is not a number among detector.statistics",
                other.name
            )),
        }
    };
    let excess = numbers(&detector.excess, "detector.excess")?;
    let guarded = numbers(&detector.guard, "detector.guard")?;
    Ok(Plan {
        statistics,
        densities,
        excess,
        guarded,
    })
}
