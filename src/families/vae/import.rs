//! Which graphs are a VAE: an encoder that gives a posterior over codes, and a decoder of an image or of a distribution
//! over images; or one of the two.

mod decoding;
mod posterior;
mod scale;

use self::{
    decoding::Decoding,
    posterior::{Posterior, size_alone},
};
use crate::{
    domain::image::Image,
    families::import::{
        Certainty, Golden, Levels, Likely, Mismatch, Plan, golden_of_codes, is_called_generator, labels_given,
        levels_count, levels_of, pair, take_label,
    },
    graph::convert::Step,
    import::{
        Problem,
        canonical::Canonical,
        interview::Interview,
        output_activation::{self, OutputActivation},
        reading::{Given, Reading},
        trial_images,
    },
    media,
};

pub(super) fn import<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    match brought {
        [reading] if reading.image().is_some() => encoder_alone(reading, interview),
        [reading] => decoder_alone(reading, Certainty::Possible, interview),
        _ => whole(brought, interview),
    }
}

/// Encoder and decoder.
fn whole<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let (encoder, decoder) = pair(brought)?;
    let (Some((taken, form)), Some((code, size))) = (encoder.image(), decoder.code()) else {
        return Err(Mismatch::Other("it takes images and codes".to_owned()));
    };
    let Some(posterior) = Posterior::of(encoder, size, interview)? else {
        return Err(Mismatch::Other(format!(
            "its encoder gives mean and log-variance of a posterior over codes of {size} numbers, in two outputs or in \
             one"
        )));
    };
    if encoder.label().is_some() || decoder.label().is_some() {
        let mut plan = decoder_alone(decoder, Certainty::Certain, interview)?;
        plan.notes.push(format!(
            "{}: it is given labels, and bounds of a VAE that is given labels are not served, so only the decoder is",
            encoder.file
        ));
        return Ok(plan);
    }
    let decoding = Decoding::of(decoder, Some(form), interview)?;
    let count = levels_count(interview)?;
    let levels = levels_of(
        encoder,
        (taken, form),
        count,
        Likely::by_pictures(decoding.is_signed),
        interview,
    )?;
    let mut first = Canonical::of(encoder);
    first.image("image", taken);
    posterior.write(&mut first);
    let mut second = Canonical::of(decoder);
    second.code("code", code);
    decoding.write(&mut second);
    let tables = format!(
        "{}{ENCODER}\n[graphs.decoder]\nfile = \"decoder.onnx\"\ninput = \"code\"\n{}\n[latent]\nsize = {size}\n{}",
        levels.table(),
        decoding.lines(),
        decoding.table()
    );
    Ok(Plan {
        certainty: Certainty::Certain,
        doubt: None,
        shape: levels.shape,
        graphs: vec![("encoder.onnx", first.finish()), ("decoder.onnx", second.finish())],
        tables,
        declared: [decoding.declared.clone(), posterior.declared.clone()].concat(),
        statistic: decoding.has_likelihood().then_some(super::STATISTIC),
        notes: [decoding.notes.clone(), vec![prior(decoder)]].concat(),
        golden: Golden::OfImages {
            labels: None,
            numbers: Box::new(move |images: &[Image]| numbers(&posterior, &decoding, &levels, images)),
            log_prior: Vec::new(),
        },
    })
}

const ENCODER: &str = "\n[graphs.encoder]\nfile = \"encoder.onnx\"\ninput = \"image\"\nmean = \"mean\"\n\
                       log_variance = \"log_variance\"\n";

/// log p(x given z = mean of the posterior) − KL, or Σ (reconstruction − image)² without a likelihood.
fn numbers(
    posterior: &Posterior<'_>,
    decoding: &Decoding<'_>,
    levels: &Levels,
    images: &[Image],
) -> Result<Vec<f64>, Problem> {
    let posteriors = posterior.run(levels, images)?;
    let means: Vec<Vec<f32>> = posteriors.iter().map(|own| own.mean.clone()).collect();
    let observations = decoding.observe(&means, &[])?;
    let number = |((posterior, observation), image): ((_, &crate::families::decoder::Observation), &Image)| {
        let posterior: &super::network::Posterior = posterior;
        let bound = posterior.elbo_at_mean(observation, image.levels());
        bound.unwrap_or_else(|| observation.squared_errors(image.levels()).iter().sum())
    };
    Ok(posteriors.iter().zip(&observations).zip(images).map(number).collect())
}

