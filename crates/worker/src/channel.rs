//! Channels: named streams of messages across all workers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use shovel_protocol::PublishToken;
use shovel_protocol::limits::{CHANNEL_NAME_BYTES, MESSAGE_OVERHEAD_BYTES};
use tokio::sync::Notify;

use crate::Message;
use crate::lock::lock;
use crate::supervised::switchboard::Switchboard;

/// Most messages that wait in one subscription.
const INBOX_MESSAGES: usize = 1024;

/// Most bytes that wait in one subscription; one message always may.
const INBOX_BYTES: usize = 1024 * 1024;

/// Opens channels. A clone does the same, inside handlers and outside.
///
/// Every event has them; a clone may be kept where no event is at hand.
///
/// ```
/// use shovel_worker::{Channels, Error, Published};
///
/// struct Alarm {
///     channels: Channels,
/// }
///
/// impl Alarm {
///     async fn sound(&self) -> Result<Published, Error> {
///         Ok(self.channels.channel("alarm")?.publish("fire").await?)
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Channels {
    pub(crate) switchboard: Arc<Switchboard>,
    next_publisher: Arc<AtomicU32>,
}

/// One party on a channel: it publishes to all others, and receives what they publish.
///
/// Others are the connections that are subscribed, on whatever worker, and the subscriptions of
/// every other `BroadcastChannel` of the name, in this worker and elsewhere. What is published by
/// an object is not received by itself, and its clones are the same object; opening the name
/// again makes another.
///
/// ```
/// use shovel_worker::{Error, FetchEvent, Published};
///
/// /// What anybody posts goes to every client that is subscribed.
/// async fn fetch(event: FetchEvent<()>) -> Result<String, Error> {
///     let channel = event.channel("news")?;
///     let Published { delivered, .. } = channel.publish("it rains").await?;
///     Ok(format!("{delivered} clients were told\n"))
/// }
/// ```
#[derive(Clone)]
pub struct BroadcastChannel {
    switchboard: Arc<Switchboard>,
    name: Arc<str>,
    publisher: u32,
}

/// Receives what others publish on a channel, until it is dropped.
///
/// At most 1,024 messages or 1 MiB wait in it. Then the oldest make room, and
/// [`Subscription::take_missed`] counts them.
///
/// ```
/// use shovel_worker::{Error, StartEvent};
///
/// async fn start(event: StartEvent<()>) -> Result<(), Error> {
///     let mut settings = event.channel("settings")?.subscribe();
///     tokio::spawn(async move {
///         while let Some(message) = settings.recv().await {
///             println!("new settings: {message:?}");
///         }
///     });
///     Ok(())
/// }
/// ```
pub struct Subscription {
    switchboard: Arc<Switchboard>,
    name: Arc<str>,
    inbox: Arc<Inbox>,
}

/// What became of a publish, counted over the connections that were subscribed.
///
/// ```
/// use shovel_worker::{BroadcastChannel, PublishError};
///
/// async fn is_anybody_there(channel: &BroadcastChannel) -> Result<bool, PublishError> {
///     Ok(channel.publish("hello?").await?.delivered > 0)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Published {
    /// Queued for this many subscribers.
    pub delivered: u64,
    /// Not queued, because the subscriber is too slow.
    pub dropped: u64,
    /// Closed, because the subscriber is too slow.
    pub closed: u64,
}

/// Why a text cannot be a channel's name.
///
/// ```
/// use shovel_worker::{Channels, ChannelError};
///
/// fn explain(channels: &Channels) -> Option<ChannelError> {
///     // "a channel's name has 1 to 1024 bytes, this one 0"
///     channels.channel("").err()
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a channel's name has 1 to {CHANNEL_NAME_BYTES} bytes, this one {name_bytes}")]
pub struct ChannelError {
    name_bytes: usize,
}

