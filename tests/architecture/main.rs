//! Holds the layers of the crate: which module may name which other, and which may name which library.
//!
//! The arrows are those drawn in `src/lib.rs`. The source is read as text, comments left out, which is enough to find
//! every `crate::…` and every path into a library.

#![allow(clippy::unwrap_used)]

mod circles;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What one top-level module may name.
struct Layer {
    name: &'static str,
    /// Modules of the crate that it may use beside itself.
    may_use: &'static [&'static str],
    /// Libraries that it may use out of [`GUARDED`].
    libraries: &'static [&'static str],
}

/// Libraries that belong to some layers only. Others, such as `tracing`, are free to all but `domain`.
const GUARDED: [&str; 28] = [
    "axum",
    "clap",
    "csv",
    "hyper",
    "hyper_util",
    "indicatif",
    "landlock",
    "multer",
    "nalgebra",
    "notify",
    "opentelemetry",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "ort",
    "prometheus",
    "prost",
    "pulp",
    "rustls",
    "safetensors",
    "schemars",
    "serde",
    "tokio",
    "tokio_rustls",
    "tonic",
    "tonic_health",
    "tonic_reflection",
    "tower",
    "tower_http",
];

const LAYERS: [Layer; 20] = [
    Layer {
        name: "domain",
        may_use: &[],
        libraries: &[],
    },
    Layer {
        name: "media",
        may_use: &["domain"],
        libraries: &["serde"],
    },
    Layer {
        name: "graph",
        may_use: &["domain"],
        libraries: &["prost"],
    },
    Layer {
        name: "runtime",
        may_use: &["graph"],
        libraries: &["ort", "pulp"],
    },
    Layer {
        name: "import",
        may_use: &["domain", "graph", "runtime"],
        libraries: &[],
    },
    Layer {
        name: "metrics",
        may_use: &[],
        libraries: &["prometheus"],
    },
    Layer {
        name: "trace",
        may_use: &[],
        libraries: &["opentelemetry", "opentelemetry_otlp", "opentelemetry_sdk", "tokio"],
    },
    Layer {
        name: "scheduling",
        may_use: &["metrics", "trace"],
        libraries: &["prometheus", "tokio"],
    },
    Layer {
        name: "model",
        may_use: &["domain", "media", "metrics", "runtime", "scheduling", "trace"],
        libraries: &["schemars", "serde", "tokio"],
    },
    Layer {
        name: "access",
        may_use: &["model"],
        libraries: &["serde"],
    },
    Layer {
        name: "detection",
        may_use: &["domain", "media", "metrics", "model", "runtime", "scheduling"],
        libraries: &["nalgebra", "serde", "tokio"],
    },
    Layer {
        name: "families",
        may_use: &[
            "detection",
            "domain",
            "graph",
            "import",
            "media",
            "metrics",
            "model",
            "runtime",
            "scheduling",
        ],
        libraries: &["safetensors", "serde"],
    },
    Layer {
        name: "repository",
        may_use: &["families", "metrics", "model"],
        libraries: &["notify", "serde"],
    },
    Layer {
        name: "intake",
        may_use: &["domain", "media", "model"],
        libraries: &["multer", "schemars", "serde", "tokio"],
    },
    Layer {
        name: "operations",
        may_use: &[
            "access",
            "domain",
            "intake",
            "media",
            "metrics",
            "model",
            "scheduling",
            "trace",
        ],
        libraries: &["schemars", "serde", "tokio"],
    },
    Layer {
        name: "transport",
        may_use: &["access", "domain", "intake", "metrics", "model", "operations", "trace"],
        libraries: &[
            "axum",
            "hyper",
            "hyper_util",
            "prost",
            "rustls",
            "schemars",
            "serde",
            "tokio",
            "tokio_rustls",
            "tonic",
            "tonic_health",
            "tonic_reflection",
            "tower",
            "tower_http",
        ],
    },
    Layer {
        name: "settings",
        may_use: &[],
        libraries: &["clap", "serde"],
    },
    Layer {
        name: "logging",
        may_use: &["settings"],
        libraries: &[],
    },
    Layer {
        name: "app",
        may_use: &[
            "access",
            "families",
            "metrics",
            "model",
            "operations",
            "repository",
            "runtime",
            "scheduling",
            "settings",
            "trace",
            "transport",
        ],
        libraries: &["landlock", "tokio"],
    },
    Layer {
        name: "cli",
        may_use: &[
            "access",
            "app",
            "detection",
            "domain",
            "families",
            "intake",
            "logging",
            "media",
            "model",
            "operations",
            "settings",
        ],
        libraries: &["clap", "csv", "indicatif", "serde", "tokio"],
    },
];

