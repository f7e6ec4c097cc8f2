//! The settings of an app without a supervisor, which it reads from variables.
//!
//! Names, values and error texts are those of the supervisor's settings. These are the settings that
//! concern one I/O thread and the end; a test there compares the two. No clap here:
//! an app has a command line of its own.

use std::ffi::{OsStr, OsString};
use std::str::FromStr;
use std::time::Duration;

use shovel_edge::http;
use shovel_edge::listener::TcpTimeouts;

use super::{Settings, close_within, memory, units};

/// What the names of our variables begin with.
pub const PREFIX: &str = "SHOVEL_";

/// What was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// About connections and waits.
    pub settings: Settings,
    /// About requests.
    pub http: http::Settings,
    /// When clients are given up that are not there any more.
    pub tcp: TcpTimeouts,
    /// How long handlers and clients may take in the end.
    pub shutdown_timeout: Duration,
    /// Whether clients are told of the app's errors.
    pub dev: bool,
    /// Variables with our prefix that say nothing here: the pool's, or misspelt ones.
    pub unused: Vec<String>,
}

impl Default for Chosen {
    fn default() -> Self {
        Chosen {
            settings: Settings {
                client_memory_bytes: memory::share_bytes(),
                ..Settings::default()
            },
            http: http::Settings::default(),
            tcp: TcpTimeouts::default(),
            shutdown_timeout: Duration::from_secs(25),
            dev: false,
            unused: Vec::new(),
        }
    }
}

/// Reads a value into its place.
type Take = fn(&mut Chosen, &str) -> Result<(), String>;

/// What can be chosen: its key, from which its variable follows as a supervisor's does, and how it
/// is read.
const ONES: [(&str, Take); 30] = [
    ("max-connections", |chosen, text| {
        let limit = units::limit(text)?;
        chosen.settings.client_limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(())
    }),
    ("max-connections-per-ip", |chosen, text| {
        set(&mut chosen.http.clients_per_address, units::limit(text).map(Some))
    }),
    ("max-client-memory", |chosen, text| {
        set(&mut chosen.settings.client_memory_bytes, units::size(text))
    }),
    ("tcp-keepalive", |chosen, text| set(&mut chosen.tcp.keepalive, units::duration(text))),
    ("tcp-user-timeout", |chosen, text| set(&mut chosen.tcp.user_timeout, units::duration(text))),
    ("shutdown-timeout", |chosen, text| set(&mut chosen.shutdown_timeout, units::duration(text))),
    ("request-timeout", |chosen, text| {
        set(&mut chosen.settings.request_timeout, units::some_duration(text))
    }),
    ("upgrade-timeout", |chosen, text| {
        set(&mut chosen.settings.upgrade_timeout, units::some_duration(text))
    }),
    ("queue-timeout", |chosen, text| {
        set(&mut chosen.settings.queue_timeout, units::duration(text))
    }),
    ("max-header-size", |chosen, text| {
        set(&mut chosen.http.head.max_bytes, units::header_size(text))
    }),
    ("max-headers", |chosen, text| {
        set(&mut chosen.http.head.max_fields, units::header_count(text))
    }),
    ("max-body", |chosen, text| {
        set(&mut chosen.http.max_body_bytes, units::size(text).map(|bytes| Some(bytes as u64)))
    }),
    ("header-timeout", |chosen, text| {
        set(&mut chosen.http.header_timeout, units::some_duration(text))
    }),
    ("keep-alive-timeout", |chosen, text| {
        set(&mut chosen.http.keep_alive_timeout, units::some_duration(text))
    }),
    ("read-timeout", |chosen, text| {
        set(&mut chosen.http.read_timeout, units::some_duration(text))?;
        chosen.settings.ws.read_timeout = chosen.http.read_timeout;
        Ok(())
    }),
    ("write-timeout", |chosen, text| {
        set(&mut chosen.http.write_timeout, units::some_duration(text))?;
        chosen.settings.ws.write_timeout = chosen.http.write_timeout;
        Ok(())
    }),
    ("half-close", |chosen, text| set(&mut chosen.http.half_close, text.parse())),
    ("ping-interval", |chosen, text| {
        set(&mut chosen.settings.ws.ping_interval, units::some_duration(text))
    }),
    ("pong-timeout", |chosen, text| {
        set(&mut chosen.settings.ws.pong_timeout, units::some_duration(text))
    }),
    ("close-timeout", |chosen, text| {
        set(&mut chosen.settings.ws.close_timeout, units::some_duration(text))
    }),
    ("max-message-size", |chosen, text| {
        set(&mut chosen.settings.ws.max_message_bytes, units::size(text))
    }),
    ("max-message-rate", |chosen, text| {
        let rate = units::message_rate(text).map(Some);
        set(&mut chosen.settings.ws.max_messages_per_second, rate)
    }),
    ("outbox-limit", |chosen, text| {
        set(&mut chosen.settings.ws.outbox_limit_bytes, units::size(text))
    }),
    ("max-channels-per-connection", |chosen, text| {
        set(&mut chosen.settings.channels.per_connection, count(text))
    }),
    ("max-channels-per-worker", |chosen, text| {
        set(&mut chosen.settings.channels.per_worker, count(text))
    }),
    ("max-subscriptions", |chosen, text| set(&mut chosen.settings.channels.in_all, count(text))),
    ("proxy-protocol", |chosen, text| set(&mut chosen.http.proxy_protocol, units::switch(text))),
    ("slow-consumer", |chosen, text| {
        set(&mut chosen.settings.ws.slow_consumer, text.parse().map_err(str::to_owned))
    }),
    ("access-log", |chosen, text| set(&mut chosen.http.access_log, units::switch(text))),
    ("dev", |chosen, text| set(&mut chosen.dev, units::switch(text))),
];

