//! Rules by which the kernel redirects connections to a proxy on the same host.
//!
//! They do what those of Kuma's installer do (`pkg/transparentproxy/iptables`), told to nftables. One thing is different: a
//! workload's connections are known by their mark instead of by not being those of the proxy's user, because somebody who is
//! not root has no second user.

use std::io;

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Cmp, DataAttribute, Expressions, Hook, HookNumber, Immediate, InetHookNumber, Meta,
    MetaKey, NfTablesMessage, Operator, Payload, Register, RuleAttribute, RuleMessage, TableAttribute, TableMessage,
    Verdict, VerdictAttribute,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::network::NetworkError;
use super::workload::MARK;

/// Name of the table.
const TABLE: &str = "redirection";

/// `NF_IP_PRI_NAT_DST`, the priority at which destinations are changed, as a two's complement.
const PRIORITY: u32 = (-100_i32).cast_unsigned();

/// `NF_ACCEPT`.
const ACCEPT: Verdict = Verdict::Other(1);

/// `IPPROTO_TCP` and `IPPROTO_UDP`.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Port of name servers.
const DNS: u16 = 53;

/// What is redirected on a host.
#[derive(Debug, Clone, Default)]
pub struct Redirection {
    /// Port that takes TCP connections to the host.
    pub inbound: Option<u16>,
    /// Port that takes TCP connections of the workload.
    pub outbound: Option<u16>,
    /// Port that takes questions of the workload to name servers.
    pub dns: Option<u16>,
    /// Ports of the host whose connections are not redirected.
    pub excluded_inbound: Vec<u16>,
    /// Ports elsewhere to which connections of the workload are not redirected.
    pub excluded_outbound: Vec<u16>,
}

impl Redirection {
    /// The ports that Kuma's installer uses.
    pub fn usual() -> Self {
        Self { inbound: Some(15006), outbound: Some(15001), dns: Some(15053), ..Self::default() }
    }

    /// Puts the rules into effect in the namespace of this thread.
    pub(super) fn apply(&self) -> Result<(), NetworkError> {
        transact(self.messages()).map_err(|error| NetworkError::new("redirect connections", error))
    }

    fn messages(&self) -> Vec<NfTablesMessage> {
        let table = TableMessage { attributes: vec![TableAttribute::Name(TABLE.to_owned())] };
        let mut messages = vec![NfTablesMessage::NewTable(table)];

        messages.push(chain("outgoing", InetHookNumber::LocalOut));
        let mark = |operator| [meta(MetaKey::Mark), compare(operator, &MARK.to_ne_bytes())];
        messages.push(rule("outgoing", [mark(Operator::NotEqual).into(), vec![accept()]]));
        for port in &self.excluded_outbound {
            messages.push(rule("outgoing", [to_port(TCP, *port), vec![accept()]]));
        }
        if let Some(port) = self.dns {
            messages.push(rule("outgoing", [to_port(UDP, DNS), redirect(port)]));
        }
        if let Some(port) = self.outbound {
            messages.push(rule("outgoing", [protocol(TCP), redirect(port)]));
        }

        messages.push(chain("incoming", InetHookNumber::PreRouting));
        for port in &self.excluded_inbound {
            messages.push(rule("incoming", [to_port(TCP, *port), vec![accept()]]));
        }
        if let Some(port) = self.inbound {
            messages.push(rule("incoming", [protocol(TCP), redirect(port)]));
        }
        messages
    }
}

fn chain(name: &str, hook: InetHookNumber) -> NfTablesMessage {
    NfTablesMessage::NewChain(ChainMessage {
        attributes: vec![
            ChainAttribute::Table(TABLE.to_owned()),
            ChainAttribute::Name(name.to_owned()),
            ChainAttribute::Hook(vec![Hook::Number(HookNumber::Inet(hook)), Hook::Priority(PRIORITY)]),
            ChainAttribute::Type("nat".to_owned()),
        ],
    })
}

