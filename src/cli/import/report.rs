//! What is said of an import: what was made and what to do next, or why nothing was.

use crate::{
    app::Registries,
    cli::say,
    families::ASSUMED,
    families::import::{ImportError, Imported, Problem, Request},
    intake::Takes,
};

pub(super) fn refuse(error: &ImportError) {
    match error {
        ImportError::Problems(problems) => {
            let count = if problems.len() == 1 {
                "a problem".to_owned()
            } else {
                format!("{} problems", problems.len())
            };
            say(&format!("nothing was imported, for {count}:"));
            for problem in problems {
                say(&format!("  {}", shown(problem)));
            }
        }
        ImportError::Unanswered => say("nothing was imported"),
        ImportError::Gate(error) => say(&format!("nothing was imported: the load gate refused it: {error}")),
        ImportError::Write(path, error) => say(&format!("{} cannot be written: {error}", path.display())),
    }
}

fn shown(problem: &Problem) -> String {
    let Problem { place, what, cure } = problem;
    if cure.is_empty() {
        format!("{place}: {what}")
    } else {
        format!("{place}: {what}\n    {cure}")
    }
}

/// What was made, what was taken for granted, and what to do next.
pub(super) fn report(imported: &Imported, request: &Request, registries: &Registries) -> String {
    let model = &imported.model;
    let mut text = format!("{} is ready: {}\n", imported.folder.display(), model.card.description);
    let mut block = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text += &format!("\n{title}\n");
            for line in lines {
                text += &format!("  {line}\n");
            }
        }
    };
    block("done", &imported.notes);
    block("assumed", &imported.assumed);
    let checks: Vec<String> = model
        .card
        .checks
        .iter()
        // Told above.
        .filter(|check| check.name != ASSUMED)
        .map(|check| format!("{:<14}  {}", check.name, check.finding))
        .collect();
    block("proved", &checks);
    block("next", &next(imported, request, registries));
    text
}

/// The server's command, and the first request: the first operation that the model can do with an image, else one
/// that needs none.
fn next(imported: &Imported, request: &Request, registries: &Registries) -> Vec<String> {
    let model = &imported.model;
    let available = |takes: Takes| {
        let mut all = registries.operations.iter();
        all.find(|own| own.about().takes == takes && own.available(model).is_ok())
            .map(|own| (own.about().name, own.first_query(model)))
    };
    let address = format!("localhost:8000/v1/models/{}", model.name);
    let request_line = available(Takes::Images)
        .map(|(name, query)| format!("curl -s -F image=@IMAGE.png {address}/{name}{query}"))
        .or_else(|| {
            let (name, query) = available(Takes::Nothing)?;
            Some(format!(
                "curl -s -X POST -H \"accept: image/png\" {address}/{name}{query} -o images.png"
            ))
        });
    std::iter::once(format!(
        "density-server serve --repository {}",
        request.repository.display()
    ))
    .chain(request_line)
    .collect()
}
