//! Detectors from end to end: made from a folder of pictures, served, asked, measured, refused where something is
//! wrong.

#![allow(clippy::unwrap_used)]

mod command;
mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{Server, call, can, fixtures, model, models_of, repository_of, service_of, trained};
use density_server::{
    detection::{
        calibrate::{By, Inliers},
        learners::{BANK, Knowledge},
        panel::{Measurement, Members, Panel},
        statistics::{
            Requirement,
            autoencoder::{AUTOENCODER_ERROR, AUTOENCODER_ERROR_MAP},
            classifier::{CLASSIFIER_AMBIGUITY, CLASSIFIER_ENERGY},
            latent::{ATTAINABLE_GAP, IWAE_GAP},
        },
    },
    domain::{
        binomial::beta_binomial_interval,
        conformal,
        image::{Image, ImageShape},
        random::{Random, Stream},
    },
    families::detector::{self, Recipe},
    media,
    model::{
        Refusal,
        catalogue::Catalogue,
        classify::{Classifies, ClassifyAsk},
        codes::Reconstructs,
        detect::{JudgeAsk, Judges, Verdict},
        draw::{DrawAsk, Draws, Observation},
        info::State,
        labels::Condition,
    },
    operations::Limits,
    repository::Repository as Models,
    runtime::Threads,
    transport::http::HttpConfig,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A repository with a model of its own to calibrate.
struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(
            &fixtures().join("tiny-pixelcnn/1"),
            &folder.path().join("tiny-pixelcnn/1"),
        );
        Self { folder }
    }

    /// With an autoencoder and a classifier beside the model.
    fn with_helpers() -> Self {
        let repository = Self::new();
        for helper in ["tiny-autoencoder", "tiny-classifier"] {
            let version = Path::new(helper).join("1");
            copy(&fixtures().join(&version), &repository.path().join(&version));
        }
        repository
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn models(&self) -> Models {
        models_of(self.path())
    }

    fn version(&self, number: u32) -> PathBuf {
        self.path().join(format!("tiny-gate/{number}"))
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Independent draws of the model: inliers that are exchangeable by construction.
async fn draw(models: &Models, count: usize, first_seed: u64) -> Vec<Image> {
    let draws = can::<dyn Draws>(&model(models, "tiny-pixelcnn"));
    let mut images = Vec::new();
    for seed in first_seed.. {
        let ask = DrawAsk {
            n: 50,
            seed,
            temperature: 1.0,
            observation: Observation::Sample,
            condition: Condition::None,
        };
        images.extend(draws.draw(&ask, &call(models)).await.unwrap().images);
        if images.len() >= count {
            break;
        }
    }
    images.truncate(count);
    images
}

async fn detect(models: &Models, name: &str, images: Vec<Image>, false_alarm_rate: f64) -> Vec<Verdict> {
    let ask = JudgeAsk {
        false_alarm_rate,
        confidence: None,
        false_discovery_rate: None,
        map: false,
    };
    let judges = can::<dyn Judges>(&model(models, name));
    let judged = judges.judge(images, &ask, &call(models)).await.unwrap();
    judged.into_iter().map(Result::unwrap).collect()
}

fn constant(like: &Image, level: u8) -> Image {
    Image::new(like.shape(), vec![level; like.levels().len()]).unwrap()
}

/// A gate over the model alone.
fn recipe(models: &Models) -> Recipe {
    Recipe {
        name: "tiny-gate".to_owned(),
        description: "a gate".to_owned(),
        members: vec![(Requirement::Density, model(models, "tiny-pixelcnn"))],
        stir: false,
        samples: false,
        by: By::Everything,
        bank: BANK,
        per_label: false,
        tiles: None,
        golden: Vec::new(),
        seed: 3,
        data: "draws".to_owned(),
        licence: "none".to_owned(),
        command: "none".to_owned(),
    }
}

async fn calibrate(repository: &Repository, models: &Models, images: Vec<Image>) -> Result<PathBuf, Refusal> {
    let inliers = Inliers {
        data: images,
        fit: Vec::new(),
    };
    let recipe = recipe(models);
    let made = detector::calibrate(models.resources(), &recipe, inliers, repository.path(), |_| {});
    Ok(made.await?.folder)
}

fn write_pictures(folder: &Path, images: &[Image]) {
    fs::create_dir_all(folder).unwrap();
    for (index, image) in images.iter().enumerate() {
        fs::write(folder.join(format!("{index:04}.png")), media::png(image).unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_folder_of_pictures_becomes_a_detector_that_serves() {
    let repository = Repository::new();
    let models = repository.models();
    let images = draw(&models, 1000, 0).await;
    let fresh = draw(&models, 200, 1000).await;
    let data = tempfile::tempdir().unwrap();
    let (inliers, held_out) = (data.path().join("inliers"), data.path().join("held-out"));
    write_pictures(&inliers, &images);
    write_pictures(&held_out, &fresh);
    let flat: Vec<Image> = (0..4).map(|level| constant(&images[0], level)).collect();
    write_pictures(&data.path().join("flat"), &flat);
    let run = |arguments: &[&str]| {
        let mut binary = command::binary();
        binary.env("DENSITY_REPOSITORY", repository.path()).args(arguments);
        command::stdout(&binary.output().unwrap(), 0)
    };
    let said = run(&[
        "calibrate",
        "tiny-pixelcnn",
        "--data",
        command::text(&inliers),
        "--name",
        "tiny-gate",
    ]);
    assert!(
        said.contains("500 fit the densities, 150 rank, 350 calibrate"),
        "{said}"
    );
    assert!(said.contains("p ≤ rate"), "{said}");
    let names: Vec<_> = fs::read_dir(repository.path().join("tiny-gate"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["1"], "nothing is left of the draft");

    let report = data.path().join("report");
    let said = run(&[
        "evaluate",
        "tiny-gate",
        "--data",
        command::text(&held_out),
        "--outliers",
        &format!("flat={}", data.path().join("flat").display()),
        "--output",
        command::text(&report),
    ]);
    assert!(said.contains("AUROC") && said.contains("flat"), "{said}");
    let json: Value = serde_json::from_slice(&fs::read(report.join("report.json")).unwrap()).unwrap();
    let json = &json["detection"];
    assert_eq!(
        (&json["inliers"], &json["calibration_size"]),
        (&200.into(), &350.into())
    );
    assert!(json["sets"][0]["combined"]["auroc"].as_f64().unwrap() > 0.5, "{json}");
    let page = fs::read_to_string(report.join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("data:image/png;base64,"));

    models.scan().unwrap();
    let verdicts = detect(&models, "tiny-gate", fresh.clone(), 0.1).await;
    assert!(verdicts.iter().all(|own| own.calibration.size == 350));
    let rejected = verdicts.iter().filter(|own| own.reject).count() as u64;
    // 35 of 351 ranks are rejected, so that the rate is Beta(35, 316): nine in ten thousand fall outside.
    let (low, high) = beta_binomial_interval(200, 35.0, 316.0, 0.999);
    assert!((low..=high).contains(&rejected), "{rejected} not in {low}..={high}");
    let alone = detect(&models, "tiny-gate", fresh[..1].to_vec(), 0.1).await;
    assert_eq!(alone[0].p_value, verdicts[0].p_value);
}

#[tokio::test]
async fn what_cannot_promise_anything_is_refused() {
    let repository = Repository::new();
    let models = repository.models();
    let images = draw(&models, 800, 0).await;
    let few = calibrate(&repository, &models, images[..300].to_vec())
        .await
        .unwrap_err();
    assert!(
        few.to_string().contains("too few") && few.to_string().contains("at least 100"),
        "{few}"
    );
    let one = vec![images[0].clone(); 1000];
    let repeated = calibrate(&repository, &models, one).await.unwrap_err();
    assert!(repeated.to_string().contains("999 came twice"), "{repeated}");
    assert!(!repository.path().join("tiny-gate").exists());

    // The same model, but its manifest tells that it was trained on one of the images.
    say_trained_on(&repository.path().join("tiny-pixelcnn/1"), &images[7]);
    models.scan().unwrap();
    let seen = calibrate(&repository, &models, images.clone()).await.unwrap_err();
    assert!(seen.to_string().contains("1 of the images"), "{seen}");
    let others: Vec<Image> = images
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != 7)
        .map(|(_, x)| x.clone())
        .collect();
    calibrate(&repository, &models, others).await.unwrap();
}

/// Makes the manifest of a version tell that it was trained on one image.
fn say_trained_on(version: &Path, image: &Image) {
    let digest = Sha256::digest(image.levels());
    fs::write(version.join("trained_on.bin"), &digest[..8]).unwrap();
    let manifest = version.join("model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let text = text.replace("[provenance]", "[provenance]\ntrained_on = \"trained_on.bin\"");
    let hash = hexadecimal(&Sha256::digest(&digest[..8]));
    fs::write(
        &manifest,
        format!("{}\n\"trained_on.bin\" = \"{hash}\"\n", text.trim_end()),
    )
    .unwrap();
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Changes the calibration of a version and, so that it is not found by its hash alone, the hash in the manifest.
fn change_calibration(version: &Path, from: &str, to: &str) {
    let file = version.join("calibration.json");
    let old = fs::read_to_string(&file).unwrap();
    let new = old.replace(from, to);
    assert_ne!(old, new);
    fs::write(&file, &new).unwrap();
    let manifest = version.join("model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let (before, after) = [old, new].map(|text| hexadecimal(&Sha256::digest(text))).into();
    fs::write(manifest, text.replace(&before, &after)).unwrap();
}

fn reason(models: &Models, version: u32) -> String {
    let listing = models.listing("tiny-gate", Some(version)).unwrap();
    assert_eq!(listing.state, State::Failed, "version {version}");
    listing.reason.unwrap()
}

/// What is done to a version.
type Damage = (u32, fn(&Path));

#[tokio::test]
async fn a_version_that_is_not_whole_is_refused_and_the_one_before_it_serves() {
    let repository = Repository::new();
    let models = repository.models();
    let images = draw(&models, 800, 0).await;
    let first = calibrate(&repository, &models, images).await.unwrap();
    let damages: [Damage; 7] = [
        (2, |folder| {
            let file = folder.join("calibration.json");
            let mut bytes = fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        (3, |folder| {
            change_calibration(folder, "\"density\":\"", "\"density\":\"00")
        }),
        (8, |folder| {
            // Calibration and manifest agree on a member that is not the one there is.
            let manifest = folder.join("model.toml");
            let text = fs::read_to_string(&manifest).unwrap();
            let own = text.split("sha256 = \"").nth(1).unwrap()[..64].to_owned();
            let other = own.chars().rev().collect::<String>();
            fs::write(&manifest, text.replace(&own, &other)).unwrap();
            change_calibration(folder, &own, &other);
        }),
        (4, |folder| change_calibration(folder, "\"format\":1", "\"format\":2")),
        (5, |folder| change_calibration(folder, "\"floor\":", "\"floor\":1")),
        (6, |folder| {
            let manifest = folder.join("model.toml");
            let text = fs::read_to_string(&manifest).unwrap();
            fs::write(&manifest, text.replace("model = \"tiny-pixelcnn\"", "model = \"gone\"")).unwrap();
        }),
        (7, |folder| {
            let manifest = folder.join("model.toml");
            let text = fs::read_to_string(&manifest).unwrap();
            fs::write(&manifest, text.replace("\"typicality\"", "\"local_ratio\"")).unwrap();
        }),
    ];
    for (number, damage) in damages {
        let folder = repository.version(number);
        copy(&first, &folder);
        damage(&folder);
    }
    models.scan().unwrap();
    assert!(reason(&models, 2).contains("sha256"), "{}", reason(&models, 2));
    assert!(reason(&models, 3).contains("other members"), "{}", reason(&models, 3));
    assert!(reason(&models, 4).contains("format is 2"), "{}", reason(&models, 4));
    // Numbers that parse but are not those that were fitted no longer judge the golden images as they did.
    assert!(
        reason(&models, 5).contains("golden") || reason(&models, 5).contains("not one of vectors"),
        "{}",
        reason(&models, 5)
    );
    assert!(reason(&models, 6).contains("no such model"), "{}", reason(&models, 6));
    assert!(reason(&models, 7).contains("local"), "{}", reason(&models, 7));
    assert!(reason(&models, 8).contains("not the one"), "{}", reason(&models, 8));
    assert_eq!(model(&models, "tiny-gate").version, 1);
}

#[tokio::test]
async fn a_detector_answers_over_http() {
    let repository = Repository::new();
    let models = repository.models();
    let images = draw(&models, 800, 0).await;
    let fresh = draw(&models, 3, 500).await;
    calibrate(&repository, &models, images).await.unwrap();
    let drift = tempfile::tempdir().unwrap();
    let resources = common::resources().watching_drift(drift.path());
    let models = Arc::new(repository_of(repository.path(), resources));
    models.scan().unwrap();
    let service = service_of(models, Limits::default());
    let server = Server::start(&service, HttpConfig::default()).await;
    let client = reqwest::Client::new();
    let body = media::write_images(&fresh, fresh[0].shape());
    let post = |query: &str, accept: &str| {
        client
            .post(format!("{}/v1/models/tiny-gate/detect{query}", server.url))
            .header("content-type", "application/x-npy")
            .header("accept", accept)
            .body(body.clone())
            .send()
    };
    let json = async |query: &str| -> Value { post(query, "application/json").await.unwrap().json().await.unwrap() };

    let answer = json("?false_alarm_rate=0.05&map=true").await;
    let result = &answer["results"][2];
    assert_eq!(answer["results"].as_array().unwrap().len(), 3, "{answer}");
    for name in [
        "negative_log_likelihood",
        "typicality",
        "density:numbers",
        "density:surprise_map",
    ] {
        let statistic = &result["statistics"][name];
        assert!(
            statistic["value"].is_f64() && statistic["p_value"].is_f64(),
            "{name}: {result}"
        );
    }
    assert!(result["statistics"]["negative_log_likelihood"]["bits_per_dim"].is_f64());
    assert_eq!(result["map"]["statistic"], "surprise_map");
    assert_eq!(result["map"]["unit"], "nats");
    assert_eq!(result["map"]["values"].as_array().unwrap().len(), 6);
    assert_eq!(result["threshold"], 0.05);

    let certified = json("?false_alarm_rate=0.05&confidence=0.9").await;
    assert!(certified["results"][0]["threshold"].as_f64().unwrap() < 0.05);
    assert!(
        certified["results"][0]["guarantee"]
            .as_str()
            .unwrap()
            .contains("with probability 0.9")
    );
    let refused = json("?false_alarm_rate=0.001&confidence=0.99").await;
    assert_eq!(refused["status"], 422);
    assert!(
        refused["detail"].as_str().unwrap().contains("at least 4603"),
        "{refused}"
    );
    let discoveries = json("?fdr=0.1").await;
    assert_eq!(discoveries["results"][0]["fdr"], 0.1);
    assert!(discoveries["results"][0].get("threshold").is_none());
    assert_eq!(json("?fdr=0.1&false_alarm_rate=0.1").await["status"], 422);
    assert_eq!(json("?fdr=0.1&confidence=0.9").await["status"], 422);

    let picture = post("?map=true", "image/png").await.unwrap().bytes().await.unwrap();
    assert!(image::load_from_memory(&picture).is_ok());
    let array = post("?map=true", "application/x-npy")
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let array = npyz::NpyFile::new(&array[..]).unwrap();
    assert_eq!(array.shape(), [3, 1, 6, 5]);
    assert_eq!(post("", "image/png").await.unwrap().status(), 406);

    for operation in ["score", "sample"] {
        let url = format!("{}/v1/models/tiny-gate/{operation}", server.url);
        let answer = client
            .post(url)
            .header("content-type", "application/x-npy")
            .body(body.clone())
            .send()
            .await
            .unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert!(
            answer["detail"].as_str().unwrap().contains("ask one of its members"),
            "{answer}"
        );
    }
    let plain = format!("{}/v1/models/tiny-pixelcnn/detect?confidence=0.9", server.url);
    let plain = client
        .post(plain)
        .header("content-type", "application/x-npy")
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert!(plain.text().await.unwrap().contains("only a detector has it"));

    let url = format!("{}/v1/models/tiny-gate/drift", server.url);
    let seen: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
    // The same three images have come again and again.
    assert_eq!(seen["images"], 3, "{seen}");
    assert!(
        seen["repeated"].as_u64().unwrap() >= 12 && seen["kept"] == true && seen["alarm"] == false,
        "{seen}"
    );
    let metrics = client
        .get(format!("{}/metrics", server.url))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("density_drift_log_capital{model=\"tiny-gate\"}"),
        "{metrics}"
    );
    let versioned = format!("{}/v1/models/tiny-gate/versions/1/drift", server.url);
    let reset: Value = client.delete(&versioned).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&reset["images"], &reset["log_capital"]),
        (&0.into(), &0.0.into()),
        "{reset}"
    );
    let none = format!("{}/v1/models/tiny-pixelcnn/drift", server.url);
    assert_eq!(client.get(none).send().await.unwrap().status(), 422);
    server.shut_down().await.unwrap();
}

/// Images with every level equally likely.
fn noise(shape: ImageShape, count: u64) -> Vec<Vec<u8>> {
    let image = |seed| {
        let random = Random::new(seed, Stream::Probe, 0);
        let level = |index| (random.uniform(index as u32) * shape.levels() as f64) as u8;
        (0..shape.dimensions()).map(level).collect()
    };
    (0..count).map(image).collect()
}

fn measure(panel: &Panel, images: &[&[u8]]) -> Vec<Measurement> {
    let measured = panel.measure(images, Threads::One).unwrap();
    measured.into_iter().map(Result::unwrap).collect()
}

#[test]
fn gaps_of_a_latent_member_are_never_negative_and_do_not_depend_on_company() {
    let vae = common::load(&fixtures().join("tiny-vae/1"), "tiny-vae").unwrap();
    let mut members = Members::default();
    members.add(Requirement::Latent, &vae).unwrap();
    let panel = Panel::new(members, vec![IWAE_GAP, ATTAINABLE_GAP], Knowledge::default()).unwrap();
    let images = noise(vae.shape, 6);
    let levels: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
    let together = measure(&panel, &levels);
    for (measured, levels) in together.iter().zip(&levels) {
        for value in measured.values.iter().flatten() {
            assert!(value.is_finite() && *value >= 0.0, "{value}");
        }
        let alone = measure(&panel, &[levels]);
        assert_eq!(alone[0].values, measured.values);
    }
    let first = |measured: &Measurement| measured.values[0][0];
    assert!(together.iter().any(|measured| first(measured) > 0.0));
    assert!(Panel::new(Members::default(), vec![IWAE_GAP], Knowledge::default()).is_err());
}

/// A command on a repository: its end, what it said and what it complained of.
fn run(repository: &Repository, arguments: &[&str]) -> (i32, String, String) {
    let mut binary = command::binary();
    let output = binary
        .env("DENSITY_REPOSITORY", repository.path())
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        command::stderr(&output),
    )
}

/// The value of a statistic in a verdict.
fn value(verdict: &Verdict, name: &str) -> f64 {
    let found = verdict.statistics.get(name);
    found.unwrap_or_else(|| panic!("no {name}")).value.0
}

#[tokio::test]
async fn an_autoencoder_and_a_classifier_take_part_in_a_detector() {
    let repository = Repository::with_helpers();
    let models = repository.models();
    let images = draw(&models, 800, 0).await;
    let fresh = draw(&models, 20, 800).await;
    let inliers = repository.path().join("inliers.npy");
    fs::write(&inliers, media::write_images(&images, images[0].shape())).unwrap();
    let calibrate = |name: &str, members: &[&str]| {
        let mut arguments = vec!["calibrate", "tiny-pixelcnn", "--name", name, "--data"];
        arguments.push(command::text(&inliers));
        arguments.extend(members.iter().flat_map(|member| ["--member", member]));
        let (code, _, complaint) = run(&repository, &arguments);
        assert_eq!(code, 0, "{complaint}");
    };
    calibrate("plain", &[]);
    let helpers = ["autoencoder=tiny-autoencoder", "classifier=tiny-classifier"];
    calibrate("helped", &helpers);
    fs::remove_file(&inliers).unwrap();
    models.scan().unwrap();

    let manifest = |name: &str| -> toml::Table {
        let file = repository.path().join(name).join("1/model.toml");
        fs::read_to_string(file).unwrap().parse().unwrap()
    };
    let (plain, helped) = (manifest("plain"), manifest("helped"));
    let names = |list: &toml::Value| -> Vec<String> {
        let list = list.as_array().unwrap();
        list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let numbers = ["autoencoder_error", "classifier_energy", "classifier_ambiguity"];
    let joint = names(&helped["densities"][0]["statistics"]);
    for number in numbers {
        assert!(joint.iter().any(|name| name == number), "{joint:?}");
    }
    // Without the helpers nothing is other than it was.
    let others = |list: &toml::Value| -> Vec<String> {
        let of_helpers = |name: &str| numbers.contains(&name) || name == "autoencoder_error_map";
        let mut names = names(list);
        names.retain(|name| !of_helpers(name));
        names
    };
    let statistics = |manifest: &toml::Table| manifest["detector"]["statistics"].clone();
    assert_eq!(others(&statistics(&helped)), names(&statistics(&plain)));
    let densities = |manifest: &toml::Table| manifest["densities"].as_array().unwrap().clone();
    let (mut helped, plain) = (densities(&helped), densities(&plain));
    let last = helped.pop().unwrap();
    assert_eq!(names(&last["statistics"]), ["autoencoder_error_map"]);
    assert_eq!(helped.len(), plain.len());
    for (helped, plain) in helped.iter().zip(&plain) {
        assert_eq!(others(&helped["statistics"]), names(&plain["statistics"]));
    }

    // What the detector measures is what the members answer when they are asked themselves.
    let (shape, count) = (fresh[0].shape(), fresh.len());
    let verdicts = detect(&models, "helped", fresh.clone(), 0.01).await;
    let reconstructions = can::<dyn Reconstructs>(&model(&models, "tiny-autoencoder"))
        .reconstruct(fresh.clone(), false, &call(&models))
        .await
        .unwrap();
    let labels = can::<dyn Classifies>(&model(&models, "tiny-classifier"))
        .classify(fresh, &ClassifyAsk::default(), &call(&models))
        .await
        .unwrap();
    assert_eq!(verdicts.len(), count);
    for ((verdict, reconstruction), label) in verdicts.iter().zip(reconstructions).zip(labels) {
        let error = reconstruction.unwrap().mean_squared_error * shape.dimensions() as f64;
        assert!((value(verdict, "autoencoder_error") - error).abs() < 1e-9);
        let log_posterior = label.unwrap().log_posterior;
        let most = log_posterior.iter().fold(f64::NEG_INFINITY, |m, &l| m.max(l));
        assert!((value(verdict, "classifier_ambiguity") + most).abs() < 1e-9);
        assert!(value(verdict, "classifier_energy").is_finite());
    }
}

#[tokio::test]
async fn an_autoencoder_alone_is_a_detector_whose_map_is_in_squared_errors() {
    let repository = Repository::with_helpers();
    let models = repository.models();
    let images = draw(&models, 800, 0).await;
    let fresh = draw(&models, 3, 800).await;
    let inliers = repository.path().join("inliers.npy");
    fs::write(&inliers, media::write_images(&images, images[0].shape())).unwrap();
    let data = command::text(&inliers);
    let (code, _, complaint) = run(&repository, &["calibrate", "tiny-autoencoder", "--data", data]);
    assert_eq!(code, 0, "{complaint}");
    let (code, _, complaint) = run(
        &repository,
        &["calibrate", "tiny-autoencoder", "--data", data, "--stir"],
    );
    assert_ne!(code, 0);
    assert!(complaint.contains("exact likelihoods"), "{complaint}");
    // Images of another size are left out, and named where too few are left.
    let shoe = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/shoe.png");
    let (code, _, complaint) = run(&repository, &["calibrate", "tiny-autoencoder", "--data", shoe]);
    assert_ne!(code, 0);
    assert!(
        complaint.contains("could not be read: 1, the first of them") && complaint.contains("shoe.png"),
        "{complaint}"
    );
    // A golden image is needed.
    let golden = ["calibrate", "tiny-autoencoder", "--data", data, "--golden", shoe];
    let (code, _, complaint) = run(&repository, &golden);
    assert_ne!(code, 0);
    assert!(complaint.contains("shoe.png"), "{complaint}");
    fs::remove_file(&inliers).unwrap();
    models.scan().unwrap();
    let service = service_of(Arc::new(models), Limits::default());
    let server = Server::start(&service, HttpConfig::default()).await;
    let answer: Value = reqwest::Client::new()
        .post(format!(
            "{}/v1/models/tiny-autoencoder-gate/detect?map=true",
            server.url
        ))
        .header("content-type", "application/x-npy")
        .body(media::write_images(&fresh, fresh[0].shape()))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    for result in answer["results"].as_array().unwrap() {
        let map = &result["map"];
        assert_eq!(map["statistic"], "autoencoder_error_map", "{answer}");
        assert_eq!(map["unit"], "squared error");
        let values: Vec<f64> = map["values"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|row| row.as_array().unwrap())
            .map(|value| value.as_f64().unwrap())
            .collect();
        assert_eq!(values.len(), 30);
        assert!(values.iter().all(|&value| value >= 0.0));
        let sum = result["statistics"]["autoencoder_error"]["value"].as_f64().unwrap();
        assert!((values.iter().sum::<f64>() - sum).abs() < 1e-5 * sum);
    }
    server.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_false_discovery_rate_is_that_of_all_images_of_a_command() {
    let repository = Repository::with_helpers();
    let models = repository.models();
    let images = draw(&models, 800, 0).await;
    let inliers = repository.path().join("inliers.npy");
    fs::write(&inliers, media::write_images(&images, images[0].shape())).unwrap();
    let (code, _, complaint) = run(
        &repository,
        &["calibrate", "tiny-autoencoder", "--data", command::text(&inliers)],
    );
    assert_eq!(code, 0, "{complaint}");
    // Ordinary images first and many strange ones behind them: runs of a few images have one or the other.
    let mut judged = draw(&models, 40, 800).await;
    let strange: Vec<Image> = (0..20).map(|place| constant(&images[0], place % 4)).collect();
    judged.extend(strange);
    let data = repository.path().join("judged.npy");
    fs::write(&data, media::write_images(&judged, judged[0].shape())).unwrap();
    let command = ["detect", "tiny-autoencoder-gate", command::text(&data), "--fdr", "0.3"];
    let told = |rows: &str| {
        let more = ["--format", "jsonl", "--max-batch-rows", rows];
        let (code, table, complaint) = run(&repository, &[&command[..], &more].concat());
        assert_eq!(code, 0, "{complaint}");
        let lines = table.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let row = |line: Value| (line["p_value"].as_f64().unwrap(), line["decision"] == "reject");
        lines.map(row).unzip::<f64, bool, Vec<_>, Vec<_>>()
    };
    let (p_values, rejected) = told("4");
    assert_eq!(p_values.len(), 60);
    assert_eq!(rejected, conformal::false_discovery_rejections(&p_values, 0.3));
    assert!(rejected.contains(&true) && rejected.contains(&false), "{p_values:?}");
    assert_eq!((p_values, rejected), told("64"));
    let table = repository.path().join("table.csv");
    let more = ["--output", command::text(&table), "--resume"];
    let (code, _, complaint) = run(&repository, &[&command[..], &more].concat());
    assert_eq!(code, 2);
    assert!(complaint.contains("all images together"), "{complaint}");
}

#[tokio::test]
async fn a_model_that_cannot_fill_a_role_is_refused() {
    let repository = Repository::with_helpers();
    for (model, origin) in [
        ("tiny-conditional-pixelcnn", fixtures()),
        ("fashion-mnist-autoencoder", trained()),
        ("fashion-mnist-classifier", trained()),
    ] {
        let version = Path::new(model).join("1");
        copy(&origin.join(&version), &repository.path().join(&version));
    }
    let models = repository.models();
    let images = draw(&models, 700, 0).await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("inliers.npy");
    fs::write(&data, media::write_images(&images, images[0].shape())).unwrap();
    let complaint = |member: &str| {
        let data = command::text(&data);
        let (code, _, complaint) = run(
            &repository,
            &["calibrate", "tiny-pixelcnn", "--data", data, "--member", member],
        );
        assert_ne!(code, 0, "{member}");
        complaint
    };
    for (member, reason) in [
        (
            "autoencoder=tiny-classifier",
            "\"tiny-classifier\", a classifier, cannot have the role \"autoencoder\", which takes a model that puts \
             images through a bottleneck",
        ),
        (
            "autoencoder=tiny-pixelcnn",
            "takes a model that puts images through a bottleneck",
        ),
        (
            "classifier=tiny-autoencoder",
            "takes a model with a distribution over labels",
        ),
        ("latent=tiny-autoencoder", "takes a model with a posterior over codes"),
        (
            "local=tiny-classifier",
            "takes a model with the exact probability of every pixel",
        ),
        ("classifier=tiny-conditional-pixelcnn", "cannot have the role"),
        ("autoencoder=fashion-mnist-autoencoder", "different sizes"),
        ("classifier=fashion-mnist-classifier", "different sizes"),
        ("clasifier=tiny-classifier", "unknown role \"clasifier\""),
    ] {
        let said = complaint(member);
        assert!(said.contains(reason), "{member}: {said}");
    }
}

#[tokio::test]
async fn what_a_helper_was_trained_on_does_not_calibrate() {
    for (role, name) in [
        (Requirement::Autoencoder, "tiny-autoencoder"),
        (Requirement::Classifier, "tiny-classifier"),
    ] {
        let repository = Repository::with_helpers();
        let images = draw(&repository.models(), 700, 0).await;
        say_trained_on(&repository.path().join(name).join("1"), &images[7]);
        let models = repository.models();
        let mut recipe = recipe(&models);
        recipe.members.push((role, model(&models, name)));
        let inliers = Inliers {
            data: images,
            fit: Vec::new(),
        };
        let made = detector::calibrate(models.resources(), &recipe, inliers, repository.path(), |_| {});
        let seen = made.await.unwrap_err().to_string();
        let expected = format!("1 of the images are among those that {name} ({})", role.name());
        assert!(seen.contains(&expected), "{seen}");
    }
}

#[test]
fn errors_and_logits_do_not_depend_on_company() {
    let load = |name: &str| common::load(&fixtures().join(name).join("1"), name).unwrap();
    let autoencoder = load("tiny-autoencoder");
    let shape = autoencoder.shape;
    let mut members = Members::default();
    members.add(Requirement::Autoencoder, &autoencoder).unwrap();
    members.add(Requirement::Classifier, &load("tiny-classifier")).unwrap();
    let statistics = vec![
        AUTOENCODER_ERROR,
        CLASSIFIER_ENERGY,
        CLASSIFIER_AMBIGUITY,
        AUTOENCODER_ERROR_MAP,
    ];
    for &statistic in &statistics {
        let error = Panel::new(Members::default(), vec![statistic], Knowledge::default());
        assert!(error.is_err(), "{statistic} has no members to ask");
    }
    let panel = Panel::new(members, statistics, Knowledge::default()).unwrap();
    let images = noise(shape, 7);
    let levels: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
    let together = measure(&panel, &levels);
    for (measured, levels) in together.iter().zip(&levels) {
        let alone = &measure(&panel, &[levels])[0];
        assert_eq!(alone.values, measured.values);
        assert_eq!(alone.maps, measured.maps);
        assert_eq!(measured.maps.len(), 1);
    }
    for place in 0..3 {
        let values: Vec<f64> = together.iter().map(|m| m.values[place][0]).collect();
        assert!(values.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
