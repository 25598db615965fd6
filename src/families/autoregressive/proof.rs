//! What an autoregressive model must prove: that it is causal, and that its scores are its own normalised predictions.

use super::{
    Common, STATISTIC, Timings, causality,
    network::{Given, Head, Logits, Network, Scratch},
};
use crate::{
    domain::{
        image::{Image, ImageShape},
        likelihood,
    },
    families::{
        NetworkError, Proved,
        gate::{
            GOLDEN_SCORES, Gate, GateError,
            batch_independence::{self, Parts},
            failed, time_of, time_of_one, units,
        },
    },
    graph::{protobuf, wavefront::Predictions, weights},
    import::output_range::{self, Made},
    runtime::{Threads, time_limit},
};

/// A graph that is to prove itself.
pub(in crate::families) struct Candidate<'a> {
    /// Its file.
    pub(in crate::families) file: &'a str,
    /// Its output of predictions.
    pub(in crate::families) output: &'a str,
    /// Its input of images, if it takes any, and the factor that the manifest scales levels by.
    pub(in crate::families) input: Option<(&'a str, f64)>,
    /// What decides on its predictions beside the file, as text.
    pub(in crate::families) contract: String,
    /// What the manifest says beside the graph.
    pub(in crate::families) common: &'a Common,
}

impl Candidate<'_> {
    /// Has the network that `load` makes of the graph prove itself. `causal` is the finding of causality, where it
    /// follows from the contract.
    pub(in crate::families) fn prove(
        &self,
        gate: &mut Gate<'_>,
        load: impl FnOnce(protobuf::Model) -> Result<Network, NetworkError>,
        causal: Option<&str>,
    ) -> Result<Proved, GateError> {
        let (file, common) = (self.file, self.common);
        let failed = |cause| failed(file, cause);
        let labels = common.labels.as_ref().map(|labels| labels.names.len());
        let (images, expected) = gate.golden_scores(&common.golden, labels)?;
        let golden = given(&images, labels.unwrap_or(1) as u32);
        let to_logits = gate.declared().to_logits(common.head == Head::Bernoulli);
        let graph = gate.graph(file, &[(self.output, to_logits)])?;
        if let Some((input, scale)) = self.input {
            let factor = weights::input_factor(&graph, input);
            let levels = gate.manifest().shape.levels();
            gate.suspect(file, units::input(scale, factor, levels));
        }
        let made = output_range::made(&graph, self.output);
        // Another session of a large graph would hold its weights once more, for what workers find out by themselves.
        // Its one session ran before it is timed, so one more run tells; and fewer flat images are tried.
        let is_large = weights::are_many(&graph);
        let own_threads = if is_large { Threads::All } else { Threads::One };
        let mut network = load(graph).map_err(failed)?;
        gate.contract_kept();
        let (verdict, tried, timings) = gate.settle("predictions", |gate| {
            // A walk keeps one core busy, for as long as all the rest takes.
            let (verdict, rest) = time_limit::join(
                || network.verify_program(&golden),
                || self.trials(gate, &network, &golden, made, is_large),
            );
            let verdict = verdict.map_err(failed)?;
            let Trials { tried, scores } = rest?;
            network.accept(&verdict);
            network.set_tried(tried);
            let finding = causal.map_or_else(
                || {
                    format!(
                        "no prediction can see its own or a later dimension: {}",
                        network.assurance()
                    )
                },
                str::to_owned,
            );
            gate.passed("causality", finding);
            if let Some(cropping) = network.cropping() {
                gate.passed("cropping", cropping.to_string());
            }
            gate.passed("sampling", network.compilation().to_string());
            gate.passed("normalisation", common.head.normalisation().to_owned());
            gate.golden(GOLDEN_SCORES, common.golden.tolerance(), &expected, &scores)?;
            let one = &golden[..1];
            let mut score = || network.log_probabilities(one, own_threads).map(drop);
            let mut draw = || network.draw_for_a_while(one[0], own_threads);
            let time = |run: &mut dyn FnMut() -> _| if is_large { time_of_one(run) } else { time_of(run) };
            let timings = Timings {
                score: time(&mut score).map_err(failed)?,
                draw: time(&mut draw).map_err(failed)?,
            };
            Ok((verdict, tried, timings))
        })?;
        network.accept(&verdict);
        network.set_tried(tried);
        let calibration = gate.calibration(common.calibration.as_ref(), STATISTIC)?;
        Ok(super::proved(
            gate,
            (file, &self.contract),
            common,
            (network, timings),
            calibration,
        ))
    }

    /// Tries everything that takes no program of wavefronts.
    fn trials(
        &self,
        gate: &mut Gate<'_>,
        network: &Network,
        golden: &[Given<'_>],
        made: Made,
        is_large: bool,
    ) -> Result<Trials, GateError> {
        let file = self.file;
        let others = keeps_apart(gate, file, network, golden)?;
        let tried = if network.compilation().is_proven() {
            0
        } else {
            let mut logits = |images: &[&[u8]], label| rows_of_logits(network, images, label);
            causality::is_causal(gate, file, form(network), &labelled(golden), &mut logits)?
        };
        noise_is_improbable(file, network.shape(), &others)?;
        flat_images_go_on(gate, file, network, if is_large { 2 } else { 1 })?;
        let scores = normalised_scores(gate, network, golden, (file, made))?;
        Ok(Trials { tried, scores })
    }
}

