//! Echo load: so many clients, each with so many messages under way, for so long; then the CPU
//! time per message of a server and everything it started.
//!
//! `shovel-bench PID URL [CLIENTS] [UNDER_WAY] [BYTES] [SECONDS]`, on loopback only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use shovel_bench::{connect, cpu_seconds_of_family};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [pid, address, path, rest @ ..] = &args[..] else {
        bail!(
            "usage: shovel-bench PID 127.0.0.1:PORT PATH [CLIENTS] [UNDER_WAY] [BYTES] [SECONDS]"
        );
    };
    let number = |at: usize, default: usize| -> anyhow::Result<usize> {
        rest.get(at).map_or(Ok(default), |text| text.parse().context("not a number"))
    };
    if !address.starts_with("127.0.0.1:") {
        bail!("benchmarks run on loopback only");
    }
    let (clients, under_way, bytes) = (number(0, 64)?, number(1, 16)?, number(2, 64)?);
    let seconds = number(3, 5)?.min(120);
    let pid: u32 = pid.parse().context("not a pid")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let echoed = Arc::new(AtomicU64::new(0));
        for _ in 0..clients {
            let socket = connect(address, path).await?;
            tokio::spawn(keep_under_way(socket, under_way, bytes, echoed.clone()));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (count, cpu, start) = (echoed.load(Relaxed), cpu_seconds_of_family(pid), Instant::now());
        tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
        let count = echoed.load(Relaxed) - count;
        let (cpu, wall) = (cpu_seconds_of_family(pid) - cpu, start.elapsed().as_secs_f64());
        println!(
            "{clients} clients, {under_way} under way, {bytes} B: {:.0} messages/s, {:.3} us of CPU per message",
            count as f64 / wall,
            cpu * 1e6 / count as f64
        );
        Ok(())
    })
}

async fn keep_under_way(
    mut socket: TcpStream,
    under_way: usize,
    bytes: usize,
    echoed: Arc<AtomicU64>,
) {
    let sent = frame(bytes, true);
    let echo_len = frame(bytes, false).len();
    let batch = sent.repeat(under_way);
    let (mut buffer, mut partial, mut owed) = (vec![0; 256 * 1024], 0, under_way);
    while owed == 0 || socket.write_all(&batch[..owed * sent.len()]).await.is_ok() {
        let Ok(read) = socket.read(&mut buffer).await else { return };
        if read == 0 {
            return;
        }
        partial += read;
        owed = partial / echo_len;
        partial %= echo_len;
        echoed.fetch_add(owed as u64, Relaxed);
    }
}

fn frame(bytes: usize, masked: bool) -> Vec<u8> {
    let mask = u8::from(masked) << 7;
    let mut frame = vec![0x82];
    match bytes {
        0..126 => frame.push(mask | bytes as u8),
        126..65_536 => {
            frame.push(mask | 126);
            frame.extend((bytes as u16).to_be_bytes());
        }
        _ => {
            frame.push(mask | 127);
            frame.extend((bytes as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend([1, 2, 3, 4]);
    }
    frame.extend(vec![b'x'; bytes]);
    frame
}
