//! Who in this worker listens to which channel, and whose publish waits for its answer.
//!
//! All goes over the first link, so that what one object publishes keeps its order. The walk:
//! `publish` -> `channel:publish` … `channel:published` -> `answer`; `channel:message` ->
//! `deliver` -> inboxes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use shovel_protocol::control;
use shovel_protocol::{PublishToken, ToSupervisor};
use tokio::sync::oneshot;

use super::link::{Full, Link};
use crate::channel::Inbox;
use crate::lock::lock;
use crate::{Message, PublishError, Published};

/// Channels of this worker.
pub(crate) struct Switchboard {
    link: Arc<Link>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listeners: HashMap<Box<str>, Vec<Arc<Inbox>>>,
    /// By token; each is taken by its answer, which always comes.
    questions: HashMap<u64, oneshot::Sender<Published>>,
    next_question: u32,
    ended: bool,
}

impl Switchboard {
    pub(crate) fn new(first_link: Arc<Link>) -> Self {
        Switchboard { link: first_link, state: Mutex::default() }
    }

    /// Publishes and waits for the answer.
    pub(crate) async fn publish(
        &self,
        publisher: u32,
        channel: &str,
        message: &Message,
    ) -> Result<Published, PublishError> {
        let (len, limit_bytes) = (message.len(), self.link.max_message_bytes);
        if len > limit_bytes {
            return Err(PublishError::TooLong { len, limit_bytes });
        }
        loop {
            self.link.wait_for_room().await;
            if let Some(answer) = self.try_ask(publisher, channel, message)? {
                return answer.await.map_err(|_| PublishError::Ended);
            }
        }
    }

    /// What became of a publish.
    pub(crate) fn answer(&self, token: PublishToken, published: control::Published) {
        let asked = lock(&self.state).questions.remove(&token.to_wire());
        if let Some(asked) = asked {
            let control::Published { delivered, dropped, closed } = published;
            // Nobody waits any more if the publishing future was dropped.
            let _ = asked.send(Published { delivered, dropped, closed });
        }
    }

    /// A message for all who listen.
    pub(crate) fn deliver(&self, token: PublishToken, channel: &str, message: &Message) {
        let state = lock(&self.state);
        for inbox in state.listeners.get(channel).into_iter().flatten() {
            inbox.push(token, message.clone());
        }
    }

    /// Adds an inbox. The first on a channel subscribes this worker.
    pub(crate) fn listen(&self, channel: &str, inbox: &Arc<Inbox>) {
        let mut state = lock(&self.state);
        if state.ended {
            inbox.end();
            return;
        }
        if let Some(inboxes) = state.listeners.get_mut(channel) {
            inboxes.push(inbox.clone());
            return;
        }
        state.listeners.insert(channel.into(), vec![inbox.clone()]);
        self.link.put(LANE, &ToSupervisor::Subscribe { channel });
    }

    /// Removes an inbox. The last on a channel unsubscribes this worker.
    pub(crate) fn unlisten(&self, channel: &str, inbox: &Arc<Inbox>) {
        let mut state = lock(&self.state);
        let Some(inboxes) = state.listeners.get_mut(channel) else { return };
        inboxes.retain(|other| !Arc::ptr_eq(other, inbox));
        if inboxes.is_empty() {
            state.listeners.remove(channel);
            self.link.put(LANE, &ToSupervisor::Unsubscribe { channel });
        }
    }

    /// The supervisor has not subscribed this worker: nothing comes on that channel.
    pub(crate) fn refuse(&self, channel: &str) {
        let refused = lock(&self.state).listeners.remove(channel);
        if let Some(inboxes) = refused {
            tracing::error!(channel, "too many subscriptions: nothing is received on a channel");
            inboxes.iter().for_each(|inbox| inbox.end());
        }
    }

    /// The supervisor is gone: nothing comes any more, and no answer.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        let State { listeners, .. } = std::mem::take(&mut *state);
        state.ended = true;
        listeners.values().flatten().for_each(|inbox| inbox.end());
    }

    /// Puts a publish on the link; `None` if it has no room.
    fn try_ask(
        &self,
        publisher: u32,
        channel: &str,
        message: &Message,
    ) -> Result<Option<oneshot::Receiver<Published>>, PublishError> {
        let mut state = lock(&self.state);
        if state.ended {
            return Err(PublishError::Ended);
        }
        let token = state.next_token(publisher);
        let (kind, data) = (message.kind(), message.as_bytes());
        let publish = ToSupervisor::Publish { token, channel, kind, data };
        if let Err(Full) = self.link.try_put(LANE, &publish) {
            return Ok(None);
        }
        let (asked, answer) = oneshot::channel();
        state.questions.insert(token.to_wire(), asked);
        Ok(Some(answer))
    }
}

impl State {
    fn next_token(&mut self, publisher: u32) -> PublishToken {
        loop {
            self.next_question = self.next_question.wrapping_add(1);
            let token = PublishToken { publisher, question: self.next_question };
            // 0 asks for no answer.
            if token.question != 0 && !self.questions.contains_key(&token.to_wire()) {
                return token;
            }
        }
    }
}

/// Frames of this worker itself keep their order: one id for all of them.
const LANE: u64 = u64::MAX;
