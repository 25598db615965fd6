//! The OpenAPI document and the page to try it.
//!
//! Paths, parameters and answers come from the handlers. What all operations share (where the model is named, how images
//! come in, which problems there can be) is added here once, from the same tables that the code runs on.

use axum::{Router, http::header, response::IntoResponse, routing::get};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    accept::STREAM_TYPE,
    input::IMAGE_TYPES,
    problem::{ProblemBody, ProblemKind},
    routes,
};

/// Where operations of the serving version are mounted.
const SERVING: &str = "/v1/models/{model}/";

/// Where operations of a version by number are mounted.
const VERSIONED: &str = "/v1/models/{model}/versions/{version}/";

/// The part of the document that no handler says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "density-server",
        description = "Puts a probability on an image: log-likelihoods, decisions, samples, completions, lossless codes and latent \
                       codes of generative models.\n\nImages come in as a file, as a form of files, as JSON or as an npy array. A batch \
                       answers per image: one bad image carries its own problem and does not fail its neighbours, unless \
                       the answer is a picture or an array, which have no place for a problem. Nothing is resized or converted \
                       unless asked for, because that changes the likelihood. Options may come in the query, as fields of a form or \
                       as keys of a JSON body; an unknown one is an error.",
    ),
    tags(
        (name = "operations", description = "What can be asked of a model"),
        (name = "models", description = "What is loaded"),
        (name = "server", description = "The server itself")
    ),
    components(schemas(ProblemBody))
)]
struct Base;

/// The document that routes are added to.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// The whole document.
pub fn document() -> Value {
    finish(routes::all().into_openapi())
}

/// Adds to the document of the routes what they share.
pub(super) fn finish(document: utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, methods) in paths {
            for operation in methods
                .as_object_mut()
                .into_iter()
                .flat_map(Map::values_mut)
            {
                if path.ends_with("/drift") {
                    add_problems(operation, &[404, 422, 500, 503]);
                } else if let Some(name) = path.strip_prefix(VERSIONED) {
                    finish_operation(name, operation, true);
                } else if let Some(name) = path
                    .strip_prefix(SERVING)
                    .filter(|rest| !rest.contains('/'))
                {
                    finish_operation(name, operation, false);
                } else {
                    add_problems(operation, &[404, 422, 500, 503]);
                }
            }
        }
    }
    document
}

/// The document and its page.
pub(super) fn pages(document: Value) -> Router {
    let bytes = Bytes::from(document.to_string());
    let serve = move || {
        let bytes = bytes.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], bytes).into_response() }
    };
    // Left alone, the page would send the document's address to a validator on the internet.
    let config = Config::new(["/openapi.json"]).validator_url("none");
    Router::new()
        .route("/openapi.json", get(serve))
        .merge(SwaggerUi::new("/docs").config(config))
}