/// Names of families, which nothing outside their room says in code.
const FAMILIES: [&str; 9] = [
    "pixelcnn",
    "pixelrnn",
    "vae",
    "autoencoder",
    "gan",
    "classifier",
    "bayes",
    "detector",
    "encoder",
];

#[test]
fn nobody_outside_their_room_knows_a_family() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    let mut found = Vec::new();
    for file in files {
        let layer = layer_of(file.strip_prefix(&source).unwrap());
        if matches!(&*layer, "families" | "detection" | "domain") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        // What tests say of families is their own affair.
        let code = without_comments(text.split("#[cfg(test)]").next().unwrap());
        // An example in the documentation of an answer may be of some family.
        let code: String = code.lines().filter(|line| !line.contains("example =")).collect();
        for family in FAMILIES {
            if code.contains(&format!("\"{family}\"")) {
                found.push(format!("{}: \"{family}\"", file.display()));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Files that are no layer: the map of the crate and the binary that enters it.
const NO_LAYER: [&str; 2] = ["lib", "main"];

#[test]
fn every_arrow_points_down() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    assert!(files.len() > 20, "the source was found");
    let mut violations = Vec::new();
    for file in files {
        let layer = layer_of(file.strip_prefix(&source).unwrap());
        if NO_LAYER.contains(&&*layer) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let found = violations_in(&layer, &text);
        violations.extend(found.into_iter().map(|found| format!("{}: {found}", file.display())));
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn arrows_point_only_to_layers_before_in_the_list_or_to_the_root() {
    for (index, layer) in LAYERS.iter().enumerate() {
        let before: Vec<_> = LAYERS[..index].iter().map(|layer| layer.name).collect();
        for used in layer.may_use {
            assert!(before.contains(used), "{} → {used} closes a circle", layer.name);
        }
    }
}

#[test]
fn a_broken_arrow_is_found() {
    let check = |layer, text, wanted: &[&str]| assert_eq!(violations_in(layer, text), wanted);
    check(
        "operations",
        "use crate::transport::Router;",
        &["operations must not use crate::transport"],
    );
    check(
        "transport",
        "use crate::{\n    operations::{self, runtime},\n    scheduling::Lane,\n};",
        &["transport must not use crate::scheduling"],
    );
    check(
        "transport",
        "fn f() { crate::runtime::run() }",
        &["transport must not use crate::runtime"],
    );
    check(
        "scheduling",
        "type T = ::ort::session::Session;",
        &["scheduling must not use the library ort"],
    );
    check(
        "domain",
        "use serde::Serialize;\n#[tokio::test]\nasync fn t() {}",
        &[
            "domain must not use the library serde",
            "domain must not use the library tokio",
        ],
    );
    check(
        "graph",
        "pub(crate) use crate::runtime as r;",
        &["graph must not use crate::runtime"],
    );
    check("unheard_of", "", &["unheard_of is no layer of this test"]);
}

#[test]
fn what_only_looks_like_an_arrow_is_let_be() {
    for (layer, text) in [
        ("domain", "//! Unlike crate::http and ort::Session\n"),
        ("domain", "let x = 1; // serde::Serialize would do"),
        (
            "model",
            "use crate::domain::image::Image;\nuse crate::{metrics::Metrics, scheduling::{self, Work}};",
        ),
        ("graph", "let report = abort::now(); support::axum();"),
        ("runtime", "use ort::session::Session;"),
        ("graph", "#[derive(prost::Message)]"),
    ] {
        assert_eq!(violations_in(layer, text), [""; 0], "{text}");
    }
}

/// The formatter leaves alone what it cannot break: texts, comments and macros.
#[test]
fn lines_have_at_most_120_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        collect(&root.join(folder), &mut files);
    }
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (line, _) in text.lines().enumerate().filter(|(_, line)| line.chars().count() > 120) {
            found.push(format!("{}:{}", file.display(), line + 1));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Libraries of the tests read JSON to the last bit, and a build with tests gives that to the server, too. What is
/// shipped is built without them.
#[test]
fn what_is_shipped_reads_numbers_to_the_last_bit() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let (own, _) = manifest.split_once("[dev-dependencies]").unwrap();
    let json = own.lines().find(|line| line.starts_with("serde_json")).unwrap();
    assert!(json.contains("\"float_roundtrip\""), "{json}");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// `service` for both `service.rs` and `service/score.rs`.
fn layer_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str();
    first.to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn violations_in(layer: &str, text: &str) -> Vec<String> {
    let Some(rules) = LAYERS.iter().find(|rules| rules.name == layer) else {
        return vec![format!("{layer} is no layer of this test")];
    };
    let code = without_comments(text);
    let modules = modules_named(&code);
    let wrong_modules = modules
        .iter()
        .filter(|name| *name != layer && !rules.may_use.contains(&name.as_str()))
        .map(|name| format!("{layer} must not use crate::{name}"));
    let wrong_libraries = GUARDED
        .iter()
        .filter(|name| !rules.libraries.contains(name) && names_library(&code, name))
        .map(|name| format!("{layer} must not use the library {name}"));
    wrong_modules.chain(wrong_libraries).collect()
}

/// The text without what follows `//` on a line. A `//` inside a string literal cuts that line short, which loses
/// nothing: no path follows it on lines that rustfmt has seen.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// Every `name` in `crate::name` and in the first level of `crate::{name, …}`.
fn modules_named(code: &str) -> BTreeSet<String> {
    let starts = code.match_indices("crate::").map(|(start, found)| start + found.len());
    let mut names: BTreeSet<String> = starts
        .flat_map(|start| paths(&code[start..]))
        .map(|path| path[0].clone())
        .collect();
    names.remove("");
    names
}

/// Every path that begins here: `a::{b, c::D}` is `a::b` and `a::c::D`.
fn paths(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        return first_level(group).iter().flat_map(|part| paths(part)).collect();
    }
    let length = text.find(|character| !is_word(character)).unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    let name = [name.to_owned()];
    match rest.strip_prefix("::") {
        Some(rest) => paths(rest)
            .into_iter()
            .map(|path| name.iter().cloned().chain(path).collect())
            .collect(),
        None => vec![name.to_vec()],
    }
}

/// The parts between commas of a brace group, up to its closing brace.
fn first_level(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

/// Whether a path into the library stands in the code, or a `use` of the library itself.
fn names_library(code: &str, library: &str) -> bool {
    code.match_indices(library).any(|(start, _)| {
        let before = &code[..start];
        let after = &code[start + library.len()..];
        let is_whole = !before.ends_with(is_word) && !after.starts_with(is_word);
        // `other::ort::x` is a module of another path; `::ort::x` is the library.
        let is_first = !before.strip_suffix("::").is_some_and(|path| path.ends_with(is_word));
        let is_used = after.starts_with("::") || before.trim_end().ends_with("use");
        is_whole && is_first && is_used
    })
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
