//! The shape of the server: a family and an operation that this crate makes up, added through the public registries,
//! are served over HTTP, described by the document and offered by the command line, although nothing in the server
//! knows of them.

#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, sync::Arc};

use async_trait::async_trait;
use axum::{body::Body, http::Request};
use density_server::{
    app::Registries,
    cli,
    domain::image::Image,
    families::{self, Contract, Family, Gate, GateError, Proved, Tables},
    model::{
        Call, Capabilities, Model, PerImage, Refusal,
        codes::{Encodes, Encoding},
        info::Density,
        value::Number,
    },
    operations::{
        self, Answer, Context, Format, Limits, Operation, Service, Tensor, TensorSpec, input::Images, tensor::Datatype,
    },
    repository::Repository,
    transport::http::{self, HttpConfig, HttpState},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

/// A family whose code of an image is its brightness, and which has a capability that no other family has.
#[derive(Debug)]
struct Lamp;

#[derive(Debug)]
struct LampContract;

impl Family for Lamp {
    fn name(&self) -> &'static str {
        "lamp"
    }

    fn read(&self, _: &mut Tables) -> Result<Box<dyn Contract>, String> {
        Ok(Box::new(LampContract))
    }
}

impl Contract for LampContract {
    fn files(&self) -> Vec<&str> {
        Vec::new()
    }

    fn prove(&self, _: &mut Gate<'_>) -> Result<Proved, GateError> {
        let capabilities = Capabilities::new("a lamp only shines")
            .offer::<dyn Encodes>(Arc::new(Bulb))
            .offer::<dyn Shines>(Arc::new(Bulb));
        Ok(Proved::new(Density::None, capabilities))
    }
}

/// What no other model can do.
trait Shines: Send + Sync {
    fn brightness(&self, image: &Image) -> f64;
}

#[derive(Debug)]
struct Bulb;

impl Shines for Bulb {
    fn brightness(&self, image: &Image) -> f64 {
        let sum: f64 = image.levels().iter().copied().map(f64::from).sum();
        sum / image.levels().len() as f64
    }
}

#[async_trait]
impl Encodes for Bulb {
    async fn encode(&self, images: Vec<Image>, _: &Call) -> Result<PerImage<Encoding>, Refusal> {
        let encoding = |image: &Image| {
            Ok(Encoding {
                code: vec![self.brightness(image) as f32],
                log_variance: None,
            })
        };
        Ok(images.iter().map(encoding).collect())
    }

    fn code_size(&self) -> usize {
        1
    }

    fn has_variance(&self) -> bool {
        false
    }
}

/// An operation of which the server has never heard.
#[derive(Debug)]
struct Shine;

#[derive(Debug, Deserialize, JsonSchema)]
struct ShineOptions {
    /// How often the brightness counts.
    #[serde(default = "once")]
    #[schemars(range(min = 1, max = 9))]
    times: u32,
}

fn once() -> u32 {
    1
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct ShineHead {
    /// As asked for.
    times: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Shone {
    /// Mean level.
    brightness: Number,
}

impl Operation for Shine {
    const NAME: &'static str = "shine";
    const SUMMARY: &'static str = "Tell how bright images are";
    const DESCRIPTION: &'static str = "The mean level of each image.";
    const FORMATS: &'static [Format] = &[Format::Json, Format::Npy];
    const TENSORS: &'static [TensorSpec] = &[TensorSpec {
        name: "brightness",
        datatype: Datatype::F64,
        axes: &[],
        when: None,
        description: "mean level",
    }];

    type Capability = dyn Shines;
    type Input = Images;
    type Options = ShineOptions;
    type Head = ShineHead;
    type Item = Shone;

    async fn run(
        shines: &Self::Capability,
        _: &Model,
        Images(images): Images,
        options: ShineOptions,
        _: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        let shone = |image: &Image| {
            Ok(Shone {
                brightness: Number(shines.brightness(image) * f64::from(options.times)),
            })
        };
        Ok(Answer {
            head: ShineHead { times: options.times },
            items: images.iter().map(shone).collect(),
        })
    }

    fn tensors(_: &ShineHead, items: &[Shone]) -> Vec<Tensor> {
        vec![Tensor::numbers(
            "brightness",
            items.iter().map(|item| item.brightness.0),
        )]
    }
}

fn registries() -> Registries {
    Registries {
        families: families::Registry::standard().with(Lamp),
        operations: operations::Registry::standard().with::<Shine>(),
    }
}

/// A repository with a lamp in it.
fn lamps() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let version = folder.path().join("desk-lamp/1");
    fs::create_dir_all(&version).unwrap();
    let manifest = "name = \"desk-lamp\"\nfamily = \"lamp\"\ndescription = \"It shines.\"\n\
        [image]\nchannels = 1\nheight = 2\nwidth = 2\nlevels = 256\n\
        [provenance]\ndata = \"none\"\nlicence = \"none\"\ncommand = \"none\"\nparameters = 0\ntraining_seconds = 0\n\
        [sha256]\n";
    fs::write(version.join("model.toml"), manifest).unwrap();
    folder
}

