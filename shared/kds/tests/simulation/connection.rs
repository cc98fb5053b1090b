//! A connection: bytes on their way in two directions, and the ends that peers hold.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::frames::Frames;
use crate::network::Link;

/// Writes under way in one direction, above which a writer has to wait: the kernel's buffer.
const ROOM: usize = 64;
/// Largest write taken at once.
const SEGMENT: usize = 16 * 1024;

/// The two directions of a connection.
pub struct Connection {
    pub up: Arc<Mutex<Pipe>>,
    pub down: Arc<Mutex<Pipe>>,
}

/// Bytes on their way in one direction.
pub struct Pipe {
    queue: VecDeque<(Instant, Segment)>,
    last: Instant,
    /// Nothing arrives: the link, or this connection alone for good.
    pub blocked: bool,
    pub vanished: bool,
    pub broken: bool,
    pub reader_gone: bool,
    pub writer_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Only followed in the direction to the zone, into which frames are put.
    pub frames: Option<Frames>,
}

/// A piece of what was written.
pub enum Segment {
    Data(Bytes),
    End,
}

impl Pipe {
    pub fn new(frames: Option<Frames>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            queue: VecDeque::new(),
            last: Instant::now(),
            blocked: false,
            vanished: false,
            broken: false,
            reader_gone: false,
            writer_gone: false,
            reader: None,
            writer: None,
            frames,
        }))
    }

    pub fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    pub fn push(&mut self, delay: Duration, segment: Segment) {
        self.last = self.last.max(Instant::now() + delay);
        self.queue.push_back((self.last, segment));
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }
}

impl Connection {
    /// Both ends notice at once that nothing comes any more.
    pub fn break_off(&self) {
        for pipe in [&self.up, &self.down] {
            let mut pipe = pipe.lock();
            pipe.broken = true;
            pipe.queue.clear();
            pipe.wake();
        }
    }
}

/// One end of a connection.
pub struct Endpoint {
    link: Arc<Mutex<Link>>,
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Endpoint {
    /// The end that reads from one direction and writes into the other.
    pub fn new(link: &Arc<Mutex<Link>>, incoming: &Arc<Mutex<Pipe>>, outgoing: &Arc<Mutex<Pipe>>) -> Self {
        Self { link: link.clone(), incoming: incoming.clone(), outgoing: outgoing.clone(), timer: None }
    }
}

impl AsyncRead for Endpoint {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let due = {
                let mut pipe = this.incoming.lock();
                if pipe.broken {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                let (now, blocked) = (Instant::now(), pipe.blocked);
                match pipe.queue.front_mut() {
                    Some((due, segment)) if !blocked && *due <= now => {
                        let Segment::Data(data) = segment else { return Poll::Ready(Ok(())) };
                        let taken = data.len().min(buffer.remaining());
                        buffer.put_slice(&data[..taken]);
                        data.advance(taken);
                        if data.is_empty() {
                            pipe.queue.pop_front();
                            if let Some(writer) = pipe.writer.take() {
                                writer.wake();
                            }
                        }
                        return Poll::Ready(Ok(()));
                    }
                    Some((due, _)) if !blocked => *due,
                    _ => {
                        pipe.reader = Some(context.waker().clone());
                        return Poll::Pending;
                    }
                }
            };
            let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.poll_unpin(context).is_pending() {
                this.incoming.lock().reader = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for Endpoint {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let delay = self.link.lock().delay();
        let mut pipe = self.outgoing.lock();
        if pipe.broken || (pipe.reader_gone && !pipe.blocked) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.queue.len() >= ROOM {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let data = &data[..data.len().min(SEGMENT)];
        let passed = match &mut pipe.frames {
            Some(frames) => frames.pass(data),
            None => Bytes::copy_from_slice(data),
        };
        pipe.push(delay, Segment::Data(passed));
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Endpoint {
    fn end(&self) {
        let delay = self.link.lock().delay();
        let mut pipe = self.outgoing.lock();
        if !pipe.writer_gone {
            pipe.writer_gone = true;
            pipe.push(delay, Segment::End);
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.end();
        let mut pipe = self.incoming.lock();
        pipe.reader_gone = true;
        pipe.wake();
    }
}
