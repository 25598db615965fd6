//! Fields of typed messages, to and from the tensors of the protocol.

use bytes::Bytes;

use crate::{
    operations::tensor::{Datatype, Tensor, Values},
    transport::{
        openinference::{
            data::{Data, InputTensor},
            request::Inferred,
            signature::IMAGE,
        },
        rpc::density::{images::Form, *},
    },
};

/// Bytes of a tensor.
pub(super) fn size(input: &InputTensor) -> usize {
    match &input.data {
        Data::Raw(bytes) => bytes.len(),
        Data::Numbers(numbers) => 8 * numbers.len(),
        Data::Flags(flags) => flags.len(),
        Data::Strings(strings) => strings.iter().map(Bytes::len).sum(),
        Data::Base64(texts) => texts.iter().map(String::len).sum(),
    }
}

pub(super) fn input(name: &str, datatype: Datatype, shape: Vec<i64>, data: Data) -> InputTensor {
    InputTensor {
        name: name.to_owned(),
        datatype: datatype.name().to_owned(),
        shape,
        data,
    }
}

pub(super) fn strings(name: &str, strings: Vec<Bytes>) -> InputTensor {
    let shape = vec![i64::try_from(strings.len()).unwrap_or(i64::MAX)];
    input(name, Datatype::Bytes, shape, Data::Strings(strings))
}

pub(super) fn images(images: Option<Images>) -> Vec<InputTensor> {
    match images.and_then(|images| images.form) {
        None => Vec::new(),
        Some(Form::Levels(Levels { shape, data })) => {
            vec![input(IMAGE, Datatype::U8, shape, Data::Raw(data))]
        }
        Some(Form::Files(Files { files })) => vec![strings(IMAGE, files)],
    }
}

/// The tensors of an answer, by name.
pub(super) struct Given {
    head: Head,
    tensors: Vec<Tensor>,
}

impl Given {
    pub(super) fn new(inferred: Inferred) -> Self {
        let notes = inferred.notes.iter();
        let notes = notes.map(|(name, value)| ((*name).to_owned(), value.to_string()));
        let head = Head {
            model: inferred.model.name.clone(),
            version: inferred.model.version,
            notes: notes.collect(),
        };
        inferred.recording.written();
        Self {
            head,
            tensors: inferred.tensors,
        }
    }

    pub(super) fn head(&self) -> Option<Head> {
        Some(self.head.clone())
    }

    pub(super) fn take(&mut self, name: &str) -> Option<(Vec<i64>, Values)> {
        let place = self.tensors.iter().position(|tensor| tensor.name == name)?;
        let Tensor { shape, values, .. } = self.tensors.swap_remove(place);
        let length = |length| i64::try_from(length).unwrap_or(i64::MAX);
        Some((shape.into_iter().map(length).collect(), values))
    }

    pub(super) fn numbers(&mut self, name: &str) -> Vec<f64> {
        self.doubles(name).unwrap_or_default().values
    }

    pub(super) fn doubles(&mut self, name: &str) -> Option<Doubles> {
        match self.take(name)? {
            (shape, Values::F64(values)) => Some(Doubles { shape, values }),
            _ => None,
        }
    }

    pub(super) fn floats(&mut self, name: &str) -> Option<Floats> {
        match self.take(name)? {
            (shape, Values::F32(values)) => Some(Floats { shape, values }),
            _ => None,
        }
    }

    pub(super) fn flags(&mut self, name: &str) -> Vec<bool> {
        match self.take(name) {
            Some((_, Values::Bool(flags))) => flags,
            _ => Vec::new(),
        }
    }

    pub(super) fn levels(&mut self, name: &str) -> Option<Levels> {
        match self.take(name)? {
            (shape, Values::U8(levels)) => Some(Levels {
                shape,
                data: levels.into(),
            }),
            _ => None,
        }
    }

    pub(super) fn strings(&mut self, name: &str) -> Vec<Bytes> {
        match self.take(name) {
            Some((_, Values::Bytes(strings))) => strings.into_iter().map(Bytes::from).collect(),
            _ => Vec::new(),
        }
    }
}