fn router(folder: &std::path::Path) -> axum::Router {
    let Registries { families, operations } = registries();
    let repository = Arc::new(Repository::new(folder, families, common::resources()));
    repository.scan().unwrap();
    let resources = repository.resources().clone();
    let service = Service::new(
        repository,
        &operations,
        resources.scheduler,
        Limits::default(),
        resources.metrics,
    );
    http::router(HttpState::new(Arc::new(service), HttpConfig::default()))
}

async fn ask(router: &axum::Router, request: Request<Body>) -> (u16, Value) {
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 24).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

fn post(path: &str) -> Request<Body> {
    let body = json!({"images": [{"pixels": [[10, 20], [30, 40]]}]});
    Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn http_serves_a_family_and_an_operation_that_it_does_not_know() {
    let folder = lamps();
    let router = router(folder.path());
    let (status, model) = ask(&router, get("/v1/models/desk-lamp")).await;
    assert_eq!((status, &model["family"]), (200, &json!("lamp")), "{model}");
    let capability = |name: &str| {
        let all = model["capabilities"].as_array().unwrap();
        all.iter().find(|own| own["name"] == name).unwrap().clone()
    };
    assert_eq!(capability("shine")["available"], true);
    assert_eq!(capability("encode")["available"], true);
    assert_eq!(capability("score")["reason"], "a lamp only shines");

    let (status, answer) = ask(&router, post("/v1/models/desk-lamp/shine?times=2")).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["times"], 2);
    assert_eq!(answer["results"][0]["brightness"], 50.0);
    let (_, answer) = ask(&router, post("/v1/models/desk-lamp/versions/1/encode")).await;
    assert_eq!(answer["results"][0]["code"], json!([25.0]));
    let (status, answer) = ask(&router, post("/v1/models/desk-lamp/shine?times=10")).await;
    assert_eq!(status, 422);
    assert_eq!(answer["detail"], "times: 10 is not at least 1 and at most 9");
    let (status, answer) = ask(&router, post("/v1/models/desk-lamp/score")).await;
    assert_eq!(status, 422);
    assert!(answer["detail"].as_str().unwrap().ends_with("a lamp only shines"));

    let (_, document) = ask(&router, get("/openapi.json")).await;
    let described = &document["paths"]["/v1/models/{model}/shine"]["post"];
    assert_eq!(described["summary"], "Tell how bright images are");
    let parameters = described["parameters"].as_array().unwrap();
    let times = parameters.iter().find(|own| own["name"] == "times").unwrap();
    assert_eq!(times["schema"]["maximum"], 9);
    let metrics = router.clone().oneshot(get("/metrics")).await.unwrap();
    let bytes = axum::body::to_bytes(metrics.into_body(), 1 << 24).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let counted = r#"density_images_total{model="desk-lamp",operation="shine"} 1"#;
    assert!(text.contains(counted), "{text}");
}

#[test]
fn the_command_line_offers_an_operation_that_it_does_not_know() {
    let folder = lamps();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let image = density_server::media::write_images(
        &[Image::new(
            density_server::domain::image::ImageShape::new(1, 2, 2, 256).unwrap(),
            vec![10, 20, 30, 40],
        )
        .unwrap()],
        density_server::domain::image::ImageShape::new(1, 2, 2, 256).unwrap(),
    );
    fs::write(path("image.npy"), image).unwrap();
    let arguments = [
        "density-server".to_owned(),
        "shine".to_owned(),
        path("desk-lamp"),
        path("image.npy"),
        "--times=3".to_owned(),
        "--format=jsonl".to_owned(),
        "--output".to_owned(),
        path("rows.jsonl"),
        "--onnxruntime".to_owned(),
        common::library().display().to_string(),
    ];
    assert_eq!(cli::run_with(arguments.map(Into::into), &registries()), 0);
    let rows = fs::read_to_string(path("rows.jsonl")).unwrap();
    let row: Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    assert_eq!(row["brightness"], 75.0, "{rows}");
    assert_eq!(row["times"], 3, "{rows}");
}

/// Hashes are what identifies models that have graphs; one without is identified by its manifest.
#[test]
fn a_family_without_graphs_is_identified_by_its_manifest() {
    let folder = lamps();
    let repository = Repository::new(folder.path(), registries().families, common::resources());
    repository.scan().unwrap();
    let model = common::model(&repository, "desk-lamp");
    let manifest = fs::read(folder.path().join("desk-lamp/1/model.toml")).unwrap();
    let hash: String = Sha256::digest(manifest)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(model.identity, hash);
}
