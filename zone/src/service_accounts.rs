//! Tokens of Kubernetes service accounts, as proxies in pods show them.
//!
//! A proxy is called `<pod>.<namespace>`, and its token must be one of the service account of that pod. Kubernetes says whose a token
//! is (TokenReview), and which service account the pod has. Its answer counts for [`KEPT`]: a proxy whose streams come one after the
//! other, and many at once, cost one question, and what Kubernetes takes back is refused here after that time.
//!
//! Source of rules and texts: Kuma `pkg/xds/auth/k8s/authenticator.go`.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client, Config};
use moka::future::Cache;
use sha2::{Digest as _, Sha256};
use tandem_model::name::dns1123_subdomain_errors;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::refusals::Reason;

/// How long an answer of Kubernetes counts.
const KEPT: Duration = Duration::from_secs(10);

/// Most answers that are kept; the least used go first.
const MAX_KEPT: u64 = 20_000;

/// Questions to Kubernetes at a time.
const AT_A_TIME: usize = 32;

/// How long an answer may take, with the wait for others.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest token that is passed on.
const MAX_TOKEN: usize = 64 << 10;

/// The service account of a pod that names none.
const DEFAULT: &str = "default";

/// Why a proxy is not admitted with the token of a service account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAccountError {
    /// The name of the proxy names no pod.
    #[error("{0}")]
    Name(String),
    /// There is no such pod.
    #[error("could not retrieve Pod {namespace}/{pod} to verify identity of a dataplane proxy: pods {pod:?} not found")]
    NoPod {
        /// Namespace.
        namespace: String,
        /// Name.
        pod: String,
    },
    /// The proxy shows no token.
    #[error("dataplane token verification failed with an error")]
    Missing,
    /// Kubernetes does not accept the token.
    #[error("dataplane token verification failed with an error")]
    NotAuthenticated,
    /// The token is that of somebody else.
    #[error("invalid service account token")]
    OfAnother,
    /// Kubernetes does not answer.
    #[error("could not call Kubernetes API Server to verify dataplane token")]
    Unavailable,
    /// This control plane asks for such tokens nowhere.
    #[error("tokens of service accounts are not accepted here")]
    NotConfigured,
}

impl From<&ServiceAccountError> for Reason {
    fn from(error: &ServiceAccountError) -> Self {
        match error {
            ServiceAccountError::Name(_) => Self::NodeInvalid,
            ServiceAccountError::NoPod { .. } => Self::ResourceNotFound,
            ServiceAccountError::Missing => Self::TokenMissing,
            ServiceAccountError::NotAuthenticated => Self::TokenSignature,
            ServiceAccountError::OfAnother => Self::TokenMismatch,
            ServiceAccountError::Unavailable | ServiceAccountError::NotConfigured => Self::Internal,
        }
    }
}

