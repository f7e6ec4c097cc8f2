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
    has_ended: bool,
}

impl Input {
    /// What has come and was not taken.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The client sends nothing more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Nothing more is to be had of the client.
    pub(super) fn is_used_up(&self) -> bool {
        self.has_ended && self.bytes.is_empty()
    }

    pub(super) fn take(&mut self, count: usize, buffers: &Buffers) {
        if count == self.bytes.len() {
            buffers.give_write(&mut self.bytes);
        } else {
            self.bytes.drain(..count);
        }
    }

    /// All that is left, at its exact size.
    pub(super) fn take_all(&mut self, buffers: &Buffers) -> Vec<u8> {
        let all = self.bytes.to_vec();
        buffers.give_write(&mut self.bytes);
        all
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
                    self.bytes.extend_from_slice(buffer.filled());
                    Poll::Ready(Ok(()))
                }
                other => other,
            }
        })
    }
}
