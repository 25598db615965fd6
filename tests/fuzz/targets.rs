//! What is fuzzed: for each target good inputs, and what is wrong with an answer. Every test run spoils them blindly
//! (`tests/fuzz.rs`); `make fuzz` is guided by coverage (`coverage.rs`).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Request},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use density_server::{
    families::{Registry, manifest::Manifest},
    graph::{self, bounds, signature},
    operations::Limits,
    transport::{
        Door, grpc,
        http::{self, HttpConfig, HttpState},
        openinference::{OpenInference, rest},
    },
};
use prost::Message;
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::common;

const MODEL: &str = "tiny-pixelcnn";

/// Says what is wrong with what became of an input, or panics.
type Check = Box<dyn Fn(&[u8]) -> Result<(), String>>;

/// Something that reads what it cannot trust.
pub(crate) struct Target {
    /// Its name, and that of the folder of inputs that are kept.
    pub(crate) name: &'static str,
    /// Good inputs.
    pub(crate) seeds: Vec<Vec<u8>>,
    /// What it is fuzzed for.
    pub(crate) check: Check,
}

/// Requests over HTTP: they are answered, and never with 500.
pub(crate) fn bodies() -> Vec<Target> {
    let asked = Arc::new(Asked::new());
    let target = |name, path: &str, headers: &[(&'static str, &str)], seeds: Vec<Vec<u8>>| {
        let (asked, path) = (Arc::clone(&asked), path.to_owned());
        let headers: Vec<_> = headers.iter().map(|&(name, value)| (name, value.to_owned())).collect();
        // Spoilt inputs get as far as good ones do.
        let (status, body) = asked.ask(&path, &headers, &seeds[0]);
        assert_eq!(status, 200, "{name}: {}", String::from_utf8_lossy(&body));
        let check = move |bytes: &[u8]| match asked.ask(&path, &headers, bytes) {
            (500, body) => Err(String::from_utf8_lossy(&body).into_owned()),
            _ => Ok(()),
        };
        Target {
            name,
            seeds,
            check: Box::new(check),
        }
    };
    let score = format!("/v1/models/{MODEL}/score?resize=true&convert=true");
    let images = images();
    let npy = fs::read(files().join("golden_images.npy")).unwrap();

    let base64 = BASE64_STANDARD.encode(&images[0]);
    let json = [
        format!("{{\"images\": [{{\"base64\": \"{base64}\"}}, {{\"base64\": \"data:image/png;base64,{base64}\"}}]}}"),
        "{\"images\": [{\"pixels\": [[0, 1.0, 255], [3, 4, 5]]}], \"resize\": true, \"timeout\": 5, \"k\": [1, {}]}"
            .to_owned(),
    ];
    let json = json.map(String::into_bytes).to_vec();

    let mut form = b"--x\r\ncontent-disposition: form-data; name=\"resize\"\r\n\r\ntrue\r\n".to_vec();
    form.extend_from_slice(b"--x\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n");
    form.extend_from_slice(&images[0]);
    form.extend_from_slice(b"\r\n--x--\r\n");

    let stream = ("accept", "application/vnd.density-server.image".to_owned());
    let compress = format!("/v1/models/{MODEL}/compress?resize=true&convert=true");
    let png = ("content-type", "image/png".to_owned());
    let (status, dsi) = asked.ask(&compress, &[png, stream], &images[0]);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&dsi));

    let infer = format!("/v2/models/{MODEL}/infer");
    let head = concat!(
        r#"{"id": "1", "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 6, 5], "#,
        r#""parameters": {"binary_data_size": 30}}], "#,
        r#""outputs": [{"name": "log_likelihood", "parameters": {"binary_data": true}}]}"#
    );
    let binary = [head.as_bytes(), &[0; 30]].concat();
    let v2 = concat!(
        r#"{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 6, 5], "#,
        r#""data": [0,1,2,0,1,2,0,1,2,0,1,2,0,1,2,0,1,2,0,1,2,0,1,2,0,1,2,0,1,2]}], "parameters": {"map": true}}"#
    );
    let of = |media_type| [("content-type", media_type)];
    let length = head.len().to_string();
    vec![
        // A type that is wrong is found out from the bytes.
        target("image", &score, &of("image/png"), images),
        target("npy", &score, &of("application/x-npy"), vec![npy]),
        target("json", &score, &of("application/json"), json),
        target("multipart", &score, &of("multipart/form-data; boundary=x"), vec![form]),
        target(
            "dsi",
            &format!("/v1/models/{MODEL}/decompress"),
            &of("application/vnd.density-server.image"),
            vec![dsi],
        ),
        target(
            "v2-binary",
            &infer,
            &[("inference-header-content-length", &length)],
            vec![binary],
        ),
        target("v2-json", &infer, &[], vec![v2.as_bytes().to_owned()]),
    ]
}

