//! gRPC services that take their messages as bytes.
//!
//! A generated service decodes a message before anybody can say how much memory that may take.
//! These hand on the bytes, which are measured first, like the body of an HTTP request.

use std::marker::PhantomData;

use bytes::{Buf as _, Bytes};
use prost::Message;
use tonic::{
    Status,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{Body, StdError},
    server::Grpc,
};

/// The body of a request, as a gRPC server needs it.
pub trait RequestBody: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static {}

impl<B: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static> RequestBody for B {}

/// Serves one call whose messages have at most `message_bytes_max` bytes, also once they are
/// decompressed.
pub fn server<A: Message + 'static>(message_bytes_max: usize) -> Grpc<BytesCodec<A>> {
    Grpc::new(BytesCodec(PhantomData))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(message_bytes_max)
}

/// The answer to a method that is not there.
pub fn unimplemented() -> http::Response<tonic::body::Body> {
    Status::unimplemented("no such method").into_http()
}

/// Requests as they come, answers as messages.
pub struct BytesCodec<A>(PhantomData<A>);

impl<A: Message + 'static> Codec for BytesCodec<A> {
    type Encode = A;
    type Decode = Bytes;
    type Encoder = Answers<A>;
    type Decoder = Requests;

    fn encoder(&mut self) -> Answers<A> {
        Answers(PhantomData)
    }

    fn decoder(&mut self) -> Requests {
        Requests
    }
}

/// Encodes answers.
pub struct Answers<A>(PhantomData<A>);

impl<A: Message + 'static> Encoder for Answers<A> {
    type Item = A;
    type Error = Status;

    fn encode(&mut self, answer: A, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        answer.encode(into).map_err(|error| Status::internal(error.to_string()))
    }
}

/// Leaves requests as they are.
pub struct Requests;

impl Decoder for Requests {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
