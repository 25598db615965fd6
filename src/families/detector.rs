//! Detectors: a decision made from what other models say of an image. No density of its own, one calibrated number.

mod calibrate;
mod file;
mod judge;
mod learnt;
mod manifest;
mod new;
mod rule;
mod version;

use std::{io, sync::Arc, time::Duration};

pub use self::calibrate::{Made, Recipe, Tiles, calibrate};
use self::{
    file::CalibrationText,
    judge::{Judge, TiledJudge},
    manifest::Own,
};
use super::{
    Contract, Family, Gate, GateError, Proved, Tables,
    gate::time_of,
    manifest::{MANIFEST, members},
};
use crate::{
    detection::{
        detector::Detector as Fitted,
        drift::Monitor,
        learners::Knowledge,
        learning,
        panel::{Members, Panel},
        rule::Rule,
        statistics::Requirement,
        tiles::{self, Tiled},
    },
    domain::{conformal::Calibration, image::Image, mondrian::Mondrian},
    metrics::DriftMetrics,
    model::{
        Capabilities, Reason,
        detect::{Judges, WatchesDrift},
        info::{CalibrationInfo, Density, TilesInfo},
    },
    runtime::Threads,
};

/// A decision from what other models say.
#[derive(Debug)]
pub struct Detector;

const NAME: &str = "detector";

/// Golden images that are judged at once: the working memory that their members take for them stays taken.
const COMPANY: usize = 2;

/// Names of the files that are written.
const CALIBRATION: &str = "calibration.json";
const LEARNT: &str = "learnt.safetensors";
const GOLDEN_IMAGES: &str = "golden_images.npy";
const GOLDEN_SCORES: &str = "golden_scores.npy";

impl Family for Detector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String> {
        Ok(Box::new(Own::read(tables)?))
    }
}

impl Contract for Own {
    fn files(&self) -> Vec<&str> {
        let files = self.golden.files().chain([self.calibration.as_str()]);
        files.chain(self.learnt.as_deref()).collect()
    }

    fn members(&self) -> Vec<(&str, u32)> {
        members::named(&self.members)
    }

    fn any_size(&self) -> bool {
        self.tiles.is_some()
    }

    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        let members = self
            .found(gate)
            .map_err(|cause| GateError::Manifest(format!("members: {cause}")))?;
        let knowledge = self.knowledge(gate, &members)?;
        let labels = members.labels().to_vec();
        let panel = Panel::new(members, self.plan.statistics.clone(), knowledge);
        let panel = Arc::new(panel.map_err(|cause| GateError::Manifest(format!("members: {cause}")))?);
        let manifest = gate.manifest();
        if panel.shape() != manifest.shape {
            return Err(GateError::Manifest(format!(
                "image: its members take {}, not {}",
                panel.shape(),
                manifest.shape
            )));
        }
        if self.tiles.is_some() && manifest.preprocessing.resize.is_some() {
            return Err(GateError::Manifest(
                "preprocessing.resize: a detector with [tiles] takes images as large as they are".to_owned(),
            ));
        }
        gate.passed("members", members::roles(&self.members));
        gate.calibrated_here(self.calibrated_at, "calibrate …")?;
        let wrong = |cause: String| GateError::file(&self.calibration, cause);
        let text = CalibrationText::read(gate.read(&self.calibration)?).map_err(wrong)?;
        text.check(self).map_err(wrong)?;
        let rule = text
            .rule(&self.plan, panel.shape(), panel.latent_size())
            .map_err(wrong)?;
        let calibration = text.calibration(&labels).map_err(wrong)?;
        let tiled = match &self.tiles {
            None => None,
            Some(plan) => Some(Tiled {
                panel: Arc::clone(&panel),
                plan: plan.clone(),
                windows: rule.clone(),
                images: text.image_rule(panel.shape()).map_err(wrong)?,
                calibration: calibration.all().clone(),
            }),
        };
        gate.passed(
            "calibration",
            format!(
                "{} inliers calibrate{}, {} ranked, {} fitted the densities",
                calibration.all().size(),
                of_labels(&calibration),
                text.splits.rank.images,
                text.splits.fit.images
            ),
        );
        let (images, golden) = gate.golden_scores(&self.golden, None)?;
        let calibrated_on = text.calibrated_on(&images).map_err(wrong)?;
        let time = gate.settle("judgements", |gate| {
            self.judge_golden(gate, (&images, &golden), (&panel, &rule), tiled.as_ref())
        })?;
        let density = self.members.iter().find(|member| member.role == Requirement::Density);
        if let Some(tiled) = tiled {
            let mut proved = self
                .proved_tiled(gate, Arc::new(tiled), time)
                .map_err(|error| GateError::Drift(error.to_string()))?;
            proved.capabilities = proved.capabilities.offer(Arc::new(calibrated_on));
            return Ok(proved);
        }
        let fitted = Arc::new(Fitted {
            panel,
            rule,
            calibration,
            density: density.map(|member| member.sha256.to_lowercase()),
        });
        let labels = if self.per_label { labels } else { Vec::new() };
        let mut proved = self
            .proved(gate, (fitted, labels), time)
            .map_err(|error| GateError::Drift(error.to_string()))?;
        proved.capabilities = proved.capabilities.offer(Arc::new(calibrated_on));
        Ok(proved)
    }
}

