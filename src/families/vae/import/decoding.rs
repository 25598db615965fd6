//! What an exported decoder gives of an image: a distribution, or a picture.

use crate::{
    domain::{image::ImageShape, logistic_mixture},
    families::{
        decoder::{Density, Observation},
        import::{Mismatch, Parameters, coded, levels_count, pictures_of, units_of_pictures},
    },
    graph::convert::Step,
    import::{
        Problem,
        canonical::{Canonical, Op},
        interview::Interview,
        layout::Arrangement,
        output_activation::{self, OutputActivation},
        reading::{Given, ImageForm, Reading},
    },
};

use super::{
    applied, is_called,
    scale::{LogScale, density_of, log_scale, unknown},
};

/// What the outputs are together.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Mean and log-scale.
    Located(Density),
    /// Mean, and one deviation for all.
    Alike(f64),
    LogOdds,
    Mixture,
    Picture,
}

/// An output and how it is brought to the server's units.
#[derive(Debug, Clone)]
struct Output<'a> {
    given: &'a Given,
    /// Its name in the manifest and in the graph that is written.
    name: &'static str,
    arrangement: Arrangement,
    sizes: Vec<usize>,
    /// The operator that is taken out of the graph.
    without: Option<String>,
    /// Their order, if they are parameters of mixtures.
    parameters: Option<Parameters>,
    /// What is done to the numbers of the export.
    steps: Vec<Step>,
    /// What is done in the graph that is written, which is less where an operator was taken out.
    written: Vec<Step>,
}

/// A decoder that was understood.
#[derive(Debug, Clone)]
pub(super) struct Decoding<'a> {
    reading: &'a Reading,
    pub(super) shape: ImageShape,
    kind: Kind,
    outputs: Vec<Output<'a>>,
    /// Whether its pictures go from −1 to 1, as those that the encoder takes probably do.
    pub(super) is_signed: bool,
    /// Lines of `[declared]`.
    pub(super) declared: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// What one picture may be.
const HEADS: [(&str, &str); 2] = [
    ("picture", "an image, trained on squared or absolute error"),
    ("bernoulli", "log-odds, trained on binary cross-entropy with logits"),
];

impl<'a> Decoding<'a> {
    /// Finds out what a decoder gives of images of this form, or of any if nothing else tells.
    pub(super) fn of(
        reading: &'a Reading,
        form: Option<ImageForm>,
        interview: &mut Interview,
    ) -> Result<Self, Mismatch> {
        let pictures = pictures_of(reading, form, interview)?;
        match pictures[..] {
            [] => Self::mixture(reading, form, interview),
            [picture] => Self::one(reading, picture, interview),
            [first, second] if first.1 == second.1 => {
                let is_spread = |given: &Given| is_called(given, &["scale", "log", "std", "sigma", "var"]);
                if is_spread(first.0) && !is_spread(second.0) {
                    Self::located(reading, second, first, interview)
                } else {
                    Self::located(reading, first, second, interview)
                }
            }
            _ => Err(Mismatch::Other(format!(
                "its decoder gives an image, or mean and scale of every dimension, and this one gives {} pictures",
                pictures.len()
            ))),
        }
    }

