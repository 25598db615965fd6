//! Tensors of a request become the content that intake reads.

use bytes::Bytes;

use super::{
    data::{InputTensor, Texts},
    signature::{Declared, IMAGE, LATENT, MASK, STREAM},
};
use crate::{
    domain::image::{Image, ImageShape},
    intake::{Budget, Content, MaskSource, Source, check_count, of_size, read_stream},
    model::{Kind, Refusal},
    operations::tensor::Datatype,
};

/// What tensors may hold.
pub(super) struct Wanted<'a> {
    pub(super) declared: &'a [Declared],
    pub(super) shape: ImageShape,
    pub(super) budget: Budget,
}

impl Wanted<'_> {
    /// The content of a request.
    pub(super) fn read(&self, inputs: &[InputTensor]) -> Result<Content, Refusal> {
        let mut content = Content::default();
        for (index, input) in inputs.iter().enumerate() {
            let Some(declared) = self.declared.iter().find(|own| own.name == input.name) else {
                return Err(input.refuse(format!("there is no such input; {}", self.names())));
            };
            if inputs[..index].iter().any(|other| other.name == input.name) {
                return Err(input.refuse("given twice; give it once"));
            }
            match declared.name {
                IMAGE => content.sources = self.images(input)?,
                MASK => content.mask = Some(self.mask(input)?),
                LATENT => content.codes = self.codes(input)?,
                STREAM => content.streams = self.streams(input)?,
                other => return Err(Refusal::internal(format!("nobody reads input {other:?}"))),
            }
        }
        let given = |name: &str| inputs.iter().any(|input| input.name == name);
        match self.declared.iter().find(|own| !own.optional && !given(own.name)) {
            None => Ok(content),
            Some(missing) => Err(Refusal::new(
                Kind::Malformed,
                format!("input {:?} is missing; {}", missing.name, self.names()),
            )),
        }
    }

    fn names(&self) -> String {
        if self.declared.is_empty() {
            return "there are none".to_owned();
        }
        let names = self
            .declared
            .iter()
            .map(|own| format!("{} ({} {:?})", own.name, own.datatype.name(), own.shape));
        format!("there are: {}", names.collect::<Vec<_>>().join(", "))
    }

    /// The refusal of a tensor that is not what its declaration says.
    fn unlike(&self, input: &InputTensor) -> Refusal {
        let found = crate::model::refusal::clip(&input.datatype);
        input.refuse(format!(
            "{found} of shape {:?} is not taken; {}{}",
            input.shape,
            self.names(),
            if input.name == IMAGE {
                "; image files come as BYTES of shape [-1]"
            } else {
                ""
            }
        ))
    }

    fn check_count(&self, input: &InputTensor, count: usize) -> Result<(), Refusal> {
        if count == 0 {
            return Err(input.refuse("it is empty; the first number of its shape says how many it brings, at least 1"));
        }
        check_count(count, self.budget.max_images)
    }

    fn images(&self, input: &InputTensor) -> Result<Vec<Source>, Refusal> {
        let (lengths, elements) = input.lengths()?;
        if input.is(Datatype::Bytes) && is_list(&lengths) {
            self.check_count(input, elements)?;
            return Ok(match input.strings(elements)? {
                Texts::Bytes(files) => files.into_iter().map(Source::File).collect(),
                Texts::Base64(texts) => texts.into_iter().map(Source::Base64).collect(),
            });
        }
        let (true, &[count, channels, height, width]) = (input.is(Datatype::U8), &lengths[..]) else {
            return Err(self.unlike(input));
        };
        let own = self.shape;
        if channels != own.channels() || !self.budget.any_size && (height, width) != (own.height(), own.width()) {
            return Err(self.unlike(input));
        }
        let shape = of_size(own, width, height).map_err(|error| input.refuse(error))?;
        self.check_count(input, count)?;
        let levels = input.levels(elements)?;
        let read = |(index, levels): (usize, &[u8])| {
            let image = Image::new(shape, levels).map_err(|error| {
                let refusal = input.refuse(error);
                if count > 1 { refusal.with_image(index) } else { refusal }
            })?;
            Ok(Source::Image(image))
        };
        let images = levels.chunks_exact(shape.dimensions()).enumerate();
        images.map(read).collect()
    }

    /// One mask, which holds for every image.
    fn mask(&self, input: &InputTensor) -> Result<MaskSource, Refusal> {
        let (lengths, elements) = input.lengths()?;
        let pixels = [self.shape.height(), self.shape.width()];
        let leads = [&[][..], &[1], &[1, 1]];
        let is_mask = leads.iter().any(|lead| lengths == [*lead, &pixels].concat());
        if !is_mask || !(input.is(Datatype::Bool) || input.is(Datatype::U8)) {
            return Err(self.unlike(input));
        }
        let flags = input.levels(elements)?;
        if flags.iter().any(|&flag| flag > 1) {
            return Err(input.refuse("it holds other values than 0 and 1"));
        }
        Ok(MaskSource::Flags(flags.iter().map(|&flag| flag == 1).collect()))
    }

    fn codes(&self, input: &InputTensor) -> Result<Vec<Vec<f32>>, Refusal> {
        let (lengths, elements) = input.lengths()?;
        let size = self.budget.code_size;
        match lengths[..] {
            [count, found] if found == size && size > 0 && input.is(Datatype::F32) => {
                self.check_count(input, count)?;
                let numbers = input.reals(elements)?;
                Ok(numbers.chunks_exact(size).map(<[f32]>::to_vec).collect())
            }
            _ => Err(self.unlike(input)),
        }
    }

    fn streams(&self, input: &InputTensor) -> Result<Vec<Result<Vec<u8>, Refusal>>, Refusal> {
        let (lengths, elements) = input.lengths()?;
        if !input.is(Datatype::Bytes) || !is_list(&lengths) {
            return Err(self.unlike(input));
        }
        self.check_count(input, elements)?;
        Ok(match input.strings(elements)? {
            Texts::Bytes(streams) => {
                let own = |stream: Bytes| Ok(stream.to_vec());
                streams.into_iter().map(own).collect()
            }
            Texts::Base64(texts) => texts.iter().map(|text| read_stream(text)).collect(),
        })
    }
}

/// Whether it is a list, perhaps with an axis of length 1 behind it.
fn is_list(lengths: &[usize]) -> bool {
    matches!(lengths, [_] | [_, 1])
}
