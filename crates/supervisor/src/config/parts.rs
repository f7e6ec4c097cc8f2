//! The settings as those have them who use them: each is given what it is about, and no more.

use std::path::PathBuf;

use shovel_core::{channels, fleet};
use shovel_edge::listener::TcpTimeouts;
use shovel_edge::{http, ws};
use shovel_router::{Settings, close_within, memory};

use super::{Config, count};

impl Config {
    /// What there is for workers. `descriptors`: how many this process may have.
    pub fn room(&self, descriptors: u64) -> count::Room {
        count::Room { io_threads: self.io_threads, descriptors }
    }

    /// Whether changes of files make a reload.
    pub fn is_watched(&self) -> bool {
        self.watch || self.build.is_some() || !self.watch_path.is_empty()
    }

    /// What is watched besides the program.
    pub fn sources(&self) -> Vec<PathBuf> {
        match self.watch_path.is_empty() && self.build.is_some() {
            true => vec![".".into()],
            false => self.watch_path.clone(),
        }
    }

    /// What concerns the life of workers.
    pub fn fleet(&self) -> fleet::Config {
        fleet::Config {
            workers: self.workers,
            min_workers: self.min_workers,
            ready_timeout: self.ready_timeout,
            hang_timeout: self.hang_timeout,
            drain_timeout: self.drain_timeout,
            shutdown_timeout: self.shutdown_timeout,
            max_age: self.worker_max_age,
            waits_for_a_better_program: self.is_watched(),
            seed: fastrand::u64(..),
        }
    }

    /// What concerns an I/O thread. `descriptors`: how many this process may have.
    pub fn io(&self, descriptors: u64, thread: usize) -> Settings {
        Settings {
            ws: ws::Settings {
                max_message_bytes: self.max_message_bytes,
                max_messages_per_second: self.max_messages_per_second,
                outbox_limit_bytes: self.outbox_limit_bytes,
                slow_consumer: self.slow_consumer,
                ping_interval: self.ping_interval,
                pong_timeout: self.pong_timeout,
                read_timeout: self.read_timeout,
                write_timeout: self.write_timeout,
                close_timeout: close_within(self.close_timeout, self.shutdown_timeout),
            },
            request_timeout: self.request_timeout,
            upgrade_timeout: self.upgrade_timeout,
            queue_timeout: self.queue_timeout,
            close_spread: self.close_spread,
            handler_timeout: self.handler_timeout,
            adopt_timeout: self.adopt_timeout,
            owner_wait: self.owner_wait,
            sleep_after: self.sleep_after,
            max_requests: self.worker_max_requests,
            channels: self.channels(),
            client_memory_bytes: self.client_memory_bytes(),
            client_limit: self.client_limit(descriptors, thread),
        }
    }

    /// How much memory clients may make each I/O thread hold.
    fn client_memory_bytes(&self) -> usize {
        let bytes = self.max_client_memory_bytes.unwrap_or_else(memory::share_bytes);
        bytes.div_ceil(self.io_threads as usize)
    }

    /// How many channels may be subscribed to on each I/O thread.
    fn channels(&self) -> channels::Limits {
        let count = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        channels::Limits {
            per_connection: count(self.max_channels_per_connection),
            per_worker: count(self.max_channels_per_worker),
            in_all: count(self.max_subscriptions).div_ceil(count(self.io_threads)),
        }
    }

    /// When clients are given up that are not there any more.
    pub fn tcp(&self) -> TcpTimeouts {
        TcpTimeouts { keepalive: self.tcp_keepalive, user_timeout: self.tcp_user_timeout }
    }

    /// What concerns requests.
    pub fn http(&self) -> http::Settings {
        http::Settings {
            access_log: self.access_log || self.dev,
            trusted_proxies: self.trust_proxy.clone(),
            proxy_protocol: self.proxy_protocol,
            allowed_origins: self.allow_origin.clone(),
            clients_per_address: self.max_connections_per_ip,
            head: http::Limits { max_bytes: self.max_header_bytes, max_fields: self.max_headers },
            max_body_bytes: self.max_body_bytes.map(|bytes| bytes as u64),
            header_timeout: self.header_timeout,
            keep_alive_timeout: self.keep_alive_timeout,
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
            half_close: self.half_close,
        }
    }

