//! Detectors of images of any size: what windows say becomes a map and numbers of the image, and whole images
//! calibrate.

#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, path::Path, sync::Arc};

use common::{Server, call, can, fixtures, model, models_of, service_of};
use density_server::{
    detection::{
        calibrate::{By, Inliers},
        learners::BANK,
        statistics::Requirement,
        tiles::{Tiled, cut},
    },
    domain::{
        binomial::beta_binomial_interval,
        image::{Image, ImageShape},
        random::{Random, Stream},
    },
    families::detector::{self, Recipe, Tiles},
    model::detect::{JudgeAsk, Judges, Verdict},
    operations::Limits,
    repository::Repository as Models,
    runtime::Threads,
    transport::http::HttpConfig,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "tiny-tiles";

/// Rows and columns from one window to the next; a window has six rows and five columns.
const STRIDE: usize = 2;

/// Images of several sizes with a common look, each drawn for itself.
fn images(count: usize, seed: u64) -> Vec<Image> {
    (0..count as u64)
        .map(|number| {
            let random = Random::new(seed, Stream::Probe, number);
            let (height, width) = (6 + (number % 5) as usize, 5 + (number % 7) as usize);
            image(height, width, |y, x| {
                let noise = random.uniform((y * width + x) as u32 + 1);
                ((y + x) % 2) as f64 + 2.0 * noise
            })
        })
        .collect()
}

fn image(height: usize, width: usize, level: impl Fn(usize, usize) -> f64) -> Image {
    let levels: Vec<u8> = (0..height * width)
        .map(|place| level(place / width, place % width).clamp(0.0, 3.0) as u8)
        .collect();
    Image::new(ImageShape::new(1, height, width, 4).unwrap(), levels).unwrap()
}

/// A repository with a detector of images of any size over a density of windows.
async fn repository() -> (TempDir, Models) {
    let folder = tempfile::tempdir().unwrap();
    let member = folder.path().join("tiny-pixelcnn/1");
    copy(&fixtures().join("tiny-pixelcnn/1"), &member);
    let models = models_of(folder.path());
    let recipe = Recipe {
        name: NAME.to_owned(),
        description: "a gate of any size".to_owned(),
        members: vec![(Requirement::Density, model(&models, "tiny-pixelcnn"))],
        stir: false,
        samples: false,
        by: By::Everything,
        bank: BANK,
        per_label: false,
        tiles: Some(Tiles {
            stride: Some(STRIDE),
            smoothing: Some(1.0),
            share: Some(0.1),
        }),
        golden: Vec::new(),
        seed: 3,
        data: "draws".to_owned(),
        licence: "none".to_owned(),
        command: "none".to_owned(),
    };
    let inliers = Inliers {
        data: images(300, 1),
        fit: images(200, 2),
    };
    detector::calibrate(models.resources(), &recipe, inliers, folder.path(), |_| {})
        .await
        .unwrap();
    let models = models_of(folder.path());
    (folder, models)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

async fn judge(models: &Models, images: Vec<Image>) -> Vec<Result<Verdict, String>> {
    let ask = JudgeAsk {
        false_alarm_rate: 0.1,
        confidence: None,
        false_discovery_rate: None,
        map: true,
    };
    let judges: Arc<dyn Judges> = can(&model(models, NAME));
    let judged = judges.judge(images, &ask, &call(models)).await.unwrap();
    let items = judged.into_iter();
    items.map(|item| item.map_err(|refusal| refusal.to_string())).collect()
}

async fn one(models: &Models, image: Image) -> Verdict {
    judge(models, vec![image]).await.remove(0).unwrap()
}

#[tokio::test]
async fn windows_become_images() {
    let (folder, models) = repository().await;
    one_window_says_what_it_says_alone(&models).await;
    company_changes_nothing(&models).await;
    a_map_moves_with_its_image(&models).await;
    p_values_hold_for_whole_images(&models).await;
    arrays_may_be_larger_than_a_window_by_every_protocol(folder.path(), &models).await;
    let small = judge(&models, vec![image(5, 9, |_, _| 0.0), image(6, 5, |_, _| 0.0)]).await;
    assert!(small[0].as_ref().unwrap_err().contains("5×6"), "{small:?}");
    assert!(small[1].is_ok());
}

/// By /v1 as npy, by V2 as a tensor.
async fn arrays_may_be_larger_than_a_window_by_every_protocol(folder: &Path, models: &Models) {
    let larger = images(4, 9).remove(3);
    let expected = one(models, larger.clone()).await;
    let service = service_of(Arc::new(models_of(folder)), Limits::default());
    let server = Server::start(&service, HttpConfig::default()).await;
    let client = reqwest::Client::new();
    let about = client
        .get(format!("{}/v2/models/{NAME}", server.url))
        .send()
        .await
        .unwrap();
    let about: Value = about.json().await.unwrap();
    assert_eq!(about["inputs"][0]["shape"], json!([-1, 1, -1, -1]));
    let ask = async |shape: [usize; 4], levels: &[u8]| {
        let tensor = json!({"name": "image", "datatype": "UINT8", "shape": shape, "data": levels});
        let answer = client
            .post(format!("{}/v2/models/{NAME}/infer", server.url))
            .json(&json!({"inputs": [tensor]}))
            .send();
        answer.await.unwrap().json::<Value>().await.unwrap()
    };
    let own = larger.shape();
    let answer = ask([1, 1, own.height(), own.width()], larger.levels()).await;
    let outputs = answer["outputs"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let strangeness = outputs.iter().find(|own| own["name"] == "strangeness").unwrap();
    assert_eq!(strangeness["data"], json!([expected.strangeness]));
    let small = ask([1, 1, 5, 9], &[0; 45]).await;
    assert!(
        small["error"]
            .as_str()
            .unwrap()
            .contains("the model takes 5×6 and more"),
        "{small}"
    );
    // Its levels are never looked at: the shape says that there are too many.
    let huge = ask([1, 1, 5000, 5000], &[]).await;
    assert!(
        huge["error"].as_str().unwrap().contains("25000000 values in all"),
        "{huge}"
    );
    server.shut_down().await.unwrap();
}

async fn one_window_says_what_it_says_alone(models: &Models) {
    let tiled: Arc<Tiled> = can(&model(models, NAME));
    let image = image(6, 5, |y, x| ((y * 5 + x) % 4) as f64);
    let measured = tiled.panel.measure(&[image.levels()], Threads::One).unwrap().remove(0);
    let measured = measured.unwrap();
    let verdict = one(models, image).await;
    let strangeness = tiled.windows.judge(&measured.values).strangeness;
    for name in ["tile_largest", "tile_share", "tile_mean"] {
        assert!((verdict.statistics[name].value.0 - strangeness).abs() < 1e-9, "{name}");
    }
    let (_, map) = measured.maps.iter().find(|(own, _)| *own == tiled.plan.map).unwrap();
    assert_eq!(verdict.map.unwrap().values.values, *map);
}

async fn company_changes_nothing(models: &Models) {
    let several = images(5, 9);
    let together = judge(models, several.clone()).await;
    let mut reversed = several.clone();
    reversed.reverse();
    let mut apart = judge(models, reversed).await;
    apart.reverse();
    for (one, other) in together.into_iter().zip(apart) {
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.strangeness, other.strangeness);
        assert_eq!(one.map.unwrap().values, other.map.unwrap().values);
    }
}

async fn a_map_moves_with_its_image(models: &Models) {
    let large = images(1, 11).remove(0);
    let look = |y: usize, x: usize| f64::from(large.levels()[(y * 3 + x * 7) % large.levels().len()]);
    // Sizes at which the windows of both lie at multiples of the stride.
    let (height, width) = (24, 23);
    let here = one(models, image(height, width, look)).await.map.unwrap().values;
    let there = one(models, image(height, width, |y, x| look(y + STRIDE, x + STRIDE)));
    let there = there.await.map.unwrap().values;
    for y in 6..height - 6 - STRIDE {
        for x in 5..width - 5 - STRIDE {
            let moved = there.values[y * width + x];
            assert_eq!(here.values[(y + STRIDE) * width + x + STRIDE], moved, "{y} {x}");
        }
    }
}

async fn p_values_hold_for_whole_images(models: &Models) {
    let fresh = judge(models, images(200, 5)).await;
    let rejected = fresh.iter().filter(|item| item.as_ref().unwrap().reject).count();
    // ⌊0.1 · 301⌋ of 301 ranks are rejected.
    let (low, high) = beta_binomial_interval(200, 30.0, 271.0, 0.999);
    assert!((low..=high).contains(&(rejected as u64)), "{rejected} of 200");
}

#[test]
fn a_window_keeps_rows_and_channels() {
    let shape = ImageShape::new(2, 3, 4, 256).unwrap();
    let image = Image::new(shape, (0..24).collect::<Vec<u8>>()).unwrap();
    let window = cut(&image, (1, 2), ImageShape::new(2, 2, 2, 256).unwrap());
    assert_eq!(window.levels(), [6, 7, 10, 11, 18, 19, 22, 23]);
}
