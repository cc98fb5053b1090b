//! A slow network.

use std::io;
use std::time::Duration;

use futures::FutureExt;
use std::sync::Arc;
use tandem_kds::zone::{Dial, Transport, tcp};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split};

/// Most bytes on the way.
const BUFFER: usize = 2048;

/// Connections that carry `rate` bytes per second in each direction.
pub fn slow(rate: u32) -> Dial {
    let dial = tcp();
    Arc::new(move |address| {
        let dialled = dial(address);
        async move {
            let (far_in, far_out) = split(dialled.await?);
            let (near, relay) = duplex(BUFFER);
            let (near_in, near_out) = split(relay);
            tokio::spawn(carry(near_in, far_out, rate));
            tokio::spawn(carry(far_in, near_out, rate));
            Ok(Box::new(near) as Box<dyn Transport>)
        }
        .boxed()
    })
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, rate: u32) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        #[allow(clippy::cast_precision_loss)] // small
        tokio::time::sleep(Duration::from_secs_f64(read as f64 / f64::from(rate))).await;
    }
}
