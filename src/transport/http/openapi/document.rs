//! What the document says of each path.
//!
//! Every operation is described from its own declaration: options stand once, as parameters of the query; answers and
//! failures are the schemas of the types that are serialised; statuses and their examples come from the table of
//! refusals.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::bodies::request_body;
use crate::{
    model::{
        Kind,
        control::{Action, Names},
        detect::{CalibrationScores, DriftReport},
        info::ModelInfo,
    },
    operations::{AnyOperation, Format, Service},
    transport::http::{
        problem::{Failure, ProblemBody, example, status_of},
        routes::{Index, Models, Status, control_paths},
        stream::Progress,
    },
};

/// Statuses of an operation's refusals.
const OF_OPERATIONS: [u16; 14] = [400, 401, 403, 404, 406, 408, 413, 415, 422, 429, 500, 503, 504, 405];

const DESCRIPTION: &str = "Puts a probability on an image: log-likelihoods, decisions, samples, completions, lossless \
    codes and latent codes of generative models.\n\nImages come in as a file, as a form of files, as JSON or as an npy \
    array. A batch answers per image: one bad image carries its own problem and does not fail its neighbours, unless \
    the answer is a picture or an array, which have no place for a problem. Nothing is resized or converted unless \
    asked for, because that changes the likelihood. Options come in the query; fields of a form and keys of a JSON \
    body are read as options too. An unknown one is an error.";

/// The whole document.
pub fn document(service: &Service) -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut document = Document {
        generator: settings.into_generator(),
        paths: Map::new(),
    };
    document.server();
    document.models();
    document.repository();
    for operation in service.operations() {
        document.operation(&**operation);
    }
    let schemas = document.generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            // Generators refuse a licence without its SPDX expression.
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        // Relative to the document itself, so that it holds behind a prefix too.
        "servers": [{"url": "."}],
        "tags": [
            {"name": "operations", "description": "What can be asked of a model"},
            {"name": "models", "description": "What is loaded"},
            {"name": "repository", "description": "What operators change during service, with --model-control"},
            {"name": "server", "description": "The server itself"},
        ],
        "paths": document.paths,
        // A key, where the server wants one.
        "security": [{}, {"key": []}],
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    })
}

struct Document {
    generator: SchemaGenerator,
    paths: Map<String, Value>,
}

impl Document {
    fn schema<T: JsonSchema>(&mut self) -> Value {
        json!(self.generator.subschema_for::<T>())
    }

    fn answers_json<T: JsonSchema>(&mut self) -> Value {
        let schema = self.schema::<T>();
        json!({"application/json": {"schema": schema}})
    }

    /// A report in JSON beside the model and the version that it is of.
    fn of_a_model<T: JsonSchema>(&mut self) -> Value {
        let report = self.schema::<T>();
        let schema = json!({
            "allOf": [
                {"type": "object", "required": ["model", "version"], "properties": {
                    "model": {"type": "string"}, "version": {"type": "integer"}
                }},
                report,
            ]
        });
        json!({"application/json": {"schema": schema}})
    }

    fn server(&mut self) {
        let mut index = self.answers_json::<Index>();
        index["text/html"] = json!({"schema": {"type": "string"}});
        let about = (
            "index",
            "server",
            "Index",
            "Names the other paths; to a browser, a page to play with the models.",
        );
        self.get("/", about, index, &[]);
        let status = self.answers_json::<Status>();
        let live = ("livez", "server", "Liveness", "200 while the process answers at all.");
        self.get("/livez", live, status.clone(), &[]);
        let ready = (
            "readyz",
            "server",
            "Readiness",
            "200 while the server takes new work: models are loaded and it is not shutting down.",
        );
        self.get("/readyz", ready, status, &[503]);
        let text = json!({"text/plain": {"schema": {"type": "string"}}});
        let metrics = ("metrics", "server", "Metrics", "In the Prometheus text format.");
        self.get("/metrics", metrics, text, &[]);
    }

