//! The state-of-the-world variant of the discovery protocol, as Envoy speaks it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use super::envoy::{Envoy, Type};
use super::session::Call;
use super::tally::Observer;
use super::wire::{Request, Response};

const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// Subscribes and acknowledges until the stream ends, which is always an error.
pub(super) async fn run(call: &Call<'_>, node: Bytes, observer: &Observer<'_>) -> Result<()> {
    let first = Request { node, type_url: Type::Cluster.url().to_owned(), ..Request::default() };
    let (requests, mut responses) = call.open::<_, Response>(METHOD, first).await?;
    let mut state = State { requests, envoy: Envoy::default(), subscriptions: Default::default(), listening: false };
    while let Some(response) = responses.message().await.context("discovery stream")? {
        let kind = Type::from_url(&response.type_url)
            .ok_or_else(|| anyhow!("response of type {:?}, which nobody asked for", response.type_url))?;
        state.take(kind, response).await?;
        observer.look(&state.envoy);
    }
    bail!("the control plane ended the discovery stream")
}

/// What was last said about a type.
#[derive(Default)]
struct Subscription {
    version: String,
    nonce: String,
    names: BTreeSet<String>,
}

struct State {
    requests: Sender<Request>,
    envoy: Envoy,
    /// By [`Type`].
    subscriptions: [Subscription; Type::COUNT],
    /// Whether listeners were asked for.
    listening: bool,
}

impl State {
    async fn take(&mut self, kind: Type, response: Response) -> Result<()> {
        self.envoy.accept(kind, response.resources.iter().map(|resource| &resource.value), true)?;
        let subscription = &mut self.subscriptions[kind as usize];
        subscription.version = response.version;
        subscription.nonce = response.nonce;
        self.request(kind).await?;
        if matches!(kind, Type::Cluster | Type::Listener) {
            self.follow_references(kind).await?;
        }
        if !self.listening && self.envoy.clusters_complete() {
            self.listening = true;
            self.request(Type::Listener).await?;
        }
        Ok(())
    }

    /// Asks for what clusters and listeners refer to by now.
    async fn follow_references(&mut self, changed: Type) -> Result<()> {
        for kind in Type::NAMED {
            let wanted = self.envoy.wanted(kind);
            let subscription = &mut self.subscriptions[kind as usize];
            // An Envoy asks again for the endpoints of clusters that it got anew, even under the same names.
            let again = changed == Type::Cluster && kind == Type::Endpoint && !wanted.is_empty();
            if again || subscription.names != wanted {
                subscription.names = wanted;
                self.request(kind).await?;
            }
        }
        Ok(())
    }

    /// Sends a request that acknowledges the last response of the type and names all that is wanted.
    async fn request(&self, kind: Type) -> Result<()> {
        let subscription = &self.subscriptions[kind as usize];
        let request = Request {
            version: subscription.version.clone(),
            node: Bytes::new(),
            names: subscription.names.iter().cloned().collect(),
            type_url: kind.url().to_owned(),
            nonce: subscription.nonce.clone(),
        };
        self.requests.send(request).await.map_err(|_| anyhow!("the control plane no longer takes requests"))
    }
}
