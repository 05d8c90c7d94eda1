//! Connections that may not be silent for ever.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};

/// How long a peer may take to send, and to take what it is sent; zero is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Silence while something is awaited, a next request included.
    pub read: Duration,
    /// Time in which nothing of an answer is taken.
    pub write: Duration,
}

/// A listener whose connections have limits.
pub struct TimedListener {
    /// The socket.
    pub socket: TcpListener,
    /// The limits.
    pub limits: Limits,
}

impl Listener for TimedListener {
    type Io = TimedStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.socket).await;
        (TimedStream::new(stream, self.limits), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A stream that fails when its peer is silent for too long.
pub struct TimedStream<S> {
    inner: S,
    read: Alarm,
    write: Alarm,
}

impl<S> TimedStream<S> {
    fn new(inner: S, limits: Limits) -> Self {
        Self {
            inner,
            read: Alarm::new(limits.read),
            write: Alarm::new(limits.write),
        }
    }
}

struct Alarm {
    limit: Option<Duration>,
    running: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    fn new(limit: Duration) -> Self {
        Self {
            limit: Some(limit).filter(|limit| !limit.is_zero()),
            running: None,
        }
    }

    /// Lets what is ready through; what is pending fails once the time is over.
    fn over<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(limit) = self.limit else {
            return polled;
        };
        if polled.is_ready() {
            self.running = None;
            return polled;
        }
        let running = self.running.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(running.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.read.over(context, polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.write.over(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.write.over(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.write.over(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LIMITS: Limits = Limits {
        read: Duration::from_millis(50),
        write: Duration::from_millis(50),
    };

    #[tokio::test]
    async fn a_silent_peer_is_left() {
        let (ours, mut theirs) = duplex(4);
        let mut ours = TimedStream::new(ours, LIMITS);
        theirs.write_all(b"ab").await.unwrap();
        let mut bytes = [0; 2];
        ours.read_exact(&mut bytes).await.unwrap();
        let error = ours.read_exact(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = ours.write_all(b"more than four").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn without_limits_nobody_is_left() {
        let (ours, theirs) = duplex(4);
        let mut ours = TimedStream::new(ours, Limits::default());
        let mut bytes = [0; 2];
        let read = tokio::time::timeout(Duration::from_millis(100), ours.read_exact(&mut bytes));
        assert!(read.await.is_err());
        drop(theirs);
    }
}
