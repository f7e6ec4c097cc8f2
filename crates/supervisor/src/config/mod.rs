//! What an operator can choose: [`Config`] is the one place where a setting is made.
//!
//! Each field is a flag, a key of the file and a variable at once: [`setting`] derives the other
//! two names from the flag, [`sources`] reads all three, [`mod@print`] writes them down, and [`parts`]
//! gives each room what it is about. So a new setting is a new field with its help, and a use of it.

pub mod address;
pub mod count;
#[cfg(test)]
mod document;
pub mod file;
pub mod parts;
pub mod print;
pub mod setting;
pub mod sources;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use shovel_edge::{http, ws};
use shovel_router::units;

use self::address::Address;
use crate::worker::account::WorkerUser;

const LISTENING: &str = "Listening";
const WORKERS: &str = "Workers";
const REQUESTS: &str = "Requests";
const WEBSOCKETS: &str = "WebSockets";
const OPERATORS: &str = "Operators";
const LOG: &str = "Log";
const DEVELOPMENT: &str = "Development";

/// Everything that can be chosen, checked. The order is that of `--help`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to listen: IP:PORT, unix:PATH, fd:N or fd:NAME; may be repeated. Behind PATH may stand
    /// who can connect, as ,mode=660,user=NAME,group=NAME [default: the sockets that a service
    /// manager passed; else what the variables HOST and PORT say; else 127.0.0.1:8080]
    #[arg(long, help_heading = LISTENING, value_name = "ADDRESS", value_parser = Address::parse)]
    pub listen: Vec<Address>,

    /// How many threads read and write client sockets
    #[arg(long, help_heading = LISTENING, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    pub io_threads: u32,

    /// So many clients may be connected and no more; others wait until some have left. Shared evenly
    /// among I/O threads [default: as many as descriptors allow]
    #[arg(long, help_heading = LISTENING, value_name = "N")]
    #[arg(value_parser = units::limit)]
    pub max_connections: Option<u32>,

    /// So many clients of one address, or of one /64 of IPv6, and no more; others are answered 429
    #[arg(long, help_heading = LISTENING, value_name = "N")]
    #[arg(value_parser = units::limit)]
    pub max_connections_per_ip: Option<u32>,

    /// So much memory clients may make the pool hold: what waits for them, what they have begun, what
    /// workers are to take of them. At half of it the greediest are not read; at all of it those that
    /// hold most are closed. Shared evenly among I/O threads [default: a quarter of what the machine,
    /// or the control group, has]
    #[arg(long = "max-client-memory", help_heading = LISTENING, value_name = "SIZE")]
    #[arg(value_parser = units::size)]
    pub max_client_memory_bytes: Option<usize>,

    /// A client of TCP that was quiet for so long is probed, and given up if it does not answer three
    /// times; 0s: never
    #[arg(long, help_heading = LISTENING, value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = units::duration)]
    pub tcp_keepalive: Duration,

    /// A client of TCP that takes nothing of what was sent for so long is given up; 0s: when the
    /// system likes
    #[arg(long, help_heading = LISTENING, value_name = "DURATION", default_value = "90s")]
    #[arg(value_parser = units::duration)]
    pub tcp_user_timeout: Duration,

    /// Take the word of these proxies about their clients: a network as 10.0.0.0/8, an address, or
    /// unix for all that come by a Unix socket; may be repeated
    #[arg(long, help_heading = LISTENING, value_name = "CIDR")]
    #[arg(value_parser = str::parse::<http::Proxy>)]
    pub trust_proxy: Vec<http::Proxy>,

    /// Have those proxies say whose connection it is before all else, by the PROXY protocol of version
    /// 1 or 2: connections of theirs without it are closed. A connection from any other address is its
    /// client's own
    #[arg(long, help_heading = LISTENING)]
    pub proxy_protocol: bool,

    /// How many worker processes to run [default: one per processor]
    #[arg(long, help_heading = WORKERS, value_name = "N")]
    #[arg(default_value_t = count::of_processors(), hide_default_value = true)]
    #[arg(value_parser = count::workers)]
    pub workers: u32,

    /// Run workers as this user: a name or number, and its group or another one behind a colon; needs
    /// root, or CAP_SETUID, CAP_SETGID and CAP_KILL [default: the user of the supervisor]
    #[arg(long, help_heading = WORKERS, value_name = "USER")]
    #[arg(value_parser = str::parse::<WorkerUser>)]
    pub worker_user: Option<WorkerUser>,

    /// A worker that is not ready by then is killed
    #[arg(long, help_heading = WORKERS, value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = units::some_duration)]
    pub ready_timeout: Duration,

    /// A worker that does not answer for so long is killed
    #[arg(long, help_heading = WORKERS, value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = units::some_duration)]
    pub hang_timeout: Duration,

    /// How long a worker that is replaced may finish what it has
    #[arg(long, help_heading = WORKERS, value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = units::duration)]
    pub drain_timeout: Duration,

    /// How long all workers may finish what they have when the pool ends
    #[arg(long, help_heading = WORKERS, value_name = "DURATION", default_value = "25s")]
    #[arg(value_parser = units::duration)]
    pub shutdown_timeout: Duration,

    /// Let workers stop that have had nothing to do for so long and have only connections that can
    /// do without them; the next message, request or close starts one [default: never]
    #[arg(long, help_heading = WORKERS, value_name = "DURATION")]
    #[arg(value_parser = units::some_duration)]
    pub sleep_after: Option<Duration>,

    /// How many workers stay awake even so
    #[arg(long, help_heading = WORKERS, value_name = "N", default_value_t = 1)]
    pub min_workers: u32,

    /// Replace a worker after so many requests
    #[arg(long, help_heading = WORKERS, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub worker_max_requests: Option<u64>,

    /// Replace a worker after so long a time
    #[arg(long, help_heading = WORKERS, value_name = "DURATION")]
    #[arg(value_parser = units::some_duration)]
    pub worker_max_age: Option<Duration>,

    /// Replace a worker that holds so much memory
    #[arg(long = "worker-max-rss", help_heading = WORKERS, value_name = "SIZE")]
    #[arg(value_parser = units::size)]
    pub worker_max_rss_bytes: Option<usize>,

    /// A request without a response by then is answered 504; while its client is waited for, that time
    /// does not run
    #[arg(long, help_heading = REQUESTS, value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = units::some_duration)]
    pub request_timeout: Duration,

    /// An upgrade without a response by then is answered 504
    #[arg(long, help_heading = REQUESTS, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = units::some_duration)]
    pub upgrade_timeout: Duration,

    /// How long a request waits for a ready worker before it is answered 503
    #[arg(long, help_heading = REQUESTS, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = units::duration)]
    pub queue_timeout: Duration,

    /// Longest head of a request: its first line and its headers; longer ones are answered 431 or 414
    #[arg(long = "max-header-size", help_heading = REQUESTS, value_name = "SIZE")]
    #[arg(default_value = "64KiB", value_parser = units::header_size)]
    pub max_header_bytes: usize,

    /// Most headers of a request; more are answered 431
    #[arg(long, help_heading = REQUESTS, value_name = "N", default_value = "100")]
    #[arg(value_parser = units::header_count)]
    pub max_headers: usize,

    /// Longest body of a request; a longer one is answered 413 [default: any length]
    #[arg(long = "max-body", help_heading = REQUESTS, value_name = "SIZE")]
    #[arg(value_parser = units::size)]
    pub max_body_bytes: Option<usize>,

    /// How long a client may take for the head of a request; then it is answered 408
    #[arg(long, help_heading = REQUESTS, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = units::some_duration)]
    pub header_timeout: Duration,

    /// How long a client may be quiet between two requests; then it is closed
    #[arg(long, help_heading = REQUESTS, value_name = "DURATION", default_value = "75s")]
    #[arg(value_parser = units::some_duration)]
    pub keep_alive_timeout: Duration,

    /// How long a client may send nothing of a body or a message that it has begun; then it is answered
    /// 408, or closed with 1008
    #[arg(long, help_heading = REQUESTS, value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = units::some_duration)]
    pub read_timeout: Duration,

    /// How long a client may take nothing of what waits for it; then it is closed
    #[arg(long, help_heading = REQUESTS, value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = units::some_duration)]
    pub write_timeout: Duration,

    /// What it means that a client ends its side while its request is answered: `cancel`, it has gone;
    /// `answer`, it waits
    #[arg(long, help_heading = REQUESTS, value_name = "WHAT", default_value = "cancel")]
    #[arg(value_parser = str::parse::<http::HalfClose>)]
    pub half_close: http::HalfClose,

    /// Pages of this origin (`https://` and a host, and a port if it is not the usual one) may open
    /// WebSockets, and those of others may not: also same for those of the host that they ask, and *
    /// for all; may be repeated [default: same]
    #[arg(long, help_heading = WEBSOCKETS, value_name = "ORIGIN")]
    #[arg(value_parser = str::parse::<http::AllowedOrigin>)]
    pub allow_origin: Vec<http::AllowedOrigin>,

    /// Over how long a time WebSockets are closed on reload, so that clients come back one by one
    #[arg(long, help_heading = WEBSOCKETS, value_name = "DURATION", default_value = "3s")]
    #[arg(value_parser = units::duration)]
    pub close_spread: Duration,

    /// How long a running handler may hold up the move of its connection to another worker; then
    /// it is dropped, and its message handled again there
    #[arg(long, help_heading = WEBSOCKETS, value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = units::some_duration)]
    pub handler_timeout: Duration,

    /// How long a worker may take to adopt a connection
    #[arg(long, help_heading = WEBSOCKETS, value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = units::some_duration)]
    pub adopt_timeout: Duration,

    /// How long a connection that has something to handle may wait while no worker serves; then it is
    /// closed with 1011
    #[arg(long, help_heading = WEBSOCKETS, value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = units::some_duration)]
    pub owner_wait: Duration,

    /// A client that was quiet for so long is sent a ping
    #[arg(long, help_heading = WEBSOCKETS, value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = units::some_duration)]
    pub ping_interval: Duration,

    /// A client that does not answer a ping for so long is taken for dead
    #[arg(long, help_heading = WEBSOCKETS, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = units::some_duration)]
    pub pong_timeout: Duration,

    /// How long a client that is closed may take for what waits ahead of its close frame, while it
    /// goes on with that; at most four fifths of --shutdown-timeout
    #[arg(long, help_heading = WEBSOCKETS, value_name = "DURATION", default_value = "20s")]
    #[arg(value_parser = units::some_duration)]
    pub close_timeout: Duration,

    /// Longest WebSocket message, in either direction
    #[arg(long = "max-message-size", help_heading = WEBSOCKETS, value_name = "SIZE")]
    #[arg(default_value = "16MiB", value_parser = units::size)]
    pub max_message_bytes: usize,

    /// So many messages a WebSocket client may send in a second, and as many at once after a quiet
    /// one. It is read no further for so long: nothing is lost, and TCP holds it back [default: no
    /// limit]
    #[arg(long = "max-message-rate", help_heading = WEBSOCKETS, value_name = "N")]
    #[arg(value_parser = units::message_rate)]
    pub max_messages_per_second: Option<u32>,

    /// How much may wait for one client; more makes it a slow consumer
    #[arg(long = "outbox-limit", help_heading = WEBSOCKETS, value_name = "SIZE")]
    #[arg(default_value = "1MiB", value_parser = units::size)]
    pub outbox_limit_bytes: usize,

    /// So many channels one WebSocket may be subscribed to; one more closes it with 1008
    #[arg(long, help_heading = WEBSOCKETS, value_name = "N", default_value = "1000")]
    #[arg(value_parser = units::limit)]
    pub max_channels_per_connection: u32,

    /// So many channels one worker itself may be subscribed to; it is told of one more
    #[arg(long, help_heading = WEBSOCKETS, value_name = "N", default_value = "10000")]
    #[arg(value_parser = units::limit)]
    pub max_channels_per_worker: u32,

    /// So many subscriptions of WebSockets and workers there may be in all. Shared evenly among I/O
    /// threads
    #[arg(long, help_heading = WEBSOCKETS, value_name = "N", default_value = "1000000")]
    #[arg(value_parser = units::limit)]
    pub max_subscriptions: u32,

    /// What becomes of a message that is published to a client over its outbox limit: close closes
    /// the client with 1008, drop-newest drops the message, drop-oldest drops older published messages
    /// that still wait
    #[arg(long, help_heading = WEBSOCKETS, value_name = "WHAT", default_value = "close")]
    #[arg(value_parser = str::parse::<ws::SlowConsumer>)]
    pub slow_consumer: ws::SlowConsumer,

    /// Where subcommands reach this pool [default: named by the port, in the runtime folder of this
    /// user]
    #[arg(long, help_heading = OPERATORS, value_name = "PATH")]
    pub admin_socket: Option<PathBuf>,

    /// Serve /metrics, /status, /healthz and /readyz at IP:PORT, to whoever can reach it
    #[arg(long, help_heading = OPERATORS, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,

    /// Answer at the admin address to this name, besides localhost and addresses; * allows every name,
    /// also one that a hostile page has pointed at this address; may be repeated
    #[arg(long, help_heading = OPERATORS, value_name = "NAME")]
    pub admin_host: Vec<String>,

    /// How to write the log, on stderr
    #[arg(long, help_heading = LOG, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Write a line for each request that was answered, and for each WebSocket that has closed
    #[arg(long, help_heading = LOG)]
    pub access_log: bool,

    /// Write the log for somebody who watches it, with an access log, and tell clients of the app's
    /// errors
    #[arg(long, help_heading = DEVELOPMENT)]
    pub dev: bool,

    /// Reload when the program's file changes, once it is whole
    #[arg(long, help_heading = DEVELOPMENT)]
    pub watch: bool,

    /// Reload, or build, when something changes here: a file, or a folder with all that is below
    /// but what is hidden or named target; may be repeated
    #[arg(long, help_heading = DEVELOPMENT, value_name = "PATH")]
    #[arg(value_hint = ValueHint::AnyPath)]
    pub watch_path: Vec<PathBuf>,

    /// Run this in a shell at the start and when a source changes, which is what --watch-path
    /// says, or the current folder; reload when it has ended well
    #[arg(long, help_heading = DEVELOPMENT, value_name = "COMMAND")]
    #[arg(value_hint = ValueHint::CommandString)]
    pub build: Option<OsString>,

    /// Let processes of this user, workers among them, look into the supervisor's memory, as
    /// debuggers and profilers do, and the system write it down when it crashes
    #[arg(long, help_heading = DEVELOPMENT)]
    pub dumpable: bool,

    /// The program that workers run; without a slash it is looked for in PATH
    #[arg(value_name = "PROGRAM", value_hint = ValueHint::ExecutablePath)]
    pub program: OsString,

    /// Arguments of the program; those with dashes after --
    #[arg(value_name = "ARGS")]
    pub args: Vec<OsString>,
}

/// The settings that take effect when they are read again, on SIGHUP, for what begins from then on: a
/// generation, a connection, a wait. The others belong to what is opened once.
pub const READ_AGAIN: [&str; 43] = [
    "max-connections",
    "max-connections-per-ip",
    "max-client-memory",
    "trust-proxy",
    "proxy-protocol",
    "workers",
    "ready-timeout",
    "hang-timeout",
    "drain-timeout",
    "shutdown-timeout",
    "sleep-after",
    "min-workers",
    "worker-max-requests",
    "worker-max-age",
    "worker-max-rss",
    "request-timeout",
    "upgrade-timeout",
    "queue-timeout",
    "max-header-size",
    "max-headers",
    "max-body",
    "header-timeout",
    "keep-alive-timeout",
    "read-timeout",
    "write-timeout",
    "half-close",
    "allow-origin",
    "close-spread",
    "handler-timeout",
    "adopt-timeout",
    "owner-wait",
    "ping-interval",
    "pong-timeout",
    "close-timeout",
    "max-message-rate",
    "outbox-limit",
    "max-channels-per-connection",
    "max-channels-per-worker",
    "max-subscriptions",
    "slow-consumer",
    "access-log",
    "program",
    "args",
];

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
