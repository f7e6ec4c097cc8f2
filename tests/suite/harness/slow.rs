//! A client that reads slowly and without a pause, with little room in its kernel.

use std::time::Duration;

use shovel_tests::{Pool, Raw, RawFrame};

/// So much is read at a time.
const PART_BYTES: usize = 64 << 10;

/// Between two parts: some 2 MB/s.
const PAUSE: Duration = Duration::from_millis(30);

/// Such a client.
pub(crate) struct Slow(pub(crate) Raw);

impl Slow {
    pub(crate) async fn connect(pool: &Pool, path: &str) -> Slow {
        Slow(Raw::websocket_with_little_room(pool.address(), path).await)
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_frame(1, text.as_bytes()).await;
    }

    /// The next frame that is no ping. A ping is answered when its turn has come.
    pub(crate) async fn frame(&mut self) -> RawFrame {
        loop {
            let (opcode, len) = self.0.frame_head().await;
            let mut payload = Vec::new();
            while payload.len() < len {
                let part = self.0.take(PART_BYTES.min(len - payload.len())).await;
                payload.extend_from_slice(&part);
                tokio::time::sleep(PAUSE * part.len() as u32 / PART_BYTES as u32).await;
            }
            if opcode != 9 {
                return RawFrame { opcode, payload };
            }
            self.0.write_frame(10, &payload).await;
        }
    }
}
