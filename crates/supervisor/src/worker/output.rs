//! What workers print, line by line, marked with worker and pid.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use shovel_protocol::WorkerId;
use shovel_scribe::plain::plain;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::log;

/// The target of what workers print.
pub const TARGET: &str = module_path!();

/// A line longer than this is cut into several, between two characters.
const LINE_BYTES: usize = 16 * 1024;

/// Lines kept in case the pool cannot start.
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
        // A log that is slow holds the worker up, as its reader would without us.
        log::room().await;
        tracing::info!(target: TARGET, %worker, pid, stream = name, line = %text, "worker output");
    }
}

/// The next line without its end; `None` at the end of the stream. `line` keeps between two calls
/// what was cut off.
async fn next_line(
    from: &mut (impl AsyncBufReadExt + Unpin),
    line: &mut Vec<u8>,
) -> Option<String> {
    loop {
        let available = from.fill_buf().await.ok()?;
        if available.is_empty() && line.is_empty() {
            return None;
        }
        let room = LINE_BYTES - line.len();
        let end = available.iter().take(room).position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len().min(room));
        line.extend_from_slice(&available[..taken]);
        let is_whole = end.is_some() || available.is_empty();
        from.consume(taken + usize::from(end.is_some()));
        if is_whole {
            return Some(plain(take_text(line, 0).trim_end_matches('\r')).into_owned());
        }
        if line.len() == LINE_BYTES {
            let begun = begun_bytes(line);
            return Some(plain(&take_text(line, begun)).into_owned());
        }
    }
}

/// What is not UTF-8 is replaced. All but the last bytes, which stay.
fn take_text(line: &mut Vec<u8>, staying_bytes: usize) -> String {
    let text_bytes = line.len() - staying_bytes;
    let text = String::from_utf8_lossy(&line[..text_bytes]).into_owned();
    line.drain(..text_bytes);
    text
}

/// Bytes at the end that begin a character and do not end it.
fn begun_bytes(line: &[u8]) -> usize {
    match line.utf8_chunks().last().map(|chunk| chunk.invalid()) {
        // At most three bytes can lack their fourth. Whether they are wrong is not known yet.
        Some(begun @ [0xc2..=0xf4, ..]) if begun.len() <= 3 => begun.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(text: &[u8]) -> Vec<String> {
        let (mut from, mut line) = (BufReader::new(text), Vec::new());
        let mut lines = Vec::new();
        while let Some(text) = next_line(&mut from, &mut line).await {
            lines.push(text);
        }
        lines
    }

    #[tokio::test]
    async fn a_long_line_is_cut_between_two_characters() {
        for (before, character) in [(1, "é"), (1, "€"), (2, "€"), (3, "🚀"), (1, "🚀")] {
            let begin = "x".repeat(LINE_BYTES - before);
            let lines = lines_of(format!("{begin}{character}end\n").as_bytes()).await;
            assert_eq!(lines, [begin, format!("{character}end")]);
        }
    }

    #[tokio::test]
    async fn what_is_no_text_is_replaced() {
        assert_eq!(lines_of(b"a\xffb\n\xc3").await, ["a\u{fffd}b", "\u{fffd}"]);
        let mut begun = vec![b'x'; LINE_BYTES - 1];
        begun.push(0xff);
        begun.extend(b"rest");
        let lines = lines_of(&begun).await;
        assert!(lines[0].ends_with("x\u{fffd}"), "{}", &lines[0][LINE_BYTES - 2..]);
        assert_eq!(lines[1], "rest");
    }

    #[tokio::test]
    async fn lines_come_one_by_one_and_endless_ones_in_parts() {
        let mut text = b"one\r\ntwo\n\n".to_vec();
        text.extend(vec![b'x'; LINE_BYTES + 5]);
        let lines = lines_of(&text).await;
        let lens: Vec<_> = lines.iter().map(String::len).collect();
        assert_eq!(&lines[..3], ["one", "two", ""]);
        assert_eq!(lens[3..], [LINE_BYTES, 5]);
    }
}