/// Messages of gRPC: they are answered, and never as faults of the server.
pub(crate) fn messages() -> Vec<Target> {
    let asked = Arc::new(Asked::new());
    let target = |name, path: &'static str, seed: Vec<u8>| {
        let asked = Arc::clone(&asked);
        let status = asked.call(path, &seed);
        assert_eq!(status.code(), Code::Ok, "{name}: {status}");
        let check = move |bytes: &[u8]| {
            let status = asked.call(path, bytes);
            let is_fault = matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss);
            // That a message is none is, by the rules of gRPC, an internal error.
            if is_fault && !status.message().starts_with("failed to decode Protobuf message") {
                return Err(status.to_string());
            }
            Ok(())
        };
        Target {
            name,
            seeds: vec![seed],
            check: Box::new(check),
        }
    };
    let tensor = contracts::Tensor {
        name: "image".to_owned(),
        datatype: "UINT8".to_owned(),
        shape: vec![1, 1, 6, 5],
    };
    let infer = contracts::ModelInfer {
        model_name: MODEL.to_owned(),
        inputs: vec![tensor],
        raw: vec![vec![1; 30]],
    };
    let levels = contracts::Levels {
        shape: vec![1, 1, 6, 5],
        data: vec![1; 30],
    };
    let score = contracts::Score {
        model: Some(contracts::Named { name: MODEL.to_owned() }),
        images: Some(contracts::Images { levels: Some(levels) }),
    };
    vec![
        target(
            "grpc-infer",
            "/inference.GRPCInferenceService/ModelInfer",
            infer.encode_to_vec(),
        ),
        target("grpc-score", "/density.v1.Density/Score", score.encode_to_vec()),
    ]
}