    fn new(reading: &'a Reading, shape: ImageShape, kind: Kind) -> Self {
        Self {
            reading,
            shape,
            kind,
            outputs: Vec::new(),
            is_signed: false,
            declared: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// One picture: an image, or log-odds.
    fn one(
        reading: &'a Reading,
        (given, sizes, arrangement): crate::families::import::Pictured<'a>,
        interview: &mut Interview,
    ) -> Result<Self, Mismatch> {
        let count = levels_count(interview)?;
        let shape = shape_of(reading, sizes, count)?;
        let (last, value) = output_activation::last(reading.graph(), &given.port.name);
        let file = &reading.file;
        let sigma = interview.given("sigma").map(|text| deviation(&text)).transpose()?;
        let kind = match (sigma, last) {
            (Some(sigma), _) => Kind::Alike(sigma),
            (None, OutputActivation::Sigmoid) => match interview.given("head").as_deref() {
                None if count == 2 => Kind::LogOdds,
                None | Some("picture") => Kind::Picture,
                Some("bernoulli") => Kind::LogOdds,
                Some(other) => return Err(unknown("head", other, &HEADS).into()),
            },
            (None, OutputActivation::Tanh) => Kind::Picture,
            (None, _) => {
                let options = HEADS;
                let likely = if is_called(given, &["logit"]) {
                    "bernoulli"
                } else {
                    "picture"
                };
                let text = format!("what does {file} give as {:?}?", given.port.name);
                match interview.ask("head", text, &options, likely).as_str() {
                    "picture" => Kind::Picture,
                    "bernoulli" => Kind::LogOdds,
                    other => return Err(unknown("head", other, &options).into()),
                }
            }
        };
        let mut own = Self::new(reading, shape, kind);
        let mut output = Output {
            given,
            name: "mean",
            arrangement,
            sizes: sizes_of(shape),
            without: None,
            parameters: None,
            steps: Vec::new(),
            written: Vec::new(),
        };
        if kind == Kind::LogOdds {
            output.name = "logits";
            // Whatever they look like.
            own.declared.push("logits = \"logits\"".to_owned());
            if last == OutputActivation::Sigmoid {
                own.notes.push(format!(
                    "{file}: its sigmoid is taken off, since a likelihood is made of log-odds"
                ));
                output.without = Some(value);
                output.steps = vec![Step::LogOdds];
            }
        } else {
            let (units, declared) = units_of_pictures(reading, given, count, interview);
            own.is_signed = units == (0.5, 0.5);
            own.declared.extend(declared);
            output.steps = steps_of(units);
            output.written.clone_from(&output.steps);
            if kind == Kind::Picture {
                own.notes.push(format!(
                    "{file}: it gives an image of a code and no distribution over images, so there is no likelihood; \
                     --sigma says the standard deviation, if it was trained on squared error"
                ));
            }
        }
        own.outputs.push(output);
        Ok(own)
    }

    /// Mean and scale of every dimension.
    fn located(
        reading: &'a Reading,
        (mean, sizes, arrangement): crate::families::import::Pictured<'a>,
        (scale, _, scale_arrangement): crate::families::import::Pictured<'a>,
        interview: &mut Interview,
    ) -> Result<Self, Mismatch> {
        let count = levels_count(interview)?;
        let shape = shape_of(reading, sizes, count)?;
        let (units, declared) = units_of_pictures(reading, mean, count, interview);
        let density = density_of(reading, scale, interview)?;
        let mut own = Self::new(reading, shape, Kind::Located(density));
        own.is_signed = units == (0.5, 0.5);
        own.declared.extend(declared);
        let steps = steps_of(units);
        own.outputs.push(Output {
            given: mean,
            name: "mean",
            arrangement,
            sizes: sizes_of(shape),
            without: None,
            parameters: None,
            written: steps.clone(),
            steps,
        });
        let LogScale {
            without,
            mut steps,
            mut written,
        } = log_scale(reading, scale, density, interview, &mut own.declared)?;
        if units.0 != 1.0 {
            // In units that go so much further it is so much wider.
            steps.push(Step::Plus(units.0.ln()));
            written.push(Step::Plus(units.0.ln()));
        }
        own.outputs.push(Output {
            given: scale,
            name: "log_scale",
            arrangement: scale_arrangement,
            sizes: sizes_of(shape),
            without,
            parameters: None,
            steps,
            written,
        });
        Ok(own)
    }

    /// Parameters of mixtures of logistics, which are told from pictures by their number.
    fn mixture(reading: &'a Reading, form: Option<ImageForm>, interview: &mut Interview) -> Result<Self, Mismatch> {
        let none = || Mismatch::Other(no_picture(reading, form));
        let found = reading.gives.iter().find_map(|given| {
            let [features, height, width] = given.sizes.as_deref()? else {
                return None;
            };
            let channels = match form {
                Some(form) if (form.height, form.width) == (*height, *width) => form.channels,
                Some(_) => return None,
                None if features % 10 == 0 => 3,
                None => 1,
            };
            let each = logistic_mixture::parameters_of_component(channels)?;
            let arrangement = Arrangement::candidates(&[*features, *height, *width], [*features, 1, *height, *width])
                .into_iter()
                .next()?;
            (features % each == 0).then_some((given, (channels, *height, *width), *features, arrangement))
        });
        let (given, sizes, features, arrangement) = found.ok_or_else(none)?;
        let shape = shape_of(reading, sizes, levels_count(interview)?)?;
        let parameters = Parameters::of(&reading.file, (features, shape.channels()), interview)?;
        let mut own = Self::new(reading, shape, Kind::Mixture);
        // The paper's parametrisation is of levels from −1 to 1.
        own.is_signed = true;
        if interview.given("mixture").is_some() {
            own.declared.push("mixture = \"parameters\"".to_owned());
        }
        own.outputs.push(Output {
            given,
            name: "parameters",
            arrangement,
            sizes: vec![features, shape.height(), shape.width()],
            without: None,
            parameters: Some(parameters),
            steps: Vec::new(),
            written: Vec::new(),
        });
        Ok(own)
    }

    /// Whether there is a likelihood of an image given a code.
    pub(super) fn has_likelihood(&self) -> bool {
        match self.kind {
            Kind::Located(_) | Kind::Alike(_) | Kind::Mixture => true,
            Kind::LogOdds => self.shape.levels() == 2,
            Kind::Picture => false,
        }
    }

    /// The output of `graph` for each of its own.
    pub(super) fn write(&self, graph: &mut Canonical) {
        for output in &self.outputs {
            let mut ops: Vec<Op> = output.without.iter().cloned().map(Op::Without).collect();
            ops.push(Op::Arrange(output.arrangement, output.sizes.clone()));
            ops.extend(output.parameters.as_ref().and_then(Parameters::op));
            if !output.written.is_empty() {
                ops.push(Op::Convert(output.written.clone()));
            }
            let from = (output.given.port.name.as_str(), output.given.port.onnx_type);
            graph.output(from, output.name, &ops, &output.sizes);
        }
    }

    /// Lines of `[graphs.decoder]` that name its outputs.
    pub(super) fn lines(&self) -> String {
        let line = |output: &Output<'_>| format!("{0} = {0:?}\n", output.name);
        self.outputs.iter().map(line).collect()
    }

    /// `[likelihood]`, if there is one.
    pub(super) fn table(&self) -> String {
        let head = match self.kind {
            Kind::Located(Density::Logistic) => "head = \"discretized-logistic\"".to_owned(),
            Kind::Located(Density::Gaussian) => "head = \"gaussian\"".to_owned(),
            Kind::Alike(sigma) => format!("head = \"gaussian\"\nsigma = {sigma:?}"),
            Kind::LogOdds => "head = \"bernoulli\"".to_owned(),
            Kind::Mixture => "head = \"discretized-logistic-mixture\"".to_owned(),
            Kind::Picture => return String::new(),
        };
        format!("\n[likelihood]\n{head}\n")
    }

    /// What the graph gives of codes, by running it as it was exported.
    pub(super) fn observe(&self, codes: &[Vec<f32>], labels: &[usize]) -> Result<Vec<Observation>, Problem> {
        let mut numbers = Vec::new();
        for output in &self.outputs {
            let rows = coded(self.reading, codes, labels, output.given.place)?;
            let convert = |row: Vec<f32>| -> Vec<f32> {
                let values = output.arrangement.read(&row);
                let values = match &output.parameters {
                    Some(parameters) => parameters.read(values),
                    None => values,
                };
                values.into_iter().map(|value| applied(&output.steps, value)).collect()
            };
            numbers.push(rows.into_iter().map(convert).collect::<Vec<_>>());
        }
        let observation = |item: usize| {
            let mut own = numbers.iter_mut().map(|rows| std::mem::take(&mut rows[item]));
            let first = own.next().unwrap_or_default();
            let second = own.next();
            match self.kind {
                Kind::Located(density) => Observation::located(self.shape, density, first, second.unwrap_or_default()),
                Kind::Alike(sigma) => {
                    let log_scale = vec![sigma.ln() as f32; first.len()];
                    Observation::located(self.shape, Density::Gaussian, first, log_scale)
                }
                Kind::LogOdds => Observation::log_odds(self.shape, first),
                Kind::Mixture => Observation::mixture(self.shape, first),
                Kind::Picture => Observation::picture(self.shape, first),
            }
        };
        Ok((0..codes.len()).map(observation).collect())
    }
}

fn shape_of(
    reading: &Reading,
    (channels, height, width): (usize, usize, usize),
    levels: usize,
) -> Result<ImageShape, Problem> {
    ImageShape::new(channels, height, width, levels).map_err(|error| {
        Problem::new(
            &reading.file,
            error.to_string(),
            "say which images it is of: --size HxW",
        )
    })
}

fn sizes_of(shape: ImageShape) -> Vec<usize> {
    vec![shape.channels(), shape.height(), shape.width()]
}

/// What makes units of level / (levels − 1) of pictures in others.
fn steps_of((factor, term): (f32, f32)) -> Vec<Step> {
    let times = (factor != 1.0).then_some(Step::Times(factor));
    let plus = (term != 0.0).then_some(Step::Plus(term));
    times.into_iter().chain(plus).collect()
}

fn deviation(text: &str) -> Result<f64, Problem> {
    match text.parse() {
        Ok(sigma) if f64::is_finite(sigma) && sigma > 0.0 => Ok(sigma),
        _ => Err(Problem::new(
            "--sigma",
            format!("{text:?} is no standard deviation"),
            "write a number above 0, in units of level / (levels - 1), such as 0.1",
        )),
    }
}
/// Why nothing that a decoder gives is a picture.
fn no_picture(reading: &Reading, form: Option<ImageForm>) -> String {
    let dimensions = form.map_or(0, |form| form.channels * form.height * form.width);
    let each = |given: &Given| given.numbers().checked_div(dimensions).filter(|&each| each > 1);
    let each = reading.gives.iter().find_map(each);
    match each {
        Some(each) => format!(
            "its decoder gives {each} numbers for each of an image, such as logits of levels, and no pictures: images \
             are decoded as mean and scale, as log-odds of two levels, or as mixtures of logistics"
        ),
        None => "its decoder gives no pictures".to_owned(),
    }
}
