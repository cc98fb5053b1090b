//! The aggregated discovery service: both variants behind one gRPC service.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{self, Ready};
use http::Request;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;

use super::delta::Delta;
use super::sotw::StateOfTheWorld;
use super::stream::{self, AdsContext};
use super::variant::Variant;
use crate::grpc::{self, Messages};

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

impl tower::Service<Request<Body>> for AdsService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let context = self.context.clone();
        future::ready(Ok(match request.uri().path() {
            SOTW => serve::<StateOfTheWorld>(context, request),
            DELTA => serve::<Delta>(context, request),
            path => Status::unimplemented(format!("unknown method {path}")).into_http(),
        }))
    }
}

fn serve<V: Variant>(context: Arc<AdsContext>, request: Request<Body>) -> http::Response<Body> {
    let (head, body) = request.into_parts();
    if let Some(status) = grpc::refused_encoding(&head.headers) {
        return status.into_http();
    }
    let metadata = MetadataMap::from_headers(head.headers);
    grpc::respond(stream::open::<V>(context, &metadata, Messages::new(body)))
}