fn finish_operation(name: &str, operation: &mut Value, versioned: bool) {
    let own: Vec<Value> = operation["parameters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let takes_images = !matches!(name, "sample" | "decode" | "decompress");
    let mut shared = vec![parameter(
        "model",
        "path",
        "Name of a model",
        json!({"type": "string"}),
    )];
    if versioned {
        let version = json!({"type": "integer", "minimum": 0});
        shared.push(parameter(
            "version",
            "path",
            "Version of the model",
            version,
        ));
        let id = format!("{name}_version");
        operation["operationId"] = json!(id);
    } else {
        let version = json!({"type": "integer", "minimum": 0});
        let description = "Version of the model; by default its newest ready one";
        shared.push(parameter("version", "query", description, version));
    }
    let mut parameters = own.clone();
    if takes_images {
        let flag = json!({"type": "boolean", "default": false});
        let resize = "Whether to resize image files that are not of the model's size";
        let convert = "Whether to convert between colour and grey, blend transparent pixels over black and reduce 16 bits to 8 \
                       in image files";
        parameters.push(parameter("resize", "query", resize, flag.clone()));
        parameters.push(parameter("convert", "query", convert, flag));
    }
    let options = properties(&parameters);
    let seconds = json!({"type": "number", "exclusiveMinimum": 0});
    let description = "Seconds after which the answer is of no more use; the server may allow less. Also as the header \
                       X-Request-Timeout.";
    parameters.push(parameter("timeout", "query", description, seconds));
    shared.extend(parameters);
    operation["parameters"] = json!(shared);
    operation["requestBody"] = match name {
        "sample" => sample_body(options),
        "decode" => decode_body(options),
        "decompress" => decompress_body(options),
        _ => image_body(name, options),
    };
    add_problems(
        operation,
        &[400, 404, 406, 408, 413, 415, 422, 429, 500, 503, 504],
    );
}

fn parameter(name: &str, place: &str, description: &str, schema: Value) -> Value {
    json!({
        "name": name, "in": place, "description": description, "required": place == "path", "schema": schema,
    })
}

/// Query parameters as the properties of a JSON object, for bodies that may bring them instead.
fn properties(parameters: &[Value]) -> Map<String, Value> {
    let property = |parameter: &Value| {
        let name = parameter["name"].as_str()?.to_owned();
        let mut schema = parameter["schema"].clone();
        if schema.get("$ref").is_none() && schema.get("oneOf").is_none() {
            schema["description"] = parameter["description"].clone();
        }
        Some((name, schema))
    };
    parameters.iter().filter_map(property).collect()
}

fn image_body(name: &str, options: Map<String, Value>) -> Value {
    let binary = json!({"type": "string", "format": "binary"});
    let mut json_properties = options.clone();
    let mut form_properties = options;
    let entry = json!({
        "oneOf": [
            {"type": "object", "required": ["base64"], "additionalProperties": false,
             "properties": {"base64": {"type": "string", "contentEncoding": "base64", "description": "An image file"}}},
            {"type": "object", "required": ["pixels"], "additionalProperties": false,
             "properties": {"pixels": {"type": "array", "items": {"type": "array", "items": {}},
                "description": "Levels as they are: rows of columns, or rows of columns of channels"}}}
        ]
    });
    let images = json!({"type": "array", "minItems": 1, "items": entry});
    json_properties.insert("images".to_owned(), images);
    let files = json!({"type": "array", "items": binary, "description": "Image files; also as images or file"});
    form_properties.insert("image".to_owned(), files);
    if name == "complete" {
        let rows = json!({"type": "array", "items": {"type": "array", "items": {"enum": [0, 1]}}});
        let file = json!({"type": "string", "contentEncoding": "base64"});
        let mask = json!({"oneOf": [rows, file], "description": "Which pixels are given"});
        json_properties.insert("mask".to_owned(), mask);
        form_properties.insert("mask".to_owned(), binary.clone());
    }
    let mut example = json!({"images": [{"pixels": [[0, 128, 255], [0, 128, 255]]}]});
    if name == "interpolate" {
        let first = example["images"][0].clone();
        example["images"] = json!([first.clone(), first]);
    }
    let mut content = Map::new();
    content.insert(
        "multipart/form-data".to_owned(),
        json!({"schema": {"type": "object", "required": ["image"], "properties": form_properties}}),
    );
    content.insert(
        "application/json".to_owned(),
        json!({
            "schema": {"type": "object", "required": ["images"], "additionalProperties": false, "properties": json_properties},
            "example": example,
        }),
    );
    for media_type in IMAGE_TYPES {
        content.insert((*media_type).to_owned(), json!({"schema": binary}));
    }
    let array = "uint8 levels of shape [N, H, W] or [N, H, W, C]";
    content.insert(
        "application/x-npy".to_owned(),
        json!({"schema": {"type": "string", "format": "binary", "description": array}}),
    );
    json!({"required": true, "description": "One or more images", "content": content})
}

fn sample_body(options: Map<String, Value>) -> Value {
    let schema = json!({"type": "object", "additionalProperties": false, "properties": options});
    let content = json!({"application/json": {"schema": schema, "example": {"n": 4, "seed": 7}}});
    json!({"required": false, "description": "Options", "content": content})
}

fn decode_body(mut options: Map<String, Value>) -> Value {
    let list = json!({"type": "array", "items": {"type": "array", "items": {"type": "number"}}});
    options.insert("latents".to_owned(), list);
    let array = "float32 or float64 of shape [N, L]";
    let content = json!({
        "application/json": {
            "schema": {"type": "object", "required": ["latents"], "additionalProperties": false, "properties": options},
            "example": {"latents": [[0.1, -0.4, 1.3]]},
        },
        "application/x-npy": {"schema": {"type": "string", "format": "binary", "description": array}},
    });
    json!({"required": true, "description": "One or more latent codes", "content": content})
}

fn decompress_body(mut options: Map<String, Value>) -> Value {
    let stream = json!({"type": "string", "contentEncoding": "base64"});
    options.insert(
        "streams".to_owned(),
        json!({"type": "array", "minItems": 1, "items": stream}),
    );
    let content = json!({
        "application/json": {
            "schema": {"type": "object", "required": ["streams"], "additionalProperties": false, "properties": options},
            "example": {"streams": ["RFNJMQ…"]},
        },
        STREAM_TYPE: {"schema": {"type": "string", "format": "binary", "description": "One stream"}},
    });
    json!({"required": true, "description": "One or more streams that `compress` made", "content": content})
}

/// Adds the problems with the given statuses, with what the table of problems says of them.
fn add_problems(operation: &mut Value, statuses: &[u16]) {
    for &status in statuses {
        let kinds: Vec<String> = ProblemKind::all()
            .map(ProblemKind::entry)
            .filter(|entry| entry.status.as_u16() == status)
            .map(|entry| format!("{} (`{}`)", entry.title, entry.slug))
            .collect();
        let mut response = json!({
            "description": kinds.join("; "),
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        });
        if matches!(status, 429 | 503) {
            let seconds = json!({"schema": {"type": "integer"}, "description": "Seconds after which another try makes sense"});
            response["headers"] = json!({"Retry-After": seconds});
        }
        operation["responses"][status.to_string()] = response;
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, StatusCode},
    };
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn every_route_is_described() {
        let document = document();
        for path in ["/", "/livez", "/readyz", "/metrics", "/v1/models"] {
            assert!(document["paths"][path]["get"].is_object(), "{path}");
        }
        for model in [
            "/v1/models/{model}",
            "/v1/models/{model}/versions/{version}",
        ] {
            assert!(document["paths"][model]["get"].is_object(), "{model}");
            let drift = &document["paths"][&format!("{model}/drift")];
            assert!(drift["get"].is_object() && drift["delete"].is_object());
            for operation in [
                "score",
                "detect",
                "sample",
                "complete",
                "compress",
                "decompress",
                "encode",
                "decode",
                "reconstruct",
                "interpolate",
                "classify",
            ] {
                let path = format!("{model}/{operation}");
                let post = &document["paths"][&path]["post"];
                assert!(post["summary"].is_string(), "{path}");
                assert!(
                    post["requestBody"]["content"]["application/json"].is_object(),
                    "{path}"
                );
                for status in [
                    "400", "404", "406", "408", "413", "415", "422", "429", "500", "503", "504",
                ] {
                    let problem = &post["responses"][status]["content"]["application/problem+json"];
                    assert!(problem.is_object(), "{path} {status}");
                }
            }
        }
    }

    #[test]
    fn every_format_is_described() {
        let document = document();
        let describes = |operation: &str, media_types: &[&str]| {
            let path = format!("/v1/models/{{model}}/{operation}");
            let content = &document["paths"][&path]["post"]["responses"]["200"]["content"];
            for media_type in media_types {
                assert!(content[*media_type].is_object(), "{operation} {media_type}");
            }
        };
        describes(
            "sample",
            &["application/json", "image/gif", "text/event-stream"],
        );
        describes("complete", &["application/json", "image/gif"]);
        describes("compress", &["application/json", STREAM_TYPE]);
        describes("decompress", &["application/json", "application/x-npy"]);
        let path = "/v1/models/{model}/decompress";
        let body = &document["paths"][path]["post"]["requestBody"]["content"];
        assert!(body[STREAM_TYPE].is_object() && body.get("image/png").is_none());
    }

    #[test]
    fn operations_are_told_apart_and_references_lead_somewhere() {
        let document = document();
        let mut ids = Vec::new();
        let mut references = Vec::new();
        collect(&document, &mut ids, &mut references);
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "{ids:?}");
        assert!(!references.is_empty());
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let score = &document["paths"]["/v1/models/{model}/score"]["post"];
        let names: Vec<_> = score["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "model", "version", "bound", "k", "seed", "map", "label", "resize", "convert",
                "timeout"
            ]
        );
    }

    fn collect(value: &Value, ids: &mut Vec<String>, references: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member) {
                        ("operationId", Value::String(id)) => ids.push(id.clone()),
                        ("$ref", Value::String(reference)) => references.push(reference.clone()),
                        _ => collect(member, ids, references),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, ids, references)),
            _ => {}
        }
    }

    async fn get(path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = pages(json!({})).oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 24)
            .await
            .unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// The page must work without the internet: whatever it loads comes from this server.
    #[tokio::test]
    async fn the_page_loads_nothing_from_elsewhere() {
        let (status, page) = get("/docs/").await;
        assert_eq!(status, StatusCode::OK);
        let mut loaded = 0;
        for attribute in ["src=\"", "href=\""] {
            for rest in page.split(attribute).skip(1) {
                let link = rest.split('"').next().unwrap();
                assert!(!link.contains("//"), "{link}");
                let (status, body) = get(&format!("/docs/{}", link.trim_start_matches("./"))).await;
                assert_eq!(status, StatusCode::OK, "{link}");
                assert!(!body.is_empty());
                loaded += 1;
            }
        }
        assert!(loaded >= 4, "{page}");
        let (_, start) = get("/docs/swagger-initializer.js").await;
        assert!(
            start.contains("/openapi.json") && !start.contains("http"),
            "{start}"
        );
        assert!(start.contains("\"none\""), "{start}");
        assert_eq!(
            get("/openapi.json").await,
            (StatusCode::OK, "{}".to_owned())
        );
    }
}