impl Own {
    /// Judges the golden images as their scores say; answers how long one takes.
    fn judge_golden(
        &self,
        gate: &mut Gate<'_>,
        (images, golden): (&[Image], &[f64]),
        (panel, rule): (&Panel, &Rule),
        tiled: Option<&Tiled>,
    ) -> Result<Duration, GateError> {
        if let Some(tiled) = tiled {
            return self.judge_golden_tiled(gate, (images, golden), tiled);
        }
        let levels = Image::levels_of(images);
        let failed = |cause: String| GateError::file(MANIFEST, cause);
        let mut scores = Vec::with_capacity(golden.len());
        for levels in levels.chunks(COMPANY) {
            for measured in panel.measure(levels, Threads::All).map_err(failed)? {
                let measured = measured.map_err(|error| failed(error.to_string()))?;
                scores.push(rule.judge(&measured.values).strangeness);
            }
        }
        gate.golden(("golden scores", ""), self.golden.tolerance(), golden, &scores)?;
        time_of(|| panel.measure(&levels[..1], Threads::One).map(drop)).map_err(failed)
    }

    /// The same of images that are cut into windows; answers how long a window takes.
    fn judge_golden_tiled(
        &self,
        gate: &mut Gate<'_>,
        (images, golden): (&[Image], &[f64]),
        tiled: &Tiled,
    ) -> Result<Duration, GateError> {
        let failed = |cause: String| GateError::file(MANIFEST, cause);
        let mut scores = Vec::with_capacity(golden.len());
        for image in images {
            let gathered = tiled.looking().measure_here(&tiled.panel, image, Threads::All);
            scores.push(tiled.images.judge(&gathered.map_err(failed)?.values).strangeness);
        }
        gate.golden(("golden scores", ""), self.golden.tolerance(), golden, &scores)?;
        let window = images
            .first()
            .map(|image| tiles::cut(image, (0, 0), tiled.panel.shape()));
        let levels: Vec<&[u8]> = window.iter().map(Image::levels).collect();
        time_of(|| tiled.panel.measure(&levels, Threads::One).map(drop)).map_err(failed)
    }

    fn found(&self, gate: &Gate<'_>) -> Result<Members, String> {
        let mut members = Members::default();
        for member in &self.members {
            let found = member.find(
                |name, version| gate.member(name, version),
                "the detector was calibrated with: its graphs have",
            )?;
            members.add(member.role, &found)?;
        }
        Ok(members)
    }

    /// What was learnt of features, if that is what the statistics need.
    fn knowledge(&self, gate: &mut Gate<'_>, members: &Members) -> Result<Knowledge, GateError> {
        let requirements = learning::learnt(&self.plan.statistics);
        let Some(file) = &self.learnt else {
            return Ok(Knowledge::default());
        };
        let wrong = |cause: String| GateError::file(file, cause);
        let tensors = learnt::read(gate.read(file)?).map_err(wrong)?;
        let size = members.places().map_or(0, |places| places.size());
        let knowledge = Knowledge::read(&requirements, tensors, size).map_err(wrong)?;
        gate.passed("learnt", learnt::told(&requirements, &knowledge.tensors));
        Ok(knowledge)
    }

