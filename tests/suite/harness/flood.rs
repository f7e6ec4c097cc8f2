//! A client that writes as much as is taken and reads nothing.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shovel_tests::{Raw, masked_frame, within};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A write that the kernel does not take for so long is one that nobody reads.
const STUCK: Duration = Duration::from_millis(300);

/// Such a client, which writes until its connection ends.
pub(crate) struct Flood {
    stuck: Arc<Notify>,
    writing: JoinHandle<()>,
}

impl Flood {
    /// Upgrades, and begins.
    pub(crate) async fn start(address: SocketAddr, path: &str) -> Flood {
        let mut raw = Raw::websocket(address, path).await;
        let stuck = Arc::new(Notify::new());
        let told = stuck.clone();
        let writing = tokio::spawn(async move {
            let message = masked_frame(0x82, &[b'x'; 16 << 10]);
            loop {
                let mut write = pin!(raw.try_write(&message));
                let taken = match timeout(STUCK, write.as_mut()).await {
                    Ok(taken) => taken,
                    Err(_elapsed) => {
                        told.notify_one();
                        write.await
                    }
                };
                if !taken {
                    return;
                }
            }
        });
        Flood { stuck, writing }
    }

    /// Waits until the pool reads no more of it.
    pub(crate) async fn wait_until_stuck(&self) {
        within("a flood that is held back", self.stuck.notified()).await;
        assert!(!self.writing.is_finished(), "the connection has ended");
    }

    /// Waits until the pool has ended the connection.
    pub(crate) async fn wait_until_ended(self) {
        within("the end of a flood", self.writing).await.unwrap();
    }
}
