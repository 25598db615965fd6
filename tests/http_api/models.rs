//! What is loaded, and what the server says of itself.

use serde_json::json;

use crate::client::{self, call, png, post};

#[tokio::test]
async fn models_say_what_they_can_do_and_why_not() {
    let list = call("GET", "/v1/models").send().await.ok();
    let names: Vec<_> = list["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"tiny-vae") && names.contains(&"tiny-pixelcnn"),
        "{names:?}"
    );
    let model = call("GET", "/v1/models/tiny-pixelcnn").send().await.ok();
    assert_eq!(model["state"], "ready");
    assert_eq!(model["family"], "pixelcnn");
    assert_eq!(
        model["image"],
        json!({"channels": 1, "height": 6, "width": 5, "levels": 4})
    );
    assert_eq!(model["sampler"]["method"], "wavefront");
    let number = |name: &str| model["sampler"][name].as_u64().unwrap();
    assert_eq!(number("steps"), 5 * number("lag") + 5);
    assert!(number("multiply_adds") > 0 && number("bytes_per_image") > 0);
    assert!(model.get("labels").is_none(), "it is not conditioned on any");
    let vae = call("GET", "/v1/models/tiny-vae").send().await.ok();
    assert!(vae.get("sampler").is_none());
    let capabilities = model["capabilities"].as_array().unwrap();
    let encode = capabilities.iter().find(|c| c["name"] == "encode").unwrap();
    assert_eq!(encode["available"], false);
    assert!(encode["reason"].as_str().unwrap().contains("latent"));
    assert!(encode.get("formats").is_none());
    let sample = capabilities.iter().find(|c| c["name"] == "sample").unwrap();
    let formats = sample["formats"].as_array().unwrap();
    assert!(formats[0] == "application/json" && formats.contains(&json!("text/event-stream")));
    assert_eq!(model["watches_drift"], false);
    for path in [
        "/v1/models/tiny-pixelcnn?version=1",
        "/v1/models/tiny-pixelcnn/versions/1",
    ] {
        assert_eq!(call("GET", path).send().await.ok(), model);
    }
    call("GET", "/v1/models/none")
        .send()
        .await
        .problem(404, "model_not_found");
    call("GET", "/v1/models/tiny-pixelcnn/versions/9")
        .send()
        .await
        .problem(404, "model_not_found");
    call("GET", "/v1/models/tiny-pixelcnn/versions/x")
        .send()
        .await
        .problem(404, "unknown_route");
}

#[tokio::test]
async fn a_calibration_can_be_checked_by_hand() {
    let report = call("GET", "/v1/models/tiny-pixelcnn/calibration").send().await.ok();
    assert_eq!(
        (&report["model"], &report["version"]),
        (&json!("tiny-pixelcnn"), &json!(1))
    );
    assert_eq!(
        (&report["statistic"], &report["two_sided"]),
        (&json!("log_likelihood"), &json!(true))
    );
    let scores: Vec<f64> = serde_json::from_value(report["scores"].clone()).unwrap();
    assert!(scores.is_sorted() && report["size"] == scores.len());
    let answer = post("tiny-pixelcnn", "detect")
        .body("image/png", png(0, 4))
        .send()
        .await
        .ok();
    let detection = &answer["results"][0];
    let own = detection["statistics"]["log_likelihood"]["value"].as_f64().unwrap();
    let tail = |further: fn(&f64, f64) -> bool| scores.iter().filter(|score| further(score, own)).count();
    let out = tail(|score, own| *score <= own).min(tail(|score, own| *score >= own));
    let p_value = (2.0 * (1 + out) as f64 / (scores.len() + 1) as f64).min(1.0);
    assert_eq!(detection["p_value"], p_value);
    let path = "/v1/models/tiny-pixelcnn/versions/1/calibration";
    assert_eq!(call("GET", path).send().await.ok(), report);
    let none = call("GET", "/v1/models/tiny-gan/calibration").send().await;
    let detail = none.problem(422, "unsupported");
    assert!(detail.contains("GAN"), "{detail}");
}

#[tokio::test]
async fn browsers_get_a_page_and_programs_paths() {
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = call("GET", "/").accept(accept).send().await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    let plain = call("GET", "/").send().await;
    for answer in [&page, &plain] {
        assert_eq!(answer.header("vary"), "accept");
    }
    assert!(plain.json()["links"].is_object());
    let script = call("GET", "/page/app.js").send().await;
    assert_eq!(
        (script.status, script.header("content-type")),
        (200, "text/javascript; charset=utf-8")
    );
    call("GET", "/page/../http.rs")
        .send()
        .await
        .problem(404, "unknown_route");
    call("GET", "/page/none.js").send().await.problem(404, "unknown_route");
}

#[tokio::test]
async fn the_server_is_alive_and_ready_and_shows_the_way() {
    assert_eq!(call("GET", "/livez").send().await.ok()["status"], "live");
    assert_eq!(call("GET", "/readyz").send().await.ok()["status"], "ready");
    let links = call("GET", "/").send().await.ok()["links"].clone();
    for link in links.as_object().unwrap().values() {
        // Relative, so that they hold behind a prefix too.
        let path = format!("/{}", link.as_str().unwrap());
        let answer = call("GET", &path).send().await;
        assert_eq!(answer.status, 200, "{link}");
    }
    let document = call("GET", "/openapi.json").send().await.ok();
    let plain = density_server::transport::http::document(client::service());
    assert_eq!(document["components"], plain["components"]);
    let paths = |document: &serde_json::Value| {
        document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(&document), paths(&plain));
    let docs = call("GET", "/docs").send().await;
    assert_eq!((docs.status, docs.header("location")), (303, "docs/"));
}
