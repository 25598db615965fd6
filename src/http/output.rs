//! Answers: JSON straight from structs, arrays and pictures, and what becomes of a batch in which some images failed.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Serialize, Serializer, ser::SerializeSeq};
use utoipa::ToSchema;

use crate::{
    domain::image::{Image, ImageShape},
    media::{self, Appearance},
    service::requests::PerImage,
};

use super::{
    accept::Format,
    call::offload,
    problem::{Problem, ProblemBody},
    scope::RequestScope,
};

/// The answer for one image of a request: a result, or a problem in its place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Item<T> {
    /// What was asked for.
    Result(T),
    /// Why it cannot be given.
    Failed(Failure),
}

/// An image of a request that could not be answered. Its neighbours are not affected.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Failure {
    /// Which image, counted from 0.
    index: usize,
    /// What was wrong with it.
    error: ProblemBody,
}

/// An image in a JSON answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImageBody {
    /// `image/png`.
    media_type: &'static str,
    /// The file in base64.
    #[schema(content_encoding = "base64", example = "iVBORw0KGgoAAAANSUhEUgAA…")]
    base64: String,
}

impl ImageBody {
    /// The image as a PNG file.
    pub(crate) fn new(image: &Image) -> Result<Self, Problem> {
        Ok(Self {
            media_type: Format::Png.media_type(),
            base64: BASE64_STANDARD.encode(media::png(image)?),
        })
    }
}

/// Numbers of an image, nested as its rows and columns, or as its channels, rows and columns if it has several channels.
#[derive(Debug)]
pub(crate) struct Nested {
    values: Vec<f32>,
    shape: ImageShape,
}

impl Nested {
    /// Nests values in channel, row, column order.
    pub(crate) fn new(values: Vec<f32>, shape: ImageShape) -> Self {
        Self { values, shape }
    }
}

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.shape.channels() == 1 {
            return Rows(&self.values, self.shape.width()).serialize(serializer);
        }
        let planes = self.values.chunks(self.shape.pixels());
        let mut list = serializer.serialize_seq(Some(planes.len()))?;
        for plane in planes {
            list.serialize_element(&Rows(plane, self.shape.width()))?;
        }
        list.end()
    }
}

/// A plane as a list of rows. Numbers that JSON cannot express become null.
struct Rows<'a>(&'a [f32], usize);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.chunks(self.1))
    }
}

/// Some(x) if JSON can express it.
pub(crate) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Images that could be read, to be passed on, and the places of the others. Compressed ones are images too.
pub(crate) struct Batch<T = Image> {
    /// The good images, in order.
    pub(crate) images: Vec<T>,
    /// For each image of the request `None` if it is good, else its problem.
    problems: Vec<Option<Problem>>,
}

impl<I> Batch<I> {
    /// Parts the good images from the bad. If none is good, the whole request has failed.
    pub(crate) fn new(images: Vec<Result<I, Problem>>) -> Result<Self, Problem> {
        let mut batch = Self {
            images: Vec::with_capacity(images.len()),
            problems: Vec::with_capacity(images.len()),
        };
        for image in images {
            match image {
                Ok(image) => {
                    batch.images.push(image);
                    batch.problems.push(None);
                }
                Err(problem) => batch.problems.push(Some(problem)),
            }
        }
        if batch.images.is_empty() {
            return Err(all_failed(batch.problems.into_iter().flatten().collect()));
        }
        Ok(batch)
    }

    /// Takes the good images out.
    pub(crate) fn take_images(&mut self) -> Vec<I> {
        std::mem::take(&mut self.images)
    }

    /// Puts the results of the good images among the problems of the bad ones.
    pub(crate) fn merge<T>(self, results: PerImage<T>) -> Result<Results<T>, Problem> {
        let mut results = results.into_iter();
        let merged = self
            .problems
            .into_iter()
            .map(|problem| match problem {
                Some(problem) => Err(problem),
                None => match results.next() {
                    Some(result) => result.map_err(Problem::from),
                    None => Err(Problem::internal(
                        "the service gave fewer results than images",
                    )),
                },
            })
            .collect();
        Results::new(merged)
    }
}

/// Results of a request, of which at least one is good.
pub(crate) struct Results<T>(Vec<Result<T, Problem>>);

impl<T> Results<T> {
    /// If no result is good, the whole request has failed.
    pub(crate) fn new(results: Vec<Result<T, Problem>>) -> Result<Self, Problem> {
        if results.iter().any(Result::is_ok) {
            return Ok(Self(results));
        }
        Err(all_failed(
            results.into_iter().filter_map(Result::err).collect(),
        ))
    }

    /// How many, good and bad.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Results for formats that have no place for a problem: one bad image fails the request.
    pub(crate) fn all(self) -> Result<Vec<T>, Problem> {
        let single = self.0.len() == 1;
        self.0
            .into_iter()
            .enumerate()
            .map(|(index, result)| {
                result.map_err(|problem| {
                    if single {
                        problem
                    } else {
                        problem.with_image(index)
                    }
                })
            })
            .collect()
    }

    /// Results for JSON.
    pub(crate) fn items<U>(
        self,
        scope: &RequestScope,
        mut body: impl FnMut(T) -> Result<U, Problem>,
    ) -> Vec<Item<U>> {
        self.0
            .into_iter()
            .enumerate()
            .map(|(index, result)| match result.and_then(&mut body) {
                Ok(body) => Item::Result(body),
                Err(problem) => {
                    if let Some(cause) = problem.cause() {
                        tracing::error!(request_id = scope.id(), index, cause, "an image failed");
                    }
                    Item::Failed(Failure {
                        index,
                        error: problem.body(scope.id()),
                    })
                }
            })
            .collect()
    }
}

