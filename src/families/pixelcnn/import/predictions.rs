//! Which output is a distribution over levels for every dimension that sees only what comes before it, and of which
//! form that is.

use super::{
    kind::{Kind, Predictions},
    several::one_of_several,
};
use crate::{
    families::import::Mismatch,
    graph::surgery,
    import::{
        Problem,
        causal::{self, Leak, Trial},
        export::Element,
        interview::Interview,
        layout::Arrangement,
        reading::{Given, ImageForm, Reading, Taken},
    },
};

/// Levels that images have at most.
const LEVELS: usize = 256;
/// Logits of an image that are tried for more levels, at most: many images of them are held at once.
const MOST_LOGITS: usize = 1 << 21;

/// The output that is a distribution for every dimension.
pub(super) fn predictions<'a>(
    reading: &'a Reading,
    (taken, form): (&Taken, ImageForm),
    interview: &mut Interview,
) -> Result<Predictions<'a>, Mismatch> {
    let is_wanted = interview.given("family").as_deref() == Some("pixelcnn");
    let (mut leaking, mut found) = (None, Vec::new());
    for given in &reading.gives {
        let (fits, leak) = readings_of(reading, given, (taken, form), is_wanted && reading.gives.len() == 1)?;
        leaking = leaking.or(leak);
        if !fits.is_empty() {
            found.push(fits);
        }
    }
    if let Some(fits) = one_of_several(reading, &found, interview)?
        && let Some(chosen) = chosen(reading, fits, interview)?
    {
        if let Some(problem) = noise_beside(reading, &chosen, form)
            && !is_wanted
        {
            return Err(problem.into());
        }
        return Ok(chosen);
    }
    if let Some(problem) = too_many_levels(reading, (taken, form))? {
        return Err(problem.into());
    }
    match leaking {
        Some(own) => Err(leak(reading, own).into()),
        None => Err(Mismatch::Other(
            "it gives no distribution over levels for every pixel that sees only the pixels before it".to_owned(),
        )),
    }
}

/// What is wrong with a prediction that sees its own pixel, and where that comes from as far as the graph tells.
fn leak(reading: &Reading, leak: Leak) -> Problem {
    let seen = if leak.is_of_own_pixel {
        "its own pixel, though none after it, as where the next pixel is predicted"
    } else {
        "its own pixel or later ones"
    };
    let what = format!(
        "it looks like a density, but its prediction of {} sees {seen}, so that the product of its predictions is no \
         probability",
        leak.place
    );
    let (what, cure) = match causal::over_all_places(reading.graph()) {
        Some(layer) if layer.is_quantising => (
            format!("{what}: {} scales by the largest number of the whole image", layer.name),
            "quantise it with scales that are found beforehand (quantize_static), or not at all",
        ),
        Some(layer) => (
            format!("{what}: {} computes something of the whole image", layer.name),
            "normalise over the channels of each pixel (LayerNorm over the last axis of [N, H, W, C]), or over batches \
             (BatchNorm)",
        ),
        None if leak.is_of_own_pixel => (
            what,
            "let the first layer see only what comes before: put a start token before the pixels of a sequence and \
             leave the last one out (torch.cat([start, x[:, :-1]], 1)), or mask the centre of the first convolution; \
             channels of a pixel may see those before them, but not themselves",
        ),
        None => (
            what,
            "mask every convolution, the first one at its centre too, and attention before its softmax \
             (is_causal=True, or −∞ where a later pixel is looked at), and let no channel see itself or those after \
             it; masks that Keras assigns to kernels inside call are left out at export, so multiply them in there; a \
             map of classes, depths or features is no density: --family encoder serves it; neither are logits of \
             levels that an autoencoder or a VAE decodes from the same image: export its mean picture instead",
        ),
    };
    Problem::new(&reading.file, what, cure)
}

/// What is wrong with a density over more levels than images have, as one of the codes of a VQ-VAE.
fn too_many_levels(reading: &Reading, (taken, form): (&Taken, ImageForm)) -> Result<Option<Problem>, Problem> {
    let dimensions = form.channels * form.height * form.width;
    for given in &reading.gives {
        let (levels, numbers) = (given.numbers() / dimensions, given.numbers());
        let Some(sizes) = &given.sizes else { continue };
        if levels <= LEVELS || numbers % dimensions != 0 || numbers > MOST_LOGITS {
            continue;
        }
        let trial = of_levels(taken, form, levels);
        let rows = trial.run(reading, given.place)?;
        let all = Arrangement::candidates(sizes, [levels, form.channels, form.height, form.width]);
        let is_causal = |arrangement: &Arrangement| trial.leak(&rows, *arrangement).is_none();
        if Trial::is_varied(&rows) && all.iter().any(is_causal) {
            return Ok(Some(Problem::new(
                &reading.file,
                format!(
                    "it is a density of {levels} levels, by {:?}, such as codes of a VQ-VAE have, and images have at \
                     most {LEVELS} here",
                    given.port.name
                ),
                "a density of codes is served if its code book has no more words than that",
            )));
        }
    }
    Ok(None)
}

/// What is wrong with one number for each dimension beside a picture that sees its own pixels: noise and the logarithms
/// of its scales, as an autoregressive flow gives them, are no log-odds.
fn noise_beside(reading: &Reading, chosen: &Predictions<'_>, form: ImageForm) -> Option<Problem> {
    let dimensions = form.channels * form.height * form.width;
    let is_noise = |given: &&Given| {
        given.place != chosen.given.place
            && given.numbers() == dimensions
            && surgery::producer(reading.graph(), &given.port.name).is_some_and(|node| node.op_type() != "Identity")
            && !causal::is_the_image(reading, given)
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

/// A trial of images with so many levels: integers are levels, of which the lower ones are there whatever the graph is.
fn of_levels(taken: &Taken, form: ImageForm, levels: usize) -> Trial {
    let is_real = taken.port.element == Element::Real;
    let most = levels as f64;
    Trial::new(form, &|share| {
        if is_real {
            share as f32
        } else {
            (share * most).floor().min(most - 1.0) as f32
        }
    })
}

/// All readings of an output that are causal; and where it leaks, if none is and it could be a density. One that is the
/// same of every image is none, unless it `is_wanted`.
fn readings_of<'a>(
    reading: &Reading,
    given: &'a Given,
    (taken, form): (&Taken, ImageForm),
    is_wanted: bool,
) -> Result<(Vec<Predictions<'a>>, Option<Leak>), Mismatch> {
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
    let levels = match first.kind {
        Kind::Categorical(levels) => levels,
        _ => 2,
    };
    let trial = of_levels(taken, form, levels);
    let rows = trial.run(reading, given.place)?;
    // What sees nothing at all breaks no rule, and is as little a density as a picture that does not change.
    if !is_wanted && !Trial::is_varied(&rows) {
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
