//! Bytes that were read of a client and are not taken yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::transport::ReadHalf;
use crate::turn::Buffers;

/// What came. An idle connection has no buffer.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// So many of these are taken: moving the rest for each piece that is would cost its square.
    taken: usize,
    /// How many came before these.
    before: u64,
    has_ended: bool,
}

impl Input {
    /// What has come and was not taken.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Where the next byte stands in all that the client sends.
    pub(super) fn position(&self) -> u64 {
        self.before + self.taken as u64
    }

    /// The memory that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// The client sends nothing more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Nothing more is to be had of the client.
    pub(super) fn is_used_up(&self) -> bool {
        self.has_ended && self.is_empty()
    }

    pub(super) fn take(&mut self, count: usize, buffers: &Buffers) {
        self.taken += count;
        if self.taken == self.bytes.len() {
            self.forget_taken();
            buffers.give_write(&mut self.bytes);
        }
    }

    /// All that is left, at its exact size.
    pub(super) fn take_all(&mut self, buffers: &Buffers) -> Vec<u8> {
        let all = self.bytes().to_vec();
        self.take(all.len(), buffers);
        all
    }

    fn forget_taken(&mut self) {
        self.bytes.drain(..self.taken);
        self.before += std::mem::take(&mut self.taken) as u64;
    }

    /// Reads so many bytes at most, which nobody wants. Ready once there were some, or the client has
    /// ended.
    pub(super) fn poll_drop(
        &mut self,
        most: usize,
        read: &mut ReadHalf,
        buffers: &Buffers,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.take(self.bytes().len(), buffers);
        buffers.with_read(|buffer| {
            let mut buffer = ReadBuf::new(&mut buffer[..most]);
            let polled = Pin::new(read).poll_read(context, &mut buffer);
            self.has_ended |= matches!(polled, Poll::Ready(Ok(()))) && buffer.filled().is_empty();
            self.before += buffer.filled().len() as u64;
            polled
        })
    }

    /// Reads once. Ready once there is more, or the client has ended.
    pub(super) fn poll_fill(
        &mut self,
        read: &mut ReadHalf,
        buffers: &Buffers,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        buffers.with_read(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(read).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    self.has_ended |= buffer.filled().is_empty();
                    if self.bytes.capacity() == 0 {
                        self.bytes = buffers.take_write();
                    }
                    if self.taken >= self.bytes.len() / 2 {
                        self.forget_taken();
                    }
                    self.bytes.extend_from_slice(buffer.filled());
                    Poll::Ready(Ok(()))
                }
                other => other,
            }
        })
    }
}
