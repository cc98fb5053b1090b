//! The aggregated discovery service: both variants behind one gRPC service.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{self, Ready};
use http::Request;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;

use super::delta::Delta;
use super::sotw::StateOfTheWorld;
use super::stream::{self, AdsContext};
use super::variant::Variant;
use crate::grpc;

const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Largest request, in bytes: a node with its resource, and the versions of everything that a large proxy has.
const LARGEST_REQUEST: usize = 4 << 20;

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
    grpc::serve(request, LARGEST_REQUEST, |metadata, requests| Ok(stream::open::<V>(context, metadata, requests)))
}