    fn info(&self, calibration: &Calibration) -> CalibrationInfo {
        CalibrationInfo {
            size: calibration.size(),
            statistic: judge::STRANGENESS,
            smallest_false_alarm_rate: calibration.smallest_upper_p_value(),
            description: self.description.clone(),
            by_label: None,
        }
    }

    fn proved_tiled(&self, gate: &Gate<'_>, tiled: Arc<Tiled>, time: Duration) -> io::Result<Proved> {
        let (resources, name) = (gate.resources(), &gate.manifest().name);
        let monitor = monitor(gate, &tiled.calibration)?;
        let info = self.info(&tiled.calibration);
        let plan = &tiled.plan;
        let told = TilesInfo {
            stride: plan.tiling.stride(),
            map: plan.map.name,
            smoothing: plan.smoothing,
            share: plan.share,
        };
        let judge = TiledJudge {
            measure: tiled.panel.queue(resources, (name, "detect"), time),
            tiled: Arc::clone(&tiled),
            description: info.description.clone(),
            monitor: monitor.clone(),
        };
        let capabilities = capabilities(Arc::new(judge), monitor).offer::<Tiled>(tiled);
        Ok(Proved {
            calibration: Some(info),
            tiles: Some(told),
            ..Proved::new(Density::None, capabilities)
        })
    }

    fn proved(
        &self,
        gate: &Gate<'_>,
        (fitted, labels): (Arc<Fitted>, Vec<String>),
        time: Duration,
    ) -> io::Result<Proved> {
        let (resources, name) = (gate.resources(), &gate.manifest().name);
        let monitor = monitor(gate, fitted.calibration.all())?;
        let sizes = fitted.calibration.groups().iter().map(Calibration::size);
        let info = CalibrationInfo {
            smallest_false_alarm_rate: fitted.calibration.least().1.smallest_upper_p_value(),
            by_label: self.per_label.then(|| labels.iter().cloned().zip(sizes).collect()),
            ..self.info(fitted.calibration.all())
        };
        let judge = Judge {
            measure: fitted.panel.queue(resources, (name, "detect"), time),
            detector: Arc::clone(&fitted),
            description: info.description.clone(),
            labels,
            monitor: monitor.clone(),
        };
        let capabilities = capabilities(Arc::new(judge), monitor).offer::<Fitted>(fitted);
        Ok(Proved {
            calibration: Some(info),
            ..Proved::new(Density::None, capabilities)
        })
    }
}

/// How many images calibrate each label, for a finding, if labels calibrate one by one.
fn of_labels(calibration: &Mondrian) -> String {
    let sizes = || calibration.groups().iter().map(Calibration::size);
    match (sizes().min(), sizes().max()) {
        (Some(least), Some(most)) => format!(" label by label, {least} to {most} each"),
        _ => String::new(),
    }
}

/// Watches the stream of judged images, if a server does.
fn monitor(gate: &Gate<'_>, calibration: &Calibration) -> io::Result<Option<Arc<Monitor>>> {
    let (resources, name) = (gate.resources(), &gate.manifest().name);
    let monitor = resources.drift.as_ref().map(|folder| {
        let metrics = DriftMetrics::new(&resources.metrics, name);
        Monitor::open(
            folder,
            (name, gate.version(), gate.fingerprint()),
            calibration.scores(),
            metrics,
        )
        .map(Arc::new)
    });
    monitor.transpose()
}

/// What every detector can do.
fn capabilities(judge: Arc<dyn Judges>, monitor: Option<Arc<Monitor>>) -> Capabilities {
    let drift = monitor.map(|monitor| monitor as Arc<dyn WatchesDrift>);
    let unwatched = || Reason::from("drift is watched by a server only, which keeps what it has seen in a folder");
    Capabilities::new("a detector judges images by what other models say of them: ask one of its members")
        .offer::<dyn Judges>(judge)
        .with::<dyn WatchesDrift>(drift.ok_or_else(unwatched))
}
