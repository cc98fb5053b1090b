//! What the workload of a pod does: connections that the kernel takes for those of a workload, and redirects.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, PacketFlag, Question, TYPE};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::echo::Echo;

/// Mark of a workload's packets.
pub const MARK: u32 = 1;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn socket(to: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_mark(MARK)?;
    Ok(socket)
}

/// Connects to an address.
///
/// # Errors
/// When there is no connection.
pub async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(to, Type::STREAM, Protocol::TCP)?;
    timeout(PATIENCE, TcpSocket::from_std_stream(socket.into()).connect(to)).await?
}

/// Asks for a path with HTTP: status, and echo's answer if it was echo that answered.
///
/// # Errors
/// When there is no answer, also because the connection was closed without one.
pub async fn get(to: SocketAddr, path: &str) -> Result<(StatusCode, Option<Echo>)> {
    get_from(to, &to.to_string(), path).await
}

/// The same for a host, which may be something else than the address.
///
/// # Errors
/// When there is no answer, also because the connection was closed without one.
pub async fn get_from(to: SocketAddr, host: &str, path: &str) -> Result<(StatusCode, Option<Echo>)> {
    let stream = connect(to).await.with_context(|| format!("no connection to {to}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header("host", host).body(Empty::<Bytes>::new())?;
    let response = timeout(PATIENCE, sender.send_request(request)).await.context("no answer in time")??;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, serde_json::from_slice(&body).ok()))
}

/// Asks a name server for the addresses of a name, of IPv4 and of IPv6.
///
/// # Errors
/// When the server does not answer or the answer is no answer.
pub async fn resolve(server: SocketAddr, name: &str) -> Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for kind in [TYPE::A, TYPE::AAAA] {
        addresses.append(&mut ask(server, name, kind).await?);
    }
    Ok(addresses)
}

async fn ask(server: SocketAddr, name: &str, kind: TYPE) -> Result<Vec<IpAddr>> {
    let id = rand::random();
    let mut query = simple_dns::Packet::new_query(id);
    query.set_flags(PacketFlag::RECURSION_DESIRED);
    query.questions.push(Question::new(Name::new(name)?, kind.into(), CLASS::IN.into(), false));
    let socket = socket(server, Type::DGRAM, Protocol::UDP)?;
    let socket = UdpSocket::from_std(socket.into())?;
    socket.connect(server).await?;
    socket.send(&query.build_bytes_vec()?).await?;
    let mut answer = [0; 1500];
    let received = timeout(PATIENCE, socket.recv(&mut answer)).await.context("the name server does not answer")??;
    let answer = simple_dns::Packet::parse(&answer[..received])?;
    ensure!(answer.id() == id, "an answer to another question");
    let addresses = answer.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(found) => Some(Ipv4Addr::from(found.address).into()),
        RData::AAAA(found) => Some(Ipv6Addr::from(found.address).into()),
        _ => None,
    });
    Ok(addresses.collect())
}
