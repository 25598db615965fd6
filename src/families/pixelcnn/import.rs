//! Which graphs are PixelCNNs: those that give a distribution over levels for every dimension and see only what comes
//! before it.

use crate::{
    domain::{
        image::Image,
        likelihood,
        logistic_mixture::{self, LogisticMixture},
    },
    families::import::{
        Certainty, Golden, Labelled, Levels, Mismatch, Parameters, Plan, alone, labels_given, levels_count, levels_of,
        of_images, take_label,
    },
    graph::{convert::Step, surgery},
    import::{
        Problem,
        canonical::{Canonical, Op},
        causal::{self, Place, Trial},
        export::Element,
        interview::Interview,
        layout::Arrangement,
        output_activation::{self, OutputActivation},
        reading::{Given, ImageForm, Reading, Taken},
    },
};

/// What predictions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Units {
    Logits,
    Probabilities,
}

/// What stands for the distribution of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A logit for each of so many levels.
    Categorical(usize),
    /// The log-odds of the upper of two levels.
    Bernoulli,
    /// So many parameters of a mixture of logistics for each pixel.
    Mixture(usize),
}

/// The output that predicts, and how it is read.
#[derive(Debug, Clone, Copy)]
struct Predictions<'a> {
    given: &'a Given,
    arrangement: Arrangement,
    kind: Kind,
}

impl Kind {
    fn head(self) -> &'static str {
        match self {
            Self::Categorical(_) => "categorical",
            Self::Bernoulli => "bernoulli",
            Self::Mixture(_) => "discretized-logistic-mixture",
        }
    }

    /// Numbers for each dimension, or for each pixel, and channels that have their own.
    fn numbers(self, channels: usize) -> (usize, usize) {
        match self {
            Self::Categorical(levels) => (levels, channels),
            Self::Bernoulli => (1, channels),
            Self::Mixture(parameters) => (parameters, 1),
        }
    }

    /// What so many numbers for an image of such a form can be.
    fn all(numbers: usize, form: ImageForm) -> Vec<Self> {
        let pixels = form.height * form.width;
        let (dimensions, of_pixel) = (pixels * form.channels, numbers / pixels);
        let mut all = Vec::new();
        if numbers == dimensions {
            all.push(Self::Bernoulli);
        } else if numbers.is_multiple_of(dimensions) && numbers / dimensions <= 256 {
            all.push(Self::Categorical(numbers / dimensions));
        }
        let each = logistic_mixture::parameters_of_component(form.channels);
        if numbers.is_multiple_of(pixels)
            && each.is_some_and(|each| of_pixel % each == 0 && of_pixel >= MIXTURES * each)
        {
            all.push(Self::Mixture(of_pixel));
        }
        all
    }
}

