//! The SDK's half of transfer: what a handler does is written with its commit, and nothing else
//! about a connection that leaves.
//!
//! Frames are words here, and each test reads like what a link carries.

mod ending;
mod leaving;
mod pressure;
mod staging;

use shovel_core::tenure::{
    Accepted, Answer, Attach, Conclusion, Deed, Destination, Next, OFFERED_ACTS, OnPressure,
    Outcome, Refused, STAGED_ACTS, STAGED_BYTES, Staging, Tenure, What,
};

/// What waits, word by word; a word is as long as a test wants it to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Words {
    words: Vec<String>,
    bytes: usize,
}

impl Staging for Words {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn acts(&self) -> usize {
        self.words.len()
    }

    fn clear(&mut self) {
        *self = Words::default();
    }
}

/// A tenure and its link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Side {
    tenure: Tenure<&'static str, Words, &'static str>,
    link: Vec<String>,
}

impl Side {
    fn new(tenure: Tenure<&'static str, Words, &'static str>) -> Self {
        Side { tenure, link: Vec::new() }
    }

    /// Accepted, and of nothing but this worker.
    fn plain() -> Self {
        let mut side = Side::new(Tenure::offered());
        side.accept(false);
        side
    }

    /// Accepted with "first" attached.
    fn portable() -> Self {
        let mut side = Side::new(Tenure::offered());
        side.tenure.make_portable();
        side.attach("first");
        side.accept(true);
        side.link.clear();
        side
    }

    /// Adopted, with its adopt handler running. Four events are finished.
    fn adopting(pressed: bool) -> Self {
        let mut side = Side::new(Tenure::adopted(4, pressed, "before"));
        assert_eq!(side.tenure.begin(What::Adopt, "adopt"), Some(Next::Handle("adopt")));
        side
    }

    fn accept(&mut self, is_portable: bool) {
        let Some(Accepted { acts, portable }) = self.tenure.accept() else {
            panic!("was given up")
        };
        assert_eq!(portable, is_portable);
        self.link.push(format!("upgrade with {:?}", acts.words));
    }

    fn message(&mut self, seq: u64) -> Option<Next<&'static str>> {
        self.tenure.begin(What::Message(seq), "message")
    }

    /// A message whose handler runs now.
    fn begin(&mut self, seq: u64) {
        assert_eq!(self.message(seq), Some(Next::Handle("message")));
    }

    fn act(&mut self, word: &str, deed: Deed, bytes: usize) -> Result<(), Refused> {
        loop {
            match self.tenure.act(deed)? {
                Destination::Now => self.link.push(format!("{word} now")),
                Destination::Staged(words) | Destination::Offered(words) => {
                    words.words.push(word.to_owned());
                    words.bytes += bytes;
                }
                Destination::Full(flush) => {
                    flush.take(|words, owed| let_out(&mut self.link, words, owed));
                    continue;
                }
            }
            return Ok(());
        }
    }

    fn send(&mut self, word: &str) -> Result<(), Refused> {
        self.act(word, Deed::Send { bytes: word.len() }, word.len())
    }

    fn publish(&mut self, word: &str) -> Result<(), Refused> {
        self.act(word, Deed::Publish { bytes: word.len() }, word.len())
    }

    fn close(&mut self) -> Result<(), Refused> {
        self.act("close", Deed::Close, 5)
    }

    fn attach(&mut self, attachment: &'static str) {
        match self.tenure.attach(attachment) {
            Attach::Now(attachment) => self.link.push(format!("attach {attachment} now")),
            Attach::Offered(words, attachment) => words.words.push(format!("attach {attachment}")),
            Attach::AtEnd | Attach::Nowhere => {}
            Attach::NotPortable => self.link.push("not portable".to_owned()),
        }
    }

    fn flush(&mut self) {
        if let Some(flush) = self.tenure.flush() {
            flush.take(|words, owed| let_out(&mut self.link, words, owed));
        }
    }

    fn end(&mut self, outcome: Outcome) -> Option<Next<&'static str>> {
        self.tenure.end(outcome, |conclusion| put(&mut self.link, conclusion))
    }

    fn done(&mut self) -> Option<Next<&'static str>> {
        self.end(Outcome::Done)
    }

    /// What was written since this was asked last.
    fn written(&mut self) -> String {
        std::mem::take(&mut self.link).join(", ")
    }
}

fn let_out(link: &mut Vec<String>, words: &mut Words, owed: u32) {
    link.extend(words.words.iter().map(|word| format!("{word} during")));
    link.extend((0..owed).map(|_| "pressed".to_owned()));
}

fn put(link: &mut Vec<String>, conclusion: Conclusion<'_, Words, &'static str>) {
    match conclusion {
        Conclusion::Plain { seq, is_next } => link.push(commit(seq, is_next)),
        Conclusion::Portable { attachment, staged, answer, owed } => {
            link.extend(attachment.map(|attachment| format!("attach {attachment}")));
            link.append(&mut staged.words);
            link.push(match answer {
                Answer::Commit { seq, is_next } => commit(seq, is_next),
                Answer::Adopted { taken: true } => "adopted".to_owned(),
                Answer::Adopted { taken: false } => "refused".to_owned(),
                Answer::Released { handled, started } => format!("released {handled} {started}"),
            });
            link.extend((0..owed).map(|_| "pressed".to_owned()));
        }
    }
}

fn commit(seq: u64, is_next: bool) -> String {
    if is_next { format!("commit {seq}") } else { format!("commit up to {seq}") }
}