/// The problem of a request in which no image is good: that of the first, and the others with it.
fn all_failed(problems: Vec<Problem>) -> Problem {
    let several = problems.len() > 1;
    let mut problems = problems.into_iter().enumerate().map(|(index, problem)| {
        if several {
            problem.with_image(index)
        } else {
            problem
        }
    });
    let first = problems
        .next()
        .unwrap_or_else(|| Problem::internal("a request without images was not refused"));
    first.with_others(problems.collect())
}

/// A JSON answer as text.
pub(crate) fn json_text(body: &impl Serialize) -> Result<String, Problem> {
    serde_json::to_string(body)
        .map_err(|error| Problem::internal(format!("an answer cannot be serialised: {error}")))
}

/// A JSON answer.
pub(crate) fn json(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => bytes_of(Format::Json, bytes),
        Err(error) => {
            Problem::internal(format!("an answer cannot be serialised: {error}")).into_response()
        }
    }
}

/// An answer of the given format.
pub(crate) fn bytes_of(format: Format, bytes: Vec<u8>) -> Response {
    let media_type = HeaderValue::from_static(format.media_type());
    ([(header::CONTENT_TYPE, media_type)], bytes).into_response()
}

/// Images of one shape in the given format; `body` makes the JSON answer from them.
pub(crate) async fn images<B: Serialize>(
    format: Format,
    images: Vec<Image>,
    shape: ImageShape,
    body: impl FnOnce(Vec<ImageBody>) -> B,
) -> Result<Response, Problem> {
    if format == Format::Json {
        let bodies = image_bodies(images).await?;
        return Ok(json(&body(bodies)));
    }
    picture_or_array(format, images, shape).await
}

/// The images as PNG files in base64.
pub(crate) async fn image_bodies(images: Vec<Image>) -> Result<Vec<ImageBody>, Problem> {
    offload(total_bytes(&images), move || {
        images.iter().map(ImageBody::new).collect()
    })
    .await
}

/// The images as one picture or as one array.
pub(crate) async fn picture_or_array(
    format: Format,
    images: Vec<Image>,
    shape: ImageShape,
) -> Result<Response, Problem> {
    let bytes = offload(total_bytes(&images), move || match format {
        Format::Png => media::png_grid(&images, shape),
        _ => Ok(media::write_images(&images, shape)),
    })
    .await?;
    Ok(bytes_of(format, bytes))
}

/// How the images appear, as an animation. `known` has one flag a pixel, or none.
pub(crate) async fn animation(
    images: Vec<Image>,
    shape: ImageShape,
    known: Vec<bool>,
    appearance: Appearance,
) -> Result<Response, Problem> {
    // Dozens of pictures are never little work.
    let bytes = offload(usize::MAX, move || {
        media::animation(&images, shape, &known, appearance)
    })
    .await?;
    Ok(bytes_of(Format::Gif, bytes))
}

/// Bytes to encode, several times over: a picture is magnified, and compressing costs more than copying.
fn total_bytes(images: &[Image]) -> usize {
    images.iter().map(|image| 4 * image.levels().len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::error::ServiceError;

    fn shape() -> ImageShape {
        ImageShape::new(1, 1, 2, 256).unwrap()
    }

    fn good() -> Result<Image, Problem> {
        Ok(Image::new(shape(), vec![1, 2]).unwrap())
    }

    fn bad() -> Result<Image, Problem> {
        Err(ServiceError::InvalidImage("too blue".to_owned()).into())
    }

    #[test]
    fn a_bad_image_keeps_its_place_and_spoils_nothing() {
        let mut batch = Batch::new(vec![good(), bad(), good()]).unwrap();
        assert_eq!(batch.take_images().len(), 2);
        let failure = ServiceError::Inference("secret".to_owned());
        let results = batch.merge(vec![Ok(7), Err(failure)]).unwrap();
        let scope = RequestScope::new(&axum::http::HeaderMap::new());
        let text = serde_json::to_value(results.items(&scope, Ok)).unwrap();
        assert_eq!(text[0], 7);
        assert_eq!(text[1]["index"], 1);
        assert_eq!(text[1]["error"]["status"], 422);
        assert_eq!(text[1]["error"]["detail"], "too blue");
        assert_eq!(text[2]["error"]["status"], 500);
        assert!(!text.to_string().contains("secret"));
    }

    #[test]
    fn a_request_without_any_good_image_fails_as_a_whole() {
        let problem = Batch::new(vec![bad(), bad()]).err().unwrap();
        assert_eq!(problem.status(), 422);
        let body = serde_json::to_value(problem.body("x")).unwrap();
        assert_eq!(body["image"], 0);
        assert_eq!(body["errors"][0]["image"], 1);
        let problem = Batch::new(vec![bad()]).err().unwrap();
        assert!(
            serde_json::to_value(problem.body("x"))
                .unwrap()
                .get("image")
                .is_none()
        );
        let overloaded = || {
            Err::<(), _>(ServiceError::Overloaded {
                retry_after: std::time::Duration::ZERO,
            })
        };
        let batch = Batch::new(vec![good(), good()]).unwrap();
        let problem = batch.merge(vec![overloaded(), overloaded()]).err().unwrap();
        assert_eq!(problem.status(), 429);
    }

    #[test]
    fn maps_nest_and_hold_no_number_that_json_lacks() {
        let map = Nested::new(vec![-1.5, f32::NEG_INFINITY], shape());
        assert_eq!(serde_json::to_string(&map).unwrap(), "[[-1.5,null]]");
        let colour = ImageShape::new(3, 1, 2, 256).unwrap();
        let map = Nested::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], colour);
        assert_eq!(
            serde_json::to_string(&map).unwrap(),
            "[[[1.0,2.0]],[[3.0,4.0]],[[5.0,6.0]]]"
        );
    }
}
