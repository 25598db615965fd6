//! A network over whole images: one pass gives everything.

use std::sync::Arc;

use super::{
    Compilation, Contract, Cropping, Given, Head, Logits,
    cropping::{self, cropped},
    folding::folded,
};
use crate::{
    domain::{image::ImageShape, likelihood},
    families::{
        autoregressive::wavefront::Wavefront,
        network::{NetworkError, batch_shape, expect_shape, levels_input},
    },
    graph::{
        self, precision,
        protobuf::{ElementType, Model},
        rewrite,
        signature::{self, Expected},
        wavefront::{Analysis, Interface, Predictions},
        weights,
    },
    runtime::{Engine, Input, Output, Precision, Program, RuntimeError, Threads, Values, time_limit},
};

/// A graph in two forms: one gives scores and can give logits beside them, one gives logits only and saves the tenth of
/// a pass that scores take. The second is made runnable when it first runs. Of a head that links channels there is the
/// second only: its parameters are fewer than levels, and what follows from them is computed here.
#[derive(Debug)]
pub(super) struct Passes {
    contract: Contract,
    score: Option<Scoring>,
    /// That of scores for a large graph: its weights are not held once more to save that tenth.
    logits: Arc<dyn Program>,
    /// The same at the reference, where the others run elsewhere.
    reference: Option<Arc<dyn Program>>,
    predictions: Predictions,
    logits_form: Vec<usize>,
    cropping: Option<Cropping>,
}

/// A graph that gives scores.
#[derive(Debug)]
struct Scoring {
    program: Arc<dyn Program>,
    of: rewrite::Logits,
}

impl Passes {
    /// Checks the graph against its contract, analyses it, and makes it runnable, once for scores and once for logits.
    pub(super) fn load(
        engine: &dyn Engine,
        name: &str,
        model: Model,
        contract: Contract,
    ) -> Result<(Self, Compilation), NetworkError> {
        let shape = contract.shape;
        let image = vec![shape.channels(), shape.height(), shape.width()];
        let predictions = contract
            .head
            .predictions(shape, || signature::features(&model, &contract.output))?;
        let forms = forms(contract.head, shape, predictions);
        let mut inputs = vec![Expected::float(&contract.input, &image)];
        inputs.extend(contract.label.as_ref().map(|label| Expected::integer(&label.input)));
        let found = signature::check(
            &model,
            &inputs,
            &[Expected {
                name: &contract.output,
                element_type: ElementType::Float,
                forms: forms.clone(),
            }],
        )?;
        let model = precision::in_single(&model).unwrap_or(model);
        let logits_form = forms[found[0]].clone();
        let reference = engine.reference();
        let exact = reference.as_deref().unwrap_or(engine);
        let model = folded(exact, name, model);
        let logits_name = format!("{name} (logits)");
        let (compilation, run) = time_limit::join(
            || compile(exact, name, &model, &contract, predictions),
            || cropped(exact, &logits_name, model.clone(), &contract),
        );
        let compilation = compilation?;
        drop(model);
        let cropping::Run {
            model,
            program,
            cropping,
        } = run;
        let of = logits_of(contract.head, &logits_form);
        // What ran in the trial serves where it is all that is needed; else it would hold its weights for nothing.
        let program = program.filter(|_| of.is_none() && reference.is_none());
        let sums = match engine.placement().precision {
            Precision::F32 => rewrite::Sums::Convolved,
            Precision::Bf16 => rewrite::Sums::Reduced,
        };
        let levels = |model: Model| rewrite::take_levels(model, &contract.input, shape, contract.map);
        let reference = match reference {
            None => None,
            Some(reference) => {
                let logits = graph::serialize(&levels(model.clone())?);
                Some(reference.load_later(&format!("{name} (logits, reference)"), logits))
            }
        };
        let later = |logits: Model| engine.load_later(&logits_name, graph::serialize(&logits));
        let is_large = weights::are_many(&model);
        let (score, logits) = match (of, program) {
            (None, Some(program)) => (None, program),
            (None, None) if is_large => (None, engine.load_model(&logits_name, levels(model)?)?),
            (None, None) => (None, later(levels(model)?)),
            (Some(of), _) => {
                let logits = (!is_large).then(|| levels(model.clone())).transpose()?;
                let (input, output) = (&contract.input, &contract.output);
                let graph = rewrite::score(model, input, output, shape, contract.map, of, sums)?;
                let program = engine.load_model(&format!("{name} (score)"), graph)?;
                let logits = logits.map_or_else(|| Arc::clone(&program), later);
                (Some(Scoring { program, of }), logits)
            }
        };
        let passes = Self {
            score,
            reference,
            logits,
            predictions,
            logits_form,
            cropping,
            contract,
        };
        Ok((passes, compilation))
    }

