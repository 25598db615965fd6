//! Which graphs are generators: one from codes, and perhaps labels, to images.

use crate::{
    domain::image::ImageShape,
    families::import::{
        Certainty, Mismatch, Pictured, Pictures, Plan, coded, golden_of_codes, is_called_generator, labels_given,
        levels_count, pictures_of, take_label, units_of_pictures,
    },
    import::{
        Problem,
        canonical::Canonical,
        interview::Interview,
        output_activation::{self, OutputActivation},
        reading::Reading,
    },
};

pub(super) fn import<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let other = |reason: &str| Err(Mismatch::Other(reason.to_owned()));
    let [reading] = brought else {
        return other("it is one graph");
    };
    let Some((code, size)) = reading.code() else {
        return other("it takes codes, and no images");
    };
    let pictures = pictures_of(reading, None, interview)?;
    let Some(&first) = pictures.first() else {
        return other("it gives no pictures");
    };
    if pictures.iter().skip(1).any(|picture| picture.1 == first.1) {
        return other("it gives one picture of a code, and not the mean and the scale of a distribution");
    }
    let (picture, (channels, height, width), arrangement) = chosen(reading, &pictures, interview)?;
    let count = levels_count(interview)?;
    let shape = ImageShape::new(channels, height, width, count)
        .map_err(|error| Problem::new(&reading.file, error.to_string(), ""))?;
    let (scale, declared) = units_of_pictures(reading, picture, count, interview);
    let pictures = Pictures {
        arrangement,
        shape,
        scale,
    };
    let labelled = labels_given(reading, interview)?;
    interview.note(&format!(
        "{}: all {size} numbers of its code are drawn from a normal distribution: where some of them say a label, \
         export the generator with an input of its own for it",
        reading.file
    ));
    let mut graph = Canonical::of(reading);
    graph.code("code", code);
    let label = take_label(&mut graph, reading, labelled.as_ref());
    let name = (picture.port.name.as_str(), picture.port.onnx_type);
    graph.output(name, "picture", &pictures.ops(), &pictures.sizes());
    let table = labelled.as_ref().map_or("", |labelled| &labelled.table);
    let tables = format!(
        "\n[graphs.generator]\nfile = \"generator.onnx\"\ninput = \"code\"\n{label}output = \
         \"picture\"\n\n[latent]\nsize = {size}\n{table}"
    );
    let golden = golden_of_codes(size, labelled.as_ref(), shape, |codes, labels| {
        let rows = coded(reading, codes, labels, picture.place)?;
        Ok(rows.iter().flat_map(|row| pictures.read(row)).collect())
    })?;
    let (last, _) = output_activation::last(reading.graph(), &picture.port.name);
    Ok(Plan {
        certainty: if last == OutputActivation::Tanh || is_called_generator(reading) {
            Certainty::Likely
        } else {
            Certainty::Possible
        },
        doubt: None,
        shape,
        graphs: vec![("generator.onnx", graph.finish())],
        tables,
        declared: declared.into_iter().collect(),
        golden,
        statistic: None,
        notes: Vec::new(),
    })
}
/// The picture among several of unlike sizes, such as maps of attention beside it.
fn chosen<'a>(
    reading: &Reading,
    pictures: &[Pictured<'a>],
    interview: &mut Interview,
) -> Result<Pictured<'a>, Mismatch> {
    let name = |picture: &Pictured<'a>| picture.0.port.name.as_str();
    if let [one] = pictures {
        return Ok(*one);
    }
    let is_bounded = |picture: &&Pictured<'a>| {
        let (last, _) = output_activation::last(reading.graph(), name(picture));
        matches!(last, OutputActivation::Tanh | OutputActivation::Sigmoid)
    };
    let bounded: Vec<&Pictured<'a>> = pictures.iter().filter(is_bounded).collect();
    let likely = match bounded[..] {
        [one] => name(one),
        _ => "",
    };
    let size = |picture: &Pictured<'a>| format!("{}×{}×{}", picture.1.0, picture.1.1, picture.1.2);
    let sizes: Vec<String> = pictures.iter().map(size).collect();
    let options: Vec<(&str, &str)> = pictures
        .iter()
        .map(name)
        .zip(sizes.iter().map(String::as_str))
        .collect();
    let text = format!(
        "{}: which of its outputs is the picture? The others are not served",
        reading.file
    );
    let answer = interview.ask("output", text, &options, likely);
    let found = pictures.iter().find(|picture| name(picture) == answer);
    // Without an answer the question stays open.
    let found = found.or_else(|| pictures.first().filter(|_| answer.is_empty()));
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = pictures.iter().map(name).collect();
        let what = format!("{answer:?} is no picture of {}", reading.file);
        Problem::new("--declare output", what, format!("say one of {}", names.join(", "))).into()
    })
}
