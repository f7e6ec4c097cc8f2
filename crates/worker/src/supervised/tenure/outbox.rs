//! What waits for a client: asked of the supervisor, which alone knows.
//!
//! Who asks may stop waiting at any time, so questions are forgotten by whoever asks the next, and not by
//! the supervisor: it keeps one of a connection, however many there are here.

use shovel_protocol::control::{AskFields, OutboxFields};
use shovel_protocol::{OutboxQuestion, ToSupervisor};
use tokio::sync::oneshot;

use super::{Decided, SharedTenure};
use crate::OutboxError;
use crate::lock::lock;

/// What was asked of a connection and is not answered.
#[derive(Default)]
pub(super) struct Questions {
    newest: u64,
    waiting: Vec<Asked>,
}

struct Asked {
    token: u64,
    question: OutboxQuestion,
    /// `None` if the client has gone.
    answer: oneshot::Sender<Option<u64>>,
}

impl SharedTenure {
    /// Asks what waits for the client, or waits until nothing does; returns the bytes that do.
    pub(crate) async fn ask(&self, question: OutboxQuestion) -> Result<u64, OutboxError> {
        let answer = self.begin_question(question)?;
        // An answer that has come counts even if the connection has ended since. Both only wait.
        tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) | Err(_) => Err(end_of(&lock(&self.state).decided)),
            },
            () = self.closed() => Err(end_of(&lock(&self.state).decided)),
        }
    }

    /// The supervisor has answered.
    pub(crate) fn take_outbox(&self, OutboxFields { token, bytes }: OutboxFields) {
        lock(&self.state).questions.answer(token, bytes);
    }

    fn begin_question(
        &self,
        question: OutboxQuestion,
    ) -> Result<oneshot::Receiver<Option<u64>>, OutboxError> {
        let mut state = lock(&self.state);
        if state.decided.is_offered() {
            return Err(OutboxError::NotAccepted);
        }
        if state.decided.is_over() {
            return Err(end_of(&state.decided));
        }
        if !self.link.tells_outbox {
            return Err(OutboxError::Unsupported);
        }
        let (token, answer) = state.questions.ask(question);
        let (connection, ask) = (self.wire, AskFields { token, question });
        self.link.put(connection.to_wire(), &ToSupervisor::Ask { connection, ask });
        Ok(answer)
    }
}

/// Why nobody answers.
fn end_of(decided: &Decided) -> OutboxError {
    if decided.has_moved() { OutboxError::Moved } else { OutboxError::Closed }
}

impl Questions {
    fn ask(&mut self, question: OutboxQuestion) -> (u64, oneshot::Receiver<Option<u64>>) {
        self.waiting.retain(|asked| !asked.answer.is_closed());
        self.newest += 1;
        let (answer, receiver) = oneshot::channel();
        self.waiting.push(Asked { token: self.newest, question, answer });
        (self.newest, receiver)
    }

    /// Answers all that this tells of: the question with this token; if nothing waits, those before it
    /// that waited for that; if the client has gone, all.
    fn answer(&mut self, token: u64, bytes: Option<u64>) {
        let is_answered = |asked: &mut Asked| match (bytes, asked.question) {
            (None, _) => true,
            (Some(bytes), OutboxQuestion::Empty) => bytes == 0 && asked.token <= token,
            (Some(_), OutboxQuestion::Bytes) => asked.token == token,
        };
        for asked in self.waiting.extract_if(.., is_answered) {
            // An error says that nobody waits any more.
            let _ = asked.answer.send(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OutboxQuestion::{Bytes, Empty};
    use super::*;

    #[test]
    fn an_empty_outbox_answers_all_who_waited_for_that_before() {
        let mut questions = Questions::default();
        let (_, mut first) = questions.ask(Empty);
        let (bytes_token, mut bytes) = questions.ask(Bytes);
        let (empty_token, mut second) = questions.ask(Empty);
        let (_, mut third) = questions.ask(Empty);
        questions.answer(bytes_token, Some(7));
        assert_eq!(bytes.try_recv(), Ok(Some(7)));
        assert!(first.try_recv().is_err());
        questions.answer(empty_token, Some(0));
        assert_eq!((first.try_recv(), second.try_recv()), (Ok(Some(0)), Ok(Some(0))));
        assert!(third.try_recv().is_err());
        let (_, mut fourth) = questions.ask(Bytes);
        questions.answer(9, None);
        assert_eq!((third.try_recv(), fourth.try_recv()), (Ok(None), Ok(None)));
        assert!(questions.waiting.is_empty());
    }

    #[test]
    fn how_much_waits_now_says_nothing_of_what_is_asked_later() {
        let mut questions = Questions::default();
        let (now_token, mut now) = questions.ask(Bytes);
        let (_, mut later) = questions.ask(Bytes);
        questions.answer(now_token, Some(0));
        assert_eq!(now.try_recv(), Ok(Some(0)));
        assert!(later.try_recv().is_err());
    }

    #[test]
    fn whoever_no_longer_waits_is_forgotten_by_the_next() {
        let mut questions = Questions::default();
        for _ in 0..10 {
            drop(questions.ask(Empty));
        }
        let (token, _waits) = questions.ask(Empty);
        assert_eq!((token, questions.waiting.len()), (11, 1));
    }
}
