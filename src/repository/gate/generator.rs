//! What a generator must prove: that it draws the images of its golden codes.

use super::{
    super::{Network, Timings, manifest::GoldenFiles},
    Candidate, Gate, GateError, company, failed, time_of, units,
};
use crate::{
    media,
    network::generator::{Contract, Generator, Seed},
    runtime::Threads,
};

/// Golden numbers of generators: dimensions of images in units of level / (levels − 1).
const GOLDEN: (&str, &str) = ("golden images", "");

pub(super) fn load(
    gate: &mut Gate<'_>,
    candidate: &Candidate<'_>,
    file: &str,
    contract: &Contract,
) -> Result<(Network, Timings), GateError> {
    let failed = |cause| failed(file, cause);
    let (seeds, expected) = golden(gate, candidate, contract)?;
    let to_pictures = candidate
        .manifest
        .declared
        .to_pictures(contract.shape.levels());
    let model = gate.graph(file, &[(&contract.output, &to_pictures)])?;
    let network = Generator::load(candidate.engine, candidate.label, &model, contract.clone())
        .map_err(failed)?;
    gate.contract_kept();
    let strange = company::codes(contract.latent_size, &gate.probe(file, 0));
    let classes = contract.label.as_ref().map_or(1, |label| label.classes);
    let others = gate.keeps_apart(file, &mut |items| {
        let seed = |&item: &usize| Seed {
            code: strange[item].clone(),
            label: item as u32 % classes,
        };
        let seeds: Vec<Seed> = items.iter().map(seed).collect();
        let pictures = network.generate(&seeds, Threads::All)?;
        Ok(pictures
            .iter()
            .map(|picture| picture.values().to_vec())
            .collect())
    })?;
    gate.suspect(file, units::pictures(&others.concat(), false));
    let pictures = network.generate(&seeds, Threads::All).map_err(failed)?;
    let drawn: Vec<f64> = pictures
        .iter()
        .flat_map(|picture| picture.values())
        .copied()
        .map(f64::from)
        .collect();
    let tolerance = candidate.manifest.golden.tolerance;
    gate.golden(GOLDEN, tolerance, &expected, &drawn)?;
    let backward =
        time_of(|| network.generate(&seeds[..1], Threads::One).map(drop)).map_err(failed)?;
    let timings = Timings {
        forward: backward,
        backward,
    };
    Ok((Network::Generator(network.into()), timings))
}

/// Golden codes, and the dimensions of their images.
fn golden(
    gate: &Gate<'_>,
    candidate: &Candidate<'_>,
    contract: &Contract,
) -> Result<(Vec<Seed>, Vec<f64>), GateError> {
    let GoldenFiles::Drawn {
        latents,
        labels,
        images,
    } = &candidate.manifest.golden.files
    else {
        let reason = "golden: images of codes are needed";
        return Err(GateError::Manifest(reason.to_owned()));
    };
    let wrong = |file: &str, cause: String| GateError::File {
        file: file.to_owned(),
        cause,
    };
    let table = |file: &str, columns: &[usize]| {
        media::read_numbers(gate.read(file)?, columns)
            .map_err(|error| wrong(file, error.to_string()))
    };
    let size = contract.latent_size;
    let codes = table(latents, &[size])?;
    let count = codes.len() / size;
    let shape = contract.shape;
    let expected = table(images, &[shape.channels(), shape.height(), shape.width()])?;
    if count == 0 || expected.len() != count * shape.dimensions() {
        let found = expected.len() / shape.dimensions();
        let cause = format!(
            "it has {found} images of {count} codes; there must be one each, and at least one"
        );
        return Err(wrong(images, cause));
    }
    let numbers = match (labels, &contract.label) {
        (None, None) => vec![0; count],
        (Some(file), Some(label)) => {
            let valid = |&number: &f64| {
                number.fract() == 0.0 && (0.0..f64::from(label.classes)).contains(&number)
            };
            let numbers = table(file, &[])?;
            if numbers.len() != count || !numbers.iter().all(valid) {
                let cause = format!(
                    "it must have a label for each of {count} codes, a whole number below {}",
                    label.classes
                );
                return Err(wrong(file, cause));
            }
            numbers.into_iter().map(|number| number as u32).collect()
        }
        _ => {
            let reason = "golden.labels: they must be there exactly if the generator takes labels";
            return Err(GateError::Manifest(reason.to_owned()));
        }
    };
    let seeds = codes.chunks(size).zip(numbers).map(|(code, label)| Seed {
        code: code.iter().map(|&value| value as f32).collect(),
        label,
    });
    Ok((seeds.collect(), expected))
}
