//! What the model of every label says of an image.

use super::{Labelled, Model};
use crate::{
    domain::{
        bayes::{Beliefs, Prior},
        image::Image,
    },
    model::{Call, PerImage, Refusal},
    scheduling::JobError,
};

/// What the model of every label says of one image.
#[derive(Debug)]
pub(super) struct Witness {
    /// log p(xᵢ | x₍<ᵢ₎, y): a map a label.
    pub(super) maps: Vec<Vec<f32>>,
    /// What they come to.
    pub(super) beliefs: Beliefs,
}

impl Model {
    /// Asks the model of every label about each image: as many scores an image as there are labels.
    pub(super) async fn ask_all(
        &self,
        images: &[Image],
        prior: &Prior,
        call: &Call,
    ) -> Result<PerImage<Vec<Vec<f32>>>, Refusal> {
        let labels = prior.log().len();
        let items = images
            .iter()
            .flat_map(|image| {
                (0..labels as u32).map(|label| Labelled {
                    image: image.clone(),
                    label,
                })
            })
            .collect();
        let mut maps = call.run(&self.score, items).await?.into_iter();
        Ok(images
            .iter()
            .map(|_| {
                let own: Vec<Result<Vec<f32>, JobError>> = maps.by_ref().take(labels).collect();
                let own: Vec<Vec<f32>> = own.into_iter().collect::<Result<_, _>>()?;
                if own.iter().flatten().any(|value| value.is_nan()) {
                    return Err(Refusal::not_a_number("the log-likelihood given a label"));
                }
                Ok(own)
            })
            .collect())
    }

    /// What the model of every label says of each image.
    pub(super) async fn witnesses(
        &self,
        images: &[Image],
        prior: &Prior,
        call: &Call,
    ) -> Result<PerImage<Witness>, Refusal> {
        let all = self.ask_all(images, prior, call).await?;
        Ok(images
            .iter()
            .zip(all)
            .map(|(image, maps)| {
                let maps = maps?;
                let beliefs = Beliefs::new(image.shape(), &maps, prior);
                Ok(Witness { maps, beliefs })
            })
            .collect())
    }
}