    pub(super) fn cropping(&self) -> Option<&Cropping> {
        self.cropping.as_ref()
    }

    pub(super) fn predictions(&self) -> Predictions {
        self.predictions
    }

    /// log p(xᵢ | x₍<ᵢ₎) of every dimension in nats, in channel, row, column order.
    pub(super) fn log_probabilities(
        &self,
        images: &[Given<'_>],
        threads: Threads,
    ) -> Result<Vec<Vec<f32>>, NetworkError> {
        let Some(score) = &self.score else {
            return Ok(self.logits(images, threads)?.log_probabilities(images));
        };
        let outputs = self.run(&*score.program, score.names(), images, threads)?;
        score.read(self.contract.shape, &outputs, images.len())
    }

    /// Both of one pass: log p(xᵢ | x₍<ᵢ₎) and the logits.
    pub(super) fn scored_logits(
        &self,
        images: &[Given<'_>],
        threads: Threads,
    ) -> Result<(Vec<Vec<f32>>, Logits), NetworkError> {
        let Some(score) = &self.score else {
            let logits = self.logits(images, threads)?;
            return Ok((logits.log_probabilities(images), logits));
        };
        let names = [score.names(), &[&self.contract.output]].concat();
        let mut outputs = self.run(&*score.program, &names, images, threads)?;
        let logits = outputs.split_off(names.len() - 1).remove(0);
        let logits = self.read_logits(logits, images.len())?;
        Ok((score.read(self.contract.shape, &outputs, images.len())?, logits))
    }

    /// The logits of every dimension.
    pub(super) fn logits(&self, images: &[Given<'_>], threads: Threads) -> Result<Logits, NetworkError> {
        let mut outputs = self.run(&*self.logits, &[&self.contract.output], images, threads)?;
        self.read_logits(outputs.remove(0), images.len())
    }

    /// The logits by which images are drawn: the same wherever scores are computed.
    pub(super) fn logits_to_draw(&self, images: &[Given<'_>], threads: Threads) -> Result<Logits, NetworkError> {
        let program = self.reference.as_ref().unwrap_or(&self.logits);
        let mut outputs = self.run(&**program, &[&self.contract.output], images, threads)?;
        self.read_logits(outputs.remove(0), images.len())
    }

    /// The same, beside scores where both are computed in the same place.
    pub(super) fn logits_to_verify(&self, images: &[Given<'_>], threads: Threads) -> Result<Logits, NetworkError> {
        match &self.reference {
            Some(_) => self.logits_to_draw(images, threads),
            None => Ok(self.scored_logits(images, threads)?.1),
        }
    }

    fn read_logits(&self, output: Output, rows: usize) -> Result<Logits, NetworkError> {
        let expected: Vec<usize> = std::iter::once(rows).chain(self.logits_form.iter().copied()).collect();
        expect_shape(&self.contract.output, &output, &expected)?;
        Ok(Logits {
            shape: self.contract.shape,
            head: self.contract.head,
            predictions: self.predictions,
            rows,
            output,
        })
    }

    fn run(
        &self,
        program: &dyn Program,
        outputs: &[&str],
        images: &[Given<'_>],
        threads: Threads,
    ) -> Result<Vec<Output>, NetworkError> {
        let rows = images.len();
        let levels: Vec<u8> = images.iter().flat_map(|image| image.levels).copied().collect();
        let labels: Vec<i64> = images.iter().map(|image| i64::from(image.label)).collect();
        let (shape, one_axis) = (batch_shape(self.contract.shape, rows), [rows]);
        let mut inputs = vec![levels_input(&levels, &shape)];
        inputs.extend(self.contract.label.as_ref().map(|label| Input {
            name: &label.input,
            shape: &one_axis,
            values: Values::Ints(&labels),
        }));
        Ok(program.run(&inputs, outputs, threads)?)
    }
}

impl Scoring {
    fn names(&self) -> &'static [&'static str] {
        match self.of {
            rewrite::Logits::Categorical | rewrite::Logits::CategoricalFlat => &[rewrite::CHOSEN, rewrite::TOTAL],
            rewrite::Logits::Bernoulli => &[rewrite::MARGIN],
        }
    }

    fn read(&self, shape: ImageShape, outputs: &[Output], rows: usize) -> Result<Vec<Vec<f32>>, NetworkError> {
        let [_, c, h, w] = batch_shape(shape, rows);
        for (name, output) in self.names().iter().zip(outputs) {
            if output.values.len() != rows * c * h * w {
                expect_shape(name, output, &[rows, c, h, w])?;
            }
        }
        // Logarithms in double precision: the same for every batch, unlike those of the runtime's vectorised kernels.
        let values = |row| -> Vec<f32> {
            match self.of {
                rewrite::Logits::Categorical | rewrite::Logits::CategoricalFlat => {
                    let (chosen, total) = (outputs[0].row(row, rows), outputs[1].row(row, rows));
                    chosen
                        .iter()
                        .zip(total)
                        .map(|(&chosen, &total)| (f64::from(chosen) - f64::from(total).ln()) as f32)
                        .collect()
                }
                rewrite::Logits::Bernoulli => outputs[0]
                    .row(row, rows)
                    .iter()
                    .map(|&margin| -likelihood::softplus(f64::from(margin)) as f32)
                    .collect(),
            }
        };
        Ok((0..rows).map(values).collect())
    }
}

/// The shapes, without the batch, in which a graph may give its predictions.
fn forms(head: Head, shape: ImageShape, predictions: Predictions) -> Vec<Vec<usize>> {
    let (channels, height, width) = (shape.channels(), shape.height(), shape.width());
    match head {
        Head::Bernoulli => vec![vec![channels, height, width]],
        Head::LogisticMixture => vec![vec![predictions.width(channels), height, width]],
        Head::Categorical => {
            let flat = (channels == 1).then(|| vec![shape.levels(), height, width]);
            flat.into_iter()
                .chain([vec![shape.levels(), channels, height, width]])
                .collect()
        }
    }
}

/// The logits that scores are made of within the graph, if they can be.
fn logits_of(head: Head, form: &[usize]) -> Option<rewrite::Logits> {
    match (head, form.len()) {
        (Head::Bernoulli, _) => Some(rewrite::Logits::Bernoulli),
        (Head::Categorical, 3) => Some(rewrite::Logits::CategoricalFlat),
        (Head::Categorical, _) => Some(rewrite::Logits::Categorical),
        (Head::LogisticMixture, _) => None,
    }
}

/// Analyses the graph and compiles it if that is possible; fails only on a leak.
fn compile(
    engine: &dyn Engine,
    name: &str,
    model: &Model,
    contract: &Contract,
    predictions: Predictions,
) -> Result<Compilation, NetworkError> {
    let simplified = rewrite::for_one(model)
        .map_err(|error| error.to_string())
        .and_then(|mut one| {
            let aside = weights::set_aside(&mut one);
            let bytes = graph::serialize(&one);
            drop(one);
            let simple = engine.simplify(name, &bytes);
            let simple = simple.map_err(|error: RuntimeError| error.to_string())?;
            let mut model = graph::parse_shared(simple.into()).map_err(|error| error.to_string())?;
            weights::put_back(&mut model, aside);
            Ok(model)
        });
    let simplified = match simplified {
        Ok(model) => model,
        Err(reason) => {
            tracing::warn!(graph = name, %reason, "not analysed: images are drawn by full passes, and cannot be \
                compressed");
            return Ok(Compilation::Unknown(reason));
        }
    };
    let interface = Interface {
        image: &contract.input,
        label: contract.label.as_ref().map(|label| label.input.as_str()),
        logits: &contract.output,
        shape: contract.shape,
        predictions,
    };
    let analysis = graph::wavefront::analyse(&simplified, &interface)?;
    // The program has its own copy of the weights, and the runtime makes more.
    drop(simplified);
    Ok(match analysis {
        Analysis::Compiled(compiled) => {
            let is_proven = compiled.assumptions.is_empty();
            match Wavefront::load(engine, name, *compiled, contract.shape, contract.map) {
                Ok(wavefront) => Compilation::Wavefront(Arc::new(wavefront)),
                Err(error) => Compilation::without_program(is_proven, error.to_string()),
            }
        }
        Analysis::Causal(reason) => Compilation::Causal(reason.to_string()),
        Analysis::Unknown(reason) => Compilation::Unknown(reason.to_string()),
    })
}
