//! Which graphs are PixelCNNs: those that give a distribution over levels for every dimension and see only what comes
//! before it.

mod kind;
mod predictions;
mod several;
mod units;

use self::{
    kind::{Kind, Predictions},
    predictions::predictions,
    units::{Reader, Recognised, Units},
};
use crate::{
    domain::image::{Image, ImageShape},
    families::import::{
        Certainty, Golden, Labelled, Levels, Likely, Mismatch, Parameters, Plan, alone, labels_given, levels_count,
        levels_of, of_images, take_label,
    },
    graph::convert::Step,
    import::{
        Problem,
        canonical::{Canonical, Op},
        interview::Interview,
        output_activation::{self, OutputActivation},
        reading::{Given, Reading},
    },
};

pub(super) fn import<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let reading = alone(brought)?;
    let Some((taken, form)) = reading.image() else {
        return Err(Mismatch::Other("it takes images".to_owned()));
    };
    let predictions = predictions(reading, (taken, form), interview)?;
    let Predictions {
        given,
        arrangement,
        kind,
    } = predictions;
    let (levels, parameters) = match kind {
        Kind::Categorical(levels) => (levels_told(levels, interview)?, None),
        Kind::Bernoulli => (levels_told(2, interview)?, None),
        Kind::Mixture(count) => {
            let levels = levels_count(interview)?;
            let parameters = Parameters::of(&reading.file, (count, form.channels), interview)?;
            (levels, Some(parameters))
        }
    };
    // The paper's networks take levels from −1 to 1.
    let is_mixture = parameters.is_some();
    // Behind everything else; means may be squashed, since no level is beyond 1.
    let is_squashed = output_activation::is_last_part(reading.graph(), &given.port.name, OutputActivation::Tanh);
    if is_mixture && form.channels > 1 && is_squashed {
        return Err(coefficients_at_last(reading, given).into());
    }
    let levels = levels_of(
        reading,
        (taken, form),
        levels,
        Likely::by_pictures(is_mixture),
        interview,
    )?;
    let labelled = labels_given(reading, interview)?;
    let Recognised {
        units,
        mut ops,
        mut notes,
        declared,
    } = Recognised::of(reading, &predictions, interview)?;
    let shape = levels.shape;
    let sizes = sizes_of(kind, shape);
    if given.sizes.as_ref() != Some(&sizes) || !arrangement.is_canonical() {
        notes.push(format!("{}: its predictions are {}", reading.file, arrangement.name()));
        ops.push(Op::Arrange(arrangement, sizes.clone()));
    }
    ops.extend(parameters.as_ref().and_then(Parameters::op));
    if units == Units::Probabilities && !ops.iter().any(|op| matches!(op, Op::Without(_))) {
        let is_bernoulli = kind == Kind::Bernoulli;
        ops.push(Op::Convert(vec![if is_bernoulli { Step::LogOdds } else { Step::Log }]));
    }
    let mut graph = Canonical::of(reading);
    graph.image("image", taken);
    let label = take_label(&mut graph, reading, labelled.as_ref());
    graph.output((&given.port.name, given.port.onnx_type), "logits", &ops, &sizes);
    let head = kind.head();
    let table = labelled.as_ref().map_or("", |labelled| &labelled.table);
    let tables = format!(
        "{}\n[graphs.logits]\nfile = \"model.onnx\"\ninput = \"image\"\noutput = \
         \"logits\"\n{label}{table}\n[likelihood]\nhead = {head:?}\n",
        levels.table()
    );
    let reader = Reader {
        place: given.place,
        arrangement,
        kind,
        parameters,
        units,
    };
    Ok(Plan {
        certainty: Certainty::Certain,
        doubt: None,
        shape,
        graphs: vec![("model.onnx", graph.finish())],
        tables,
        declared,
        golden: golden(reading, levels, labelled, reader),
        statistic: Some("log_likelihood"),
        notes,
    })
}

/// What is wrong with coefficients between channels that went through a hyperbolic tangent, as they do by contract.
fn coefficients_at_last(reading: &Reading, given: &Given) -> Problem {
    Problem::new(
        &reading.file,
        format!(
            "a part of {:?} ends in a hyperbolic tangent, which the coefficients between channels get by definition: \
             they would get it twice",
            given.port.name
        ),
        "export the parameters as the last convolution gives them",
    )
}

/// Sizes of the predictions of an image, as the contract has them.
fn sizes_of(kind: Kind, shape: ImageShape) -> Vec<usize> {
    let (channels, plane) = (shape.channels(), [shape.height(), shape.width()]);
    let each: &[usize] = match &kind {
        Kind::Categorical(levels) if channels == 1 => &[*levels],
        Kind::Categorical(levels) => &[*levels, channels],
        Kind::Bernoulli => &[channels],
        Kind::Mixture(parameters) => &[*parameters],
    };
    [each, &plane].concat()
}

/// The levels that predictions tell, which nobody needs to say, and nobody may say otherwise.
fn levels_told(levels: usize, interview: &mut Interview) -> Result<usize, Mismatch> {
    match interview.given("levels") {
        Some(said) if said.parse() != Ok(levels) => Err(Problem::new(
            "--levels",
            format!("{said:?} is not the number of levels that it predicts, which is {levels}"),
            "leave it out",
        )
        .into()),
        _ => Ok(levels),
    }
}

fn golden(reading: &Reading, levels: Levels, labelled: Option<Labelled>, reader: Reader) -> Golden<'_> {
    let count = labelled.as_ref().map(|labelled| labelled.count);
    let numbers = move |images: &[Image]| {
        let all: Vec<usize> = (0..count.unwrap_or(1)).collect();
        let (repeated, labels): (Vec<Image>, Vec<usize>) = images
            .iter()
            .flat_map(|image| all.iter().map(move |&label| (image.clone(), label)))
            .unzip();
        let rows = of_images(reading, &levels, &repeated, &labels, reader.place)?;
        Ok(rows
            .iter()
            .zip(&repeated)
            .map(|(row, image)| reader.score(row, image))
            .collect())
    };
    Golden::OfImages {
        labels: count,
        numbers: Box::new(numbers),
        log_prior: labelled.map(|labelled| labelled.log_prior).unwrap_or_default(),
    }
}
