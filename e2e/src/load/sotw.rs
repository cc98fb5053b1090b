//! The state-of-the-world variant of the discovery protocol, as Envoy speaks it.

use std::collections::BTreeSet;
use std::convert::Infallible;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::mpsc::Sender;

use super::envoy::{Envoy, Type};
use super::session::{Call, Exchange};
use super::tally::Observer;
use super::wire::{EncodedNode, Request, Response};

const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// What a proxy has, over all its streams.
pub(super) struct Held {
    node: EncodedNode,
    envoy: Envoy,
    /// By [`Type`].
    subscriptions: [Subscription; Type::COUNT],
    /// Whether listeners were asked for.
    listening: bool,
}

/// What was last said about a type.
#[derive(Default)]
struct Subscription {
    version: String,
    nonce: String,
    names: BTreeSet<String>,
}

impl Held {
    pub(super) fn new(node: EncodedNode) -> Self {
        Self { node, envoy: Envoy::default(), subscriptions: Default::default(), listening: false }
    }

    /// Subscribes and acknowledges until the stream ends, which is always an error.
    pub(super) async fn serve(&mut self, call: &mut Call<'_>, observer: &Observer<'_>) -> Result<Infallible> {
        let mut exchange: Exchange<_, Response> = call.open(METHOD, self.subscribe()).await?;
        let mut stream = Stream { held: self, requests: exchange.requests };
        while let Some(response) = exchange.responses.message().await.context("discovery stream")? {
            call.heard();
            let kind = Type::from_url(&response.type_url)
                .ok_or_else(|| anyhow!("response of type {:?}, which nobody asked for", response.type_url))?;
            if stream.take(kind, response).await? {
                observer.certified();
            }
            let envoy = &stream.held.envoy;
            observer.look(|| envoy.complete(), |sign| envoy.has(sign));
        }
        bail!("the control plane ended the discovery stream")
    }

    /// The first requests of a stream: for all that was subscribed to before, with the versions that are there.
    fn subscribe(&mut self) -> Vec<Request> {
        for subscription in &mut self.subscriptions {
            subscription.nonce.clear();
        }
        let wanted = Type::SUBSCRIBED.into_iter().filter(|kind| match kind {
            Type::Cluster => true,
            Type::Listener => self.listening,
            _ => !self.subscriptions[*kind as usize].names.is_empty(),
        });
        let mut requests: Vec<_> = wanted.map(|kind| self.request(kind)).collect();
        if let Some(first) = requests.first_mut() {
            first.node = Some(self.node.clone());
        }
        requests
    }

    /// A request that acknowledges the last response of the type and names all that is wanted.
    fn request(&self, kind: Type) -> Request {
        let subscription = &self.subscriptions[kind as usize];
        Request {
            version: subscription.version.clone(),
            node: None,
            names: subscription.names.iter().cloned().collect(),
            type_url: kind.url().to_owned(),
            nonce: subscription.nonce.clone(),
        }
    }
}

/// One stream of a proxy.
struct Stream<'a> {
    held: &'a mut Held,
    requests: Sender<Request>,
}

impl Stream<'_> {
    /// Takes a response, and tells whether there was a certificate of the proxy in it.
    async fn take(&mut self, kind: Type, response: Response) -> Result<bool> {
        let certified =
            self.held.envoy.accept(kind, response.resources.iter().map(|resource| &resource.value), true)?;
        let subscription = &mut self.held.subscriptions[kind as usize];
        subscription.version = response.version;
        subscription.nonce = response.nonce;
        self.request(kind).await?;
        if matches!(kind, Type::Cluster | Type::Listener) {
            self.follow_references(kind).await?;
        }
        if !self.held.listening && self.held.envoy.clusters_complete() {
            self.held.listening = true;
            self.request(Type::Listener).await?;
        }
        Ok(certified)
    }

    /// Asks for what clusters and listeners refer to by now.
    async fn follow_references(&mut self, changed: Type) -> Result<()> {
        for kind in Type::NAMED {
            let wanted = self.held.envoy.wanted(kind);
            let subscription = &mut self.held.subscriptions[kind as usize];
            // An Envoy asks again for the endpoints of clusters that it got anew, even under the same names.
            let again = changed == Type::Cluster && kind == Type::Endpoint && !wanted.is_empty();
            if again || subscription.names != wanted {
                subscription.names = wanted;
                self.request(kind).await?;
            }
        }
        Ok(())
    }

    async fn request(&self, kind: Type) -> Result<()> {
        let request = self.held.request(kind);
        self.requests.send(request).await.map_err(|_| anyhow!("the control plane no longer takes requests"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
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
                assert!(request.node.is_none(), "only the first request of a stream carries the node");
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
        let mut held = Held::new(EncodedNode::new(Bytes::from_static(b"node"), Bytes::new()));
        let mut state = Stream { held: &mut held, requests };
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

        let again = held.subscribe();
        assert!(again[0].node.is_some() && again[1..].iter().all(|request| request.node.is_none()));
        let again =
            again.into_iter().map(|request| (Type::from_url(&request.type_url), request.version, request.nonce));
        let line = |kind, version: &str| (Some(kind), version.to_owned(), String::new());
        let expected =
            [line(Type::Cluster, "e"), line(Type::Secret, ""), line(Type::Listener, "c"), line(Type::Route, "")];
        assert_eq!(again.collect::<Vec<_>>(), expected, "another stream begins with the versions that are there");
    }
}
