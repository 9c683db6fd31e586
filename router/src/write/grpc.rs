//! gRPC services that take their messages as bytes.
//!
//! A generated service decodes a message before anybody can say how much memory that may take.
//! These hand on the bytes, which are measured first, like the body of an HTTP request.

use std::{
    convert::Infallible,
    marker::PhantomData,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use prost::Message;
use tonic::{
    Status,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{Body, Service, StdError},
    server::{Grpc, NamedService},
};

/// The body of a request, as a gRPC server needs it.
pub trait RequestBody: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static {}

impl<B: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static> RequestBody for B {}

/// A service with one method. It is told how to answer; what else a server asks of it is here.
pub trait Method: Clone + Send + Sync + 'static {
    /// The service with its package.
    const SERVICE: &'static str;
    /// The method.
    const NAME: &'static str;

    /// Answers a call of the method.
    fn answer<B: RequestBody>(
        self,
        request: Request<B>,
    ) -> impl Future<Output = Response<tonic::body::Body>> + Send;
}

/// Serves a method by its path.
#[derive(Clone)]
pub struct Served<M>(pub M);

impl<M: Method> NamedService for Served<M> {
    const NAME: &'static str = M::SERVICE;
}

impl<M: Method, B: RequestBody> Service<Request<B>> for Served<M> {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = self.0.clone();
        Box::pin(async move {
            Ok(match request.uri().path().rsplit_once('/') {
                Some((_, name)) if name == M::NAME => method.answer(request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Serves one call whose messages have at most `message_bytes_max` bytes, also once they are
/// decompressed.
pub fn server<A: Message + 'static>(message_bytes_max: usize) -> Grpc<BytesCodec<A>> {
    Grpc::new(BytesCodec(PhantomData))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(message_bytes_max)
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
