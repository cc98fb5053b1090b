//! What policies that configure the proxy itself amount to.

use tandem_model::kind::Kind;

use super::chosen::Chosen;
use crate::{metric, passthrough, proxy_patch, trace};

/// Kinds that configure the proxy itself.
pub(super) const KINDS: [Kind; 4] = [Kind::MeshPassthrough, Kind::MeshTrace, Kind::MeshMetric, Kind::MeshProxyPatch];

/// What holds for a proxy itself; `None` where no policy selects it.
#[derive(Debug, Default, PartialEq)]
pub struct OwnPolicies {
    /// MeshPassthrough.
    pub passthrough: Option<passthrough::Conf>,
    /// MeshTrace.
    pub trace: Option<trace::Conf>,
    /// MeshMetric.
    pub metric: Option<metric::Conf>,
    /// MeshProxyPatch.
    pub patches: Option<proxy_patch::Conf>,
}

impl OwnPolicies {
    pub(super) fn new(chosen: &Chosen<'_>) -> Self {
        Self {
            passthrough: chosen.own(Kind::MeshPassthrough),
            trace: chosen.own(Kind::MeshTrace),
            metric: chosen.own(Kind::MeshMetric),
            patches: chosen.own(Kind::MeshProxyPatch),
        }
    }
}
