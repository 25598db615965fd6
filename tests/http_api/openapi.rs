//! The document is true: every answer of every operation of every model, failures and parts of failures included, is
//! what it says.

use std::{collections::BTreeSet, sync::LazyLock};

use density_server::transport::http;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::client::{Answer, Call, call, post, service};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| http::document(service()));

/// Validates what the document says under a response's schema. What it does not declare is not to be there either.
fn validator(schema: &Value) -> Validator {
    let mut whole = schema.clone();
    whole["components"] = DOCUMENT["components"].clone();
    close(&mut whole);
    jsonschema::validator_for(&whole).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// Forbids properties that are not declared.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("properties").is_some_and(Value::is_object) {
                members.entry("additionalProperties").or_insert(json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(several) => several.iter_mut().for_each(close),
        _ => {}
    }
}

/// The schema of an answer to POST on `path` with this status.
fn schema_of(path: &str, status: u16) -> &'static Value {
    let response = &DOCUMENT["paths"][path]["post"]["responses"][status.to_string()];
    let media_type = if status == 200 {
        "application/json"
    } else {
        "application/problem+json"
    };
    let schema = &response["content"][media_type]["schema"];
    assert!(schema.is_object(), "{path} has no {status}");
    schema
}

async fn check(operation: &str, request: Call, what: &str) -> Answer {
    let answer = request.send().await;
    let path = format!("/v1/models/{{model}}/{operation}");
    let body = answer.json();
    let validator = validator(schema_of(&path, answer.status));
    let errors: Vec<String> = validator
        .iter_errors(&body)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:?} in {body}");
    answer
}

/// Models of the common service.
async fn models() -> Vec<Value> {
    let list = call("GET", "/v1/models").send().await.ok();
    let schema = &DOCUMENT["paths"]["/v1/models"]["get"]["responses"]["200"];
    let validator = validator(&schema["content"]["application/json"]["schema"]);
    let errors: Vec<String> = validator
        .iter_errors(&list)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    list["models"].as_array().unwrap().clone()
}

/// An image of the model's size, as JSON.
fn image(model: &Value, level: u64) -> Value {
    let size = |name: &str| model["image"][name].as_u64().unwrap() as usize;
    let level = level % model["image"]["levels"].as_u64().unwrap();
    let pixel = match size("channels") {
        1 => json!(level),
        channels => json!(vec![level; channels]),
    };
    json!({"pixels": vec![vec![pixel; size("width")]; size("height")]})
}

/// Queries that ask for everything that an answer can hold.
fn queries(operation: &str) -> &'static [&'static str] {
    match operation {
        "score" => &["", "map=true", "bound=iwae&k=4&map=true", "label=0"],
        "detect" => &["", "map=true&confidence=0.5", "fdr=0.1"],
        "classify" => &["", "map=true", "false_alarm_rate=0.1"],
        "sample" => &["n=2&seed=1", "n=1&observation=sample&temperature=0.5"],
        "complete" => &["rows=1&n=2&label=0", "rows=1"],
        "decode" => &["", "observation=sample&seed=3"],
        "reconstruct" => &["", "map=true"],
        "interpolate" => &["steps=3"],
        "compress" => &["", "label=0"],
        _ => &[""],
    }
}

fn bodies(operation: &str, model: &Value) -> Vec<Value> {
    let good = || image(model, 1);
    let bad = json!({"pixels": [[1, 2], [3]]});
    match operation {
        "sample" => vec![json!({})],
        "decode" => {
            let size = model["latent_size"].as_u64().unwrap_or(1) as usize;
            vec![json!({"latents": [vec![0.1; size]]})]
        }
        "decompress" => vec![json!({"streams": ["RFNJMQ=="]})],
        "interpolate" => vec![json!({"images": [good(), image(model, 0)]})],
        _ => vec![
            json!({"images": [good()]}),
            json!({"images": [good(), bad.clone(), good()]}),
            json!({"images": [bad.clone(), bad]}),
        ],
    }
}

#[tokio::test]
async fn every_answer_is_what_the_document_says() {
    let mut answered = BTreeSet::new();
    for model in models().await {
        let name = model["name"].as_str().unwrap();
        for operation in service().operations() {
            let operation = operation.about().name;
            for query in queries(operation) {
                for body in bodies(operation, &model) {
                    let request = post(name, &format!("{operation}?{query}")).json(&body);
                    let what = format!("{operation} of {name} with {query:?}");
                    let answer = check(operation, request, &what).await;
                    answered.insert((operation, answer.status));
                }
            }
        }
    }
    for operation in [
        "score",
        "classify",
        "sample",
        "complete",
        "encode",
        "decode",
        "reconstruct",
        "interpolate",
        "compress",
    ] {
        assert!(answered.contains(&(operation, 200)), "{operation} never answered");
        assert!(answered.contains(&(operation, 422)), "{operation} never refused");
    }
}

