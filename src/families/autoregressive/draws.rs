//! Drawing from autoregressive models: new images, and the missing pixels of given ones.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Model,
    drawing::{self, Order, Purpose},
};
use crate::{
    domain::{
        bayes::{self, Prior},
        image::Image,
        random::{Random, Stream},
    },
    families::codes::image_of,
    model::{
        Call, PerImage, Refusal,
        draw::{
            self, CompleteAsk, Completed, Completes, CompletionMethod, Completions, DrawAsk, Drawn, Draws, Sampler,
        },
        labels::{self, Condition},
        refusal::clip_list,
    },
    scheduling::{Class, JobError},
};

#[async_trait]
impl Draws for Model {
    async fn draw(&self, ask: &DrawAsk, call: &Call) -> Result<Drawn, Refusal> {
        let labels = ask.condition.draw(ask.n, ask.seed);
        let nothing_known: Arc<[bool]> = Arc::new([]);
        let orders = (0..ask.n)
            .zip(&labels)
            .map(|(index, &label)| Order {
                levels: vec![0; self.shape.dimensions()],
                label,
                purpose: Purpose::Draw(drawing::Draw::new(
                    &nothing_known,
                    Random::new(ask.seed, Stream::Level, u64::from(index)),
                    ask.temperature,
                )),
                progress: call
                    .watch
                    .as_ref()
                    .map(|board| board.progress(index as usize, self.shape.width(), self.shape.height())),
            })
            .collect();
        let (mut images, mut passes) = (Vec::new(), 0);
        for result in self.images(orders, call).await? {
            let (image, own) = result?;
            images.push(image);
            passes += own.unwrap_or(0);
        }
        Ok(Drawn {
            images,
            labels: self.shown(labels),
            sampler: match self.network.drawing_program() {
                Some(wavefront) => Sampler::wavefront(wavefront.steps()),
                None => Sampler::fixed_point(passes),
            },
        })
    }

    fn order(&self) -> draw::Order {
        self.pixel_order()
    }
}

#[async_trait]
impl Completes for Model {
    /// Without a label each completion of a conditional model has its own, drawn from p(y | known pixels), so that
    /// completions come from p(missing | known).
    async fn complete(&self, images: Vec<Image>, ask: &CompleteAsk, call: &Call) -> Result<Completed, Refusal> {
        let known_pixels = &ask.known;
        let shape = self.shape;
        let known: Arc<[bool]> = (0..shape.dimensions())
            .map(|index| known_pixels[index % shape.pixels()])
            .collect();
        let given: Vec<Image> = images
            .iter()
            .map(|image| {
                let levels = image.levels().iter().zip(&*known);
                let kept = levels.map(|(&level, &known)| if known { level } else { 0 });
                image_of(shape, kept)
            })
            .collect::<Result<_, _>>()?;
        // Pixels are in the model's own order: exact if no given pixel follows a missing one.
        let missing_from = known_pixels.iter().position(|known| !known);
        let first = missing_from.unwrap_or(known_pixels.len());
        let in_order = !known_pixels[first..].contains(&true);
        let labels: PerImage<Vec<u32>> = match &ask.condition {
            Condition::Open(_) if !in_order => {
                return Err(Refusal::option(
                    "label",
                    format!(
                        "a label can be drawn for a completion only where all given pixels come before all missing \
                         ones, in rows from the top and columns from the left; name one of: {}",
                        clip_list(self.label_names())
                    ),
                ));
            }
            Condition::Open(prior) if first > 0 => {
                let known = (prior, first * shape.channels());
                let posteriors = self.posteriors(&given, known, call).await?;
                let draw = |posterior: Result<Vec<f64>, Refusal>| Ok(labels::draw(&posterior?, ask.n, ask.seed));
                posteriors.into_iter().map(draw).collect()
            }
            _ => given.iter().map(|_| Ok(ask.condition.draw(ask.n, ask.seed))).collect(),
        };
        let orders = given
            .iter()
            .zip(&labels)
            .filter_map(|(image, labels)| Some((image, labels.as_ref().ok()?)))
            .flat_map(|(image, labels)| (0..ask.n).zip(labels).map(move |own| (image, own)))
            .map(|(image, (index, &label))| Order {
                levels: image.levels().to_vec(),
                label,
                purpose: Purpose::Draw(drawing::Draw::new(
                    &known,
                    Random::new(ask.seed, Stream::Level, u64::from(index)),
                    ask.temperature,
                )),
                progress: None,
            })
            .collect();
        let mut drawn = self.images(orders, call).await?.into_iter();
        let items = labels
            .into_iter()
            .map(|labels| {
                let labels = labels?;
                // All of an image's own are taken, also if one of them failed: the next image's come after them.
                let own: Vec<_> = drawn.by_ref().take(labels.len()).collect();
                let images = own.into_iter().map(|result| result.map(|(image, _)| image));
                Ok(Completions {
                    images: images.collect::<Result<_, _>>()?,
                    labels: self.shown(labels),
                })
            })
            .collect();
        Ok(Completed {
            method: if in_order {
                CompletionMethod::Exact
            } else {
                CompletionMethod::Ancestral
            },
            items,
        })
    }

    fn order(&self) -> draw::Order {
        self.pixel_order()
    }
}

impl Model {
    fn pixel_order(&self) -> draw::Order {
        match self.network.drawing_program() {
            Some(wavefront) => draw::Order::Wavefront {
                lag: wavefront.cost().lag as usize,
            },
            None => draw::Order::Rows,
        }
    }

    /// Labels for an answer: none of a model that is not conditioned on them.
    fn shown(&self, labels: Vec<u32>) -> Vec<u32> {
        if self.labels.is_some() { labels } else { Vec::new() }
    }

    /// log p(y | the first `places` dimensions) of images.
    async fn posteriors(
        &self,
        images: &[Image],
        (prior, places): (&Prior, usize),
        call: &Call,
    ) -> Result<PerImage<Vec<f64>>, Refusal> {
        let all = self.ask_all(images, prior, call).await?;
        Ok(images
            .iter()
            .zip(all)
            .map(|(image, maps)| {
                let posterior = bayes::posterior_of_prefix(image.shape(), &maps?, prior, places);
                Ok(posterior)
            })
            .collect())
    }

    /// The images, and the full passes that each took if it was drawn by fixed-point iteration.
    async fn images(&self, orders: Vec<Order>, call: &Call) -> Result<PerImage<(Image, Option<u64>)>, Refusal> {
        let drawn = self.follow(orders, call).await?;
        let passes = call.metrics().sampling_passes.with_label_values(&[&self.name]);
        Ok(drawn
            .into_iter()
            .map(|result| {
                let drawn = result?;
                passes.inc_by(drawn.passes.unwrap_or(0));
                if matches!(&drawn.purpose, Purpose::Draw(draw) if draw.undefined) {
                    return Err(Refusal::not_a_number("a logit of a pixel"));
                }
                Ok((image_of(self.shape, drawn.levels)?, drawn.passes))
            })
            .collect())
    }

    /// Has orders worked on as bulk work.
    pub(super) async fn follow(
        &self,
        orders: Vec<Order>,
        call: &Call,
    ) -> Result<Vec<Result<drawing::Drawn, JobError>>, Refusal> {
        let turns = orders.len() as u64 * self.draw.work().expected_turns();
        let permit = call.admit(Class::Bulk, self.draw.estimate(turns))?;
        let canvases = orders.into_iter().map(Into::into).collect();
        Ok(self.draw.run(&permit, canvases, call.deadline).await)
    }
}
