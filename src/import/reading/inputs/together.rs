//! What is wrong with the inputs of a graph together.

use super::{
    super::{Taken, Takes},
    makes_pictures_of_pictures, of_time,
};
use crate::import::{Problem, export::Export};

/// What is wrong with inputs that a model has once: its image, and its label.
pub(super) fn one_of_each(export: &Export, takes: &[Taken]) -> Option<Problem> {
    let named = |is_it: fn(&Taken) -> bool| -> Vec<String> {
        let own = takes.iter().filter(|taken| is_it(taken));
        own.map(|taken| format!("{:?}", taken.port.name)).collect()
    };
    let (images, labels) = (named(|taken| taken.image().is_some()), named(Taken::is_label));
    let lost = lost_constants(takes);
    let (what, cure) = if !lost.is_empty() {
        (
            format!(
                "it wants {} beside its image, of one row for whatever batch: constants that the exporter lost, as \
                 Keras does with the mean and the variance of a Normalization layer",
                lost.join(" and ")
            ),
            "from Keras, model.export(\"folder\") and python -m tf2onnx.convert --saved-model folder --output \
             model.onnx keep them; else export it with them inside, as constants",
        )
    } else if images.len() > 1 && are_noise(takes) {
        (
            format!(
                "it takes pictures beside its code, {}, such as the noise of a StyleGAN, and a generator is given its \
                 code alone",
                images.join(" and ")
            ),
            "export it with them inside, as constants (of a StyleGAN, noise_mode=\"const\")",
        )
    } else if images.len() > 1 {
        (
            format!(
                "it takes {} pictures, {}, and one is the image",
                images.len(),
                images.join(" and ")
            ),
            "export it together with what makes the others of a label, or with them inside, as constants",
        )
    } else if labels.len() > 1 && !images.is_empty() && makes_pictures_of_pictures(export) {
        return Some(of_time(export, &labels.join(" and ")));
    } else if labels.len() > 1 {
        (
            format!(
                "it takes {} rows of labels, {}, and a model is given one label",
                labels.len(),
                labels.join(" and ")
            ),
            "export it with the others inside, as constants; numbers that are drawn for every image are part of its \
             code: join them to it (torch.cat) within the network that is exported",
        )
    } else {
        return None;
    };
    Some(Problem::new(&export.file, what, cure))
}

/// Whether pictures beside a row of numbers are of unlike sizes, as noise is that a generator adds to its layers.
fn are_noise(takes: &[Taken]) -> bool {
    let has_row = takes
        .iter()
        .any(|taken| matches!(taken.takes, Takes::Code | Takes::OneHot(_)));
    let mut sizes = takes
        .iter()
        .filter(|taken| taken.image().is_some())
        .map(|taken| &taken.sizes);
    let first = sizes.next();
    has_row && sizes.any(|own| Some(own) != first)
}

/// Names of inputs of one row, where the image has as many as there are images.
fn lost_constants(takes: &[Taken]) -> Vec<String> {
    let first = |taken: &Taken| taken.port.sizes.as_ref().and_then(|own| own.first()?.fixed());
    let is_free = |taken: &Taken| taken.image().is_some() && first(taken).is_none();
    if !takes.iter().any(is_free) {
        return Vec::new();
    }
    let lost = takes
        .iter()
        .filter(|taken| first(taken) == Some(1) && !taken.is_label());
    lost.map(|taken| format!("{:?}", taken.port.name)).collect()
}