/// Components that a mixture has at least: with fewer, a handful of levels is likelier.
const MIXTURES: usize = 3;

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
    let levels = match kind {
        Kind::Categorical(levels) => levels_told(levels, interview)?,
        Kind::Bernoulli => levels_told(2, interview)?,
        Kind::Mixture(_) => levels_count(interview)?,
    };
    // The paper's networks take levels from −1 to 1.
    let is_mixture = matches!(kind, Kind::Mixture(_));
    let parameters = match kind {
        Kind::Mixture(count) => Some(Parameters::of(&reading.file, (count, form.channels), interview)?),
        _ => None,
    };
    let levels = levels_of(reading, (taken, form), levels, is_mixture, interview)?;
    let labelled = labels_given(reading, interview)?;
    let name = given.port.name.as_str();
    let mut notes = Vec::new();
    let (last, value) = output_activation::last(reading.graph(), name);
    let mut ops = Vec::new();
    let mut declared = Vec::new();
    let is_bernoulli = kind == Kind::Bernoulli;
    let units = match (last, interview.given("logits").as_deref()) {
        _ if is_mixture => Units::Logits,
        (_, Some("logits")) => {
            declared.push("logits = \"logits\"".to_owned());
            Units::Logits
        }
        (OutputActivation::Softmax, _) if !is_bernoulli => {
            notes.push(format!(
                "{}: its softmax is taken off, since scores are made of logits",
                reading.file
            ));
            // Whatever they look like.
            declared.push("logits = \"logits\"".to_owned());
            ops.push(Op::Without(value));
            Units::Probabilities
        }
        (OutputActivation::Sigmoid, _) if is_bernoulli => {
            notes.push(format!(
                "{}: its sigmoid is taken off, since scores are made of logits",
                reading.file
            ));
            // Whatever they look like.
            declared.push("logits = \"logits\"".to_owned());
            ops.push(Op::Without(value));
            Units::Probabilities
        }
        (_, Some(_)) => Units::Probabilities,
        (OutputActivation::Tanh, None) if is_bernoulli => {
            return Err(Problem::new(
                &reading.file,
                format!(
                    "{name:?} predicts a number from -1 to 1 for each dimension, which is neither a probability nor a \
                     log-odds; a mean by itself gives no distribution"
                ),
                "export what is before its hyperbolic tangent, if that is the log-odds of the upper of two levels; say \
                 --declare logits=logits if it was trained like that",
            )
            .into());
        }
        (OutputActivation::Linear, None) if is_bernoulli => {
            // Nothing keeps them between 0 and 1, though those of an untrained network may all lie there.
            declared.push("logits = \"logits\"".to_owned());
            Units::Logits
        }
        _ => Units::Logits,
    };
    let shape = levels.shape;
    let plane = [shape.height(), shape.width()];
    let sizes: Vec<usize> = match kind {
        Kind::Categorical(levels) if shape.channels() == 1 => [&[levels][..], &plane].concat(),
        Kind::Categorical(levels) => [&[levels, shape.channels()][..], &plane].concat(),
        Kind::Bernoulli => [&[shape.channels()][..], &plane].concat(),
        Kind::Mixture(parameters) => [&[parameters][..], &plane].concat(),
    };
    let own = given.sizes.clone().unwrap_or_default();
    if own != sizes || !arrangement.is_canonical() {
        notes.push(format!("{}: its predictions are {}", reading.file, arrangement.name()));
        ops.push(Op::Arrange(arrangement, sizes.clone()));
    }
    ops.extend(parameters.as_ref().and_then(Parameters::op));
    if units == Units::Probabilities && !ops.iter().any(|op| matches!(op, Op::Without(_))) {
        ops.push(Op::Convert(vec![if is_bernoulli { Step::LogOdds } else { Step::Log }]));
    }
    let mut graph = Canonical::of(reading);
    graph.image("image", taken);
    let label = take_label(&mut graph, reading, labelled.as_ref());
    graph.output((name, given.port.onnx_type), "logits", &ops, &sizes);
    let head = kind.head();
    let table = labelled.as_ref().map_or("", |labelled| &labelled.table);
    let tables = format!(
        "{}\n[graphs.logits]\nfile = \"model.onnx\"\ninput = \"image\"\noutput = \
         \"logits\"\n{label}{table}\n[likelihood]\nhead = {head:?}\n",
        levels.table()
    );
    Ok(Plan {
        certainty: Certainty::Certain,
        shape,
        graphs: vec![("model.onnx", graph.finish())],
        tables,
        declared,
        golden: golden(
            reading,
            levels,
            labelled,
            Reader {
                place: given.place,
                arrangement,
                kind,
                parameters,
                units,
            },
        ),
        statistic: Some("log_likelihood"),
        notes,
    })
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

/// How numbers of the export become log-probabilities.
struct Reader {
    place: usize,
    arrangement: Arrangement,
    kind: Kind,
    /// Of mixtures.
    parameters: Option<Parameters>,
    units: Units,
}

