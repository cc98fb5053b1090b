//! The node and its connections to pods.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::JoinHandle;

use super::pod::Pod;
use super::redirection::Redirection;

/// Address of the node, for the control planes and for what is outside of the mesh.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// IPv6 address of the node.
pub const NODE_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub struct NetworkError {
    what: String,
    source: io::Error,
}

impl NetworkError {
    pub(super) fn new(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { what: what.into(), source: source.into() }
    }

    /// True when the kernel has no such feature or forbids its use, so that there is nothing wrong with the caller.
    pub fn is_forbidden(&self) -> bool {
        use rustix::io::Errno;
        let forbidden = [Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP, Errno::PROTONOSUPPORT];
        Errno::from_io_error(&self.source).is_some_and(|error| forbidden.contains(&error))
    }
}

/// Talks to the kernel about the links, addresses and routes of the namespace of the thread that made it.
#[derive(Debug)]
pub(super) struct Links {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Links {
    pub fn open() -> Result<Self, NetworkError> {
        let opened = rtnetlink::new_connection().map_err(|error| NetworkError::new("open a netlink socket", error))?;
        let (connection, handle, _) = opened;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    async fn index(&self, name: &str) -> Result<u32, NetworkError> {
        use futures::TryStreamExt as _;
        let what = || format!("find the link {name}");
        let mut found = self.handle.link().get().match_name(name.to_owned()).execute();
        let link = found.try_next().await.map_err(|error| failed(what(), error))?;
        let link = link.ok_or_else(|| NetworkError::new(what(), io::ErrorKind::NotFound))?;
        Ok(link.header.index)
    }

    /// Brings a link up, with addresses.
    pub async fn up(&self, name: &str, addresses: &[(IpAddr, u8)]) -> Result<(), NetworkError> {
        let index = self.index(name).await?;
        let up = LinkUnspec::new_with_index(index).up().build();
        let changed = self.handle.link().set(up).execute().await;
        changed.map_err(|error| failed(format!("bring up the link {name}"), error))?;
        for (address, length) in addresses {
            let mut request = self.handle.address().add(index, *address, *length);
            // Nobody else can have it, so it need not be tried out, which takes a second.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            let added = request.execute().await;
            added.map_err(|error| failed(format!("give the address {address} to the link {name}"), error))?;
        }
        Ok(())
    }

    /// Sends everything that goes elsewhere to a gateway.
    pub async fn default_route(&self, gateway: IpAddr) -> Result<(), NetworkError> {
        let route = match gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).build(),
        };
        let added = self.handle.route().add(route).execute().await;
        added.map_err(|error| failed(format!("add a route over {gateway}"), error))
    }

    /// Makes a pair of connected links: `name` here, and `eth0` where the thread `peer` is.
    async fn pair(&self, name: &str, peer: u32) -> Result<(), NetworkError> {
        let far = LinkMessageBuilder::<LinkUnspec>::new().name("eth0").setns_by_pid(peer).build();
        let near = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth).name(name);
        let near = near.set_info_data(InfoData::Veth(InfoVeth::Peer(far))).build();
        let added = self.handle.link().add(near).execute().await;
        added.map_err(|error| failed(format!("make the pair of links of {name}"), error))
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn failed(what: String, error: rtnetlink::Error) -> NetworkError {
    let source = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    };
    NetworkError::new(what, source)
}

/// The network as the node sees it: this process is in the namespace of the node.
#[derive(Debug)]
pub struct Network {
    links: Links,
    pods: u8,
}

impl Network {
    /// Sets up the node in the namespace of this process, which must be one that [`enter`](super::enter()) made.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn start() -> Result<Self, NetworkError> {
        let links = Links::open()?;
        links.up("lo", &[(NODE.into(), 32), (NODE_V6.into(), 128)]).await?;
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let written = std::fs::write(format!("/proc/sys/net/{setting}"), "1");
            written.map_err(|error| NetworkError::new(format!("set net/{setting}"), error))?;
        }
        Ok(Self { links, pods: 0 })
    }

    /// Adds a pod whose workload has its connections redirected; `None` for a host without redirection.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn pod(&mut self, redirection: Option<Redirection>) -> Result<Pod, NetworkError> {
        self.pods += 1;
        let number = self.pods;
        let ipv4 = move |host| IpAddr::from(Ipv4Addr::new(10, 99, number, host));
        let ipv6 = move |host| IpAddr::from(Ipv6Addr::new(0xfd99, number.into(), 0, 0, 0, 0, 0, host));
        let pod = Pod::start([ipv4(2), ipv6(2)]).await?;
        let name = format!("pod{number}");
        self.links.pair(&name, pod.thread()).await?;
        self.links.up(&name, &[(ipv4(1), 24), (ipv6(1), 64)]).await?;
        let gateways = [ipv4(1), ipv6(1)];
        pod.run(async move { connect(gateways, [(ipv4(2), 24), (ipv6(2), 64)], redirection).await }).await?;
        Ok(pod)
    }
}

/// Connects a pod, from its own side.
async fn connect(
    gateways: [IpAddr; 2],
    addresses: [(IpAddr, u8); 2],
    redirection: Option<Redirection>,
) -> Result<(), NetworkError> {
    let links = Links::open()?;
    // From this address a proxy connects to its workload over IPv6; unlike its like of IPv4 it is no address of every host.
    links.up("lo", &[(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into(), 128)]).await?;
    links.up("eth0", &addresses).await?;
    for gateway in gateways {
        links.default_route(gateway).await?;
    }
    redirection.map_or(Ok(()), |redirection| redirection.apply())
}