/// Why a message was not published.
///
/// ```
/// use shovel_worker::{BroadcastChannel, PublishError};
///
/// async fn publish(channel: &BroadcastChannel, report: String) -> Result<(), PublishError> {
///     match channel.publish(report).await {
///         Err(PublishError::TooLong { .. }) => channel.publish("see the log").await.map(drop),
///         other => other.map(drop),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The channel has an impossible name.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The message is longer than the supervisor allows.
    #[error("message has {len} bytes; at most {limit_bytes} are allowed by --max-message-size")]
    TooLong {
        /// Of the message, in bytes.
        len: usize,
        /// The supervisor's `--max-message-size`.
        limit_bytes: usize,
    },
    /// The fetch handler did over 16 MiB, or over 65,536 things, to the connection before it was accepted.
    #[error("too much was sent before the connection was accepted; return the upgrade first")]
    TooMuch,
    /// Another worker has the connection by now, so nothing is published through it here.
    #[error("the connection has moved to another worker")]
    Moved,
    /// The supervisor is gone; this process is about to end.
    #[error("the supervisor is gone")]
    Ended,
}

impl Channels {
    pub(crate) fn new(switchboard: Arc<Switchboard>) -> Self {
        Channels { switchboard, next_publisher: Arc::default() }
    }

    /// Opens a channel: a party of its own on it.
    ///
    /// ```
    /// use shovel_worker::{BroadcastChannel, ChannelError, Channels};
    ///
    /// fn room(channels: &Channels, number: u32) -> Result<BroadcastChannel, ChannelError> {
    ///     channels.channel(&format!("room:{number}"))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ChannelError`] unless the name has 1 to 1,024 bytes.
    pub fn channel(&self, name: &str) -> Result<BroadcastChannel, ChannelError> {
        check_name(name)?;
        let mut publisher = 0;
        // 0 is nobody in particular.
        while publisher == 0 {
            publisher = self.next_publisher.fetch_add(1, Ordering::Relaxed);
        }
        let switchboard = self.switchboard.clone();
        Ok(BroadcastChannel { switchboard, name: name.into(), publisher })
    }
}

impl BroadcastChannel {
    /// The channel's name.
    ///
    /// ```
    /// # use shovel_worker::BroadcastChannel;
    /// fn room(channel: &BroadcastChannel) -> Option<&str> {
    ///     channel.name().strip_prefix("room:")
    /// }
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Publishes a message and waits to hear what became of it. Never waits for a subscriber.
    ///
    /// Messages that are published one after the other arrive in that order.
    ///
    /// ```
    /// # use shovel_worker::{BroadcastChannel, PublishError};
    /// async fn count_down(channel: &BroadcastChannel) -> Result<(), PublishError> {
    ///     for number in (1..=3).rev() {
    ///         channel.publish(number.to_string()).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`PublishError::TooLong`] and [`PublishError::Ended`].
    ///
    /// # Cancel safety
    /// The message may have been published or not.
    pub async fn publish(&self, message: impl Into<Message>) -> Result<Published, PublishError> {
        self.switchboard.publish(self.publisher, &self.name, &message.into()).await
    }

    /// Receives from now on what others publish.
    ///
    /// ```
    /// # use shovel_worker::{BroadcastChannel, Message};
    /// async fn ask(channel: &BroadcastChannel) -> Option<Message> {
    ///     // Subscribed before the question is published, so that no answer is missed.
    ///     let mut answers = channel.subscribe();
    ///     channel.publish("who is there?").await.ok()?;
    ///     answers.recv().await
    /// }
    /// ```
    pub fn subscribe(&self) -> Subscription {
        let inbox = Arc::new(Inbox::new(self.publisher));
        self.switchboard.listen(&self.name, &inbox);
        let (switchboard, name) = (self.switchboard.clone(), self.name.clone());
        Subscription { switchboard, name, inbox }
    }
}

