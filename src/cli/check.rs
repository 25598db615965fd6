//! `check`: the load gate without a server.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use clap::{ArgMatches, Args};
use serde_json::{Value, json};

use super::{CliError, OfflineSettings, Outcome, model, say};
use crate::{
    app,
    service::info::{CheckInfo, ModelInfo, ModelState, ReadyInfo, SamplerInfo},
};

/// Run the load gate on one model: print what it can do, or exactly why it is refused
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Path of a model's folder (`<name>` or `<name>/<version>`), or its name in the repository
    #[arg(value_name = "MODEL_DIR")]
    model: String,

    /// Try causality at every dimension where it cannot be proven, instead of at some; takes as long as --load-timeout allows
    #[arg(long)]
    thorough: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    settings: OfflineSettings,
}

pub(super) fn run(arguments: CheckArgs, matches: &ArgMatches) -> Result<Outcome, CliError> {
    let settings = arguments.settings.start(matches)?;
    let folder = model::folder(&arguments.model, &settings.models.repository)?;
    let info = match app::check(&settings, &folder, arguments.thorough) {
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
        print(&to_json(&info))?;
    } else {
        print(&Report(&info))?;
    }
    Ok(match info.state {
        ModelState::Ready(_) => Outcome::Done,
        ModelState::Failed { .. } => Outcome::Refused,
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
            state,
        } = self.0;
        match state {
            ModelState::Failed { reason } => {
                write!(f, "{name} version {version} is refused: {reason}")
            }
            ModelState::Ready(ready) => {
                writeln!(
                    f,
                    "{name} version {version} is ready: {}",
                    ready.description
                )?;
                let blocks = [
                    ("model", facts(ready)),
                    ("checks", checks(ready)),
                    ("capabilities", capabilities(ready)),
                ];
                f.write_str(
                    blocks
                        .map(|(title, rows)| block(title, &rows))
                        .join("")
                        .trim_end(),
                )
            }
        }
    }
}

type Rows = Vec<(String, String)>;

fn facts(ready: &ReadyInfo) -> Rows {
    let mut rows = vec![
        ("family", ready.family.to_string()),
        ("density", ready.density.name().to_owned()),
        (
            "conditional",
            if ready.conditional {
                "yes, on labels"
            } else {
                "no"
            }
            .to_owned(),
        ),
        ("images", ready.shape.to_string()),
        ("likelihood", ready.likelihood.to_owned()),
    ];
    if !ready.labels.is_empty() {
        let text = format!("{}: {}", ready.labels.len(), ready.labels.join(", "));
        rows.push(("labels", text));
    }
    if !ready.prior.is_empty() {
        let prior: Vec<String> = ready.prior.iter().map(f64::to_string).collect();
        rows.push(("prior", prior.join(", ")));
    }
    if let Some(sampler) = &ready.sampler {
        // What it costs, or why it is not the faster one, stands among the checks.
        let method = match sampler {
            SamplerInfo::Wavefront(_) => "wavefront",
            SamplerInfo::FixedPoint { .. } => "fixed point of full passes",
        };
        rows.push(("sampler", method.to_owned()));
    }
    if let Some(size) = ready.latent_size {
        rows.push(("latent size", size.to_string()));
    }
    if let Some(calibration) = &ready.calibration {
        let text = format!(
            "{} scores of {} ({}); false-alarm rates from {:.2e}",
            calibration.size,
            calibration.statistic,
            calibration.description,
            calibration.smallest_false_alarm_rate
        );
        rows.push(("calibration", text));
    }
    let provenance = &ready.provenance;
    rows.push(("weights", provenance.parameters.to_string()));
    if let Some(bits) = provenance.test_bits_per_dim {
        rows.push(("test bits/dim", bits.to_string()));
    }
    rows.push(("data", provenance.data.clone()));
    rows.push(("licence", provenance.licence.clone()));
    rows.push(("trained with", provenance.command.clone()));
    rows.into_iter()
        .map(|(name, text)| (name.to_owned(), text))
        .collect()
}

fn checks(ready: &ReadyInfo) -> Rows {
    let row = |check: &CheckInfo| (check.name.to_owned(), check.finding.clone());
    ready.checks.iter().map(row).collect()
}

fn capabilities(ready: &ReadyInfo) -> Rows {
    ready
        .capabilities
        .iter()
        .map(|(capability, lacking)| {
            let answer = match lacking {
                None => "yes".to_owned(),
                Some(reason) => format!("no: {reason}"),
            };
            (capability.to_string(), answer)
        })
        .collect()
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

fn to_json(info: &ModelInfo) -> Value {
    let ready = match &info.state {
        ModelState::Failed { reason } => {
            return json!({
                "name": info.name, "version": info.version, "state": "failed", "reason": reason,
            });
        }
        ModelState::Ready(ready) => ready,
    };
    let capabilities: serde_json::Map<String, Value> = ready
        .capabilities
        .iter()
        .map(|(capability, lacking)| {
            let answer = json!({"available": lacking.is_none(), "reason": lacking});
            (capability.to_string(), answer)
        })
        .collect();
    let checks: Vec<Value> = ready
        .checks
        .iter()
        .map(|check| json!({"name": check.name, "finding": check.finding}))
        .collect();
    let sampler = ready.sampler.as_ref().map(|sampler| match sampler {
        SamplerInfo::Wavefront(cost) => json!({
            "method": "wavefront",
            "lag": cost.lag,
            "steps": cost.steps,
            "multiply_adds": cost.multiply_adds,
            "bytes_per_image": cost.bytes,
        }),
        SamplerInfo::FixedPoint { reason } => json!({"method": "fixed_point", "reason": reason}),
    });
    let calibration = ready.calibration.as_ref().map(|calibration| {
        json!({
            "size": calibration.size,
            "statistic": calibration.statistic,
            "smallest_false_alarm_rate": calibration.smallest_false_alarm_rate,
            "description": calibration.description,
        })
    });
    json!({
        "name": info.name,
        "version": info.version,
        "state": "ready",
        "description": ready.description,
        "family": ready.family.name(),
        "density": ready.density.name(),
        "conditional": ready.conditional,
        "image": {
            "channels": ready.shape.channels(),
            "height": ready.shape.height(),
            "width": ready.shape.width(),
            "levels": ready.shape.levels(),
        },
        "likelihood": ready.likelihood,
        "labels": ready.labels,
        "prior": ready.prior,
        "sampler": sampler,
        "latent_size": ready.latent_size,
        "capabilities": capabilities,
        "calibration": calibration,
        "checks": checks,
        "provenance": {
            "data": ready.provenance.data,
            "licence": ready.provenance.licence,
            "command": ready.provenance.command,
            "parameters": ready.provenance.parameters,
            "test_bits_per_dim": ready.provenance.test_bits_per_dim,
        },
    })
}
