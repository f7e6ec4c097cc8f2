//! What workers print, line by line, marked with worker and pid.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use shovel_protocol::WorkerId;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// A line longer than this is cut into several.
const LINE_BYTES: usize = 16 * 1024;

/// Lines kept for the day that the pool cannot start.
const LAST_LINES: usize = 20;

/// The last lines that any worker wrote to stderr.
#[derive(Clone, Debug, Default)]
pub struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Which of its two streams a worker writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Passes a worker's output on until it ends.
pub async fn pass_on(
    worker: WorkerId,
    pid: u32,
    stream: Stream,
    from: impl AsyncRead + Unpin,
    last_words: LastWords,
) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while let Some(text) = next_line(&mut from, &mut line).await {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => {
                last_words.push(&text);
                "stderr"
            }
        };
        tracing::info!(%worker, pid, stream = name, line = %text, "worker output");
    }
}

/// The next line without its end; `None` at the end of the stream.
async fn next_line(
    from: &mut (impl AsyncBufReadExt + Unpin),
    line: &mut Vec<u8>,
) -> Option<String> {
    line.clear();
    loop {
        let available = from.fill_buf().await.ok()?;
        if available.is_empty() && line.is_empty() {
            return None;
        }
        let room = LINE_BYTES - line.len();
        let end = available.iter().take(room).position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len().min(room));
        line.extend_from_slice(&available[..taken]);
        let is_over = end.is_some() || available.is_empty() || line.len() == LINE_BYTES;
        from.consume(taken + usize::from(end.is_some()));
        if is_over {
            return Some(String::from_utf8_lossy(line).trim_end_matches('\r').to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_one_by_one_and_endless_ones_in_parts() {
        let mut text = b"one\r\ntwo\n\n".to_vec();
        text.extend(vec![b'x'; LINE_BYTES + 5]);
        let (mut from, mut line) = (BufReader::new(&text[..]), Vec::new());
        let mut lines = Vec::new();
        while let Some(text) = next_line(&mut from, &mut line).await {
            lines.push(text);
        }
        let lens: Vec<_> = lines.iter().map(String::len).collect();
        assert_eq!(&lines[..3], ["one", "two", ""]);
        assert_eq!(lens[3..], [LINE_BYTES, 5]);
    }
}
