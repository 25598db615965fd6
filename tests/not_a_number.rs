//! A model that gives no number says so, image by image, in every answer that is made of what its graphs give.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use common::{call, can, engine, fixtures, model, repository_of, resources_of};
use density_server::{
    domain::image::Image,
    graph::protobuf::Model as Graph,
    model::{
        Kind, Model, PerImage, Refusal,
        classify::{Classifies, ClassifyAsk},
        codes::{DecodeAsk, Decodes, Encodes, Interpolates, Reconstructs},
        detect::{JudgeAsk, Judges},
        draw::{CompleteAsk, Completes, DrawAsk, Draws, Observation},
        labels::Condition,
        score::{ScoreAsk, Scores},
    },
    repository::Repository,
    runtime::{Engine, Input, Program, RuntimeError, Threads, View},
    scheduling::SchedulerConfig,
};

/// An engine whose programs give no numbers once it is broken.
#[derive(Debug)]
struct Breaking {
    inner: Arc<dyn Engine>,
    broken: Arc<AtomicBool>,
}

#[derive(Debug)]
struct BreakingProgram {
    inner: Arc<dyn Program>,
    broken: Arc<AtomicBool>,
}

impl Engine for Breaking {
    fn load(&self, name: &str, graph: Vec<u8>) -> Result<Arc<dyn Program>, RuntimeError> {
        let inner = self.inner.load(name, graph)?;
        let broken = Arc::clone(&self.broken);
        Ok(Arc::new(BreakingProgram { inner, broken }))
    }

    fn load_rows(&self, name: &str, graph: Graph) -> Result<Arc<dyn Program>, RuntimeError> {
        let inner = self.inner.load_rows(name, graph)?;
        let broken = Arc::clone(&self.broken);
        Ok(Arc::new(BreakingProgram { inner, broken }))
    }

    fn load_later(&self, name: &str, graph: Vec<u8>) -> Arc<dyn Program> {
        let inner = self.inner.load_later(name, graph);
        let broken = Arc::clone(&self.broken);
        Arc::new(BreakingProgram { inner, broken })
    }

    fn simplify(&self, name: &str, graph: &[u8]) -> Result<Vec<u8>, RuntimeError> {
        self.inner.simplify(name, graph)
    }
}

impl Program for BreakingProgram {
    fn run_with(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        threads: Threads,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), RuntimeError> {
        self.inner.run_with(inputs, outputs, threads, &mut |views| {
            if !self.broken.load(Ordering::SeqCst) {
                return read(views);
            }
            let none: Vec<Vec<f32>> = views.iter().map(|view| vec![f32::NAN; view.values.len()]).collect();
            let views: Vec<View<'_>> = views
                .iter()
                .zip(&none)
                .map(|(view, values)| View {
                    shape: view.shape.clone(),
                    values,
                })
                .collect();
            read(&views);
        })
    }
}

/// The fixtures, sound while they were loaded and broken since.
fn broken() -> Repository {
    let broken = Arc::new(AtomicBool::new(false));
    let breaking = Breaking {
        inner: engine(),
        broken: Arc::clone(&broken),
    };
    let config = SchedulerConfig {
        workers: 2,
        ..SchedulerConfig::default()
    };
    let models = repository_of(&fixtures(), resources_of(Arc::new(breaking), config));
    models.scan().unwrap();
    broken.store(true, Ordering::SeqCst);
    models
}

fn images(model: &Model) -> Vec<Image> {
    let image = |level| Image::new(model.shape, vec![level; model.shape.dimensions()]).unwrap();
    vec![image(0), image(1)]
}

/// Every image has an error of its own, and it says what is not a number.
fn none_is_a_number<T>(what: &str, items: PerImage<T>) {
    assert!(!items.is_empty(), "{what}");
    for item in items {
        says_so(what, item);
    }
}