/// What trials of a network showed.
struct Trials {
    /// Dimensions at which causality was tried; none where it is proven.
    tried: usize,
    /// Log-likelihoods of the golden images in nats.
    scores: Vec<f64>,
}

/// The place of noise among the images of [`batch_independence::images`] that others are.
const NOISE: usize = 1;

/// Tries whether scores depend on the batch. A graph of which they do is tried for more that is wrong, image by image.
/// Answers the scores of the images that were the company.
fn keeps_apart(
    gate: &mut Gate<'_>,
    file: &str,
    network: &Network,
    golden: &[Given<'_>],
) -> Result<Vec<Parts>, GateError> {
    let images = batch_independence::images(network.shape(), &gate.probe(file));
    let classes = network.label().map_or(1, |label| label.classes);
    let mut scores = |items: &[usize]| {
        let given: Vec<Given<'_>> = items
            .iter()
            .map(|&item| Given {
                levels: &images[item],
                label: item as u32 % classes,
            })
            .collect();
        let maps = network.log_probabilities(&given, Threads::All)?;
        Ok(maps.into_iter().map(|map| vec![map]).collect())
    };
    let difference = match gate.keeps_apart(file, &mut scores) {
        Err(GateError::Company { difference, .. }) => difference,
        other => return other,
    };
    let mut logits = |images: &[&[u8]], label| {
        let alone = images.iter().map(|image| rows_of_logits(network, &[image], label));
        Ok(alone.collect::<Result<Vec<_>, _>>()?.concat())
    };
    let causal = causality::is_causal(gate, file, form(network), &labelled(golden), &mut logits);
    let also = match causal {
        Err(GateError::Leak { predicted, .. }) => {
            format!(", and its prediction of {predicted} depends on its own or later dimensions")
        }
        _ => String::new(),
    };
    Err(GateError::Company {
        file: file.to_owned(),
        difference,
        also,
    })
}

fn rows_of_logits(network: &Network, images: &[&[u8]], label: u32) -> Result<Vec<Vec<f32>>, NetworkError> {
    let given: Vec<Given<'_>> = images.iter().map(|levels| Given { levels, label }).collect();
    let logits = network.logits(&given, Threads::All)?;
    Ok((0..given.len()).map(|row| logits.row(row).to_vec()).collect())
}

/// Size of the images, and what is given at a pixel.
fn form(network: &Network) -> (ImageShape, Predictions) {
    (network.shape(), network.predictions())
}

fn labelled<'a>(golden: &[Given<'a>]) -> Vec<(&'a [u8], u32)> {
    golden.iter().map(|given| (given.levels, given.label)).collect()
}

/// Whether noise, by the log-probabilities of the images that [`batch_independence::images`] makes, has no more
/// probability than there is.
fn noise_is_improbable(file: &str, shape: ImageShape, others: &[Parts]) -> Result<(), GateError> {
    let noise = others.get(NOISE).into_iter();
    let scores: Vec<f64> = noise.map(|map| likelihood::total(&map.concat())).collect();
    match units::noise(&scores, shape.dimensions(), shape.levels()) {
        None => Ok(()),
        Some((actual, most)) => Err(GateError::Noise {
            file: file.to_owned(),
            actual,
            most,
        }),
    }
}

/// Tells where flat images are predicted as if they were given in other units than those of the training, or are less
/// likely than if nothing were known. One in `every` brightness is tried.
fn flat_images_go_on(gate: &mut Gate<'_>, file: &str, network: &Network, every: usize) -> Result<(), GateError> {
    let shape = network.shape();
    // Of so few levels units change little.
    if shape.levels() < 8 {
        return Ok(());
    }
    let (most, mut scratch) = ((shape.levels() - 1) as f64, Scratch::default());
    let shares: Vec<f64> = units::SHARES.into_iter().step_by(every).collect();
    let flat = |share: &f64| vec![(share * most).round() as u8; shape.dimensions()];
    let images: Vec<Vec<u8>> = shares.iter().map(flat).collect();
    let given: Vec<Given<'_>> = images.iter().map(|levels| Given::from(&levels[..])).collect();
    let logits = network
        .logits(&given, Threads::All)
        .map_err(|cause| failed(file, cause))?;
    let (mut means, mut likely) = (Vec::new(), Vec::new());
    for (row, (levels, share)) in images.iter().zip(shares).enumerate() {
        // The end of the last row has seen most; and later channels of a mixture move with earlier ones.
        let places = shape.pixels() - shape.width().div_ceil(2)..shape.pixels();
        let count = places.len() as f64;
        let (mut mean, mut log_probability) = (0.0, 0.0);
        for index in places {
            logits.predict(row, index, levels, |prediction| {
                mean += prediction.mean(&mut scratch) / (count * most);
                log_probability += prediction.log_probability(levels[index], &mut scratch) / count;
            });
        }
        means.push((share, mean));
        likely.push(log_probability);
    }
    if let Some(looks) = units::flat(&means) {
        gate.warn(format!(
            "{file}: what it predicts of flat images is {looks}; [input] of the manifest says how they are given, and \
             the parameters of mixtures are of levels from -1 to 1"
        ));
    }
    if units::are_unexpected(&likely, shape.levels()) {
        gate.warn(format!(
            "{file}: it expects flat images of no brightness to go on as they are, and less than if it knew nothing, \
             as a density does whose logits have the sign turned; scores are exact of what the graph gives, and good \
             for nothing if that is not what was trained"
        ));
    }
    Ok(())
}