    fn models(&mut self) {
        let list = self.answers_json::<Models>();
        let about = (
            "list",
            "models",
            "List models",
            "Every version of every model, ready or not.",
        );
        self.get("/v1/models", about, list, &[422]);
        for versioned in [false, true] {
            let path = if versioned {
                "/v1/models/{model}/versions/{version}"
            } else {
                "/v1/models/{model}"
            };
            let id = |name: &str| {
                if versioned {
                    format!("{name}_version")
                } else {
                    name.to_owned()
                }
            };
            let info = self.answers_json::<ModelInfo>();
            let show = (
                &*id("show"),
                "models",
                "Describe a model",
                "The version that serves, else the newest, unless another is named.",
            );
            self.get(path, show, info, &[404, 422, 503]);
            let scores = self.of_a_model::<CalibrationScores>();
            let calibration = (
                &*id("calibration"),
                "models",
                "Show calibration scores",
                "What the p-values of a model that judges images are measured against. They do not change while it is \
                 loaded.",
            );
            self.get(&format!("{path}/calibration"), calibration, scores, &[404, 422, 503]);
            let content = self.of_a_model::<DriftReport>();
            let path = format!("{path}/drift");
            let show = (
                &*id("drift"),
                "models",
                "Show drift",
                "Bets against the images being exchangeable with those that calibrated the detector, since the run \
                 began.",
            );
            self.get(&path, show, content.clone(), &[404, 422, 503]);
            let reset = (
                &*id("reset_drift"),
                "models",
                "Reset drift",
                "Forgets the run, its alarm included, and begins another.",
            );
            self.add(&path, "delete", reset, content, &[404, 422, 503]);
        }
        for (path, methods) in &mut self.paths {
            let version_in_path = path.contains("{version}");
            if path.contains("{model}") {
                for operation in methods.as_object_mut().into_iter().flat_map(Map::values_mut) {
                    operation["parameters"] = json!(model_parameters(version_in_path));
                }
            }
        }
    }

    fn repository(&mut self) {
        let refusals = [404, 409, 422, 500, 501, 503];
        let models = self.answers_json::<Models>();
        let scan = (
            "scan",
            "repository",
            "Look for versions",
            "Loads what is new in the repository and drops what is gone, as SIGHUP does.",
        );
        self.add("/v1/repository/scan", "post", scan, models.clone(), &refusals);
        for action in Action::ALL {
            for path in control_paths(action) {
                let versioned = path.contains("{version}");
                let id = if versioned && action.names() == Names::ModelOrVersion {
                    format!("{}_version", action.name())
                } else {
                    action.name().to_owned()
                };
                let summary = title_case(action.name());
                let about = (&*id, "repository", &*summary, action.description());
                self.add(&path, "post", about, models.clone(), &refusals);
                let mut parameters = model_parameters(versioned);
                if action.names() == Names::Model {
                    parameters.truncate(1);
                } else if !versioned {
                    parameters[1]["description"] = json!("One version of the model; by default all");
                }
                if action == Action::Unload {
                    parameters.push(json!({
                        "name": "dependents", "in": "query", "required": false,
                        "schema": {"type": "boolean", "default": false},
                        "description": "Unload what is made of it, too",
                    }));
                }
                self.paths[&path]["post"]["parameters"] = json!(parameters);
            }
        }
    }

    fn get(&mut self, path: &str, about: (&str, &str, &str, &str), content: Value, refusals: &[u16]) {
        self.add(path, "get", about, content, refusals);
    }

    fn add(
        &mut self,
        path: &str,
        method: &str,
        (id, tag, summary, description): (&str, &str, &str, &str),
        content: Value,
        refusals: &[u16],
    ) {
        let of_keys: &[u16] = if matches!(tag, "models" | "repository") {
            &[401, 403]
        } else {
            &[]
        };
        let mut responses = self.refusals(&[of_keys, refusals].concat());
        responses.insert("200".to_owned(), json!({"description": summary, "content": content}));
        let operation = json!({
            "operationId": id, "tags": [tag], "summary": summary, "description": description, "parameters": [],
            "responses": responses,
        });
        let entry = self.paths.entry(path).or_insert_with(|| json!({}));
        entry[method] = operation;
    }

