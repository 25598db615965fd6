//! What a graph wants for a level, and what its pictures are.

use super::{
    Mismatch,
    taken::{Likely, takes_levels},
};
use crate::{
    domain::image::{Image, ImageShape},
    families::{gate::units::bounds, manifest::InputMap},
    graph::convert::Step,
    import::{
        Problem,
        canonical::Op,
        export::Element,
        interview::Interview,
        layout::Arrangement,
        output_activation::{self, OutputActivation},
        output_range,
        reading::{Axes, Given, ImageForm, Reading, Taken, said_size},
    },
};

/// How levels become what a graph takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Levels {
    /// Size of the images.
    pub(crate) shape: ImageShape,
    /// Scale and offset of each channel.
    channels: Vec<(f64, f64)>,
    form: ImageForm,
}

/// Mean and deviation of ImageNet in units of level / 255, as public classifiers of photographs are trained with.
const IMAGENET: ([f64; 3], [f64; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

impl Levels {
    /// The numbers that the exported graph takes for an image, in its own order of axes.
    pub(crate) fn values(&self, image: &Image) -> Vec<f32> {
        let ImageForm {
            channels,
            height,
            width,
            axes,
        } = self.form;
        let pixels = height * width;
        let map = InputMap::of_channels(self.channels.iter().copied());
        let value = |channel: usize, pixel: usize| map.value(image.levels()[channel * pixels + pixel], channel);
        let places: Vec<(usize, usize)> = if axes == Axes::ChannelsLast {
            (0..pixels)
                .flat_map(|pixel| (0..channels).map(move |channel| (channel, pixel)))
                .collect()
        } else {
            (0..channels)
                .flat_map(|channel| (0..pixels).map(move |pixel| (channel, pixel)))
                .collect()
        };
        places
            .into_iter()
            .map(|(channel, pixel)| value(channel, pixel))
            .collect()
    }

    /// `[input]`.
    pub(crate) fn table(&self) -> String {
        let of = |part: fn(&(f64, f64)) -> f64| {
            let all: Vec<f64> = self.channels.iter().map(part).collect();
            if all.iter().all(|value| *value == all[0]) {
                format!("{:?}", all[0])
            } else {
                format!("{all:?}")
            }
        };
        format!(
            "\n[input]\nscale = {}\noffset = {}\n",
            of(|both| both.0),
            of(|both| both.1)
        )
    }
}

/// Levels of images, where no graph tells how many there are.
pub(crate) fn levels_count(interview: &mut Interview) -> Result<usize, Mismatch> {
    let text = interview.assume("levels", "256", "images have 256 levels: --levels says otherwise");
    match text.parse() {
        Ok(levels @ 2..=256) => Ok(levels),
        _ => Err(Problem::new(
            "--levels",
            format!("{text:?} is no number of levels"),
            "there are 2 to 256",
        )
        .into()),
    }
}

/// Finds out how a graph wants its images.
pub(crate) fn levels_of(
    reading: &Reading,
    (taken, form): (&Taken, ImageForm),
    levels: usize,
    likely: Likely,
    interview: &mut Interview,
) -> Result<Levels, Mismatch> {
    let shape = ImageShape::new(form.channels, form.height, form.width, levels)
        .map_err(|error| Problem::new(&reading.file, error.to_string(), ""))?;
    let most = (levels - 1) as f64;
    let linear = |scale, offset| Levels {
        shape,
        channels: vec![(scale, offset); form.channels],
        form,
    };
    let (as_levels, unit) = (linear(1.0, 0.0), linear(1.0 / most, 0.0));
    // (level / most − mean) / deviation.
    let normalised = |mean: &[f64], deviation: &[f64]| Levels {
        channels: mean
            .iter()
            .zip(deviation)
            .map(|(m, d)| (1.0 / (most * d), -m / d))
            .collect(),
        ..unit.clone()
    };
    if let (Some(mean), Some(deviation)) = (interview.given("mean"), interview.given("deviation")) {
        let (mean, deviation) = (
            per_channel("mean", &mean, form)?,
            per_channel("deviation", &deviation, form)?,
        );
        if deviation.contains(&0.0) {
            return Err(Problem::new("--deviation", "a deviation is 0", "give the one of the training").into());
        }
        return Ok(normalised(&mean, &deviation));
    }
    let is_asked = interview.answers().contains_key("input");
    if taken.port.element != Element::Real && !is_asked {
        return Ok(as_levels);
    }
    if let Some(told) = takes_levels(reading, &taken.port.name, levels).filter(|_| !is_asked) {
        interview.note(&format!("{}: {told}, so it takes levels", reading.file));
        return Ok(as_levels);
    }
    let range = format!("0 to {most}");
    let mut options = vec![
        ("0..1", "level / (levels - 1), as ToTensor gives"),
        ("-1..1", "the same times 2 less 1, as Normalize(0.5, 0.5) gives"),
        ("levels", range.as_str()),
        ("-0.5..0.5", "the first less 0.5"),
    ];
    if form.channels == 3 {
        options.push(("imagenet", "mean and deviation of ImageNet, channel by channel"));
    }
    let text = format!(
        "which numbers does {} take as images ({:?})? Another mean and deviation is said by --mean and --deviation",
        reading.file, taken.port.name
    );
    let answer = interview.ask("input", text, &options, likely.word());
    Ok(match answer.as_str() {
        "0..1" => unit,
        "-1..1" => linear(2.0 / most, -1.0),
        "levels" => as_levels,
        "-0.5..0.5" => linear(1.0 / most, -0.5),
        "imagenet" if form.channels == 3 => normalised(&IMAGENET.0, &IMAGENET.1),
        other => {
            let words: Vec<&str> = options.iter().map(|option| option.0).collect();
            let what = format!("{other:?} is none of the ranges");
            return Err(Problem::new("--input", what, format!("say one of {}", words.join(", "))).into());
        }
    })
}

/// A number for each channel, or one for all.
fn per_channel(key: &str, text: &str, form: ImageForm) -> Result<Vec<f64>, Problem> {
    let wrong = |what: String| {
        Problem::new(
            format!("--{key}"),
            what,
            "write one number, or one for each channel: 0.5,0.5,0.5",
        )
    };
    let values: Result<Vec<f64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    match values {
        Ok(values) if values.len() == 1 => Ok(vec![values[0]; form.channels]),
        Ok(values) if values.len() == form.channels => Ok(values),
        Ok(values) => Err(wrong(format!(
            "{} numbers for images of {} channels",
            values.len(),
            form.channels
        ))),
        Err(_) => Err(wrong(format!("{text:?} is no list of numbers"))),
    }
}

/// What a graph's pictures are, and what makes units of level / (levels − 1) of them.
#[derive(Debug, Clone)]
pub(crate) struct Pictures {
    /// Their axes.
    pub(crate) arrangement: Arrangement,
    /// Size of the images.
    pub(crate) shape: ImageShape,
    /// Factor and term of the conversion.
    pub(crate) scale: (f32, f32),
}

impl Pictures {
    /// What gives them to the server.
    pub(crate) fn ops(&self) -> Vec<Op> {
        let (factor, term) = self.scale;
        let mut ops = vec![Op::Arrange(self.arrangement, self.sizes())];
        let times = (factor != 1.0).then_some(Step::Times(factor));
        let plus = (term != 0.0).then_some(Step::Plus(term));
        let steps: Vec<Step> = times.into_iter().chain(plus).collect();
        if !steps.is_empty() {
            ops.push(Op::Convert(steps));
        }
        ops
    }

    /// Sizes of an item.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        vec![self.shape.channels(), self.shape.height(), self.shape.width()]
    }

    /// The picture of an item, in channel, row, column order and in units of level / (levels − 1).
    pub(crate) fn read(&self, item: &[f32]) -> Vec<f32> {
        let (factor, term) = self.scale;
        let values = self.arrangement.read(item).into_iter();
        values.map(|value| value * factor + term).collect()
    }
}

/// The range of a graph's pictures, where that can be told or was declared, as factor and term; and the line of
/// `[declared]` that it takes.
pub(crate) fn units_of_pictures(
    reading: &Reading,
    given: &Given,
    levels: usize,
    interview: &mut Interview,
) -> ((f32, f32), Option<String>) {
    let (last, _) = output_activation::last(reading.graph(), &given.port.name);
    let to_unit = 1.0 / (levels - 1) as f32;
    let made = output_range::made(&reading.model, &given.port.name);
    let said = match interview.given("pictures").as_deref() {
        Some("-1..1") => Some((0.5, 0.5)),
        Some("levels") => Some((to_unit, 0.0)),
        Some(_) => Some((1.0, 0.0)),
        None => None,
    };
    if let Some(scale) = said {
        let as_they_are = scale == (1.0, 0.0);
        let is_said = interview.is_said("pictures");
        if is_said && !as_they_are && contradicts(scale, (made.least, made.most)) {
            interview.note(&format!(
                "{}: its last operators keep its pictures between {} and {}, and they are taken in other units all the \
                 same, as was said",
                reading.file, made.least, made.most
            ));
        }
        // Who says it answers the load gate as well, whatever is converted looks like.
        return (
            scale,
            (is_said || as_they_are).then(|| "pictures = \"0..1\"".to_owned()),
        );
    }
    if last == OutputActivation::Tanh {
        interview.note(&format!(
            "{}: its pictures are hyperbolic tangents, so they go from -1 to 1",
            reading.file
        ));
        return ((0.5, 0.5), None);
    }
    let is_bounded = made.least.is_finite() && made.most.is_finite();
    if let Some((units, word)) = units_said(levels, interview).filter(|_| !is_bounded) {
        interview.note(&format!(
            "{}: nothing in it bounds its pictures, which are taken to be in the units of its images, {word}: \
             --declare pictures=0..1 says otherwise",
            reading.file
        ));
        return (units, None);
    }
    let (scale, sentence) = units_of_range((made.least, made.most), levels);
    if !sentence.is_empty() {
        interview.note(&format!("{}: {sentence}", reading.file));
    }
    (scale, None)
}

/// The units that were said of the images of the other half, as factor and term of what makes 0 to 1 of them: a picture
/// of an image is trained to be like it.
fn units_said(levels: usize, interview: &Interview) -> Option<((f32, f32), String)> {
    let said = |key: &str| interview.answers().get(key).filter(|_| interview.is_said(key));
    let number = |key: &str| said(key).and_then(|text| text.trim().parse::<f32>().ok());
    if let (Some(mean), Some(deviation)) = (number("mean"), number("deviation")) {
        return Some(((deviation, mean), format!("of mean {mean} and deviation {deviation}")));
    }
    let word = said("input")?;
    let units = match word.as_str() {
        "-1..1" => (0.5, 0.5),
        "-0.5..0.5" => (1.0, 0.5),
        "levels" => (1.0 / (levels - 1) as f32, 0.0),
        _ => return None,
    };
    Some((units, word.clone()))
}

/// Whether pictures that are bounded leave levels out, or go beyond them, once they are converted.
fn contradicts((factor, term): (f32, f32), (least, most): (f64, f64)) -> bool {
    let converted = |bound: f64| bound * f64::from(factor) + f64::from(term);
    bounds((converted(least), converted(most))).is_some()
}

/// The units of pictures whose numbers lie between these, as factor and term, and what is to be said of it.
fn units_of_range((least, most): (f64, f64), levels: usize) -> ((f32, f32), &'static str) {
    let is = |from: f64, to: f64| (least - from).abs() < 1e-3 * to && (most - to).abs() < 1e-3 * to;
    let top = (levels - 1) as f64;
    if is(-1.0, 1.0) {
        return (
            (0.5, 0.5),
            "its last operators keep its pictures between -1 and 1, so they go from there",
        );
    }
    if levels > 2 && is(0.0, top) {
        return (
            (1.0 / top as f32, 0.0),
            "its last operators keep its pictures between the lowest and the highest level",
        );
    }
    // What is bounded otherwise is asked about by the load gate.
    let sentence = if least.is_finite() && most.is_finite() {
        ""
    } else {
        "nothing in it bounds its pictures, which are taken to go from 0 to 1: --declare pictures=-1..1 or \
         pictures=levels says otherwise, and what is standardised is to be exported with its mean and deviation undone"
    };
    ((1.0, 0.0), sentence)
}

/// An output that is a picture: which one, its size and the order of its axes.
pub(crate) type Pictured<'a> = (&'a Given, (usize, usize, usize), Arrangement);

