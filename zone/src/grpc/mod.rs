//! gRPC streams that are open for as long as a proxy is connected.
//!
//! Tens of thousands of them are silent almost always, so what matters is what a stream keeps while nothing happens. The streams of
//! tonic keep a buffer for each direction, as large as the largest message that ever went through it: a node of 60 KB in one, the
//! whole configuration of a proxy in the other. These keep nothing between messages.
//!
//! Format: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

mod messages;
mod responses;

pub use messages::{Messages, refused_encoding};
pub use responses::{framed, respond};

/// Bytes before each message: whether it is compressed, and its length.
pub const PREFIX: usize = 5;
