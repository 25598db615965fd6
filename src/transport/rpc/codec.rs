//! Messages as bytes. What a client sends that is no message is the client's mistake and no failure of the server.

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstCodec;

/// The library's codec with statuses of its own.
#[derive(Debug)]
pub(crate) struct Messages<T, U>(ProstCodec<T, U>);

impl<T, U> Default for Messages<T, U> {
    fn default() -> Self {
        Self(ProstCodec::default())
    }
}

impl<T, U> Codec for Messages<T, U>
where
    T: Message + 'static,
    U: Message + Default + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = FromClient<<ProstCodec<T, U> as Codec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        FromClient(self.0.decoder())
    }
}

/// Reads what clients send.
#[derive(Debug)]
pub(crate) struct FromClient<D>(D);

impl<D: Decoder<Error = Status>> Decoder for FromClient<D> {
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<D::Item>, Status> {
        self.0.decode(bytes).map_err(|error| {
            let detail = format!("the message is not one of this method: {}", error.message());
            Status::invalid_argument(detail)
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