/// What an operation answers can be given to the operation that undoes it.
#[tokio::test]
async fn answers_are_accepted_where_they_are_asked_for() {
    let model = call("GET", "/v1/models/tiny-vae").send().await.ok();
    let images = json!({"images": [image(&model, 3), image(&model, 5)]});
    let encoded = post("tiny-vae", "encode").json(&images).send().await.ok();
    let codes = json!({"latents": encoded["results"]});
    // The variance of the posterior is not part of a code.
    let codes: Value = serde_json::from_str(&codes.to_string()).unwrap();
    let decoded = post("tiny-vae", "decode").json(&codes).send().await.ok();
    let again = json!({"images": [decoded["results"][0]["image"], decoded["results"][1]["image"]]});
    post("tiny-vae", "score").json(&again).send().await.ok();
    let one = json!({"code": encoded["results"][0]["code"]});
    post("tiny-vae", "decode").json(&one).send().await.ok();
    let one = json!({"image": decoded["results"][0]["image"]});
    post("tiny-vae", "score").json(&one).send().await.ok();
}

#[test]
fn operations_are_told_apart_and_references_lead_somewhere() {
    let (mut ids, mut references) = (Vec::new(), Vec::new());
    collect(&DOCUMENT, &mut ids, &mut references);
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(DOCUMENT.pointer(pointer).is_some(), "{reference}");
    }
}

/// Options stand once, in the query, with their bounds and defaults, and statuses have examples of their own.
#[test]
fn options_are_declared_once() {
    for (path, methods) in DOCUMENT["paths"].as_object().unwrap() {
        let Some(post) = methods.get("post") else {
            continue;
        };
        let parameters = post["parameters"].as_array().unwrap();
        let names: Vec<&str> = parameters.iter().map(|own| own["name"].as_str().unwrap()).collect();
        assert_eq!(
            names.iter().collect::<BTreeSet<_>>().len(),
            names.len(),
            "{path}: {names:?}"
        );
        let body = &post["requestBody"]["content"]["application/json"]["schema"]["properties"];
        for name in names {
            assert!(body.get(name).is_none(), "{path}: {name} stands in the body too");
        }
        for (status, response) in post["responses"].as_object().unwrap() {
            let examples = &response["content"]["application/problem+json"]["examples"];
            for example in examples.as_object().into_iter().flatten() {
                assert_eq!(&example.1["value"]["status"].to_string(), status, "{path}");
            }
        }
    }
    let score = &DOCUMENT["paths"]["/v1/models/{model}/score"]["post"]["parameters"];
    let k = score.as_array().unwrap().iter().find(|own| own["name"] == "k").unwrap();
    assert_eq!(
        (&k["schema"]["minimum"], &k["schema"]["maximum"]),
        (&json!(1), &json!(4096))
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

/// Whoever fills a form with the examples of the document, as the page at `/docs` does, gets an answer.
#[tokio::test]
async fn every_example_works_as_it_stands() {
    let document = call("GET", "/openapi.json").send().await.ok();
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            let mut path = path.clone();
            let parameters = described["parameters"].as_array().into_iter().flatten();
            for parameter in parameters.filter(|parameter| parameter["in"] == "path") {
                let example = match &parameter["example"] {
                    Value::String(name) => name.clone(),
                    other => other.to_string(),
                };
                path = path.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), &example);
            }
            if path.ends_with("/drift") {
                // None of these models is watched, so that there is no example either.
                assert!(path.contains("/null/"), "{path}");
                continue;
            }
            let request = call(&method.to_uppercase(), &path);
            let answer = match &described["requestBody"]["content"]["application/json"]["example"] {
                Value::Null => request.send().await,
                body => request.json(body).send().await,
            };
            // Operators' calls are switched off on this server.
            let wanted = if described["tags"][0] == "repository" { 501 } else { 200 };
            assert_eq!(answer.status, wanted, "{path}: {}", answer.text());
            asked += 1;
        }
    }
    assert!(asked >= 30, "{asked}");
}
