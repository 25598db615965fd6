//! Which graphs are classifiers: those that give a number for each label of an image.

mod evidence;
mod outputs;
mod units;

use self::{
    evidence::Evidence,
    units::{Conversion, Units},
};
use crate::{
    domain::image::Image,
    families::import::{
        Certainty, Golden, Levels, Mismatch, Plan, alone, labels_of, levels_count, levels_of, of_images,
    },
    import::{
        canonical::{Canonical, Op},
        features,
        interview::Interview,
        output_activation::OutputActivation,
        reading::{Given, Reading},
    },
};

pub(super) fn import<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let reading = alone(brought)?;
    let other = |reason: &str| Err(Mismatch::Other(reason.to_owned()));
    let Some((taken, form)) = reading.image() else {
        return other("it takes images");
    };
    if reading.label().is_some() {
        return other("it gives labels, and takes none");
    }
    let rows = outputs::rows(reading)?;
    let Some(given) = outputs::chosen(reading, &rows, interview)? else {
        return other("it gives a row of numbers for each image, one for each label");
    };
    let file = &reading.file;
    let Conversion {
        units,
        activation,
        ops,
        labels,
        mut notes,
        declared,
    } = Conversion::of(reading, given, interview)?;
    let labelled = labels_of(file, Some(labels), interview)?;
    let likely = evidence::likely_input(reading, (taken, form), labels);
    let levels = levels_of(reading, (taken, form), levels_count(interview)?, likely, interview)?;
    units.try_out((reading, given), &levels, interview)?;
    let mut graph = Canonical::of(reading);
    graph.image("image", taken);
    let mut features = "";
    if let Some((name, onnx_type, size)) = outputs::features_of(reading, given, interview) {
        notes.push(format!("{file}: features are {name:?}, {size} numbers for each image"));
        let ops = [Op::Flatten];
        graph.output((&name, onnx_type), "features", &ops, &[size]);
        features = "features = \"features\"\n";
    }
    graph.output((&given.port.name, given.port.onnx_type), "logits", &ops, &[labels]);
    let tables = format!(
        "{}\n[graphs.logits]\nfile = \"model.onnx\"\ninput = \"image\"\noutput = \"logits\"\n{features}{}",
        levels.table(),
        labelled.table
    );
    let (certainty, doubt) = if features::are_features(reading, given) {
        (Certainty::Possible, None)
    } else {
        let is_alone = outputs::is_alone(reading, &rows, given);
        certainty((reading, given), is_alone, (units, activation), interview)
    };
    Ok(Plan {
        certainty,
        doubt,
        shape: levels.shape,
        graphs: vec![("model.onnx", graph.finish())],
        tables,
        declared,
        golden: golden(reading, levels, given.place, units, labels),
        statistic: None,
        notes,
    })
}

/// Two rows of one size are mean and spread rather than labels, and only a softmax or a sigmoid is sure. Of what has
/// neither, names have to tell.
fn certainty(
    (reading, given): (&Reading, &Given),
    is_alone: bool,
    (units, activation): (Units, OutputActivation),
    interview: &mut Interview,
) -> (Certainty, Option<String>) {
    match activation {
        _ if !is_alone => (Certainty::Possible, None),
        OutputActivation::Softmax | OutputActivation::LogSoftmax | OutputActivation::Sigmoid => {
            (Certainty::Certain, None)
        }
        _ if units != Units::Logits => (Certainty::Likely, None),
        _ => {
            let evidence = Evidence::of(reading, given, interview);
            interview.note(&evidence.told(&reading.file, given));
            let certainty = if evidence.is_for() {
                Certainty::Likely
            } else {
                Certainty::Possible
            };
            (certainty, evidence.doubt(given))
        }
    }
}

/// log p(label | image) of every label.
fn golden(reading: &Reading, levels: Levels, place: usize, units: Units, labels: usize) -> Golden<'_> {
    let numbers = move |images: &[Image]| {
        let rows = of_images(reading, &levels, images, &[], place)?;
        Ok(rows.iter().flat_map(|row| units.log_posterior(row)).collect())
    };
    Golden::OfImages {
        labels: Some(labels),
        numbers: Box::new(numbers),
        log_prior: Vec::new(),
    }
}