impl Subscription {
    /// Waits for the next message. `None` once nothing will come and nothing is left: the supervisor
    /// is gone, or has refused the subscription, since this worker has `--max-channels-per-worker`
    /// or there are `--max-subscriptions` in all. The log tells.
    ///
    /// ```
    /// # use shovel_worker::Subscription;
    /// async fn print_all(mut subscription: Subscription) {
    ///     while let Some(message) = subscription.recv().await {
    ///         println!("{message:?}");
    ///     }
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// No message is lost.
    pub async fn recv(&mut self) -> Option<Message> {
        loop {
            match self.inbox.pop() {
                Popped::Message(message) => return Some(message),
                Popped::Ended => return None,
                Popped::Nothing => self.inbox.arrived.notified().await,
            }
        }
    }

    /// How many messages were dropped since this was last called, because too many waited.
    ///
    /// ```
    /// # use shovel_worker::Subscription;
    /// async fn follow(mut subscription: Subscription) {
    ///     while let Some(message) = subscription.recv().await {
    ///         if subscription.take_missed() > 0 {
    ///             println!("some are missing before {message:?}");
    ///         }
    ///     }
    /// }
    /// ```
    pub fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut lock(&self.inbox.state).missed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.switchboard.unlisten(&self.name, &self.inbox);
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), ChannelError> {
    match name.len() {
        1..=CHANNEL_NAME_BYTES => Ok(()),
        name_bytes => Err(ChannelError { name_bytes }),
    }
}

/// The messages that wait in a subscription.
pub(crate) struct Inbox {
    publisher: u32,
    state: Mutex<Unread>,
    arrived: Notify,
}

#[derive(Default)]
struct Unread {
    messages: VecDeque<Message>,
    bytes: usize,
    missed: u64,
    ended: bool,
}

enum Popped {
    Message(Message),
    Nothing,
    Ended,
}

impl Inbox {
    fn new(publisher: u32) -> Self {
        Inbox { publisher, state: Mutex::default(), arrived: Notify::new() }
    }

    /// Takes a message in, unless its own object has published it.
    pub(crate) fn push(&self, token: PublishToken, message: Message) {
        if self.publisher == token.publisher {
            return;
        }
        let mut state = lock(&self.state);
        state.bytes += cost(&message);
        state.messages.push_back(message);
        while state.messages.len() > INBOX_MESSAGES
            || (state.bytes > INBOX_BYTES && state.messages.len() > 1)
        {
            state.drop_oldest();
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Nothing will come any more.
    pub(crate) fn end(&self) {
        lock(&self.state).ended = true;
        self.arrived.notify_one();
    }

    fn pop(&self) -> Popped {
        let mut state = lock(&self.state);
        match state.messages.pop_front() {
            Some(message) => {
                state.bytes -= cost(&message);
                Popped::Message(message)
            }
            None if state.ended => Popped::Ended,
            None => Popped::Nothing,
        }
    }
}

impl Unread {
    fn drop_oldest(&mut self) {
        if let Some(message) = self.messages.pop_front() {
            self.bytes -= cost(&message);
            self.missed += 1;
        }
    }
}

fn cost(message: &Message) -> usize {
    message.len() + MESSAGE_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_messages_make_room_and_are_counted() {
        let inbox = Inbox::new(1);
        for number in 0..INBOX_MESSAGES + 2 {
            inbox.push(PublishToken::NONE, number.to_string().into());
        }
        assert_eq!(lock(&inbox.state).missed, 2);
        let Popped::Message(first) = inbox.pop() else { panic!("nothing waits") };
        assert_eq!(first.as_text(), Some("2"));
    }

    #[test]
    fn one_message_over_the_bound_is_kept() {
        let inbox = Inbox::new(1);
        inbox.push(PublishToken::NONE, "small".into());
        inbox.push(PublishToken::NONE, vec![0; INBOX_BYTES * 2].into());
        assert!(matches!(inbox.pop(), Popped::Message(Message::Binary(_))));
        assert_eq!(lock(&inbox.state).bytes, 0);
    }
}