/// An encoder without its decoder.
fn encoder_alone<'a>(reading: &'a Reading, interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let Some((taken, form)) = reading.image() else {
        return Err(Mismatch::Other("it takes images".to_owned()));
    };
    let is_wanted = interview.given("family").as_deref() == Some("vae");
    // A code is smaller than its image; two numbers for each dimension are a distribution of the image itself.
    let dimensions = form.channels * form.height * form.width;
    let is_code = |&(size, _): &(usize, bool)| is_wanted || size < dimensions;
    let found = size_alone(reading, is_wanted).filter(is_code);
    let Some((size, is_named)) = found.filter(|_| reading.label().is_none()) else {
        let what = "its encoder alone gives mean and log-variance of a posterior over codes";
        return Err(Mismatch::Other(what.to_owned()));
    };
    let Some(posterior) = Posterior::of(reading, size, interview)? else {
        return Err(Mismatch::Other("it gives a posterior over codes".to_owned()));
    };
    let levels = levels_of(
        reading,
        (taken, form),
        levels_count(interview)?,
        Likely::Unit,
        interview,
    )?;
    let mut graph = Canonical::of(reading);
    graph.image("image", taken);
    posterior.write(&mut graph);
    let size = posterior.size();
    let tables = format!("{}{ENCODER}\n[latent]\nsize = {size}\n", levels.table());
    let images = trial_images::made_up(levels.shape);
    let posteriors = posterior.run(&levels, &images)?;
    let file = |own: fn(&super::network::Posterior) -> &Vec<f32>| {
        let numbers = posteriors.iter().flat_map(|posterior| own(posterior).clone());
        media::write_f32(&[posteriors.len(), size], numbers)
    };
    let files = vec![
        ("golden_images.npy", media::write_images(&images, levels.shape)),
        ("golden_means.npy", file(|posterior| &posterior.mean)),
        ("golden_log_variances.npy", file(|posterior| &posterior.log_variance)),
    ];
    let lines =
        "images = \"golden_images.npy\"\nmeans = \"golden_means.npy\"\nlog_variances = \"golden_log_variances.npy\"\n";
    Ok(Plan {
        certainty: if is_named {
            Certainty::Certain
        } else {
            Certainty::Likely
        },
        doubt: posterior.doubt().filter(|_| !is_named),
        shape: levels.shape,
        graphs: vec![("encoder.onnx", graph.finish())],
        tables,
        declared: posterior.declared.clone(),
        golden: Golden::OfCodes {
            files,
            lines: lines.to_owned(),
        },
        statistic: None,
        notes: Vec::new(),
    })
}

/// A decoder without its encoder, which may be given labels.
fn decoder_alone<'a>(reading: &'a Reading, least: Certainty, interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let Some((code, size)) = reading.code() else {
        return Err(Mismatch::Other("it takes images or codes".to_owned()));
    };
    let decoding = Decoding::of(reading, None, interview)?;
    let labelled = labels_given(reading, interview)?;
    let mut graph = Canonical::of(reading);
    graph.code("code", code);
    let label = take_label(&mut graph, reading, labelled.as_ref());
    decoding.write(&mut graph);
    let tables = format!(
        "\n[graphs.decoder]\nfile = \"decoder.onnx\"\ninput = \"code\"\n{label}{}\n[latent]\nsize = {size}\n{}{}",
        decoding.lines(),
        labelled.as_ref().map_or("", |labelled| &labelled.table),
        decoding.table()
    );
    let golden = golden_of_codes(size, labelled.as_ref(), decoding.shape, |codes, labels| {
        let observations = decoding.observe(codes, labels)?;
        Ok(observations.iter().flat_map(|observation| observation.mean()).collect())
    })?;
    let name = reading.file.to_lowercase();
    let is_named = ["decod", "vae"].iter().any(|word| name.contains(word));
    let ends_in_sigmoid = reading
        .gives
        .iter()
        .any(|given| output_activation::last(reading.graph(), &given.port.name).0 == OutputActivation::Sigmoid);
    let found = if decoding.has_likelihood() {
        Certainty::Certain
    } else if is_named || (ends_in_sigmoid && !is_called_generator(reading)) {
        Certainty::Likely
    } else {
        Certainty::Possible
    };
    Ok(Plan {
        certainty: found.max(least),
        doubt: None,
        shape: decoding.shape,
        graphs: vec![("decoder.onnx", graph.finish())],
        tables,
        declared: decoding.declared,
        golden,
        statistic: None,
        notes: [decoding.notes, vec![prior(reading)]].concat(),
    })
}

/// What is taken for granted of codes, of which no decoder tells.
fn prior(decoder: &Reading) -> String {
    format!(
        "{}: its codes are taken to be standard normal before an image is seen, in bounds and in drawn images: another \
         prior, such as a VampPrior or a network over codes, stands in no decoder",
        decoder.file
    )
}

fn is_called(given: &Given, words: &[&str]) -> bool {
    let name = given.port.name.to_lowercase();
    words.iter().any(|word| name.contains(word))
}

fn applied(steps: &[Step], value: f32) -> f32 {
    /// What a probability differs from certainty by at least: 32 bits hold no less below 1.
    const LEAST: f32 = 6e-8;
    steps.iter().fold(value, |value, step| match *step {
        Step::Log => value.ln(),
        Step::LogOdds => {
            let p = value.clamp(LEAST, 1.0 - LEAST);
            (p / (1.0 - p)).ln()
        }
        Step::Times(factor) => value * factor,
        Step::Plus(term) => value + term,
    })
}
