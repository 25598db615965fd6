//! Which family graphs are of: each is asked, the surest has them, and the rest is a question.

use super::{Certainty, Mismatch, Plan, files, picture_of_image};
use crate::{
    families::Registry,
    import::{Problem, interview::Interview, reading::Reading},
};

/// Asks every family whether the graphs are its own.
pub(super) fn recognise<'a>(
    registry: &Registry,
    brought: &'a [Reading],
    interview: &mut Interview,
) -> Result<(&'static str, Plan<'a>), Vec<Problem>> {
    let wanted = interview.given("family");
    if let Some(wanted) = &wanted {
        let family = registry
            .family(wanted)
            .map_err(|error| vec![Problem::new("--family", error, "")])?;
        return match family.import(brought, interview) {
            Ok(plan) => Ok((family.name(), plan)),
            Err(Mismatch::Problems(problems)) => Err(problems),
            Err(Mismatch::Other(reason)) => Err(vec![Problem::new(
                files(brought),
                format!("it is no {wanted}: {reason}"),
                "leave out --family to have it found",
            )]),
        };
    }
    let (mut fits, mut problems, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for family in registry.names().filter_map(|name| registry.family(name).ok()) {
        let mut own = interview.clone();
        match family.import(brought, &mut own) {
            Ok(plan) => fits.push((family, plan, own)),
            Err(Mismatch::Problems(own)) => problems.extend(own),
            Err(Mismatch::Other(reason)) if !reason.is_empty() => {
                reasons.push(format!("no {}: {reason}", family.name()))
            }
            Err(Mismatch::Other(_)) => {}
        }
    }
    let best = fits.iter().map(|(_, plan, _)| plan.certainty).max();
    let mut told = Vec::new();
    problems.retain(|problem| {
        let is_new = !told.contains(problem);
        told.extend(is_new.then(|| problem.clone()));
        is_new
    });
    // What is of one family but for a fault is not taken for something that asks less.
    if !problems.is_empty() && best.is_none_or(|best| best < Certainty::Certain) {
        return Err(problems);
    }
    let Some(best) = best else {
        let seen: Vec<String> = brought.iter().map(Reading::shown).collect();
        let what = format!("{}. It is {}", seen.join("; "), reasons.join("; "));
        let cure = if brought.iter().any(|reading| picture_of_image(reading).is_some()) {
            "a graph from images to images is no family of models here: neither normalising flows nor diffusion models \
             nor denoisers are served; models/README.md shows how to export what is"
        } else {
            "models/README.md shows how to export each family"
        };
        return Err(vec![Problem::new(files(brought), what, cure)]);
    };
    // Of the surest ones, one is chosen; the others are offered. What is doubted of it has no likely answer.
    let sure: Vec<_> = fits.iter().filter(|fit| fit.1.certainty == best).collect();
    let doubt = sure.iter().find_map(|fit| fit.1.doubt.clone());
    let mut chosen = sure[0].0.name().to_owned();
    let is_open = best < Certainty::Certain || sure.len() > 1;
    if doubt.is_some() || (is_open && fits.len() > 1) {
        let options: Vec<(&str, &str)> = fits.iter().map(|fit| (fit.0.name(), fit.0.gives())).collect();
        let text = format!("what is {}? {}", files(brought), doubt.as_deref().unwrap_or_default());
        let likely = if doubt.is_some() { "" } else { &chosen };
        let answer = interview.ask("family", text.trim_end(), &options, likely);
        if !answer.is_empty() {
            chosen = answer;
        }
    }
    let place = fits.iter().position(|fit| fit.0.name() == chosen).unwrap_or_default();
    let (family, plan, mut own) = fits.swap_remove(place);
    own.join(interview);
    *interview = own;
    Ok((family.name(), plan))
}
