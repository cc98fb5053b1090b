//! Encoded Envoy resources: what is handed to proxies, byte for byte.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use sha2::{Digest as _, Sha256};
use tandem_policy::envoy::Origin;

/// Type of an Envoy resource. The order is the one in which changes of several types are to be sent, so that nothing names
/// what the proxy has not heard of yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoint,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    Route,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
    /// `envoy.service.runtime.v3.Runtime`
    Runtime,
}

impl ResourceType {
    /// All types in sending order; the index of a type is `type as usize`.
    pub const ALL: [Self; 6] =
        [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route, Self::Secret, Self::Runtime];

    /// Type URL, as named in discovery requests.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Runtime => "type.googleapis.com/envoy.service.runtime.v3.Runtime",
        }
    }

    /// The type with this URL; `None` for types that are not served.
    pub fn from_type_url(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource_type| resource_type.type_url() == type_url)
    }
}

/// Version of a resource: equal bytes have equal versions, in every process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version([u8; 16]);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A resource as it is sent: encoded once, shared by all proxies that have it.
#[derive(PartialEq, Eq)]
pub struct Encoded {
    /// Name of the resource.
    pub name: Arc<str>,
    /// The first half of the SHA-256 of the bytes.
    pub version: Version,
    /// Encoded `google.protobuf.Any` with the resource inside.
    pub body: Bytes,
    /// Of a listener on an IP address: `address:port`, and `/udp` if it is not TCP.
    pub listens_on: Option<Arc<str>>,
    /// Which part of generation it comes from, where edits of resources may ask for that.
    pub origin: Option<Origin>,
}

impl Encoded {
    /// Wraps the encoded message `message` of type `resource_type`.
    pub fn new(resource_type: ResourceType, name: impl Into<Arc<str>>, message: &[u8]) -> Self {
        /// Field number of `Any.type_url`.
        const TYPE_URL: u32 = 1;
        /// Field number of `Any.value`.
        const VALUE: u32 = 2;
        let type_url = resource_type.type_url();
        let field = |len: usize| 1 + encoded_len_varint(len as u64) + len;
        let mut body = Vec::with_capacity(field(type_url.len()) + field(message.len()));
        for (number, bytes) in [(TYPE_URL, type_url.as_bytes()), (VALUE, message)] {
            encode_key(number, WireType::LengthDelimited, &mut body);
            encode_varint(bytes.len() as u64, &mut body);
            body.extend_from_slice(bytes);
        }
        let digest = Sha256::digest(&body);
        let mut version = [0; 16];
        version.copy_from_slice(&digest[..16]);
        Self { name: name.into(), version: Version(version), body: body.into(), listens_on: None, origin: None }
    }

    /// Wraps an encoded listener that listens on `socket`.
    pub fn listener(name: impl Into<Arc<str>>, socket: Option<Arc<str>>, message: &[u8]) -> Self {
        Self { listens_on: socket, ..Self::new(ResourceType::Listener, name, message) }
    }

    /// The same resource, coming from this part of generation.
    #[must_use]
    pub fn from_origin(self, origin: Origin) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// The version as text: 32 lower-case hexadecimal digits.
    pub fn version_text(&self) -> String {
        self.version.to_string()
    }
}

/// Leaves the body out: it may hold a private key.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

/// Resources of one type, sorted by name, every name once; shared by all who have the same.
pub type ResourceList = Arc<[Arc<Encoded>]>;

/// Resources of one proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceSet {
    by_type: [ResourceList; ResourceType::ALL.len()],
}

