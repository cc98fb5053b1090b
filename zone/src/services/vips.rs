//! Virtual addresses of one range: who has which, and which is next.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/core/vip/allocator.go`. An address is handed out again as late as
//! possible, because clients may still have it for the service that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The addresses of one range, and who has them: `K` names a service.
#[derive(Debug)]
pub(crate) struct Vips<K> {
    range: IpNet,
    first: u128,
    last: u128,
    /// Where the search for the next address begins.
    next: u128,
    /// Addresses in use. Several services can only have one together if somebody wrote their status by hand.
    used: BTreeMap<u128, BTreeSet<K>>,
    held: BTreeMap<K, Vec<u128>>,
    /// Services that found the range full.
    waiting: BTreeSet<K>,
}

/// No address of the range is free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("all {} addresses of {range} are in use", size(.range))]
pub(crate) struct RangeFull {
    range: IpNet,
}

/// Size of a range, for people.
fn size(range: &IpNet) -> String {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len());
    1_u128.checked_shl(bits).map_or_else(|| format!("2^{bits}"), |size| size.to_string())
}

impl<K: Ord + Clone> Vips<K> {
    /// A range none of whose addresses is in use.
    pub(crate) fn new(range: IpNet) -> Self {
        let (first, last) = (number(range.network()), number(range.broadcast()));
        Self { range, first, last, next: first, used: BTreeMap::new(), held: BTreeMap::new(), waiting: BTreeSet::new() }
    }

    /// Forgets who has which address.
    pub(crate) fn clear(&mut self) {
        self.used.clear();
        self.held.clear();
        self.waiting.clear();
        self.next = self.first;
    }

