//! Families without a density of their own to ask: autoencoders, generators, and the features of classifiers.

use serde_json::{Value, json};

use crate::client::{COLUMNS, ROWS, npy, pixels, post};

const AUTOENCODER: &str = "tiny-autoencoder";
const GAN: &str = "tiny-gan";
const CLASSIFIER: &str = "tiny-classifier";

fn images(count: usize) -> Value {
    let all: Vec<Value> = (0..count).map(|v| json!({"pixels": pixels(v)})).collect();
    json!({ "images": all })
}

async fn results(path: (&str, &str), body: &Value) -> Vec<Value> {
    let body = post(path.0, path.1).json(body).send().await.ok();
    body["results"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_autoencoder_reconstructs_what_it_decodes_from_its_code() {
    let encoded = results((AUTOENCODER, "encode"), &images(2)).await;
    let codes: Vec<Value> = encoded.iter().map(|own| own["code"].clone()).collect();
    assert_eq!(codes[0].as_array().unwrap().len(), 3);
    assert!(encoded[0].get("log_variance").is_none());
    let decoded = results((AUTOENCODER, "decode"), &json!({ "latents": codes })).await;
    let again = results((AUTOENCODER, "reconstruct?map=true"), &images(2)).await;
    for (again, decoded) in again.iter().zip(&decoded) {
        assert_eq!(again["image"], decoded["image"]);
        assert!(again.get("log_likelihood_given_code").is_none());
        let map = again["squared_error_map"].as_array().unwrap();
        assert_eq!(map.len(), ROWS);
        let values: Vec<f64> = map
            .iter()
            .flat_map(|row| row.as_array().unwrap())
            .map(|value| value.as_f64().unwrap())
            .collect();
        assert_eq!(values.len(), ROWS * COLUMNS);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((mean - again["mean_squared_error"].as_f64().unwrap()).abs() < 1e-7);
    }
    let between = post(AUTOENCODER, "interpolate?steps=5")
        .json(&images(2))
        .send()
        .await
        .ok();
    let between = between["images"].as_array().unwrap();
    assert_eq!((&between[0], &between[4]), (&again[0]["image"], &again[1]["image"]));
}

#[tokio::test]
async fn codes_and_features_do_not_depend_on_company() {
    for model in [AUTOENCODER, CLASSIFIER] {
        let together = results((model, "encode"), &images(9)).await;
        for (variant, own) in together.iter().enumerate() {
            let alone = json!({"images": [{"pixels": pixels(variant)}]});
            assert_eq!(&results((model, "encode"), &alone).await[0], own, "{model}");
        }
    }
}

#[tokio::test]
async fn arrays_of_codes_have_no_place_for_a_variance_that_is_not_there() {
    for (model, size) in [(AUTOENCODER, 3), (CLASSIFIER, 6)] {
        let request = post(model, "encode").body("application/x-npy", npy(4));
        let (header, _) = request.accept("application/x-npy").send().await.array();
        assert!(header.contains(&format!("(4, {size})")), "{header}");
    }
}

#[tokio::test]
async fn the_map_of_a_reconstruction_comes_as_array_and_picture() {
    for model in [AUTOENCODER, "tiny-vae"] {
        let request = || post(model, "reconstruct?map=true").json(&images(2));
        let (header, items) = request().accept("application/x-npy").send().await.array();
        assert!(header.contains("'<f4'") && header.contains("(2, 1, 6, 5)"), "{header}");
        let first = f32::from_le_bytes(items[..4].try_into().unwrap());
        let body = request().send().await.ok();
        let value = body["results"][0]["squared_error_map"][0][0].as_f64().unwrap();
        assert!((f64::from(first) - value).abs() < 1e-7);
        request().accept("image/png").send().await.picture();
    }
}

#[tokio::test]
async fn a_generator_draws_the_same_of_a_seed_whatever_else_it_draws() {
    let sample = async |query: &str| {
        let body = post(GAN, &format!("sample?{query}")).send().await.ok();
        body["images"].as_array().unwrap().clone()
    };
    let many = sample("n=12&seed=4&label=square").await;
    assert_eq!(sample("n=3&seed=4&label=square").await, many[..3]);
    assert_ne!(sample("n=3&seed=5&label=square").await, many[..3]);
    assert_ne!(sample("n=3&seed=4&label=round").await, many[..3]);
    let cold = sample("n=4&seed=4&label=square&temperature=0.000001").await;
    assert!(cold.iter().all(|image| *image == cold[0]), "the middle of the prior");
}

#[tokio::test]
async fn what_has_no_distribution_over_images_cannot_draw_from_one() {
    let code = json!({"latents": [[0.0, 0.0, 0.0]]});
    for request in [
        post(GAN, "sample?observation=sample"),
        post(AUTOENCODER, "decode?observation=sample").json(&code),
    ] {
        let detail = request.send().await.problem(422, "invalid_option");
        assert!(detail.contains("no distribution over images"), "{detail}");
    }
    let wrong = post(AUTOENCODER, "decode").json(&json!({"latents": [[0.0]]}));
    let detail = wrong.send().await.problem(422, "invalid_option");
    assert!(detail.contains("3 finite numbers"), "{detail}");
    let detail = post(AUTOENCODER, "sample").send().await.problem(422, "unsupported");
    assert!(detail.contains("no prior over its codes"), "{detail}");
    let detail = post(GAN, "score").json(&images(1)).send().await;
    assert!(detail.problem(422, "unsupported").contains("implicit"));
}
