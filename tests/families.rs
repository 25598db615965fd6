//! The table of families in the README, cell by cell, on the committed models: what is ticked works, what is not is
//! refused with the reason that the model gives of itself.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, fs};

use common::{Server, engine, root, service_over, trained};
use density_server::{scheduling::SchedulerConfig, transport::http::HttpConfig};
use serde_json::{Value, json};

/// A row of the table by the names of its columns.
type Row = BTreeMap<String, String>;

/// The rows of the README's table whose first column is `family`.
fn table() -> Vec<Row> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    };
    let mut lines = text.lines().skip_while(|line| !line.starts_with("| family |"));
    let header = cells(lines.next().expect("the README has the table"));
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| header.iter().cloned().zip(cells(line)).collect())
        .collect()
}

/// The media type of a compressed image.
const STREAM: &str = "application/vnd.density-server.image";

/// A request for each operation with a picture of a shoe that every model takes.
async fn request(client: &reqwest::Client, url: &str, model: &Value, operation: &str) -> reqwest::RequestBuilder {
    let shoe = fs::read(root().join("tests/fixtures/images/shoe.png")).unwrap();
    let image = |body: reqwest::RequestBuilder| body.header("content-type", "image/png").body(shoe.clone());
    let name = model["name"].as_str().unwrap();
    let path = |query: &str| client.post(format!("{url}/v1/models/{name}/{operation}{query}"));
    let is_conditional = model["conditional"] == true;
    match operation {
        "sample" => path("?n=1"),
        "complete" => image(path("?rows=27")),
        "compress" if is_conditional => image(path("?label=9")),
        "decompress" => {
            let label = if is_conditional { "?label=9" } else { "" };
            let compress = client.post(format!("{url}/v1/models/{name}/compress{label}"));
            let stream = image(compress.header("accept", STREAM)).send().await.unwrap();
            let stream = stream.bytes().await.unwrap();
            path("").header("content-type", STREAM).body(stream)
        }
        "decode" => {
            let size = model["latent_size"].as_u64().unwrap_or(1);
            path("").json(&json!({"latents": [vec![0.0; size as usize]]}))
        }
        "interpolate" => {
            let part = || {
                reqwest::multipart::Part::bytes(shoe.clone())
                    .file_name("shoe.png")
                    .mime_str("image/png")
                    .unwrap()
            };
            let form = reqwest::multipart::Form::new()
                .part("image", part())
                .part("image", part());
            path("").multipart(form)
        }
        _ => image(path("")),
    }
}

#[tokio::test]
async fn every_cell_of_the_table_holds() {
    let service = service_over(&trained(), engine(), SchedulerConfig::default());
    let server = Server::start(&service, HttpConfig::default()).await;
    let client = reqwest::Client::new();
    let rows = table();
    let list: Value = client
        .get(format!("{}/v1/models", server.url))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    for model in list["models"].as_array().unwrap() {
        let family = &model["family"];
        assert!(
            rows.iter().any(|row| family == &row["family"]),
            "the table has no {family}"
        );
    }
    for row in rows {
        let name = &row["model"];
        let url = format!("{}/v1/models/{name}", server.url);
        let model: Value = client.get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(model["family"], row["family"], "{name}");
        assert_eq!(model["density"], row["density"], "{name}");
        assert_eq!(model["conditional"], row["given labels"] == "yes", "{name}");
        for said in model["capabilities"].as_array().unwrap() {
            let operation = said["name"].as_str().unwrap();
            let cell = row
                .get(operation)
                .unwrap_or_else(|| panic!("the table has no column {operation}"));
            let answer = request(&client, &server.url, &model, operation)
                .await
                .send()
                .await
                .unwrap();
            let (status, body) = (answer.status().as_u16(), answer.text().await.unwrap());
            let place = format!("{name}, {operation}: {status} {body}");
            match &**cell {
                "✓" => {
                    assert_eq!(said["available"], true, "{place}");
                    assert_eq!(status, 200, "{place}");
                }
                "—" => {
                    assert_eq!(said["available"], false, "{place}");
                    assert_eq!(status, 422, "{place}");
                    let problem: Value = serde_json::from_str(&body).unwrap();
                    assert_eq!(problem["type"], "urn:density-server:error:unsupported", "{place}");
                    let reason = said["reason"].as_str().unwrap();
                    assert!(problem["detail"].as_str().unwrap().ends_with(reason), "{place}");
                }
                other => panic!("{other:?} is no answer: {place}"),
            }
        }
    }
    server.shut_down().await.unwrap();
}
