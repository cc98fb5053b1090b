//! The delta variant of the discovery protocol, as Envoy speaks it.
//!
//! Envoy repeats its whole node in every delta request.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use super::envoy::{Envoy, Type};
use super::session::Call;
use super::tally::Observer;
use super::wire::{DeltaRequest, DeltaResponse};

const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Subscribes and acknowledges until the stream ends, which is always an error.
pub(super) async fn run(call: &Call<'_>, node: Bytes, observer: &Observer<'_>) -> Result<()> {
    let first = request(&node, Type::Cluster);
    let (requests, mut responses) = call.open::<_, DeltaResponse>(METHOD, first).await?;
    let mut state = State { node, requests, envoy: Envoy::default(), subscribed: Default::default(), listening: false };
    while let Some(response) = responses.message().await.context("discovery stream")? {
        let kind = Type::from_url(&response.type_url)
            .ok_or_else(|| anyhow!("response of type {:?}, which nobody asked for", response.type_url))?;
        state.take(kind, response).await?;
        let envoy = &state.envoy;
        observer.look(|| envoy.complete(), |sign| envoy.has(sign));
    }
    bail!("the control plane ended the discovery stream")
}

struct State {
    node: Bytes,
    requests: Sender<DeltaRequest>,
    envoy: Envoy,
    /// Names subscribed to, in the order of [`Type::NAMED`].
    subscribed: [BTreeSet<String>; Type::NAMED.len()],
    /// Whether listeners were asked for.
    listening: bool,
}

impl State {
    async fn take(&mut self, kind: Type, response: DeltaResponse) -> Result<()> {
        let bodies = response.resources.iter().filter_map(|resource| resource.body.as_ref()).map(|body| &body.value);
        self.envoy.accept(kind, bodies, false)?;
        self.envoy.remove(kind, &response.removed);
        self.send(DeltaRequest { nonce: response.nonce, ..request(&self.node, kind) }).await?;
        if matches!(kind, Type::Cluster | Type::Listener) {
            self.follow_references().await?;
        }
        if !self.listening && self.envoy.clusters_complete() {
            self.listening = true;
            self.send(request(&self.node, Type::Listener)).await?;
        }
        Ok(())
    }

    /// Subscribes to what clusters and listeners refer to by now.
    async fn follow_references(&mut self) -> Result<()> {
        for (index, kind) in Type::NAMED.into_iter().enumerate() {
            let wanted = self.envoy.wanted(kind);
            let subscribed = &self.subscribed[index];
            if *subscribed == wanted {
                continue;
            }
            let gone: Vec<String> = subscribed.difference(&wanted).cloned().collect();
            self.envoy.remove(kind, &gone);
            let request = DeltaRequest {
                subscribe: wanted.difference(subscribed).cloned().collect(),
                unsubscribe: gone,
                ..request(&self.node, kind)
            };
            self.subscribed[index] = wanted;
            self.send(request).await?;
        }
        Ok(())
    }

    async fn send(&self, request: DeltaRequest) -> Result<()> {
        self.requests.send(request).await.map_err(|_| anyhow!("the control plane no longer takes requests"))
    }
}

/// A request that asks for nothing by name: on a new stream it subscribes to all resources of the type.
fn request(node: &Bytes, kind: Type) -> DeltaRequest {
    DeltaRequest { node: node.clone(), type_url: kind.url().to_owned(), ..DeltaRequest::default() }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::super::fixtures::{bytes, inbound, outbound};
    use super::super::wire::{Any, Named, Resource};
    use super::*;

    fn response(nonce: &str, bodies: Vec<Bytes>, removed: &[&str]) -> DeltaResponse {
        let resources = bodies.into_iter().map(|value| Resource { body: Some(Any { value }), name: String::new() });
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
                assert_eq!(request.node, "node", "every request carries the node");
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
        let mut state = State {
            node: Bytes::from_static(b"node"),
            requests,
            envoy: Envoy::default(),
            subscribed: Default::default(),
            listening: false,
        };
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