/// What good messages need of the contracts in `proto/`.
mod contracts {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Tensor {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) datatype: String,
        #[prost(int64, repeated, tag = "3")]
        pub(super) shape: Vec<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ModelInfer {
        #[prost(string, tag = "1")]
        pub(super) model_name: String,
        #[prost(message, repeated, tag = "5")]
        pub(super) inputs: Vec<Tensor>,
        #[prost(bytes = "vec", repeated, tag = "7")]
        pub(super) raw: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Named {
        #[prost(string, tag = "1")]
        pub(super) name: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Levels {
        #[prost(int64, repeated, tag = "1")]
        pub(super) shape: Vec<i64>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) data: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Images {
        #[prost(message, optional, tag = "1")]
        pub(super) levels: Option<Levels>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Score {
        #[prost(message, optional, tag = "1")]
        pub(super) model: Option<Named>,
        #[prost(message, optional, tag = "2")]
        pub(super) images: Option<Images>,
    }
}

/// Files of models: they are refused in words.
pub(crate) fn models() -> Vec<Target> {
    let onnx = |bytes: &[u8]| {
        // What comes of it is no matter; that it comes is.
        if let Ok(model) = graph::parse(bytes) {
            let _ = bounds::check(&model);
            let outputs = model.graph.iter().flat_map(|graph| &graph.outputs);
            for name in outputs.filter_map(|output| output.name.clone()).collect::<Vec<_>>() {
                let _ = signature::row_shape(&model, &name);
            }
        }
        Ok(())
    };
    let registry = Registry::standard();
    let manifest = move |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        match Manifest::parse(&text, MODEL, &registry) {
            Err(reason) if reason.is_empty() => Err("a refusal without a reason".to_owned()),
            _ => Ok(()),
        }
    };
    let seeds = |file: &str| vec![fs::read(files().join(file)).unwrap()];
    vec![
        Target {
            name: "onnx",
            seeds: seeds("model.onnx"),
            check: Box::new(onnx),
        },
        Target {
            name: "manifest",
            seeds: seeds("model.toml"),
            check: Box::new(manifest),
        },
    ]
}

/// The server without a socket.
struct Asked {
    http: Router,
    grpc: Router,
    runtime: tokio::runtime::Runtime,
}

impl Asked {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let version = folder.path().join(MODEL).join("1");
        fs::create_dir_all(&version).unwrap();
        for file in files().read_dir().unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), version.join(file.file_name())).unwrap();
        }
        let repository = Arc::new(common::models_of(folder.path()));
        let service = common::service_of(repository, Limits::default());
        let protocol = Arc::new(OpenInference::new(Arc::clone(&service)));
        let config = HttpConfig::default();
        let others = rest::router(&protocol, config.clone(), Door::Only);
        let grpc = grpc::router(&service, &protocol, &config, Door::Only).unwrap();
        Self {
            http: http::shared(HttpState::new(service, config), others, Door::Only),
            grpc,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// Asks over HTTP; the status, and the body.
    fn ask(&self, path: &str, headers: &[(&str, String)], body: &[u8]) -> (u16, Vec<u8>) {
        let mut request = Request::post(path).header("x-request-timeout", "10");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let (status, _, body) = self.answer(&self.http, request.body(Body::from(body.to_owned())).unwrap());
        (status, body.to_vec())
    }

    /// Calls with a message, as one frame. What is refused is refused in the head of the answer.
    fn call(&self, path: &str, message: &[u8]) -> Status {
        let length = u32::try_from(message.len()).unwrap();
        let frame = [&[0], &length.to_be_bytes()[..], message].concat();
        let request = Request::post(path)
            .header("content-type", "application/grpc")
            .header("grpc-timeout", "10S");
        let (_, head, _) = self.answer(&self.grpc, request.body(Body::from(frame)).unwrap());
        Status::from_header_map(&head).unwrap_or_else(|| Status::ok(""))
    }

    fn answer(&self, router: &Router, request: Request<Body>) -> (u16, HeaderMap, Bytes) {
        self.runtime.block_on(async {
            let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
            let body = axum::body::to_bytes(body, 1 << 26).await.unwrap();
            (head.status.as_u16(), head.headers, body)
        })
    }
}

fn files() -> PathBuf {
    common::fixtures().join(MODEL).join("1")
}

fn images() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let files = folder
        .read_dir()
        .unwrap()
        .map(|file| fs::read(file.unwrap().path()).unwrap());
    let png: Vec<Vec<u8>> = files.collect();
    let picture = image::load_from_memory(&png[0]).unwrap();
    let other = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let (grey, colour) = (picture.to_luma8(), picture.to_rgb8());
        if format == image::ImageFormat::WebP {
            colour.write_to(&mut bytes, format).unwrap();
        } else {
            grey.write_to(&mut bytes, format).unwrap();
        }
        bytes.into_inner()
    };
    use image::ImageFormat::{Bmp, Gif, Jpeg, Pnm, Tiff, WebP};
    let gif = {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.to_rgba8().write_to(&mut bytes, Gif).unwrap();
        bytes.into_inner()
    };
    png.into_iter()
        .chain([Bmp, Jpeg, Pnm, Tiff, WebP].map(other))
        .chain([gif])
        .collect()
}
