//! The process, its listeners and its doors for operators: group L of docs/behaviour.md.

mod admin_address;
mod listeners;
mod plain;
mod proxy_protocol;
mod worker_user;
