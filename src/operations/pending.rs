//! A request between its head and its answer: options, intake, and the operation itself.

use std::{
    sync::{Arc, LazyLock},
    time::Instant,
};

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::{AnyAnswer, AnyOperation, Context, Format, render::not_acceptable};
use crate::{
    domain::image::ImageShape,
    intake::{
        Budget, Content, DecodeOptions, Decoding, Takes, check_count, check_present,
        options::{Known, RawOptions, schema_of, seconds},
    },
    model::{Kind, Model, Refusal, info::Preprocessing, progress::Board},
    trace::Trace,
};

/// Options of every operation.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct CommonOptions {
    /// Seconds after which the answer is of no more use; the server grants so many at most. Also as the header
    /// X-Request-Timeout.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub timeout: Option<f64>,
}

/// A request whose model and operation are known: the model is ready and can do what is asked. Its data has not been
/// read yet.
#[derive(Debug)]
pub struct Pending {
    /// The model.
    pub model: Arc<Model>,
    /// The operation.
    pub operation: Arc<dyn AnyOperation>,
    pub(super) known: Arc<Known>,
    pub(super) context: Context,
    pub(super) decoding: Arc<Decoding>,
    pub(super) format: Format,
    /// Whether the client named a deadline.
    pub(super) named: bool,
}

impl Pending {
    /// When the answer is of no more use.
    pub fn deadline(&self) -> Instant {
        self.context.call.deadline
    }

    /// Takes the options that every operation has, as far as they have come.
    pub fn set_common(&mut self, options: &mut RawOptions, started: Instant) -> Result<(), Refusal> {
        let common: CommonOptions = options.take(&COMMON)?;
        if let Some(timeout) = common.timeout {
            let limit = self.context.limits.check_timeout(seconds("timeout", timeout)?)?;
            // Of two that were named, the shorter counts.
            let named = started + limit;
            let deadline = &mut self.context.call.deadline;
            *deadline = if self.named { named.min(*deadline) } else { named };
            self.named = true;
        }
        Ok(())
    }

    /// Refuses at once what there is no room for, whatever it brings.
    pub fn foresee(&self) -> Result<(), Refusal> {
        self.context.call.foresee()
    }

    /// So many images, codes or streams have come.
    fn count(&mut self, items: usize) {
        if let Some(minimum_cost) = &mut self.context.call.minimum_cost {
            minimum_cost.items = items;
        }
    }

    /// Where what it comes to is told.
    pub fn trace(&self) -> &Trace {
        &self.context.call.trace
    }

    /// The formats that the answer may have.
    pub fn formats(&self) -> &'static [Format] {
        self.operation.formats(&self.model)
    }

    /// Settles the format of the answer.
    pub fn set_format(&mut self, format: Format) -> Result<(), Refusal> {
        if !self.formats().contains(&format) {
            return Err(not_acceptable(self.formats()));
        }
        self.format = format;
        Ok(())
    }

    /// Lets somebody see how far the images are.
    pub fn watch(&mut self, board: Arc<Board>) {
        self.context.call.watch = Some(board);
    }

    /// No options yet, of those that may come.
    pub fn options(&self) -> RawOptions {
        RawOptions::new(Arc::clone(&self.known))
    }

    /// Size of the model's images.
    pub fn shape(&self) -> ImageShape {
        self.model.shape
    }

    /// What the request may bring.
    pub fn budget(&self) -> Budget {
        Budget {
            max_images: self.context.limits.max_images,
            max_pixels: self.context.limits.max_decoded_pixels,
            code_size: self.operation.code_size(&self.model),
            any_size: self.model.preprocessing.any_size,
        }
    }

    /// Understands the options, decodes the data and does it.
    pub async fn answer(
        mut self,
        content: Content,
        mut options: RawOptions,
        started: Instant,
    ) -> Result<Box<dyn AnyAnswer>, Refusal> {
        self.set_common(&mut options, started)?;
        let takes = self.operation.about().takes;
        let asked: DecodeOptions = options.take(decode_schema(takes))?;
        let decode = self.model.preprocessing.or(asked.into());
        let prepared = self.operation.prepare(&mut options, self.format)?;
        let budget = self.budget();
        self.count(content.len());
        self.foresee()?;
        let mut intake = self.trace().span("intake");
        let given = self
            .decoding
            .decode(content, self.shape(), decode, budget, self.deadline());
        let mut given = given.await.inspect_err(|refusal| {
            if refusal.kind() == Kind::Overloaded {
                self.context.call.metrics().reject("overloaded");
            }
        })?;
        self.count(given.images.len() + given.codes.len() + given.streams.len());
        intake.set("density.images", given.images.len() as i64);
        drop(intake);
        given.preprocessing = takes.images().then(|| Preprocessing::of(decode)).flatten();
        check_present(&given, takes)?;
        check_count(given.codes.len(), budget.max_images)?;
        check_count(given.streams.len(), budget.max_images)?;
        prepared.run(&self.model, given, &self.context).await
    }
}

/// The options that may come with an operation: its own, those of decoding where it takes images, and those of every
/// operation.
pub fn known_of(operation: &dyn AnyOperation) -> Arc<Known> {
    let about = operation.about();
    Known::of(&[&about.options, decode_schema(about.takes), &COMMON])
}

// Writing a schema down takes longer than a small graph, so that it is done once and not for every request.
static COMMON: LazyLock<Schema> = LazyLock::new(schema_of::<CommonOptions>);
static DECODE: LazyLock<Schema> = LazyLock::new(schema_of::<DecodeOptions>);
static NONE: LazyLock<Schema> = LazyLock::new(Schema::default);

/// The options of decoding, where an operation takes images.
fn decode_schema(takes: Takes) -> &'static Schema {
    if takes.images() { &DECODE } else { &NONE }
}