    /// How many clients an I/O thread may have: together no more than the operator wants, and so that
    /// there are descriptors for the links and output of two generations of workers, with some to spare.
    /// A thread that may have none leaves them to the others: all of them accept from one queue.
    fn client_limit(&self, descriptors: u64, thread: usize) -> usize {
        let links = u64::from(self.io_threads) * 3;
        let others = 64 + 2 * u64::from(self.workers) * (links + 4);
        let clients = descriptors.saturating_sub(others).max(count::FEWEST_CLIENTS);
        let clients = clients.min(self.max_connections.map_or(u64::MAX, u64::from));
        let clients = usize::try_from(clients).unwrap_or(usize::MAX);
        let threads = self.io_threads as usize;
        clients / threads + usize::from(thread < clients % threads)
    }
}

#[cfg(test)]
mod tests {
    use shovel_router::variables::{self, Chosen};

    use super::*;
    use crate::config::sources::Sources;

    /// What a supervisor makes of these settings for one I/O thread, beside what an app without a
    /// supervisor does.
    fn both(variables: &[(&str, &str)]) -> [Chosen; 2] {
        let config = Sources::of(&["app"], variables).read().unwrap().config;
        // No descriptors are kept for links.
        let limit = config.max_connections.map_or(usize::MAX, |limit| limit as usize);
        let of_pool = Chosen {
            settings: Settings { client_limit: limit, ..config.io(u64::MAX, 0) },
            http: config.http(),
            tcp: config.tcp(),
            shutdown_timeout: config.shutdown_timeout,
            dev: config.dev,
            unused: Vec::new(),
        };
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        [of_pool, Chosen::of_variables(variables).unwrap()]
    }

    #[test]
    fn an_app_without_a_supervisor_has_the_same_settings() {
        let values = [
            ("max-connections", "7"),
            ("max-connections-per-ip", "3"),
            ("trust-proxy", "10.0.0.0/8  unix"),
            ("max-client-memory", "64MiB"),
            ("tcp-keepalive", "5s"),
            ("tcp-user-timeout", "0s"),
            ("shutdown-timeout", "2m"),
            ("request-timeout", "1s"),
            ("upgrade-timeout", "2s"),
            ("queue-timeout", "0s"),
            ("allow-origin", "https://a.test http://b.test:81 same *"),
            ("ping-interval", "3s"),
            ("pong-timeout", "4s"),
            ("read-timeout", "5s"),
            ("write-timeout", "6s"),
            ("close-timeout", "7s"),
            ("max-message-size", "1KiB"),
            ("max-message-rate", "100/s"),
            ("outbox-limit", "2MiB"),
            ("max-channels-per-connection", "5"),
            ("max-channels-per-worker", "6"),
            ("max-subscriptions", "7"),
            ("max-header-size", "2KiB"),
            ("max-headers", "8"),
            ("max-body", "3MiB"),
            ("header-timeout", "8s"),
            ("keep-alive-timeout", "9s"),
            ("half-close", "answer"),
            ("proxy-protocol", "on"),
            ("slow-consumer", "drop-oldest"),
            ("access-log", "yes"),
            ("dev", "on"),
        ];
        let [of_pool, alone] = both(&[]);
        assert_eq!(of_pool, alone, "defaults");
        for key in variables::keys() {
            let (_, value) = values.iter().find(|(other, _)| *other == key).expect(key);
            let [of_pool, chosen] = both(&[(&variables::variable(key), value)]);
            assert_eq!(of_pool, chosen, "{key}");
            assert_ne!(chosen, alone, "{key} changes nothing");
        }
    }

    #[test]
    fn an_app_without_a_supervisor_says_the_same_of_wrong_values() {
        for key in variables::keys() {
            let name = variables::variable(key);
            let variables = [(name.as_str(), "?!")];
            let of_pool = Sources::of(&["app"], &variables).read().unwrap_err();
            let variables = variables.map(|(name, value)| (name.into(), value.into()));
            assert_eq!(of_pool.lines(), Chosen::of_variables(variables).unwrap_err());
        }
    }

    #[test]
    fn an_app_without_a_supervisor_knows_what_means_nothing_to_it() {
        let variables = ["SHOVEL_WORKERS", "SHOVEL_PNIG_INTERVAL", "HOME", "SHOVEL_DEV"];
        let variables = variables.map(|name| (name.into(), "0".into()));
        let chosen = Chosen::of_variables(variables).unwrap();
        assert_eq!(chosen.unused, ["SHOVEL_WORKERS", "SHOVEL_PNIG_INTERVAL"]);
    }
}
