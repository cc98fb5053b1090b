//! What policies that configure the proxy itself amount to.

use std::sync::Arc;

use tandem_model::kind::Kind;

use super::chosen::Chosen;
use crate::proxy_patch::Patches;
use crate::{metric, passthrough, trace};

/// Kinds that configure the proxy itself.
pub(super) const KINDS: [Kind; 4] = [Kind::MeshPassthrough, Kind::MeshTrace, Kind::MeshMetric, Kind::MeshProxyPatch];

/// What holds for a proxy itself; `None` where no policy selects it.
#[derive(Debug, Default, PartialEq)]
pub struct OwnPolicies {
    /// MeshPassthrough.
    pub passthrough: Option<passthrough::Rules>,
    /// MeshTrace.
    pub trace: Option<trace::Rules>,
    /// MeshMetric; also `None` when there is no backend.
    pub metric: Option<metric::Rules>,
    /// MeshProxyPatch. Behind a pointer of its own, because whoever keeps what follows from it needs nothing else.
    pub patches: Option<Arc<Patches>>,
}

impl OwnPolicies {
    pub(super) fn new(chosen: &Chosen<'_>) -> Self {
        let passthrough = chosen.own(Kind::MeshPassthrough);
        let trace = chosen.own(Kind::MeshTrace);
        let metric = chosen.own(Kind::MeshMetric);
        Self {
            passthrough: passthrough
                .map(|conf| passthrough::Rules::new(&conf, &chosen.policies(Kind::MeshPassthrough))),
            trace: trace.map(|conf| trace::Rules::new(conf, &chosen.policies(Kind::MeshTrace))),
            metric: metric.and_then(|conf| metric::Rules::new(conf, &chosen.policies(Kind::MeshMetric))),
            patches: Patches::new(&chosen.policies(Kind::MeshProxyPatch)),
        }
    }
}
