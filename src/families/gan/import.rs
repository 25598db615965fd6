//! Which graphs are generators: one from codes, and perhaps labels, to images.

use crate::{
    domain::{
        image::ImageShape,
        random::{Random, Stream},
    },
    families::import::{
        Certainty, Golden, Mismatch, Pictures, Plan, coded, labels_given, levels_count, pictures_of, units_of_pictures,
    },
    import::{Problem, canonical::Canonical, interview::Interview, reading::Reading},
    media,
};

/// Codes that images are kept of.
const GOLDEN: usize = 4;

pub(super) fn import<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let other = |reason: &str| Err(Mismatch::Other(reason.to_owned()));
    let [reading] = brought else {
        return other("it is one graph");
    };
    let Some((code, size)) = reading.code() else {
        return other("it takes codes, and no images");
    };
    let pictures = pictures_of(reading, None, interview);
    let Some(&(picture, (channels, height, width), arrangement)) = pictures.first() else {
        return other("it gives pictures");
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
    let mut graph = Canonical::of(reading);
    graph.code("code", code);
    let mut label = "";
    if let (Some(taken), Some(labelled)) = (reading.label(), &labelled) {
        graph.label("label", taken, labelled.count);
        label = "label = \"label\"\n";
    }
    let name = (picture.port.name.as_str(), picture.port.onnx_type);
    graph.output(name, "picture", &pictures.ops(), &pictures.sizes());
    let table = labelled.as_ref().map_or("", |labelled| &labelled.table);
    let tables = format!(
        "\n[graphs.generator]\nfile = \"generator.onnx\"\ninput = \"code\"\n{label}output = \
         \"picture\"\n\n[latent]\nsize = {size}\n{table}"
    );
    let random = Random::new(0, Stream::Prior, 0);
    let codes: Vec<Vec<f32>> = (0..GOLDEN)
        .map(|item| {
            (0..size)
                .map(|i| random.normal((item * size + i) as u32) as f32)
                .collect()
        })
        .collect();
    let labels: Vec<usize> = (0..GOLDEN)
        .map(|item| labelled.as_ref().map_or(0, |labelled| item % labelled.count))
        .collect();
    let rows = coded(reading, &codes, &labels, picture.place)?;
    let images: Vec<f32> = rows.iter().flat_map(|row| pictures.read(row)).collect();
    let mut files = vec![
        (
            "golden_latents.npy",
            media::write_f32(&[GOLDEN, size], codes.concat().into_iter()),
        ),
        (
            "golden_images.npy",
            media::write_f32(&[GOLDEN, channels, height, width], images.into_iter()),
        ),
    ];
    let mut lines = "latents = \"golden_latents.npy\"\nimages = \"golden_images.npy\"\n".to_owned();
    if labelled.is_some() {
        let numbers = labels.iter().map(|&label| label as f64);
        files.push(("golden_labels.npy", media::write_f64(&[GOLDEN], numbers)));
        lines += "labels = \"golden_labels.npy\"\n";
    }
    Ok(Plan {
        certainty: Certainty::Likely,
        shape,
        graphs: vec![("generator.onnx", graph.finish())],
        tables,
        declared: declared.into_iter().collect(),
        golden: Golden::OfCodes { files, lines },
        statistic: None,
        notes: Vec::new(),
    })
}
