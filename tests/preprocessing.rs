//! Image files are brought to a model's images exactly as Pillow does it: `tests/fixtures/pillow/make.py` made what is
//! compared here.

#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, path::Path, time::Instant};

use density_server::{
    access::Caller,
    domain::image::{Image, ImageShape},
    intake::{Content, Source},
    media::{DecodeLimits, DecodeOptions, Filter, Resize, decode},
    operations::Service,
    scheduling::SchedulerConfig,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// One image that Pillow made, by the parts of its name.
struct Case {
    source: String,
    resize: Resize,
    columns: usize,
    rows: usize,
}

fn case(name: &str) -> Option<Case> {
    let parts: Vec<&str> = name.strip_suffix(".png")?.split('-').collect();
    let (&source, rest) = parts.split_first()?;
    let (&filter, rest) = rest.split_first()?;
    let (size, short) = match rest {
        [size] => (size, None),
        [short, size] => (size, short.strip_prefix("short")?.parse().ok()),
        _ => return None,
    };
    let (columns, rows) = size.split_once('x')?;
    let filters = [
        Filter::Box,
        Filter::Bilinear,
        Filter::Hamming,
        Filter::Bicubic,
        Filter::Lanczos,
    ];
    Some(Case {
        source: format!("{source}.png"),
        resize: Resize {
            filter: filters.into_iter().find(|known| known.name() == filter)?,
            short_side: short,
        },
        columns: columns.parse().ok()?,
        rows: rows.parse().ok()?,
    })
}

fn read(path: &Path, shape: ImageShape, resize: Option<Resize>) -> Image {
    let options = DecodeOptions {
        resize,
        orient: true,
        ..DecodeOptions::default()
    };
    let bytes = fs::read(path).unwrap();
    decode(&bytes, shape, options, DecodeLimits::default()).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

#[test]
fn resizing_is_that_of_pillow() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pillow");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(case) = case(name) else { continue };
        let channels = if case.source.starts_with("grey") { 1 } else { 3 };
        let shape = ImageShape::new(channels, case.rows, case.columns, 256).unwrap();
        let own = read(&folder.join(&case.source), shape, Some(case.resize));
        let theirs = read(&path, shape, None);
        let most = own.levels().iter().zip(theirs.levels());
        let most = most.map(|(own, theirs)| own.abs_diff(*theirs)).max().unwrap();
        assert_eq!(most, 0, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 90);
}

#[test]
fn a_short_side_cuts_files_that_have_the_right_size_too() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pillow");
    let shape = ImageShape::new(1, 47, 61, 256).unwrap();
    let stretched = read(&folder.join("grey.png"), shape, Some(Resize::default()));
    assert_eq!(stretched, read(&folder.join("grey.png"), shape, None));
    let cut = Resize {
        short_side: Some(94),
        ..Resize::default()
    };
    assert_ne!(stretched, read(&folder.join("grey.png"), shape, Some(cut)));
}

/// A repository with one model of the fixtures, its manifest changed.
fn repository(name: &str, change: impl Fn(String) -> String) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (
        common::fixtures().join(name).join("1"),
        folder.path().join(name).join("1"),
    );
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    let manifest = to.join("model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, change(text)).unwrap();
    folder
}

/// Scores of a service over a repository.
async fn scores(service: &Service, name: &str, source: Source) -> Value {
    let now = Instant::now();
    let opened = service
        .open(&Caller::trusted(), "score", (name, None), None, now)
        .unwrap();
    let content = Content {
        sources: vec![source],
        ..Content::default()
    };
    let options = opened.options();
    let answer = opened.answer(content, options, now).await.unwrap();
    let json = answer.json(&|_, refusal| json!(refusal.to_string())).unwrap();
    serde_json::from_slice(&json).unwrap()
}

#[tokio::test]
async fn what_a_model_declares_is_done_and_told() {
    const NAME: &str = "tiny-rgb-pixelcnn";
    let declared = "[preprocessing]\nresize = \"bicubic\"\nshort_side = 6\nconvert = true\n[golden]";
    let folder = repository(NAME, |text| text.replace("[golden]", declared));
    let service = common::service_over(folder.path(), common::engine(), SchedulerConfig::default());
    let told = json!({"resize": "bicubic", "short_side": 6, "convert": true, "orient": false});
    let info = serde_json::to_value(service.model_info(NAME, None).unwrap()).unwrap();
    assert_eq!(info["preprocessing"], told);
    let shape = service.catalogue().model(NAME, None).unwrap().shape;
    let bytes = fs::read(common::root().join("tests/fixtures/pillow/grey.png")).unwrap();
    let options = DecodeOptions {
        resize: Some(Resize {
            filter: Filter::Bicubic,
            short_side: Some(6),
        }),
        convert: true,
        ..DecodeOptions::default()
    };
    let image = decode(&bytes, shape, options, DecodeLimits::default()).unwrap();
    let by_server = scores(&service, NAME, Source::File(bytes.into())).await;
    let by_hand = scores(&service, NAME, Source::Image(image)).await;
    assert_eq!(by_server["preprocessing"], told);
    assert_eq!(by_server["results"], by_hand["results"]);
}

#[test]
fn what_cannot_be_declared_is_refused() {
    const NAME: &str = "tiny-rgb-pixelcnn";
    for (table, reason) in [
        ("short_side = 6", "short_side: it needs resize"),
        ("resize = \"box\"\nshort_side = 3", "3 is not from 4"),
        ("resize = \"nearest\"", "nearest"),
        ("crop = 4", "crop"),
    ] {
        let declared = format!("[preprocessing]\n{table}\n[golden]");
        let folder = repository(NAME, |text| text.replace("[golden]", &declared));
        let error = common::load(&folder.path().join(NAME).join("1"), NAME).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn each_channel_may_have_a_map_of_its_own() {
    const NAME: &str = "tiny-rgb-pixelcnn";
    let input = |text: &str, scale: &str| {
        let start = text.find("scale = ").unwrap();
        let end = start + text[start..].find('\n').unwrap();
        format!("{}scale = {scale}{}", &text[..start], &text[end..])
    };
    let own = |text: &str| {
        let start = text.find("scale = ").unwrap() + "scale = ".len();
        text[start..].lines().next().unwrap().to_owned()
    };
    // Three times the same number is the one number, and another number for green is another network.
    let same = repository(NAME, |text| input(&text, &format!("[{0}, {0}, {0}]", own(&text))));
    common::load(&same.path().join(NAME).join("1"), NAME).unwrap();
    for (scale, reason) in [
        (|own: &str| format!("[{own}, 0.5, {own}]"), "golden"),
        (|own: &str| format!("[{own}, {own}]"), "2 numbers"),
        (|own: &str| format!("[{own}, 0.0, {own}]"), "must not be 0"),
    ] as [(fn(&str) -> String, &str); 3]
    {
        let other = repository(NAME, |text| input(&text, &scale(&own(&text))));
        let error = common::load(&other.path().join(NAME).join("1"), NAME).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}