impl Reader {
    /// The log-likelihood of an image in nats.
    fn score(&self, item: &[f32], image: &Image) -> f64 {
        let values = self.arrangement.read(item);
        let dimensions = image.levels().len();
        if let (Kind::Mixture(count), Some(parameters)) = (self.kind, &self.parameters) {
            return of_mixtures(&parameters.read(values), count, image);
        }
        let log_probability = |(at, &level): (usize, &u8)| {
            let own = |outcome: usize| f64::from(values[outcome * dimensions + at]);
            match (self.units, self.kind) {
                (Units::Logits, Kind::Categorical(levels)) => {
                    let all: Vec<f64> = (0..levels).map(own).collect();
                    own(usize::from(level)) - likelihood::log_sum_exp(&all)
                }
                (Units::Probabilities, Kind::Categorical(levels)) => {
                    let total: f64 = (0..levels).map(own).sum();
                    (own(usize::from(level)) / total).ln()
                }
                (Units::Logits, _) => {
                    let sign = if level == 0 { 1.0 } else { -1.0 };
                    -likelihood::softplus(sign * own(0))
                }
                (Units::Probabilities, _) if level == 0 => (1.0 - own(0)).max(1e-7).ln(),
                (Units::Probabilities, _) => own(0).max(1e-7).ln(),
            }
        };
        image.levels().iter().enumerate().map(log_probability).sum()
    }
}

/// The log-likelihood in nats of an image whose pixels have mixtures with these parameters, [parameters, H, W].
fn of_mixtures(values: &[f32], parameters: usize, image: &Image) -> f64 {
    let shape = image.shape();
    let mut mixture = LogisticMixture::default();
    let mut log_probabilities = vec![0.0; shape.channels()];
    let pixels = shape.pixels();
    let of_pixel = |pixel: usize| {
        let own: Vec<f32> = (0..parameters).map(|at| values[at * pixels + pixel]).collect();
        let levels: Vec<u8> = (0..shape.channels())
            .map(|c| image.levels()[c * pixels + pixel])
            .collect();
        mixture.log_probabilities_of_pixel(&own, shape.levels(), &levels, &mut log_probabilities);
        log_probabilities.iter().sum::<f64>()
    };
    (0..pixels).map(of_pixel).sum()
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

/// The output that is a distribution for every dimension.
fn predictions<'a>(
    reading: &'a Reading,
    (taken, form): (&Taken, ImageForm),
    interview: &mut Interview,
) -> Result<Predictions<'a>, Mismatch> {
    let mut leaking = None;
    for given in &reading.gives {
        let (fits, leak) = readings_of(reading, given, (taken, form))?;
        leaking = leaking.or(leak);
        if let Some(chosen) = chosen(reading, &fits, interview)? {
            if let Some(problem) = noise_beside(reading, &chosen, form)
                && interview.given("family").as_deref() != Some("pixelcnn")
            {
                return Err(problem.into());
            }
            return Ok(chosen);
        }
    }
    match leaking {
        Some(place) => Err(Problem::new(
            &reading.file,
            format!(
                "it looks like a density, but its prediction of {place} sees its own pixel or later ones, so that the \
                 product of its predictions is no probability"
            ),
            "mask every convolution, the first one at its centre too, and let no channel see itself or those after it; \
             masks that Keras assigns to kernels inside call are left out at export, so multiply them in there",
        )
        .into()),
        None => Err(Mismatch::Other(
            "it gives no distribution over levels for every pixel that sees only the pixels before it".to_owned(),
        )),
    }
}

/// What is wrong with one number for each dimension beside a picture that sees its own pixels: noise and the logarithms
/// of its scales, as an autoregressive flow gives them, are no log-odds.
fn noise_beside(reading: &Reading, chosen: &Predictions<'_>, form: ImageForm) -> Option<Problem> {
    let dimensions = form.channels * form.height * form.width;
    let is_noise = |given: &&Given| {
        given.place != chosen.given.place
            && given.numbers() == dimensions
            && surgery::producer(reading.graph(), &given.port.name).is_some_and(|node| node.op_type() != "Identity")
            && !causal::predicts(reading, given)
    };
    let noise = reading
        .gives
        .iter()
        .find(is_noise)
        .filter(|_| chosen.kind == Kind::Bernoulli)?;
    Some(Problem::new(
        &reading.file,
        format!(
            "it makes of an image a picture that sees its own pixels ({:?}) and one number for each of them ({:?}), as \
             normalising flows do, which are not served",
            noise.port.name, chosen.given.port.name
        ),
        "export a network that predicts each pixel of those before it; --family pixelcnn takes the numbers for \
         log-odds of two levels",
    ))
}

