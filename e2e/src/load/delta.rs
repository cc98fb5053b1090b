//! The delta variant of the discovery protocol, as Envoy speaks it.
//!
//! Envoy repeats its whole node in every delta request.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::mpsc::Sender;

use super::envoy::{Envoy, Type};
use super::session::{Call, Exchange};
use super::tally::Observer;
use super::wire::{DeltaRequest, DeltaResponse, EncodedNode};

const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// What a proxy has, over all its streams.
pub(super) struct Held {
    node: EncodedNode,
    envoy: Envoy,
    /// Versions by name, by [`Type`].
    versions: [BTreeMap<String, String>; Type::COUNT],
    /// Names subscribed to, in the order of [`Type::NAMED`].
    subscribed: [BTreeSet<String>; Type::NAMED.len()],
    /// Whether listeners were asked for.
    listening: bool,
}

impl Held {
    pub(super) fn new(node: EncodedNode) -> Self {
        Self {
            node,
            envoy: Envoy::default(),
            versions: Default::default(),
            subscribed: Default::default(),
            listening: false,
        }
    }

    /// Subscribes and acknowledges until the stream ends, which is always an error.
    pub(super) async fn serve(&mut self, call: &mut Call<'_>, observer: &Observer<'_>) -> Result<Infallible> {
        let mut exchange: Exchange<_, DeltaResponse> = call.open(METHOD, self.subscriptions()).await?;
        let mut stream = Stream { held: self, requests: exchange.requests, answered: [false; Type::COUNT] };
        while let Some(response) = exchange.responses.message().await.context("discovery stream")? {
            call.heard();
            let kind = Type::from_url(&response.type_url)
                .ok_or_else(|| anyhow!("response of type {:?}, which nobody asked for", response.type_url))?;
            if stream.take(kind, response).await? {
                observer.certified();
            }
            let envoy = &stream.held.envoy;
            observer.look(|| stream.is_current(), |sign| envoy.has(sign));
        }
        bail!("the control plane ended the discovery stream")
    }

    /// The first requests of a stream: for all that was subscribed to before, with the versions that are there.
    fn subscriptions(&self) -> Vec<DeltaRequest> {
        let subscribed = Type::SUBSCRIBED.into_iter().filter_map(|kind| {
            let named = Type::NAMED.into_iter().position(|named| named == kind);
            let subscribe: Vec<String> =
                named.map(|index| self.subscribed[index].iter().cloned().collect()).unwrap_or_default();
            let wanted = match kind {
                Type::Cluster => true,
                Type::Listener => self.listening,
                _ => !subscribe.is_empty(),
            };
            let versions = || self.versions[kind as usize].clone();
            wanted.then(|| DeltaRequest { subscribe, versions: versions(), ..request(&self.node, kind) })
        });
        subscribed.collect()
    }
}

/// One stream of a proxy.
struct Stream<'a> {
    held: &'a mut Held,
    requests: Sender<DeltaRequest>,
    /// Whether there was a response on this stream, by [`Type`].
    answered: [bool; Type::COUNT],
}

impl Stream<'_> {
    /// All that was asked for is there, and the control plane has said on this stream that clusters and listeners are those
    /// of now. It says so before listeners of all that they rely on, too.
    fn is_current(&self) -> bool {
        let answered = |kind: Type| self.answered[kind as usize];
        answered(Type::Cluster) && answered(Type::Listener) && self.held.envoy.complete()
    }

    /// Takes a response, and tells whether there was a certificate of the proxy in it.
    async fn take(&mut self, kind: Type, response: DeltaResponse) -> Result<bool> {
        let bodies = response.resources.iter().filter_map(|resource| resource.body.as_ref()).map(|body| &body.value);
        let certified = self.held.envoy.accept(kind, bodies, false)?;
        self.answered[kind as usize] = true;
        let versions = response.resources.into_iter().map(|resource| (resource.name, resource.version));
        self.held.versions[kind as usize].extend(versions);
        self.drop_resources(kind, &response.removed);
        self.send(DeltaRequest { nonce: response.nonce, ..request(&self.held.node, kind) }).await?;
        if matches!(kind, Type::Cluster | Type::Listener) {
            self.follow_references().await?;
        }
        if !self.held.listening && self.held.envoy.clusters_complete() {
            self.held.listening = true;
            self.send(request(&self.held.node, Type::Listener)).await?;
        }
        Ok(certified)
    }

    fn drop_resources(&mut self, kind: Type, names: &[String]) {
        self.held.envoy.remove(kind, names);
        for name in names {
            self.held.versions[kind as usize].remove(name);
        }
    }

    /// Subscribes to what clusters and listeners refer to by now.
    async fn follow_references(&mut self) -> Result<()> {
        for (index, kind) in Type::NAMED.into_iter().enumerate() {
            let wanted = self.held.envoy.wanted(kind);
            let subscribed = &self.held.subscribed[index];
            if *subscribed == wanted {
                continue;
            }
            let gone: Vec<String> = subscribed.difference(&wanted).cloned().collect();
            let request = DeltaRequest {
                subscribe: wanted.difference(subscribed).cloned().collect(),
                unsubscribe: gone.clone(),
                ..request(&self.held.node, kind)
            };
            self.held.subscribed[index] = wanted;
            self.drop_resources(kind, &gone);
            self.send(request).await?;
        }
        Ok(())
    }

    async fn send(&self, request: DeltaRequest) -> Result<()> {
        self.requests.send(request).await.map_err(|_| anyhow!("the control plane no longer takes requests"))
    }
}

