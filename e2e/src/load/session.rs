//! The life of one simulated proxy: bootstrap, connection, subscriptions; and again when the connection breaks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::metadata::{Ascii, MetadataValue};
use tonic_prost::ProstCodec;

use super::bootstrap::BootstrapRequest;
use super::connection::{Dialer, Server};
use super::definition::Definition;
use super::node::NodeEncoder;
use super::tally::{Observer, Tally};
use super::{delta, sotw};

/// Pause before the next attempt to connect; Envoy's lies between 0.5 s and 30 s.
const RETRY: Duration = Duration::from_secs(1);

/// Requests that wait to be sent. A proxy sends a few for each response.
const PENDING_REQUESTS: usize = 16;

/// What all sessions share.
pub(super) struct Shared {
    pub(super) dialer: Dialer,
    pub(super) definition: Definition,
    pub(super) nodes: NodeEncoder,
    pub(super) servers: Vec<Server>,
    pub(super) token: Option<String>,
    pub(super) sotw: bool,
    pub(super) bootstrap: bool,
    pub(super) tally: Arc<Tally>,
}

/// Runs the proxy with this index until the task is aborted.
pub(super) async fn run(shared: Arc<Shared>, index: usize) {
    let observer = Observer::new(&shared.tally, index);
    loop {
        if let Err(error) = connect(&shared, index, &observer).await {
            observer.failed(format!("{error:#}"));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// One connection from its bootstrap to its end, which is always an error.
async fn connect(shared: &Shared, index: usize, observer: &Observer<'_>) -> Result<()> {
    let server = &shared.servers[index % shared.servers.len()];
    let request = BootstrapRequest::new(&shared.definition, index, !shared.sotw, shared.token.as_deref());
    let node = if shared.bootstrap {
        request.fetch_node(&shared.dialer, server, &shared.nodes).await?
    } else {
        shared.nodes.compose(&request)?
    };
    drop(request);
    let call = Call { dialer: &shared.dialer, server, token: shared.token.as_deref() };
    if shared.sotw { sotw::run(&call, node, observer).await } else { delta::run(&call, node, observer).await }
}

/// How to open the discovery stream.
pub(super) struct Call<'a> {
    dialer: &'a Dialer,
    server: &'a Server,
    token: Option<&'a str>,
}

impl Call<'_> {
    /// Connects, opens a stream of the discovery service and sends its first request.
    pub(super) async fn open<Q, S>(&self, method: &'static str, first: Q) -> Result<(mpsc::Sender<Q>, Streaming<S>)>
    where
        Q: Message + 'static,
        S: Message + Default + 'static,
    {
        let (requests, pending) = mpsc::channel(PENDING_REQUESTS);
        // Servers may send nothing, not even headers, before the first request.
        requests.try_send(first).map_err(|_| anyhow!("the queue of requests is closed"))?;
        let mut request = tonic::Request::new(ReceiverStream::new(pending));
        if let Some(token) = self.token {
            let token: MetadataValue<Ascii> = token.parse().context("the token is not a header value")?;
            request.metadata_mut().insert("authorization", token);
        }
        let mut client = self.dialer.grpc(self.server).await?;
        client.ready().await?;
        let codec: ProstCodec<Q, S> = ProstCodec::default();
        let stream = client.streaming(request, PathAndQuery::from_static(method), codec).await;
        Ok((requests, stream.context("discovery stream")?.into_inner()))
    }
}