    /// An operation on the version that serves, and on a version by number.
    fn operation(&mut self, operation: &dyn AnyOperation) {
        let about = operation.about();
        let failure = self.schema::<Failure>();
        let answer = operation.answer_schema(&mut self.generator, failure);
        let name = format!("{}Answer", title_case(about.name));
        self.generator.definitions_mut().insert(name.clone(), answer);
        let mut content = Map::new();
        for format in about.formats {
            let schema = match format {
                Format::Json => json!({"$ref": format!("#/components/schemas/{name}")}),
                Format::Events => {
                    let progress = self.schema::<Progress>();
                    let description = "Events `progress`, each with data of this form";
                    json!({"type": "string", "description": description, "x-data": progress})
                }
                Format::Png | Format::Npy | Format::Gif | Format::Stream => {
                    json!({"type": "string", "format": "binary"})
                }
            };
            content.insert(format.media_type().to_owned(), json!({"schema": schema}));
        }
        for versioned in [false, true] {
            let mut parameters = model_parameters(versioned);
            let known = crate::operations::known_of(operation);
            let options = known.properties();
            parameters.extend(options.map(|(name, schema)| query_parameter(name, schema)));
            let mut responses = self.refusals(&OF_OPERATIONS);
            responses.insert(
                "200".to_owned(),
                json!({"description": about.summary, "content": content}),
            );
            let mut described = json!({
                "operationId": if versioned { format!("{}_version", about.name) } else { about.name.to_owned() },
                "tags": ["operations"],
                "summary": about.summary,
                "description": about.description,
                "parameters": parameters,
                "responses": responses,
            });
            if let Some(body) = request_body(about.takes) {
                described["requestBody"] = body;
            }
            let version = if versioned { "/versions/{version}" } else { "" };
            let path = format!("/v1/models/{{model}}{version}/{}", about.name);
            self.paths.insert(path, json!({"post": described}));
        }
    }

    /// The responses of refusals with the given statuses, with what the table of kinds says of them.
    fn refusals(&mut self, statuses: &[u16]) -> Map<String, Value> {
        let problem = self.schema::<ProblemBody>();
        let response = |status: u16| {
            let kinds = Kind::ALL.into_iter().filter(|&kind| status_of(kind) == status);
            let words: Vec<String> = kinds
                .clone()
                .map(|kind| format!("{} (`{}`)", kind.title(), kind.slug()))
                .collect();
            let examples: Map<String, Value> = kinds
                .map(|kind| (kind.slug().to_owned(), json!({"value": example(kind)})))
                .collect();
            let mut response = json!({
                "description": words.join("; "),
                "content": {"application/problem+json": {"schema": problem, "examples": examples}},
            });
            if matches!(status, 429 | 503) {
                let seconds = json!({
                    "schema": {"type": "integer"}, "description": "Seconds after which another try makes sense"
                });
                response["headers"] = json!({"Retry-After": seconds});
            }
            (status.to_string(), response)
        };
        statuses.iter().map(|&status| response(status)).collect()
    }
}

fn model_parameters(versioned: bool) -> Vec<Value> {
    let mut model = json!({"name": "model", "in": "path", "required": true, "description": "Name of a model"});
    model["schema"] = json!({"type": "string"});
    let (place, description) = if versioned {
        ("path", "Version of the model")
    } else {
        (
            "query",
            "Version of the model; by default the one that is pinned, else its newest ready one",
        )
    };
    let version = json!({
        "name": "version", "in": place, "required": versioned, "description": description,
        "schema": {"type": "integer", "minimum": 1},
    });
    vec![model, version]
}

fn query_parameter(name: &str, schema: &Value) -> Value {
    let mut schema = schema.clone();
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    json!({
        "name": name, "in": "query", "required": false, "description": description, "schema": schema,
    })
}

fn title_case(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
