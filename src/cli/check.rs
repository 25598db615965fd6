//! `check`: the load gate without a server.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use clap::Args;
use serde_json::json;

use super::{CliError, OfflineSettings, Outcome, model, say, spinner::Spinner};
use crate::{
    app::{self, Registries},
    model::{
        info::{Details, DrawingMethod, ModelInfo, State},
        refusal::clip_list,
    },
};

/// Run the load gate on one model: print what it can do, or exactly why it is refused
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Path of a model's folder (`<name>` or `<name>/<version>`), or its name in the repository
    #[arg(value_name = "MODEL_DIR")]
    model: String,

    /// Try causality at every dimension where it cannot be proven, instead of at some; takes as long as --load-timeout
    /// allows
    #[arg(long)]
    thorough: bool,

    /// Print JSON: what /v1/models/{model} answers
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    settings: OfflineSettings,
}

pub(super) fn run(arguments: CheckArgs, registries: &Registries) -> Result<Outcome, CliError> {
    let settings = arguments.settings.start()?;
    let folder = model::folder(&arguments.model, &settings.models.repository)?;
    let spinner = Spinner::new(format!("proving {}", folder.display()));
    let checked = app::check(&settings, registries, &folder, arguments.thorough);
    drop(spinner);
    let info = match checked {
        Ok(info) => info,
        Err(error) => {
            if arguments.json {
                print(&json!({"state": "failed", "reason": error.to_string()}))?;
            } else {
                say(&format!("{} is refused: {error}", folder.display()));
            }
            return Ok(Outcome::Refused);
        }
    };
    if arguments.json {
        print(&json!(info))?;
    } else {
        print(&Report(&info))?;
    }
    Ok(match info.state {
        State::Ready => Outcome::Done,
        _ => Outcome::Refused,
    })
}

fn print(text: &impl fmt::Display) -> Result<(), CliError> {
    writeln!(io::stdout().lock(), "{text:#}").map_err(|error| CliError::writing(None, error))
}

/// What a person reads.
struct Report<'a>(&'a ModelInfo);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelInfo {
            name,
            version,
            reason,
            details,
            ..
        } = self.0;
        let Some(details) = details else {
            let reason = reason.as_deref().unwrap_or_default();
            return write!(f, "{name} version {version} is refused: {reason}");
        };
        let description = &details.card.description;
        writeln!(f, "{name} version {version} is ready: {description}")?;
        let blocks = [
            ("model", facts(details)),
            ("checks", checks(details)),
            ("capabilities", capabilities(details)),
        ];
        let text = blocks.map(|(title, rows)| block(title, &rows)).join("");
        f.write_str(text.trim_end())
    }
}

type Rows = Vec<(String, String)>;

fn facts(details: &Details) -> Rows {
    let card = &details.card;
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let size = details.image;
    let mut rows = vec![
        ("family", card.family.to_owned()),
        ("density", word(json!(card.density))),
        (
            "conditional",
            if card.conditional { "yes, on labels" } else { "no" }.to_owned(),
        ),
        (
            "images",
            format!(
                "{}×{}×{} (channels × height × width) of {} levels",
                size.channels, size.height, size.width, size.levels
            ),
        ),
        ("likelihood", card.likelihood.to_owned()),
    ];
    if !details.labels.is_empty() {
        let text = format!("{}: {}", details.labels.len(), clip_list(&details.labels));
        rows.push(("labels", text));
    }
    if let Some(first) = details.prior.first() {
        let is_flat = details.prior.iter().all(|share| share == first);
        let text = if is_flat {
            format!("{first} each")
        } else {
            clip_list(&details.prior)
        };
        rows.push(("prior", text));
    }
    if let Some(sampler) = &card.sampler {
        // What it costs, or why it is not the faster one, stands among the checks.
        let method = match sampler {
            DrawingMethod::Wavefront { .. } => "wavefront",
            DrawingMethod::FixedPoint { .. } => "fixed point of full passes",
        };
        rows.push(("sampler", method.to_owned()));
    }
    if let Some(size) = card.latent_size {
        rows.push(("latent size", size.to_string()));
    }
    if let Some(calibration) = &card.calibration {
        let text = format!(
            "{} scores of {} ({}); false-alarm rates from {:.2e}",
            calibration.size, calibration.statistic, calibration.description, calibration.smallest_false_alarm_rate
        );
        rows.push(("calibration", text));
    }
    let provenance = &card.provenance;
    rows.push(("weights", provenance.parameters.to_string()));
    if let Some(bits) = provenance.test_bits_per_dim {
        rows.push(("test bits/dim", bits.to_string()));
    }
    rows.push(("data", provenance.data.clone()));
    rows.push(("licence", provenance.licence.clone()));
    rows.push(("trained with", provenance.command.clone()));
    rows.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

fn checks(details: &Details) -> Rows {
    let checks = details.card.checks.iter();
    checks
        .map(|check| (check.name.to_string(), check.finding.clone()))
        .collect()
}

fn capabilities(details: &Details) -> Rows {
    let row = |capable: &crate::model::info::Capable| {
        let answer = match &capable.reason {
            None => "yes".to_owned(),
            Some(reason) => format!("no: {reason}"),
        };
        (capable.name.to_owned(), answer)
    };
    details.capabilities.iter().map(row).collect()
}

fn block(title: &str, rows: &Rows) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut text = format!("\n{title}\n");
    for (name, finding) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:width$}  {finding}");
    }
    text
}