impl ResourceSet {
    /// Collects resources. Of several with one type and name the last one stays.
    pub fn collect(resources: impl IntoIterator<Item = (ResourceType, Arc<Encoded>)>) -> Self {
        let mut by_type: [Vec<Arc<Encoded>>; ResourceType::ALL.len()] = Default::default();
        for (resource_type, resource) in resources {
            by_type[resource_type as usize].push(resource);
        }
        for list in &mut by_type {
            // The sort is stable: among equal names the order of arrival stays.
            list.sort_by(|a, b| a.name.cmp(&b.name));
            list.dedup_by(|later, kept| {
                let same = later.name == kept.name;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        Self { by_type: by_type.map(Into::into) }
    }

    /// These resources and others, of which none has the name of one of these; and what they were. `last` is what came out last time:
    /// where neither side of a type has changed, its list is taken over.
    pub(crate) fn joined(self, others: &Self, last: Option<(&Self, &Joined)>) -> (Self, Joined) {
        let mut set = Self::default();
        for resource_type in ResourceType::ALL {
            let index = resource_type as usize;
            let (own, others) = (&self.by_type[index], &others.by_type[index]);
            let last = last.filter(|(_, last)| {
                is_same(&last.own.by_type[index], own) && Arc::ptr_eq(&last.others.by_type[index], others)
            });
            set.by_type[index] = match last {
                _ if own.is_empty() => others.clone(),
                _ if others.is_empty() => own.clone(),
                Some((last, _)) => last.by_type[index].clone(),
                None => merged(own, others),
            };
        }
        (set, Joined { own: self, others: others.clone() })
    }

    /// Takes lists of another set over in the place of those that are alike.
    pub(crate) fn share(&mut self, other: &Self) {
        for (list, other) in self.by_type.iter_mut().zip(&other.by_type) {
            if is_same(list, other) {
                *list = other.clone();
            }
        }
    }

    /// True when both have the same value in memory for a type: then nothing of it has changed.
    pub fn shares(&self, resource_type: ResourceType, other: &Self) -> bool {
        Arc::ptr_eq(self.list(resource_type), other.list(resource_type))
    }

    /// True when both have the same values in memory for all types.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.by_type.iter().zip(&other.by_type).all(|(one, other)| is_same(one, other))
    }

    /// The resources of one type.
    pub fn list(&self, resource_type: ResourceType) -> &ResourceList {
        &self.by_type[resource_type as usize]
    }

    /// The resources of one type, sorted by name.
    pub fn of(&self, resource_type: ResourceType) -> &[Arc<Encoded>] {
        &self.by_type[resource_type as usize]
    }

    /// The resource with a type and name.
    pub fn get(&self, resource_type: ResourceType, name: &str) -> Option<&Arc<Encoded>> {
        let list = self.of(resource_type);
        list.binary_search_by(|resource| (*resource.name).cmp(name)).ok().map(|index| &list[index])
    }

    /// All resources with their types, in sending order.
    pub fn iter(&self) -> impl Iterator<Item = (ResourceType, &Arc<Encoded>)> {
        ResourceType::ALL
            .into_iter()
            .flat_map(|resource_type| self.of(resource_type).iter().map(move |r| (resource_type, r)))
    }
}

/// What two sets in one were.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    own: ResourceSet,
    others: ResourceSet,
}

fn is_same(one: &[Arc<Encoded>], other: &[Arc<Encoded>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

fn merged(own: &[Arc<Encoded>], others: &[Arc<Encoded>]) -> ResourceList {
    let mut merged = Vec::with_capacity(own.len() + others.len());
    let mut own = own.iter().peekable();
    for other in others {
        merged.extend(std::iter::from_fn(|| own.next_if(|own| own.name < other.name)).cloned());
        merged.push(other.clone());
    }
    merged.extend(own.cloned());
    merged.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::google::protobuf::Any;
    use prost::Message as _;

    fn resource(name: &str, message: &[u8]) -> Arc<Encoded> {
        Arc::new(Encoded::new(ResourceType::Cluster, name, message))
    }

    #[test]
    fn the_body_is_an_any() {
        let any = Any::decode(resource("a", b"payload").body.clone()).expect("decodes");
        assert_eq!((any.type_url.as_str(), any.value.as_slice()), (ResourceType::Cluster.type_url(), &b"payload"[..]));
    }

    #[test]
    fn versions_tell_bytes_apart() {
        assert_eq!(resource("a", b"1").version, resource("b", b"1").version);
        assert_ne!(resource("a", b"1").version, resource("a", b"2").version);
        assert_eq!(resource("a", b"1").version_text().len(), 32);
    }

    #[test]
    fn type_urls_are_read_back() {
        for resource_type in ResourceType::ALL {
            assert_eq!(ResourceType::from_type_url(resource_type.type_url()), Some(resource_type));
        }
        assert_eq!(ResourceType::from_type_url("type.googleapis.com/x"), None);
    }

    #[test]
    fn sets_are_sorted_and_the_last_of_a_name_wins() {
        let set = ResourceSet::collect(
            [("b", "1"), ("a", "1"), ("b", "2"), ("b", "3")]
                .map(|(name, message)| (ResourceType::Cluster, resource(name, message.as_bytes()))),
        );
        let names: Vec<&str> = set.of(ResourceType::Cluster).iter().map(|r| &*r.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(set.get(ResourceType::Cluster, "b").map(|r| r.version), Some(resource("b", b"3").version));
        assert!(set.get(ResourceType::Listener, "b").is_none());
    }

    #[test]
    fn joined_lists_are_taken_over_where_nothing_changed() {
        let set = |names: &[&str]| {
            ResourceSet::collect(names.iter().map(|name| (ResourceType::Cluster, resource(name, b""))))
        };
        let endpoint = Arc::new(Encoded::new(ResourceType::Endpoint, "e", b""));
        let (own, others) = (set(&["b", "d"]), set(&["a", "c", "e"]));
        let (first, parts) = own.clone().joined(&others, None);
        let names: Vec<&str> = first.of(ResourceType::Cluster).iter().map(|r| &*r.name).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);

        let mut more = ResourceSet::collect(
            others.iter().map(|(kind, resource)| (kind, resource.clone())).chain([(ResourceType::Endpoint, endpoint)]),
        );
        more.share(&others);
        let (second, parts) = own.clone().joined(&more, Some((&first, &parts)));
        assert!(second.shares(ResourceType::Cluster, &first) && second.shares(ResourceType::Endpoint, &more));
        let (third, _) = set(&["b"]).joined(&more, Some((&second, &parts)));
        assert!(!third.shares(ResourceType::Cluster, &second));
    }

    #[test]
    fn debugging_does_not_show_the_body() {
        assert!(!format!("{:?}", resource("a", b"payload")).contains("body"));
    }
}
