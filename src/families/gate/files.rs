//! What the gate reads of a version: graphs with all their weights, golden images and scores, calibrations.

use super::{Gate, GateError, failed};
use crate::{
    detection::{calibrated_on::CalibratedOn, trained_on::TrainedOn},
    domain::{conformal::Calibration, image::Image},
    families::{
        manifest::{CalibrationFile, Scored, placement},
        two_sided::no_calibration,
    },
    graph::{self, convert::Step},
    media,
    model::{Reason, info::CalibrationInfo},
};

impl<'a> Gate<'a> {
    /// The bytes of a file that the manifest names.
    pub fn read(&self, file: &str) -> Result<&'a [u8], GateError> {
        let bytes = self.case.snapshot.file(file).map(|bytes| &bytes[..]);
        bytes.ok_or_else(|| GateError::Read {
            file: file.to_owned(),
            cause: "the manifest has no hash of it".to_owned(),
        })
    }

    /// Numbers of an npy file.
    pub fn scores(&self, file: &str) -> Result<Vec<f64>, GateError> {
        media::read_f64(self.read(file)?).map_err(|error| GateError::file(file, error))
    }

    /// Golden images and their scores: one each, or one for each of `labels`.
    pub fn golden_scores(&self, golden: &Scored, labels: Option<usize>) -> Result<(Vec<Image>, Vec<f64>), GateError> {
        let Scored {
            images: image_file,
            scores: score_file,
            ..
        } = golden;
        let read = if self.manifest().contract.any_size() {
            media::read_images_of_any_size
        } else {
            media::read_images
        };
        let images = read(self.read(image_file)?, self.manifest().shape, usize::MAX)
            .map_err(|error| GateError::file(image_file, error))?;
        let columns: Vec<usize> = labels.into_iter().collect();
        let scores = media::read_f64_table(self.read(score_file)?, &columns)
            .map_err(|error| GateError::file(score_file, error))?;
        if images.is_empty() || images.len() * labels.unwrap_or(1) != scores.len() {
            let cause = format!(
                "it has {} scores for {} golden images; there must be one each (one for each label, if there are \
                 labels), and at least one image",
                scores.len(),
                images.len()
            );
            return Err(GateError::file(score_file, cause));
        }
        Ok((images, scores))
    }

    /// Reads a graph, with all its weights, and converts outputs to the server's units: every one that is read is
    /// named, whether there is something to convert or not. Only this goes to the runtime: it names no other file.
    pub fn graph(&mut self, file: &str, conversions: &[(&str, &[Step])]) -> Result<graph::protobuf::Model, GateError> {
        let refused = |cause: graph::GraphError| failed(file, cause.into());
        let bytes = if self.is_comparison {
            self.case.snapshot.graph(file)
        } else {
            self.case.snapshot.take_graph(file)
        };
        let bytes = bytes.ok_or_else(|| GateError::Read {
            file: file.to_owned(),
            cause: "the manifest has no hash of it".to_owned(),
        })?;
        let mut model = graph::parse_shared(bytes).map_err(refused)?;
        let (snapshot, unlisted) = (self.case.snapshot, &mut self.unlisted);
        let beside = graph::external::inline(&mut model, |name| match snapshot.file(name) {
            Some(bytes) => Ok(bytes.clone()),
            None => {
                let (bytes, hash) = snapshot.unlisted(name).map_err(|e| format!("{name}: {e}"))?;
                unlisted.insert(name.to_owned(), hash);
                Ok(bytes.into())
            }
        })
        .map_err(refused)?;
        graph::bounds::check(&model).map_err(refused)?;
        self.beside.extend(beside);
        let outputs: Vec<&str> = conversions.iter().map(|(output, _)| *output).collect();
        self.drawing.extend(graph::random_nodes::reaching(&model, &outputs));
        self.knows_batch_size |= graph::batch_size::is_known(&model);
        self.weights += graph::weights::count(&model);
        for (output, steps) in conversions {
            graph::convert::output(&mut model, output, steps).map_err(refused)?;
        }
        Ok(model)
    }

    /// Scores of held-out inliers, which are strange on both sides, and what the model says of them; or why it has none
    /// that hold here.
    pub fn calibration(
        &mut self,
        file: Option<&CalibrationFile>,
        statistic: &'static str,
    ) -> Result<Result<(Calibration, CalibrationInfo), Reason>, GateError> {
        let Some(file) = file else {
            return Ok(Err(no_calibration()));
        };
        let calibrated = file.placement().map_err(GateError::Manifest)?;
        let command = format!("new-calibration {}", self.manifest().name);
        if let Err(reason) = placement::holds(calibrated, self.placement(), &command) {
            self.passed("calibration", format!("not used: {reason}"));
            return Ok(Err(reason));
        }
        let calibration = self.calibration_of(&file.scores)?;
        if let Some(images) = &file.images {
            let hashes = TrainedOn::read(self.read(images)?).map_err(|cause| GateError::file(images, cause))?;
            let of = calibration.size();
            self.calibrated_on = Some(CalibratedOn { hashes, of });
        }
        self.passed(
            "calibration",
            format!("{} scores of held-out inliers", calibration.size()),
        );
        let info = CalibrationInfo {
            size: calibration.size(),
            statistic,
            smallest_false_alarm_rate: calibration.smallest_p_value(),
            description: file.description.clone(),
            by_label: None,
        };
        Ok(Ok((calibration, info)))
    }

    /// The calibration of a file of scores.
    pub fn calibration_of(&self, file: &str) -> Result<Calibration, GateError> {
        Calibration::new(self.scores(file)?).map_err(|error| GateError::file(file, error))
    }

    pub(super) fn trained_on(&self) -> Result<Option<TrainedOn>, GateError> {
        let Some(file) = &self.manifest().provenance.trained_on else {
            return Ok(None);
        };
        let hashes = TrainedOn::read(self.read(file)?).map_err(|cause| GateError::file(file, cause))?;
        Ok(Some(hashes))
    }
}
