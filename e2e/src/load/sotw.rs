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
        let envoy = &state.envoy;
        observer.look(|| envoy.complete(), |sign| envoy.has(sign));
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

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::super::fixtures::{bytes, inbound, outbound};
    use super::super::wire::{Any, Named};
    use super::*;

    fn response(version: &str, nonce: &str, bodies: Vec<Bytes>) -> Response {
        let resources = bodies.into_iter().map(|value| Any { value }).collect();
        Response { resources, version: version.into(), nonce: nonce.into(), ..Response::default() }
    }

    /// Type, version, nonce and names of the requests sent since the last look.
    fn sent(pending: &mut mpsc::Receiver<Request>) -> Vec<(Type, String, String, Vec<String>)> {
        std::iter::from_fn(|| pending.try_recv().ok())
            .map(|request| {
                assert!(request.node.is_empty(), "only the first request of a stream carries the node");
                let kind = Type::from_url(&request.type_url).expect("a known type");
                (kind, request.version, request.nonce, request.names)
            })
            .collect()
    }

    fn line(kind: Type, version: &str, nonce: &str, names: &[&str]) -> (Type, String, String, Vec<String>) {
        (kind, version.to_owned(), nonce.to_owned(), names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[tokio::test]
    async fn names_all_it_wants_in_each_request() {
        let (requests, mut pending) = mpsc::channel(16);
        let mut state =
            State { requests, envoy: Envoy::default(), subscriptions: Default::default(), listening: false };
        let named = |name: &str| bytes(&Named { name: name.into() });

        state.take(Type::Cluster, response("a", "1", vec![outbound(5)])).await.expect("clusters");
        assert_eq!(
            sent(&mut pending),
            [
                line(Type::Cluster, "a", "1", &[]),
                line(Type::Endpoint, "", "", &["echo"]),
                line(Type::Secret, "", "", &["identity_cert", "mesh_ca"]),
            ]
        );
        state.take(Type::Endpoint, response("b", "2", vec![named("echo")])).await.expect("endpoints");
        assert_eq!(sent(&mut pending), [line(Type::Endpoint, "b", "2", &["echo"]), line(Type::Listener, "", "", &[])]);
        state.take(Type::Listener, response("c", "3", vec![inbound()])).await.expect("listeners");
        assert_eq!(
            sent(&mut pending),
            [
                line(Type::Listener, "c", "3", &[]),
                line(Type::Route, "", "", &["routes"]),
                line(Type::Secret, "", "", &["identity_cert", "mesh_ca", "other_cert"]),
            ]
        );
        state.take(Type::Cluster, response("d", "4", vec![outbound(6)])).await.expect("a changed cluster");
        assert_eq!(
            sent(&mut pending),
            [line(Type::Cluster, "d", "4", &[]), line(Type::Endpoint, "b", "2", &["echo"])],
            "endpoints of changed clusters are asked for again"
        );
        state.take(Type::Cluster, response("e", "5", vec![])).await.expect("no clusters");
        assert_eq!(
            sent(&mut pending),
            [
                line(Type::Cluster, "e", "5", &[]),
                line(Type::Endpoint, "b", "2", &[]),
                line(Type::Secret, "", "", &["other_cert"]),
            ]
        );
    }
}