/// The same for lists, which are separated by spaces.
const LISTS: [(&str, Take); 2] = [
    ("trust-proxy", |chosen, text| add(&mut chosen.http.trusted_proxies, text)),
    ("allow-origin", |chosen, text| add(&mut chosen.http.allowed_origins, text)),
];

fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn count(text: &str) -> Result<usize, String> {
    units::limit(text).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

fn add<T: FromStr<Err = &'static str>>(list: &mut Vec<T>, text: &str) -> Result<(), String> {
    list.push(text.parse()?);
    Ok(())
}

impl Chosen {
    /// Reads these variables. An empty one counts as not set.
    ///
    /// # Errors
    /// A line for each variable that is wrong.
    pub fn of_variables(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Vec<String>> {
        let (mut chosen, mut wrong) = (Chosen::default(), Vec::new());
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            if !value.is_empty()
                && let Err(why) = chosen.take(name, &value)
            {
                wrong.push(format!("{name}: {why}"));
            }
        }
        // As for the supervisor: whoever develops wants to see who asks.
        chosen.http.access_log |= chosen.dev;
        let ws = &mut chosen.settings.ws;
        ws.close_timeout = close_within(ws.close_timeout, chosen.shutdown_timeout);
        match wrong.is_empty() {
            true => Ok(chosen),
            false => Err(wrong),
        }
    }

    fn take(&mut self, name: &str, value: &OsStr) -> Result<(), String> {
        let is_it = |(key, _): &&(&str, Take)| variable(key) == name;
        let (one, list) = (ONES.iter().find(is_it), LISTS.iter().find(is_it));
        let Some((key, take)) = one.or(list) else {
            self.unused.push(name.to_owned());
            return Ok(());
        };
        let text = value.to_string_lossy();
        let parts = match list {
            Some(_) => text.split_ascii_whitespace().collect(),
            None => vec![text.as_ref()],
        };
        parts.into_iter().try_for_each(|part| {
            take(self, part).map_err(|why| format!("invalid value '{part}' for {key}: {why}"))
        })
    }
}

/// The name of a setting in the environment.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('-', "_").to_uppercase())
}

/// The keys of all settings that an app without a supervisor has.
pub fn keys() -> impl Iterator<Item = &'static str> {
    ONES.iter().chain(&LISTS).map(|(key, _)| *key)
}