/// All readings of an output that are causal; and where it leaks, if none is and it could be a density.
fn readings_of<'a>(
    reading: &Reading,
    given: &'a Given,
    (taken, form): (&Taken, ImageForm),
) -> Result<(Vec<Predictions<'a>>, Option<Place>), Mismatch> {
    let (Some(sizes), numbers) = (&given.sizes, given.numbers()) else {
        return Ok((Vec::new(), None));
    };
    let candidates = |kind: Kind| {
        let (outcomes, channels) = kind.numbers(form.channels);
        let all = Arrangement::candidates(sizes, [outcomes, channels, form.height, form.width]);
        all.into_iter().map(move |arrangement| Predictions {
            given,
            arrangement,
            kind,
        })
    };
    let kinds = if numbers == 0 {
        Vec::new()
    } else {
        Kind::all(numbers, form)
    };
    let all: Vec<Predictions<'_>> = kinds.into_iter().flat_map(candidates).collect();
    let Some(first) = all.first() else {
        return Ok((Vec::new(), None));
    };
    let is_real = taken.port.element == Element::Real;
    let most = match first.kind {
        Kind::Categorical(levels) => levels as f64,
        _ => 2.0,
    };
    // Integers are levels, of which the lower ones are there whatever the graph is.
    let trial = Trial::new(form, &|share| {
        if is_real {
            share as f32
        } else {
            (share * most).floor().min(most - 1.0) as f32
        }
    });
    let rows = trial.run(reading, given.place)?;
    // What sees nothing at all breaks no rule, and is as little a density as a picture that does not change.
    if !Trial::is_varied(&rows) {
        return Ok((Vec::new(), None));
    }
    let leak = |own: &Predictions<'_>| trial.leak(&rows, own.arrangement);
    let causal: Vec<Predictions<'_>> = all.iter().copied().filter(|own| leak(own).is_none()).collect();
    // One number for each dimension may as well be a picture.
    let leaking = leak(first).filter(|_| causal.is_empty() && first.kind != Kind::Bernoulli);
    Ok((causal, leaking))
}

/// One of several readings: what sizes and causality do not tell is asked.
fn chosen<'a>(
    reading: &Reading,
    fits: &[Predictions<'a>],
    interview: &mut Interview,
) -> Result<Option<Predictions<'a>>, Mismatch> {
    let Some(first) = fits.first() else { return Ok(None) };
    let name = &first.given.port.name;
    let mut heads: Vec<&str> = fits.iter().map(|own| own.kind.head()).collect();
    heads.dedup();
    let mut head = heads[0].to_owned();
    if heads.len() > 1 {
        let options: Vec<(&str, &str)> = heads.iter().map(|head| (*head, "")).collect();
        let text = format!(
            "{}: which distribution do the predictions {name:?} describe?",
            reading.file
        );
        // Levels are mostly powers of two, and components of mixtures five or ten.
        let is_power = matches!(first.kind, Kind::Categorical(levels) if levels.is_power_of_two());
        let likely = if is_power { heads[0] } else { heads[1] };
        head = interview.ask("head", text, &options, likely);
    }
    let own: Vec<&Predictions<'a>> = fits.iter().filter(|own| own.kind.head() == head).collect();
    let names: Vec<String> = own.iter().map(|own| own.arrangement.name()).collect();
    let Some(likely) = names.first() else {
        let what = format!("{head:?} is none of the distributions");
        return Err(Problem::new("--declare head", what, format!("say one of {}", heads.join(", "))).into());
    };
    if own.len() == 1 {
        return Ok(Some(*own[0]));
    }
    let options: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let text = format!(
        "{}: in which order are the predictions {name:?} of the shape {:?} for each image?",
        reading.file,
        first.given.sizes.as_deref().unwrap_or_default()
    );
    let answer = interview.ask("layout", text, &options, likely);
    match names.iter().position(|name| *name == answer) {
        Some(place) => Ok(Some(*own[place])),
        None => {
            let what = format!("{answer:?} is none of the orders");
            Err(Problem::new("--declare layout", what, format!("say one of {}", names.join("; "))).into())
        }
    }
}