fn says_so<T>(what: &str, answer: Result<T, Refusal>) {
    let refusal = answer.err().unwrap_or_else(|| panic!("{what} was answered"));
    assert_eq!(refusal.kind(), Kind::Internal, "{what}: {refusal}");
    assert!(
        refusal.detail().contains("the model gives no number"),
        "{what}: {refusal}"
    );
}

#[tokio::test]
async fn codes_images_and_features_are_refused() {
    let models = broken();
    let call = call(&models);
    for name in ["tiny-vae", "tiny-autoencoder", "tiny-classifier"] {
        let model = model(&models, name);
        let codes = can::<dyn Encodes>(&model).encode(images(&model), &call).await;
        none_is_a_number(name, codes.unwrap());
    }
    for (name, observation) in [
        ("tiny-vae", Observation::Mean),
        ("tiny-vae", Observation::Sample),
        ("tiny-autoencoder", Observation::Mean),
    ] {
        let model = model(&models, name);
        let decodes = can::<dyn Decodes>(&model);
        let ask = DecodeAsk {
            observation,
            seed: 1,
            condition: Condition::None,
        };
        let codes = vec![vec![0.0; decodes.code_size()]; 2];
        none_is_a_number(name, decodes.decode(codes, &ask, &call).await.unwrap());
        let again = can::<dyn Reconstructs>(&model)
            .reconstruct(images(&model), true, &call)
            .await;
        none_is_a_number(name, again.unwrap());
        let [from, to] = images(&model).try_into().unwrap();
        says_so(
            name,
            can::<dyn Interpolates>(&model).interpolate(from, to, 3, &call).await,
        );
    }
}

#[tokio::test]
async fn drawings_are_refused() {
    let models = broken();
    let call = call(&models);
    for (name, observation) in [
        ("tiny-vae", Observation::Mean),
        ("tiny-vae", Observation::Sample),
        ("tiny-gan", Observation::Mean),
        ("tiny-pixelcnn", Observation::Mean),
        ("tiny-pixelrnn", Observation::Mean),
    ] {
        let model = model(&models, name);
        let condition = model.condition(None).unwrap_or(Condition::None);
        let ask = DrawAsk {
            n: 2,
            seed: 1,
            temperature: 1.0,
            observation,
            condition,
        };
        says_so(name, can::<dyn Draws>(&model).draw(&ask, &call).await);
    }
    for name in ["tiny-vae", "tiny-pixelcnn"] {
        let model = model(&models, name);
        let known = (0..model.shape.pixels()).map(|pixel| pixel % 2 == 0).collect();
        let ask = CompleteAsk {
            known,
            n: 2,
            seed: 1,
            temperature: 1.0,
            condition: Condition::None,
        };
        let completed = can::<dyn Completes>(&model).complete(images(&model), &ask, &call).await;
        none_is_a_number(name, completed.unwrap().items);
    }
}

#[tokio::test]
async fn scores_labels_and_verdicts_are_refused() {
    let models = broken();
    let call = call(&models);
    for name in [
        "tiny-pixelcnn",
        "tiny-conditional-pixelcnn",
        "tiny-pixelrnn",
        "tiny-vae",
    ] {
        let model = model(&models, name);
        let condition = model.condition(None).unwrap();
        let ask = ScoreAsk {
            bound: None,
            k: None,
            seed: 1,
            map: true,
            condition,
        };
        let scored = can::<dyn Scores>(&model).score(images(&model), &ask, &call).await;
        none_is_a_number(name, scored.unwrap().items);
        let ask = JudgeAsk {
            false_alarm_rate: 0.1,
            confidence: None,
            false_discovery_rate: None,
            map: false,
        };
        if let Ok(judges) = model.can::<dyn Judges>() {
            none_is_a_number(name, judges.judge(images(&model), &ask, &call).await.unwrap());
        }
    }
    for name in ["tiny-classifier", "tiny-conditional-pixelcnn"] {
        let model = model(&models, name);
        let labels = can::<dyn Classifies>(&model)
            .classify(images(&model), &ClassifyAsk::default(), &call)
            .await;
        none_is_a_number(name, labels.unwrap());
    }
}