/// A request that asks for nothing by name: on a new stream it subscribes to all resources of the type.
fn request(node: &EncodedNode, kind: Type) -> DeltaRequest {
    DeltaRequest { node: Some(node.clone()), type_url: kind.url().to_owned(), ..DeltaRequest::default() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message as _;
    use tokio::sync::mpsc;

    use super::super::fixtures::{bytes, inbound, outbound};
    use super::super::wire::{Any, Named, Resource};
    use super::*;

    fn node() -> EncodedNode {
        EncodedNode::new(Bytes::from_static(b"node"), Bytes::new())
    }

    fn response(nonce: &str, bodies: Vec<Bytes>, removed: &[&str]) -> DeltaResponse {
        let resources = bodies.into_iter().map(|value| {
            let name = Named::decode(value.clone()).expect("the first field of all of them is the name").name;
            Resource { version: format!("{name}-{nonce}"), body: Some(Any { value }), name }
        });
        DeltaResponse {
            resources: resources.collect(),
            nonce: nonce.into(),
            removed: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaResponse::default()
        }
    }

    /// Type, nonce, subscribed and unsubscribed names of the requests sent since the last look.
    fn sent(pending: &mut mpsc::Receiver<DeltaRequest>) -> Vec<(Type, String, Vec<String>, Vec<String>)> {
        std::iter::from_fn(|| pending.try_recv().ok())
            .map(|request| {
                assert_eq!(request.node, Some(node()), "every request carries the node");
                let kind = Type::from_url(&request.type_url).expect("a known type");
                (kind, request.nonce, request.subscribe, request.unsubscribe)
            })
            .collect()
    }

    fn line(
        kind: Type,
        nonce: &str,
        subscribe: &[&str],
        unsubscribe: &[&str],
    ) -> (Type, String, Vec<String>, Vec<String>) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        (kind, nonce.to_owned(), owned(subscribe), owned(unsubscribe))
    }

    #[tokio::test]
    async fn subscribes_in_the_order_of_an_envoy() {
        let (requests, mut pending) = mpsc::channel(16);
        let mut held = Held::new(node());
        let mut state = Stream { held: &mut held, requests, answered: Default::default() };
        let named = |name: &str| bytes(&Named { name: name.into() });

        state.take(Type::Cluster, response("1", vec![outbound(5)], &[])).await.expect("clusters");
        assert_eq!(
            sent(&mut pending),
            [
                line(Type::Cluster, "1", &[], &[]),
                line(Type::Endpoint, "", &["echo"], &[]),
                line(Type::Secret, "", &["identity_cert", "mesh_ca"], &[]),
            ]
        );
        state.take(Type::Endpoint, response("2", vec![named("echo")], &[])).await.expect("endpoints");
        assert_eq!(sent(&mut pending), [line(Type::Endpoint, "2", &[], &[]), line(Type::Listener, "", &[], &[])]);

        state.take(Type::Listener, response("3", vec![inbound()], &[])).await.expect("listeners");
        assert_eq!(
            sent(&mut pending),
            [
                line(Type::Listener, "3", &[], &[]),
                line(Type::Route, "", &["routes"], &[]),
                line(Type::Secret, "", &["other_cert"], &[]),
            ]
        );
        state.take(Type::Cluster, response("4", vec![outbound(6)], &[])).await.expect("a changed cluster");
        assert_eq!(sent(&mut pending), [line(Type::Cluster, "4", &[], &[])], "endpoints come by themselves");

        assert!(!state.is_current(), "routes and secrets are not there");
        let versions = |names: &[(&str, &str)]| {
            names.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let again: Vec<_> = state.held.subscriptions();
        let kinds: Vec<_> = again.iter().map(|request| Type::from_url(&request.type_url).expect("known")).collect();
        assert_eq!(kinds, Type::SUBSCRIBED, "on another stream all is asked for at once");
        assert_eq!((&again[0].subscribe, &again[0].versions), (&vec![], &versions(&[("echo", "echo-4")])));
        assert_eq!(
            (&again[1].subscribe[..], &again[1].versions),
            (&["echo".into()][..], &versions(&[("echo", "echo-2")]))
        );
        assert_eq!((again[2].subscribe.len(), &again[2].versions), (3, &versions(&[])));

        state.take(Type::Cluster, response("5", vec![], &["echo"])).await.expect("a removed cluster");
        assert_eq!(
            sent(&mut pending),
            [
                line(Type::Cluster, "5", &[], &[]),
                line(Type::Endpoint, "", &[], &["echo"]),
                line(Type::Secret, "", &[], &["identity_cert", "mesh_ca"]),
            ]
        );
    }
}