fn rule(chain: &str, expressions: [Vec<Expressions>; 2]) -> NfTablesMessage {
    let expressions = expressions.into_iter().flatten().map(Into::into).collect();
    NfTablesMessage::NewRule(RuleMessage {
        attributes: vec![
            RuleAttribute::Table(TABLE.to_owned()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(expressions),
        ],
    })
}

/// Loads something about a packet.
fn meta(key: MetaKey) -> Expressions {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(Register::Reg1)])
}

/// Ends the rule unless what was loaded compares like this.
fn compare(operator: Operator, with: &[u8]) -> Expressions {
    let with = Cmp::Data(DataAttribute::Value(with.to_vec()));
    Expressions::Cmp(vec![Cmp::SourceRegister(Register::Reg1), Cmp::Op(operator), with])
}

fn protocol(protocol: u8) -> Vec<Expressions> {
    vec![meta(MetaKey::L4Proto), compare(Operator::Equal, &[protocol])]
}

/// Packets of a protocol to a port.
fn to_port(of: u8, port: u16) -> Vec<Expressions> {
    /// `NFT_PAYLOAD_TRANSPORT_HEADER`; the destination port is at the same place in headers of TCP and UDP.
    const TRANSPORT_HEADER: u32 = 2;
    let destination = Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(TRANSPORT_HEADER),
        Payload::Offset(2),
        Payload::Len(2),
    ]);
    let mut expressions = protocol(of);
    expressions.extend([destination, compare(Operator::Equal, &port.to_be_bytes())]);
    expressions
}

fn accept() -> Expressions {
    let verdict = DataAttribute::Verdict(vec![VerdictAttribute::Code(ACCEPT)]);
    Expressions::Immediate(vec![Immediate::DestinationRegister(Register::Verdict), Immediate::Data(verdict)])
}

/// To a port of the host itself.
fn redirect(port: u16) -> Vec<Expressions> {
    /// `NFTA_REDIR_REG_PROTO_MIN`.
    const PORT_REGISTER: u16 = 1;
    let value = DataAttribute::Value(port.to_be_bytes().to_vec());
    let register = DefaultNla::new(PORT_REGISTER, u32::from(Register::Reg1).to_be_bytes().to_vec());
    vec![
        Expressions::Immediate(vec![Immediate::DestinationRegister(Register::Reg1), Immediate::Data(value)]),
        Expressions::Other { expression_type: "redir".to_owned(), attributes: vec![register] },
    ]
}

/// Carries out messages of nftables, all or none.
fn transact(messages: Vec<NfTablesMessage>) -> io::Result<()> {
    /// `NFNL_SUBSYS_NFTABLES`.
    const SUBSYSTEM: u16 = 10;
    let batch = |message| {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM);
        (NLM_F_REQUEST, NetfilterMessage::new(header, message))
    };
    let inner = messages.into_iter().map(|message| {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
        // NLM_F_APPEND: rules come after those that are there.
        let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK | netlink_packet_core::NLM_F_APPEND;
        (flags, NetfilterMessage::new(header, message))
    });
    let mut unanswered = inner.len();
    let all = std::iter::once(batch(ControlMessage::BatchBegin));
    let all = all.chain(inner).chain(std::iter::once(batch(ControlMessage::BatchEnd)));
    let mut request = Vec::new();
    for ((flags, message), sequence) in all.zip(1..) {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        message.header.sequence_number = sequence;
        message.finalize();
        let start = request.len();
        request.resize(start + message.buffer_len(), 0);
        message.serialize(&mut request[start..]);
    }
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request, 0)?;
    while unanswered > 0 {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<NetfilterMessage>::deserialize(rest).map_err(io::Error::other)?;
            if let NetlinkPayload::Error(error) = &message.payload {
                if error.code.is_some() {
                    return Err(error.to_io());
                }
                unanswered -= 1;
            }
            let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
            // Messages begin at multiples of four.
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(())
}