    /// Takes notice of the addresses that a service has now. Those that were freed, if somebody waits for one, are told by
    /// returning whom to try again.
    pub(crate) fn set<'a>(&mut self, service: &K, addresses: impl IntoIterator<Item = &'a str>) -> BTreeSet<K> {
        let addresses = addresses.into_iter().filter_map(|address| address.parse().ok());
        let now: Vec<_> = addresses.filter(|address: &IpAddr| self.range.contains(address)).map(number).collect();
        let before = self.held.remove(service).unwrap_or_default();
        for address in &before {
            if let Some(holders) = self.used.get_mut(address) {
                holders.remove(service);
                if holders.is_empty() {
                    self.used.remove(address);
                }
            }
        }
        let freed = before.iter().any(|address| !now.contains(address));
        for address in &now {
            self.used.entry(*address).or_default().insert(service.clone());
            // What is handed out next has not been in use, as far as anybody knows.
            if self.next <= *address && !before.contains(address) {
                self.next = self.after(*address);
            }
        }
        self.waiting.remove(service);
        if !now.is_empty() {
            self.held.insert(service.clone(), now);
        }
        if freed { std::mem::take(&mut self.waiting) } else { BTreeSet::new() }
    }

    /// An address for a service. Asked again before [`Vips::set`] told that it has it, the answer is the same.
    ///
    /// # Errors
    /// When all are in use; [`Vips::set`] tells when it is worth to try again.
    pub(crate) fn allocate(&mut self, service: &K) -> Result<IpAddr, RangeFull> {
        if let Some(address) = self.held.get(service).and_then(|held| held.first()) {
            return Ok(self.address(*address));
        }
        let Some(address) = self.free() else {
            self.waiting.insert(service.clone());
            return Err(RangeFull { range: self.range });
        };
        self.next = self.after(address);
        self.used.entry(address).or_default().insert(service.clone());
        self.held.insert(service.clone(), vec![address]);
        Ok(self.address(address))
    }

    /// The first free address from where the search begins, around the end of the range.
    fn free(&self) -> Option<u128> {
        let from = |start: u128, end: u128| {
            let mut candidate = start;
            for used in self.used.range(start..=end).map(|(used, _)| *used) {
                if used != candidate {
                    return Some(candidate);
                }
                candidate = used.checked_add(1)?;
            }
            (candidate <= end).then_some(candidate)
        };
        from(self.next, self.last).or_else(|| from(self.first, self.next))
    }

    fn after(&self, address: u128) -> u128 {
        if address == self.last { self.first } else { address + 1 }
    }

    fn address(&self, number: u128) -> IpAddr {
        match (self.range, u32::try_from(number)) {
            (IpNet::V4(_), Ok(number)) => IpAddr::V4(Ipv4Addr::from_bits(number)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(number)),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use tandem_model::{Kind, ResourceKey};

    use super::*;

    fn vips(range: &str) -> Vips<ResourceKey> {
        Vips::new(range.parse().expect("a range"))
    }

    fn key(name: &str) -> ResourceKey {
        ResourceKey::new(Kind::MeshService, "demo", name)
    }

    fn allocate(vips: &mut Vips<ResourceKey>, name: &str) -> Result<String, RangeFull> {
        vips.allocate(&key(name)).map(|address| address.to_string())
    }

    #[test]
    fn addresses_are_handed_out_in_order() {
        let mut vips = vips("241.0.0.0/8");
        assert_eq!(allocate(&mut vips, "a").as_deref(), Ok("241.0.0.0"));
        assert_eq!(allocate(&mut vips, "b").as_deref(), Ok("241.0.0.1"));
        assert_eq!(allocate(&mut vips, "a").as_deref(), Ok("241.0.0.0"), "asked again");
        let mut vips = self::vips("fd00:0:0:1::/64");
        assert_eq!(allocate(&mut vips, "a").as_deref(), Ok("fd00:0:0:1::"));
    }

    #[test]
    fn addresses_in_use_are_skipped_whoever_wrote_them() {
        let mut vips = vips("241.0.0.0/8");
        assert!(vips.set(&key("a"), ["241.0.0.1", "10.0.0.1", "nonsense"]).is_empty());
        assert_eq!(allocate(&mut vips, "b").as_deref(), Ok("241.0.0.2"));
        let mut used_up = self::vips("10.0.0.0/30");
        used_up.set(&key("last"), ["10.0.0.3"]);
        assert_eq!(allocate(&mut used_up, "a").as_deref(), Ok("10.0.0.0"), "the search goes on at the beginning");
    }

    #[test]
    fn freed_addresses_are_used_again_at_the_end() {
        let mut vips = vips("10.0.0.0/30");
        for name in ["a", "b", "c"] {
            allocate(&mut vips, name).expect("free");
        }
        vips.set(&key("b"), []);
        assert_eq!(allocate(&mut vips, "d").as_deref(), Ok("10.0.0.3"));
        assert_eq!(allocate(&mut vips, "e").as_deref(), Ok("10.0.0.1"));
    }

    #[test]
    fn a_full_range_is_told_and_who_waits_is_remembered() {
        let mut vips = vips("10.0.0.0/31");
        for name in ["a", "b"] {
            allocate(&mut vips, name).expect("free");
        }
        let error = allocate(&mut vips, "c").expect_err("full");
        assert_eq!(error.to_string(), "all 2 addresses of 10.0.0.0/31 are in use");
        assert!(vips.set(&key("a"), ["10.0.0.0"]).is_empty(), "nothing was freed");
        assert_eq!(vips.set(&key("a"), []), BTreeSet::from([key("c")]));
        assert_eq!(allocate(&mut vips, "c").as_deref(), Ok("10.0.0.0"));
        assert!(self::vips("::/0").allocate(&key("a")).is_ok());
    }

    #[test]
    fn an_address_that_two_services_have_is_free_when_both_are_gone() {
        let mut vips = vips("10.0.0.0/32");
        vips.set(&key("a"), ["10.0.0.0"]);
        vips.set(&key("b"), ["10.0.0.0"]);
        vips.set(&key("a"), []);
        assert!(allocate(&mut vips, "c").is_err());
        vips.set(&key("b"), []);
        assert!(allocate(&mut vips, "c").is_ok());
    }
}
