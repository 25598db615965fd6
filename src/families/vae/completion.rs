//! Missing pixels by turns of encoder and decoder (pseudo-Gibbs sampling; Rezende, Mohamed and Wierstra 2014).

use async_trait::async_trait;

use super::{
    Model,
    parts::{unlabelled, usable},
};
use crate::{
    domain::{
        image::Image,
        random::{Random, Stream},
    },
    families::codes::image_of,
    model::{
        Call, PerImage, Refusal,
        draw::{CompleteAsk, Completed, Completes, CompletionMethod, Completions, Order},
    },
    scheduling::Class,
};

/// Rounds of pseudo-Gibbs completion.
const COMPLETION_ROUNDS: u32 = 32;

#[async_trait]
impl Completes for Model {
    /// Alternates between code and image: encodes the image, draws a code, decodes it, draws the missing pixels.
    async fn complete(&self, images: Vec<Image>, ask: &CompleteAsk, call: &Call) -> Result<Completed, Refusal> {
        // The image with its missing pixels taken from `fill`.
        let complete_with = |image: &Image, fill: &[u8]| {
            let shape = image.shape();
            let levels = image.levels().iter().zip(fill).enumerate();
            let keep = |(index, (&given, &new))| {
                if ask.known[index % shape.pixels()] { given } else { new }
            };
            image_of(shape, levels.map(keep))
        };
        let count = (images.len() * ask.n as usize) as u64;
        let each = self.encoder.queue.estimate(count) + self.decoder.queue.estimate(count);
        let permit = call.admit(Class::Interactive, each * COMPLETION_ROUNDS)?;
        // Missing pixels start dark; the rounds forget where they started.
        let mut drawn: PerImage<Image> = images
            .iter()
            .flat_map(|image| (0..ask.n).map(move |_| image))
            .map(|image| complete_with(image, &vec![0; image.levels().len()]))
            .collect();
        for round in 0..COMPLETION_ROUNDS {
            // The place of a completion among those of its own image: neighbours in a request change nothing.
            let random = |stream, place: usize| {
                let own = place as u64 % u64::from(ask.n);
                Random::new(ask.seed, stream, own << 32 | u64::from(round))
            };
            let good = drawn.iter().flatten().cloned().collect();
            let mut posteriors = self.encoder.queue.run(&permit, good, call.deadline).await.into_iter();
            let codes: PerImage<Vec<f32>> = drawn
                .iter()
                .enumerate()
                .map(|(place, image)| {
                    image.as_ref().map_err(Clone::clone)?;
                    let posterior = posteriors
                        .next()
                        .ok_or_else(|| Refusal::internal("an image was lost"))?;
                    Ok(usable(posterior?)?.draw(0, &random(Stream::Posterior, place)).0)
                })
                .collect();
            let good = unlabelled(codes.iter().flatten().cloned().collect());
            let mut observations = self.decoder.observations(&permit, good, call).await.into_iter();
            let mut fill = |place| {
                let observation = observations
                    .next()
                    .ok_or_else(|| Refusal::internal("a code was lost"))??;
                // The last round shows what is expected rather than one more layer of pixel noise.
                if round + 1 == COMPLETION_ROUNDS {
                    observation.mean_image()
                } else {
                    observation.draw(ask.temperature, &random(Stream::Level, place))
                }
            };
            drawn = drawn
                .into_iter()
                .zip(codes)
                .enumerate()
                .map(|(place, (image, code))| {
                    let image = image?;
                    code?;
                    complete_with(&image, fill(place)?.levels())
                })
                .collect();
        }
        let mut drawn = drawn.into_iter();
        let own = |_| {
            // All of an image's own are taken, also if one of them failed: the next image's come after them.
            let own: PerImage<Image> = drawn.by_ref().take(ask.n as usize).collect();
            let images = own.into_iter().collect::<Result<_, _>>()?;
            Ok(Completions {
                images,
                labels: Vec::new(),
            })
        };
        Ok(Completed {
            method: CompletionMethod::PseudoGibbs {
                iterations: COMPLETION_ROUNDS,
            },
            items: images.iter().map(own).collect(),
        })
    }

    fn order(&self) -> Order {
        Order::AtOnce
    }
}
