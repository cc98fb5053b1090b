//! The aggregated discovery service: both variants behind one gRPC service.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::BoxStream;
use http::Request;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Response, Status, Streaming};

use super::codec::PreEncoded;
use super::delta::Delta;
use super::request::{DeltaRequest, SotwRequest};
use super::sotw::StateOfTheWorld;
use super::stream::{self, AdsContext};
use super::variant::Variant;

const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// The gRPC service `envoy.service.discovery.v3.AggregatedDiscoveryService`.
#[derive(Clone)]
pub struct AdsService {
    context: Arc<AdsContext>,
}

impl AdsService {
    /// A service over the state of this zone.
    pub fn new(context: Arc<AdsContext>) -> Self {
        Self { context }
    }
}

impl NamedService for AdsService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

/// Opens the streams of one variant.
struct Open<V> {
    context: Arc<AdsContext>,
    variant: std::marker::PhantomData<V>,
}

impl<V: Variant> StreamingService<V::Request> for Open<V> {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<V::Request>>) -> Self::Future {
        let context = self.context.clone();
        async move { Ok(Response::new(stream::open::<V>(context, request))) }.boxed()
    }
}

impl tower::Service<Request<Body>> for AdsService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let context = self.context.clone();
        async move {
            Ok(match request.uri().path() {
                SOTW => serve::<StateOfTheWorld>(context, request, PreEncoded::<SotwRequest>::default()).await,
                DELTA => serve::<Delta>(context, request, PreEncoded::<DeltaRequest>::default()).await,
                path => Status::unimplemented(format!("unknown method {path}")).into_http(),
            })
        }
        .boxed()
    }
}

async fn serve<V: Variant>(
    context: Arc<AdsContext>,
    request: Request<Body>,
    codec: PreEncoded<V::Request>,
) -> http::Response<Body> {
    let open = Open::<V> { context, variant: std::marker::PhantomData };
    Grpc::new(codec).streaming(open, request).await
}
