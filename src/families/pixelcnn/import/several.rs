//! Several outputs that see only what comes before each pixel: which of them predicts its levels, or why none does.

use super::kind::Predictions;
use crate::{
    families::import::Mismatch,
    import::{
        Problem,
        interview::Interview,
        output_activation::{self, OutputActivation},
        reading::{Given, Reading},
    },
};

/// What an output is called that tells a parameter of a distribution of real numbers or of a mixture.
fn is_called_parameter(name: &str) -> bool {
    let name = name.to_lowercase();
    let is_short = ["mu", "loc", "std", "var", "pi", "logvar", "log_var"].contains(&name.as_str());
    let parts = ["mean", "scale", "sigma", "variance", "deviation", "coef", "weights"];
    is_short || parts.iter().any(|part| name.contains(part))
}

/// The predictions of levels among several outputs that see only what comes before.
pub(super) fn one_of_several<'f, 'a>(
    reading: &Reading,
    found: &'f [Vec<Predictions<'a>>],
    interview: &mut Interview,
) -> Result<Option<&'f [Predictions<'a>]>, Mismatch> {
    fn given<'a>(fits: &[Predictions<'a>]) -> &'a Given {
        fits[0].given
    }
    // Then the answer may be meant for another family.
    if found.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = found.iter().map(|fits| given(fits).port.name.as_str()).collect();
    if let Some(said) = interview.given("output") {
        let place = names.iter().position(|name| *name == said);
        return place.map(|place| Some(&found[place][..])).ok_or_else(|| {
            let what = format!("{said:?} is no prediction of {}", reading.file);
            Problem::new("--declare output", what, format!("say one of {}", names.join(", "))).into()
        });
    }
    let [first, _, ..] = found else {
        return Ok(found.first().map(Vec::as_slice));
    };
    let numbers = |fits: &[Predictions<'a>]| given(fits).numbers();
    // Probabilities beside what they were made of are the same predictions.
    let is_activated = |fits: &[Predictions<'a>]| {
        !matches!(
            output_activation::last(reading.graph(), &given(fits).port.name).0,
            OutputActivation::Linear | OutputActivation::Other
        )
    };
    let plain: Vec<&Vec<Predictions<'a>>> = found.iter().filter(|fits| !is_activated(fits)).collect();
    let are_alike = found.iter().all(|fits| numbers(fits) == numbers(first));
    if names.iter().any(|name| is_called_parameter(name)) || (are_alike && plain.len() > 1) {
        return Err(Problem::new(
            &reading.file,
            format!(
                "it gives {} predictions of each pixel, {}, which look like parameters of a distribution of real \
                 numbers, or of a mixture: none of them alone is a distribution over levels",
                names.len(),
                names
                    .iter()
                    .map(|name| format!("{name:?}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            "a mixture of discretised logistics is exported with its parameters in one output, as models/README.md has \
             them; a density of real numbers is not served, train it with a softmax over levels; if one of them are \
             the logits of levels, say --declare output=NAME",
        )
        .into());
    }
    let called = |fits: &&Vec<Predictions<'a>>| {
        let name = given(fits).port.name.to_lowercase();
        ["logit", "prob", "pred"].iter().any(|part| name.contains(part))
    };
    let own = found.iter().filter(called).min_by_key(|fits| is_activated(fits));
    let own = own.or_else(|| if are_alike { plain.first().copied() } else { None });
    if let Some(own) = own {
        return Ok(Some(own));
    }
    // Features have mostly fewer numbers than there are levels.
    let likely = found.iter().max_by_key(|fits| numbers(fits)).unwrap_or(first);
    let options: Vec<(&str, &str)> = names.iter().map(|name| (*name, "")).collect();
    let text = format!(
        "{}: which of its outputs predicts the levels of each pixel?",
        reading.file
    );
    let answer = interview.ask("output", text, &options, &given(likely).port.name);
    Ok(found
        .iter()
        .find(|fits| given(fits).port.name == answer)
        .map(Vec::as_slice))
}
