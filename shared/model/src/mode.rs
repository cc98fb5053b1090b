//! Which control plane this is, and what it may write.

use crate::kind::Kind;

/// Role of a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The control plane that zones connect to.
    Global,
    /// The control plane of one zone.
    Zone {
        /// True when the zone synchronizes with a global control plane; false when it stands alone.
        federated: bool,
    },
}

impl Mode {
    /// True for a global control plane.
    pub const fn is_global(self) -> bool {
        matches!(self, Self::Global)
    }

    /// True for a zone that synchronizes with a global control plane.
    pub const fn is_federated_zone(self) -> bool {
        matches!(self, Self::Zone { federated: true })
    }

    /// True when users of this control plane may create, change and delete resources of a kind.
    ///
    /// A zone that stands alone owns everything except what control planes write for themselves.
    pub fn may_write(self, kind: Kind) -> bool {
        let descriptor = kind.descriptor();
        if descriptor.read_only {
            return false;
        }
        match self {
            Self::Global => descriptor.direction.provided_by_global(),
            Self::Zone { federated: true } => descriptor.direction.provided_by_zone(),
            Self::Zone { federated: false } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_writes_its_own_kinds() {
        let federated = Mode::Zone { federated: true };
        let alone = Mode::Zone { federated: false };
        assert!(Mode::Global.may_write(Kind::Mesh));
        assert!(!federated.may_write(Kind::Mesh));
        assert!(alone.may_write(Kind::Mesh));
        assert!(!Mode::Global.may_write(Kind::Dataplane));
        assert!(federated.may_write(Kind::Dataplane));
        for mode in [Mode::Global, federated] {
            assert!(mode.may_write(Kind::MeshTimeout));
            assert!(mode.may_write(Kind::Secret));
        }
        for mode in [Mode::Global, federated, alone] {
            assert!(!mode.may_write(Kind::DataplaneInsight));
        }
    }
}
