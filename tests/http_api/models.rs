//! What is loaded, and what the server says of itself.

use serde_json::json;

use crate::client::{self, call};

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
    assert_eq!(document, density_server::transport::http::document(client::service()));
    let docs = call("GET", "/docs").send().await;
    assert_eq!((docs.status, docs.header("location")), (303, "docs/"));
}
