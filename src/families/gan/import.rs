//! Which graphs are generators: one from codes, and perhaps labels, to images.

use crate::{
    domain::image::ImageShape,
    families::import::{
        Certainty, Mismatch, Pictures, Plan, coded, golden_of_codes, is_called_generator, labels_given, levels_count,
        pictures_of, take_label, units_of_pictures,
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
    let Some(&(picture, (channels, height, width), arrangement)) = pictures.first() else {
        return other("it gives no pictures");
    };
    if pictures.len() > 1 {
        return other("it gives one picture of a code, and not the mean and the scale of a distribution");
    }
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