/// There is no way to reach a cluster.
#[derive(Debug, thiserror::Error)]
pub enum NoCluster {
    /// Nothing says where the cluster is.
    #[error(
        "no configuration of a Kubernetes cluster was found; run in a pod with a service account, or let KUBECONFIG name a file"
    )]
    NoConfiguration(#[from] kube::config::InferConfigError),
    /// What says it cannot be used.
    #[error("the configuration of the Kubernetes cluster cannot be used")]
    Unusable(#[from] kube::Error),
}

/// An answer that counts for a while.
type Verdict = Result<(), ServiceAccountError>;

/// Asks Kubernetes whose tokens are.
#[derive(Clone)]
pub struct ServiceAccounts {
    client: Client,
    /// By hash of name and token.
    verdicts: Cache<[u8; 32], Verdict>,
    questions: Arc<Semaphore>,
    /// Kubernetes did not answer last time.
    failing: Arc<AtomicBool>,
}

impl ServiceAccounts {
    /// Asks the cluster that `KUBECONFIG` or `~/.kube/config` names, or else the one that this process is in.
    ///
    /// # Errors
    /// When neither is there.
    pub async fn connect() -> Result<Self, NoCluster> {
        let config = Config::infer().await?;
        info!(cluster = %config.cluster_url, "tokens of service accounts are checked by Kubernetes");
        Ok(Self::new(Client::try_from(config)?, KEPT))
    }

    fn new(client: Client, kept: Duration) -> Self {
        Self {
            client,
            verdicts: Cache::builder().max_capacity(MAX_KEPT).time_to_live(kept).build(),
            questions: Arc::new(Semaphore::new(AT_A_TIME)),
            failing: Arc::default(),
        }
    }

    /// Checks that a token is one of the service account of the pod that the proxy `name` is in.
    ///
    /// # Errors
    /// When it is not, or Kubernetes cannot be asked.
    pub async fn check(&self, name: &str, token: &str) -> Result<(), ServiceAccountError> {
        if token.is_empty() {
            return Err(ServiceAccountError::Missing);
        }
        if token.len() > MAX_TOKEN {
            return Err(ServiceAccountError::NotAuthenticated);
        }
        let (pod, namespace) = split(name)?;
        let key = Sha256::new().chain_update(name).chain_update([0]).chain_update(token).finalize().into();
        let asked = self.verdicts.try_get_with(key, async {
            let answer = timeout(PATIENCE, self.ask(pod, namespace, token)).await;
            let answer = answer.unwrap_or_else(|_| Err(Failure(format!("no answer within {PATIENCE:?}"))));
            self.note(&answer);
            answer
        });
        asked.await.map_err(|_| ServiceAccountError::Unavailable)?
    }

    /// The outer error is that there is no answer.
    async fn ask(&self, pod: &str, namespace: &str, token: &str) -> Result<Verdict, Failure> {
        let _turn = self.questions.acquire().await.expect("the semaphore is never closed");
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let found = pods.get_opt(pod).await.map_err(|error| Failure(format!("reading pods: {error}")))?;
        let Some(found) = found else {
            return Ok(Err(ServiceAccountError::NoPod { namespace: namespace.to_owned(), pod: pod.to_owned() }));
        };
        let account = found.spec.and_then(|spec| spec.service_account_name).filter(|account| !account.is_empty());
        let expected = format!("system:serviceaccount:{namespace}:{}", account.as_deref().unwrap_or(DEFAULT));
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviewed = Api::all(self.client.clone()).create(&PostParams::default(), &review).await;
        let reviewed: TokenReview = reviewed.map_err(|error| Failure(format!("reviewing tokens: {error}")))?;
        let status = reviewed.status.unwrap_or_default();
        Ok(if status.authenticated != Some(true) {
            Err(ServiceAccountError::NotAuthenticated)
        } else if status.user.and_then(|user| user.username).as_ref() != Some(&expected) {
            Err(ServiceAccountError::OfAnother)
        } else {
            Ok(())
        })
    }

    /// Tells once that Kubernetes does not answer, and once that it does again.
    fn note(&self, answer: &Result<Verdict, Failure>) {
        let failing = answer.is_err();
        if self.failing.swap(failing, Ordering::Relaxed) == failing {
            return;
        }
        match answer {
            Ok(_) => info!("Kubernetes answers again whose tokens are"),
            Err(Failure(error)) => {
                warn!(
                    error,
                    "Kubernetes does not answer whose tokens are, so proxies are not admitted; this control plane needs the \
                     rights to get pods and to create tokenreviews"
                );
            }
        }
    }
}

/// Why there is no answer. Names no token.
#[derive(Debug)]
struct Failure(String);

/// Pod and namespace of a proxy.
fn split(name: &str) -> Result<(&str, &str), ServiceAccountError> {
    let refused = |text: String| Err(ServiceAccountError::Name(text));
    let Some((pod, namespace)) = name.rsplit_once('.') else {
        return refused(format!("name {name:?} must include namespace after the dot, ex. \"name.namespace\""));
    };
    if namespace.is_empty() {
        return refused("namespace must be non-empty".to_owned());
    }
    // Both become part of a path.
    if !dns1123_subdomain_errors(pod).is_empty() || !dns1123_subdomain_errors(namespace).is_empty() {
        return refused(format!("name {name:?} names no pod"));
    }
    Ok((pod, namespace))
}
