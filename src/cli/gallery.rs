//! A folder with a page of HTML that shows what was said of each image: the picture, what speaks against it, and the
//! numbers. The page needs the picture files beside it and nothing else.
//!
//! It shows whatever an answer holds: no operation is known here.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
};

use maud::{DOCTYPE, PreEscaped, html};
use serde_json::Value;

use super::{CliError, name::ImageName, partial_file::write_beside};
use crate::{media, operations::Rendering};

const STYLE: &str = include_str!("gallery/style.css");

/// A gallery under construction.
pub(super) struct Gallery {
    folder: PathBuf,
    title: String,
    cards: Vec<Card>,
}

/// What is shown of one image.
struct Card {
    name: String,
    /// Files of pictures, below the folder.
    pictures: Vec<String>,
    /// A word that says most, such as a decision.
    word: Option<String>,
    facts: Vec<(String, String)>,
    p_value: Option<f64>,
}

impl Gallery {
    /// An empty one in a folder, which is made if it is not there.
    pub(super) fn open(folder: &Path, title: String) -> Result<Self, CliError> {
        let pictures = folder.join("pictures");
        fs::create_dir_all(&pictures).map_err(|error| CliError::io(pictures.display().to_string(), error))?;
        Ok(Self {
            folder: folder.to_owned(),
            title,
            cards: Vec::new(),
        })
    }

    /// Adds an image with what there is to look at and what was said of it.
    pub(super) fn push(&mut self, name: &ImageName, item: &Value, rendering: Rendering) -> Result<(), String> {
        let number = self.cards.len() + 1;
        let mut files = Vec::new();
        if let Rendering::Overlays { images, .. } = &rendering
            && let [image] = images.as_slice()
        {
            files.push(("image", media::png(image).map_err(|error| error.to_string())?));
        }
        files.push(("map", rendering.png().map_err(|refusal| super::told(&refusal))?));
        let mut pictures = Vec::new();
        for (kind, bytes) in files {
            let file = format!("pictures/{number:05}-{kind}.png");
            fs::write(self.folder.join(&file), bytes).map_err(|error| format!("{file}: {error}"))?;
            pictures.push(file);
        }
        let members = item.as_object().into_iter().flatten();
        let facts = members.filter_map(|(name, value)| Some((name.replace('_', " "), fact(value)?)));
        let shown = name.below.display().to_string();
        self.cards.push(Card {
            name: name.index.map_or(shown.clone(), |index| format!("{shown}, {index}")),
            pictures,
            word: item.get("decision").and_then(Value::as_str).map(str::to_owned),
            facts: facts
                .filter(|(name, _)| name != "decision" && name != "guarantee")
                .collect(),
            p_value: item.get("p_value").and_then(Value::as_f64),
        });
        Ok(())
    }

    /// Writes the page, the most remarkable images first, and answers where it is.
    pub(super) fn finish(mut self, guarantee: Option<&str>) -> Result<PathBuf, CliError> {
        self.cards.sort_by(|a, b| match (a.p_value, b.p_value) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => Ordering::Equal,
        });
        let rejected = self.cards.iter().filter(|card| card.word.as_deref() == Some("reject"));
        let (rejected, all) = (rejected.count(), self.cards.len());
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (self.title) }
                    p.soft {
                        (all) " images"
                        @if rejected > 0 { ", " strong { (rejected) " rejected" } }
                        ", the strangest first."
                        @if let Some(guarantee) = guarantee { " Promised: " (guarantee) "." }
                    }
                    main {
                        @for card in &self.cards {
                            article class=(card.word.as_deref().unwrap_or("plain")) {
                                header {
                                    @if let Some(word) = &card.word { span.word { (word) } }
                                    h2 { (card.name) }
                                }
                                div.pictures {
                                    @for file in &card.pictures {
                                        a href=(file) { img src=(file) alt=(card.name) loading="lazy"; }
                                    }
                                }
                                dl {
                                    @for (name, value) in &card.facts { div { dt { (name) } dd { (value) } } }
                                }
                            }
                        }
                    }
                }
            }
        };
        let path = self.folder.join("index.html");
        write_beside(&path, page.into_string().as_bytes())
            .map_err(|error| CliError::io(path.display().to_string(), error))?;
        Ok(path)
    }
}

/// A value that fits on a line.
fn fact(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => {
            let number = number.as_f64()?;
            Some(if number.fract() == 0.0 {
                number.to_string()
            } else {
                format!("{number:.4}")
            })
        }
        _ => None,
    }
}