/// The outputs of a graph that are pictures. `form` is that of images on the other side, if there are any.
pub(crate) fn pictures_of<'a>(
    reading: &'a Reading,
    form: Option<ImageForm>,
    interview: &mut Interview,
) -> Result<Vec<Pictured<'a>>, Problem> {
    let asked = match form {
        Some(form) => Some((Some(form.channels), form.height, form.width)),
        None => said_size(interview)?,
    };
    let pictured = |given: &'a Given| {
        let own = given.sizes.as_ref()?;
        let numbers = given.numbers();
        let sizes = match asked {
            Some((channels, height, width)) => (channels.unwrap_or(numbers / (height * width)), height, width),
            None => size_of(own)?,
        };
        let (channels, height, width) = sizes;
        let is_one = channels * height * width == numbers && (1..=4).contains(&channels);
        let arrangements = Arrangement::candidates(own, [1, channels, height, width]);
        Some((given, sizes, arrangements.into_iter().next().filter(|_| is_one)?))
    };
    Ok(reading.gives.iter().filter_map(pictured).collect())
}

/// The size of a picture, by the axes of a tensor.
fn size_of(sizes: &[usize]) -> Option<(usize, usize, usize)> {
    match *sizes {
        [channels @ 1..=4, height, width] => Some((channels, height, width)),
        [height, width, channels @ 1..=4] => Some((channels, height, width)),
        [height, width] => Some((1, height, width)),
        [numbers] => [1, 3].into_iter().find_map(|channels| {
            let side = ((numbers / channels) as f64).sqrt().round() as usize;
            (side >= 4 && numbers == channels * side * side).then_some((channels, side, side))
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_pictures_follow_from_their_bounds() {
        let scale = |range| units_of_range(range, 256).0;
        assert_eq!(scale((0.0, 1.0)), (1.0, 0.0));
        assert_eq!(scale((-1.0, 1.0)), (0.5, 0.5));
        assert_eq!(scale((0.0, 255.0)), (1.0 / 255.0, 0.0));
        assert_eq!(units_of_range((0.0, 1.0), 2), ((1.0, 0.0), ""));
        let said = |range| units_of_range(range, 256).1;
        assert!(said((f64::NEG_INFINITY, f64::INFINITY)).contains("--declare pictures"));
        assert_eq!(said((-0.4, 2.8)), "");
    }
}
