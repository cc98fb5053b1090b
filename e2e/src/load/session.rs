//! The life of one simulated proxy: bootstrap, connection, subscriptions; and again when the connection breaks.
//!
//! As with kuma-dp and Envoy, the bootstrap configuration is fetched once, and what a proxy has it keeps over all its streams.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Streaming;
use tonic::metadata::{Ascii, MetadataValue};
use tonic_prost::ProstCodec;

use super::backoff::Backoff;
use super::bootstrap::BootstrapRequest;
use super::connection::{Dialer, Server};
use super::definition::Definition;
use super::line::{Cut, Ending, Limbo};
use super::node::NodeEncoder;
use super::tally::{Observer, Tally};
use super::wire::EncodedNode;
use super::{delta, sotw};

/// Pause before the next attempt to fetch a bootstrap configuration.
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
    pub(super) limbo: Limbo,
}

/// What happens to a proxy from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Nothing yet.
    None,
    /// Its connection ends; it comes back by itself.
    Lose(Cut),
    /// It ends, and its connection so.
    Leave(Cut),
    /// It, or the one that comes in its place, is that with this number.
    Arrive(usize),
}

/// Tells one proxy what happens to it.
struct Orders(watch::Receiver<Order>);

impl Orders {
    /// Resolves with the next order. There is none any more when nobody gives orders.
    async fn next(&mut self) -> Order {
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Runs the proxy at this place in the tally, and whoever comes in its place, until the task is aborted. The number of the first one, which
/// its name and resource follow from, is that of the place.
pub(super) async fn run(shared: Arc<Shared>, slot: usize, orders: watch::Receiver<Order>) {
    let mut orders = Orders(orders);
    let mut number = slot;
    loop {
        live(&shared, slot, number, &mut orders).await;
        number = loop {
            if let Order::Arrive(number) = orders.next().await {
                break number;
            }
        };
    }
}

/// The life of one proxy until it leaves.
async fn live(shared: &Shared, slot: usize, number: usize, orders: &mut Orders) {
    let observer = Observer::in_group(&shared.tally, slot, shared.definition.group(number));
    let node = loop {
        let outcome = tokio::select! {
            order = orders.next() => match order {
                Order::Leave(_) => return,
                Order::Lose(_) | Order::None | Order::Arrive(_) => continue,
            },
            outcome = bootstrap(shared, number) => outcome,
        };
        match outcome {
            Ok(node) => break node,
            Err(error) => observer.failed(&error),
        }
        sleep(RETRY).await;
    };
    let mut held = if shared.sotw { Held::Sotw(sotw::Held::new(node)) } else { Held::Delta(delta::Held::new(node)) };
    let mut backoff = Backoff::default();
    loop {
        let ending = Ending::new(shared.limbo.clone(), observer.is_returning());
        let mut call = Call { shared, number, ending: ending.clone(), backoff: &mut backoff };
        let told = async {
            let order = orders.next().await;
            // The connection ends as soon as this branch is taken.
            if let Order::Lose(cut) | Order::Leave(cut) = order {
                ending.set(cut);
            }
            order
        };
        tokio::select! {
            biased;
            order = told => match order {
                Order::Leave(_) => return,
                Order::Lose(_) | Order::None | Order::Arrive(_) => observer.lost(),
            },
            Err(error) = held.serve(&mut call, &observer) => observer.failed(&error),
        }
        sleep(backoff.next()).await;
    }
}

async fn bootstrap(shared: &Shared, number: usize) -> Result<EncodedNode> {
    let request = BootstrapRequest::new(&shared.definition, number, !shared.sotw, shared.token.as_deref());
    match shared.bootstrap {
        true => request.fetch_node(&shared.dialer, server(shared, number), &shared.nodes).await,
        false => shared.nodes.compose(&request),
    }
}

fn server(shared: &Shared, number: usize) -> &Server {
    &shared.servers[number % shared.servers.len()]
}

/// What a proxy has, in the variant of the protocol that it speaks.
enum Held {
    Delta(delta::Held),
    Sotw(sotw::Held),
}

impl Held {
    async fn serve(&mut self, call: &mut Call<'_>, observer: &Observer<'_>) -> Result<Infallible> {
        match self {
            Self::Delta(held) => held.serve(call, observer).await,
            Self::Sotw(held) => held.serve(call, observer).await,
        }
    }
}

/// One attempt of a proxy to be served.
pub(super) struct Call<'a> {
    shared: &'a Shared,
    number: usize,
    ending: Ending,
    backoff: &'a mut Backoff,
}

/// An open discovery stream.
pub(super) struct Exchange<Q, S> {
    pub(super) requests: mpsc::Sender<Q>,
    pub(super) responses: Streaming<S>,
    _connection: AbortOnDropHandle<()>,
}

impl Call<'_> {
    /// Connects, opens a stream of the discovery service and sends its first requests.
    pub(super) async fn open<Q, S>(&self, method: &'static str, first: Vec<Q>) -> Result<Exchange<Q, S>>
    where
        Q: Message + 'static,
        S: Message + Default + 'static,
    {
        let Shared { dialer, token, .. } = self.shared;
        let (requests, pending) = mpsc::channel(PENDING_REQUESTS);
        // Servers may send nothing, not even headers, before the first request.
        for first in first {
            requests.try_send(first).map_err(|_| anyhow!("there is room for the first requests"))?;
        }
        let mut request = tonic::Request::new(ReceiverStream::new(pending));
        if let Some(token) = token {
            let token: MetadataValue<Ascii> = token.parse().context("the token is not a header value")?;
            request.metadata_mut().insert("authorization", token);
        }
        let (mut client, connection) = dialer.cuttable(server(self.shared, self.number), self.ending.clone()).await?;
        client.ready().await?;
        let codec: ProstCodec<Q, S> = ProstCodec::default();
        let stream = client.streaming(request, PathAndQuery::from_static(method), codec).await;
        let responses = stream.context("discovery stream")?.into_inner();
        Ok(Exchange { requests, responses, _connection: connection })
    }

    /// The control plane has answered: the next attempt after this one need not wait for long.
    pub(super) fn heard(&mut self) {
        self.backoff.reset();
    }
}
