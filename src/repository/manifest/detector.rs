//! The manifest of a detector: which models it asks, and what it makes of their answers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{
    CalibrationFile, Graphs, Manifest, Provenance, Statistic,
    declared::{Declared, Serving},
    members::{Member, MemberTable, members},
    parse::{ImageTable, ScoredTable, check_name, shape},
};
use crate::domain::{
    detection::{DensityPlan, Plan},
    family::Family,
    statistics::{self, Need},
};

/// What a detector's manifest says beside what every manifest says.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The models it asks, each with a role of its own.
    pub members: Vec<Member<Need>>,
    /// Its statistics and densities.
    pub plan: Plan,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[expect(dead_code, reason = "read before")]
    family: String,
    description: String,
    image: ImageTable,
    members: Vec<MemberTable>,
    detector: DetectorTable,
    densities: Vec<DensityTable>,
    calibration: CalibrationTable,
    golden: ScoredTable,
    provenance: Provenance,
    sha256: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DetectorTable {
    statistics: Vec<String>,
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
struct CalibrationTable {
    file: String,
    description: String,
}

/// Parses the manifest of a detector whose folder is called `folder`.
pub(super) fn parse(text: &str, folder: &str) -> Result<Manifest, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    check_name(&file.name, folder)?;
    let shape = shape(&file.image)?;
    let plan = plan(file.detector, file.densities)?;
    let members = own(members(file.members)?)?;
    Ok(Manifest {
        name: file.name,
        family: Family::Detector,
        description: file.description,
        shape,
        labels: None,
        graphs: Graphs::Detector(Contract { members, plan }),
        golden: file.golden.try_into()?,
        calibration: Some(CalibrationFile {
            scores: file.calibration.file,
            statistic: Statistic::Strangeness,
            description: file.calibration.description,
        }),
        provenance: file.provenance,
        serving: Serving::default(),
        declared: Declared::default(),
        sha256: file.sha256,
    })
}

/// Needs that are met by asking another member have none of their own.
fn own(members: Vec<Member<Need>>) -> Result<Vec<Member<Need>>, String> {
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
        names
            .iter()
            .map(one)
            .collect::<Result<Vec<statistics::Statistic>, _>>()
    };
    let statistics = parse(&detector.statistics, "detector.statistics")?;
    if densities.is_empty() {
        return Err("densities: at least one is needed, because densities decide".to_owned());
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
                return Err(format!(
                    "{place}: {:?} is not among detector.statistics",
                    other.name()
                ));
            }
            if !(1..=1024).contains(&table.axes) || !(1..=256).contains(&table.components) {
                return Err(format!(
                    "{place}: axes must be 1 to 1024 and components 1 to 256"
                ));
            }
            Ok(DensityPlan {
                name: table.name,
                statistics: own,
                axes: table.axes,
                components: table.components,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    Ok(Plan {
        statistics,
        densities,
    })
}