/// Golden images whose scores are compared with those that their logits give: every number of them, in double
/// precision. A conditional model has one for each label, and of all of them the scores are golden.
const COMPARED: usize = 32;

/// Log-likelihoods in nats by the scoring graph, once they agree with the logits.
fn normalised_scores(
    gate: &mut Gate<'_>,
    network: &Network,
    golden: &[Given<'_>],
    (file, made): (&str, Made),
) -> Result<Vec<f64>, GateError> {
    let company = network.company();
    let (compared, others) = spread(golden, COMPARED);
    let mut found = vec![0.0; golden.len()];
    for others in others.chunks(company) {
        let given: Vec<Given<'_>> = others.iter().map(|&at| golden[at]).collect();
        let maps = network
            .log_probabilities(&given, Threads::All)
            .map_err(|cause| failed(file, cause))?;
        for (&at, map) in others.iter().zip(&maps) {
            found[at] = likelihood::total(map);
        }
    }
    for (round, compared) in compared.chunks(company).enumerate() {
        let golden: Vec<Given<'_>> = compared.iter().map(|&at| golden[at]).collect();
        let (maps, logits) = network
            .scored_logits(&golden, Threads::All)
            .map_err(|cause| failed(file, cause))?;
        if let (0, (shape, Predictions::OfPixels(_))) = (round, form(network)) {
            for looks in units::mixture(logits.row(0), shape.pixels(), shape.channels()) {
                gate.suspect(file, Some(looks));
            }
        }
        if round == 0
            && let (shape, Predictions::OfChannels(outcomes)) = form(network)
        {
            let of_first: Vec<f32> = (0..shape.dimensions()).flat_map(|index| logits.at(0, index)).collect();
            gate.suspect(file, units::predictions(&of_first, outcomes, made));
        }
        for (row, (map, given)) in maps.iter().zip(&golden).enumerate() {
            let image = compared[row];
            let score = likelihood::total(map);
            let reference = total(&logits, row, given).map_err(|index| {
                let shape = network.shape();
                GateError::Undefined {
                    file: file.to_owned(),
                    image,
                    dimension: causality::describe(shape.order_of(index), shape),
                }
            })?;
            // −∞ on both sides is agreement too.
            let agree = score == reference || (score - reference).abs() <= 1e-3 + 1e-5 * reference.abs();
            if !agree {
                return Err(GateError::Inconsistent {
                    file: file.to_owned(),
                    image,
                    score,
                    logits: reference,
                });
            }
            found[image] = score;
        }
    }
    Ok(found)
}

/// Places of so many items spread over all, from the first to the last, and those of the rest.
fn spread<T>(items: &[T], most: usize) -> (Vec<usize>, Vec<usize>) {
    let count = items.len();
    let begins = |at: usize| (at * most) / count;
    (0..count).partition(|&at| count <= most || at == 0 || begins(at) != begins(at - 1))
}

/// The log-likelihood in nats that the logits in `row` give, or the dimension where they give no distribution.
fn total(logits: &Logits, row: usize, given: &Given<'_>) -> Result<f64, usize> {
    let mut scratch = Scratch::default();
    let mut sum = 0.0;
    for (index, &level) in given.levels.iter().enumerate() {
        sum += logits.predict(row, index, given.levels, |prediction| {
            let own = prediction.normalised_log_probability(level, &mut scratch);
            prediction.describes().then_some(own).ok_or(index)
        })?;
    }
    Ok(sum)
}

/// Golden images, each with every label.
fn given(images: &[Image], labels: u32) -> Vec<Given<'_>> {
    images
        .iter()
        .flat_map(|image| {
            (0..labels).map(|label| Given {
                levels: image.levels(),
                label,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_is_spread_over_all() {
        for count in [0, 1, 5, 31, 32, 33, 47, 160] {
            let (chosen, rest) = spread(&vec![(); count], 32);
            assert_eq!(chosen.len(), count.min(32), "{count}");
            assert_eq!(chosen.len() + rest.len(), count);
            assert_eq!(chosen.first().copied().unwrap_or(0), 0);
        }
    }
}
