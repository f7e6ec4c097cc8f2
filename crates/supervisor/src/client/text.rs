//! Answers for people.

use std::fmt::Write;

use shovel_scribe::plain::plain;

use crate::admin::wire::{
    Connection, LastReload, Published, ReloadOutcome, ReloadState, Reloaded, Restarting, Scaled,
    Status, Worker, WorkerState,
};

/// Channels of a status that are told by name.
const CHANNELS: usize = 8;

/// The whole status.
pub fn status(status: &Status) -> String {
    let mut text = format!("{}\n", title(status));
    for (name, value) in facts(status) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<12} {value}");
    }
    text.push('\n');
    text + &workers(status)
}

/// What is running, in one line.
pub fn title(status: &Status) -> String {
    let Status { version, pid, uptime, generation, .. } = status;
    let ending = if status.terminating { ", terminating" } else { "" };
    let up = duration(*uptime);
    format!("shovel-pool {version}, pid {pid}, up {up}, generation {generation}{ending}")
}

/// What the status says of the pool as a whole, by name.
pub fn facts(status: &Status) -> Vec<(&'static str, String)> {
    let totals = &status.totals;
    let mut facts = vec![("program", status.program.clone())];
    let addresses = status.listen.iter().chain(&status.admin_listen);
    facts.push(("listening", addresses.cloned().collect::<Vec<_>>().join(", ")));
    facts.push(("reload", reload(status)));
    facts.push(("workers", worker_summary(status)));
    facts.push((
        "connections",
        format!(
            "{} WebSockets of {} clients; {} opened so far",
            status.connections, totals.clients, totals.connections_opened
        ),
    ));
    facts.push((
        "requests",
        format!(
            "{} under way, {} waiting for a worker; {} so far, {} answered with 5xx",
            totals.requests_under_way,
            totals.requests_waiting,
            totals.requests,
            totals.server_errors
        ),
    ));
    facts.push((
        "messages",
        format!(
            "{} received, {} sent, {} published to {} subscribers",
            totals.messages_received, totals.messages_sent, totals.published, totals.delivered
        ),
    ));
    facts.push((
        "waiting",
        format!(
            "{} for clients; {} closed for reading too slowly so far",
            bytes(totals.outbox_bytes),
            totals.slow_consumers
        ),
    ));
    facts.push(("channels", channels(status)));
    let allocated =
        status.allocated_bytes.map(|allocated| format!(", {} allocated", bytes(allocated)));
    let allocated = allocated.unwrap_or_default();
    facts.push(("memory", format!("{} without workers{allocated}", bytes(status.rss_bytes))));
    // Names and reasons are those of clients and apps.
    facts.into_iter().map(|(name, value)| (name, plain(&value).into_owned())).collect()
}

/// The workers, a line for each.
pub fn workers(status: &Status) -> String {
    let mut rows = vec![WORKER_COLUMNS.map(str::to_owned).to_vec()];
    rows.extend(status.workers.iter().map(|worker| worker_row(worker).to_vec()));
    let mut text = table(&rows, &WORKER_TEXTS);
    for Restarting { index, within } in &status.restarting {
        let within = duration(*within);
        let _ = writeln!(text, "the worker of index {index} has failed; restarting in {within}");
    }
    text
}

/// What [`worker_row`] consists of.
pub const WORKER_COLUMNS: [&str; 11] =
    ["ID", "INDEX", "GEN", "PID", "STATE", "AGE", "CONNS", "REQS", "MSGS", "RSS", "RESTARTS"];

/// The columns that are texts and not numbers.
const WORKER_TEXTS: [usize; 1] = [4];

/// A worker as a line of a table.
pub fn worker_row(worker: &Worker) -> [String; 11] {
    [
        worker.id.to_string(),
        worker.index.to_string(),
        worker.generation.to_string(),
        worker.pid.map_or("-".to_owned(), |pid| pid.to_string()),
        state(worker.state).to_owned(),
        duration(worker.age),
        worker.connections.to_string(),
        worker.requests.to_string(),
        worker.messages_received.to_string(),
        bytes(worker.rss_bytes),
        worker.restarts.to_string(),
    ]
}

/// The connections, a line for each.
pub fn connections(connections: &[Connection]) -> String {
    let head = ["ID", "WORKER", "PEER", "AGE", "OUTBOX", "UNCOMMITTED", "SUBSCRIBED", "URL"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(connections.iter().map(|connection| {
        let told = connection.channels.len();
        let mut subscribed = connection.channels.join(",");
        match connection.subscriptions.checked_sub(told) {
            _ if told == 0 => subscribed.push('-'),
            Some(more @ 1..) => {
                let _ = write!(subscribed, " and {more} more");
            }
            _ => {}
        }
        let outbox =
            [Some(bytes(connection.outbox_bytes as u64)), connection.slow_consumer.clone()];
        let paused = if connection.paused { " paused" } else { "" };
        vec![
            connection.uuid.clone(),
            connection.worker.map_or("-".to_owned(), |worker| worker.to_string()),
            connection.peer.clone().unwrap_or_else(|| "unix".to_owned()),
            duration(connection.age),
            outbox.into_iter().flatten().collect::<Vec<_>>().join(" "),
            format!("{}{paused}", connection.uncommitted),
            subscribed,
            connection.url.clone(),
        ]
    }));
    table(&rows, &[0, 2, 6, 7])
}

/// A reload that has finished.
pub fn reloaded(reloaded: &Reloaded) -> String {
    format!("generation {} serves, after {}\n", reloaded.generation, duration(reloaded.took))
}

/// Another number of workers.
pub fn scaled(scaled: &Scaled) -> String {
    match scaled {
        Scaled { before, workers } if before == workers => format!("there are {workers} already\n"),
        Scaled { before, workers } => format!("from {before} to {workers} workers\n"),
    }
}

/// What became of a message.
pub fn published(published: &Published) -> String {
    let Published { delivered, dropped, closed } = published;
    format!("delivered {delivered}, dropped {dropped}, closed {closed}\n")
}

fn reload(status: &Status) -> String {
    let now = match status.reload.state {
        ReloadState::Idle => "none under way",
        ReloadState::Starting => "under way: the new generation starts",
        ReloadState::Draining => "under way: the old generation is leaving",
        ReloadState::Abandoned => "abandoned: the new generation is leaving",
    };
    match &status.reload.last {
        None => now.to_owned(),
        Some(last) => format!("{now}; {}", last_reload(last)),
    }
}

/// How the last reload ended, in a few words.
pub fn last_reload(last: &LastReload) -> String {
    let LastReload { generation, outcome, why, took, ago } = last;
    let generation = generation.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let (why, ago) = (why.as_deref().unwrap_or("?"), duration(*ago));
    match outcome {
        ReloadOutcome::Finished => {
            let took = duration(took.unwrap_or(0.0));
            format!("the last, to generation {generation}, finished {ago} ago after {took}")
        }
        ReloadOutcome::Abandoned => {
            format!("the last, to generation {generation}, FAILED {ago} ago: {why}")
        }
        ReloadOutcome::Refused => format!("the last was REFUSED {ago} ago: {why}"),
    }
}

fn worker_summary(status: &Status) -> String {
    let count = |wanted| status.workers.iter().filter(|worker| worker.state == wanted).count();
    let mut text = format!("{} wanted", status.workers_wanted);
    for wanted in
        [WorkerState::Ready, WorkerState::Starting, WorkerState::Draining, WorkerState::Stopping]
    {
        if let count @ 1.. = count(wanted) {
            let _ = write!(text, ", {count} {}", state(wanted));
        }
    }
    if let count @ 1.. = status.workers_asleep {
        let _ = write!(text, ", {count} asleep");
    }
    if let count @ 1.. = status.restarting.len() {
        let _ = write!(text, ", {count} to be restarted");
    }
    let _ = write!(text, "; {} restarts so far", status.totals.worker_restarts);
    text
}

fn channels(status: &Status) -> String {
    let largest = &status.channels.largest;
    let told: Vec<_> = largest
        .iter()
        .take(CHANNELS)
        .map(|channel| {
            let workers = match channel.workers {
                0 => String::new(),
                workers => format!("+{workers}w"),
            };
            format!("{} {}{workers}", channel.name, channel.connections)
        })
        .collect();
    match &told[..] {
        [] => "none".to_owned(),
        told => {
            let more = if status.channels.total > told.len() as u64 { ", …" } else { "" };
            format!("{}: {}{more}", status.channels.total, told.join(", "))
        }
    }
}

/// The name of a state.
pub fn state(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Starting => "starting",
        WorkerState::Ready => "ready",
        WorkerState::Draining => "draining",
        WorkerState::Stopping => "stopping",
    }
}

/// A time in its two largest units.
pub fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0 => format!("{:.0}ms", seconds * 1000.0),
        1..10 => format!("{seconds:.1}s"),
        10..60 => format!("{whole}s"),
        60..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d {}h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// A size in its largest unit.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (bytes as f64, "B");
    for larger in UNITS {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    if unit == "B" || size >= 100.0 {
        format!("{size:.0} {unit}")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// Rows with aligned columns: texts to the left, numbers to the right. What clients and apps have
/// chosen commands no terminal.
fn table(rows: &[Vec<String>], texts: &[usize]) -> String {
    let rows = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect::<Vec<_>>());
    let rows: Vec<_> = rows.collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match texts
            .contains(&column)
        {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::admin::wire::{Channel, Channels, Reload, Totals};

    fn worker(id: u32, state: WorkerState, connections: u64) -> Worker {
        Worker {
            id,
            index: id - 1,
            generation: 3,
            pid: Some(4000 + id),
            state,
            age: 90.0,
            in_state: 80.0,
            connections,
            requests_under_way: 0,
            requests: 5,
            messages_received: 6,
            messages_sent: 7,
            waiting_bytes: 0,
            rss_bytes: 3 << 20,
            restarts: 1,
        }
    }

    /// Of a pool with something to tell of everything.
    pub fn status() -> Status {
        Status {
            version: "1.2.3".into(),
            pid: 4000,
            program: "./app".into(),
            uptime: 3_700.0,
            generation: 3,
            terminating: false,
            listen: vec!["http://127.0.0.1:80".into()],
            admin_socket: None,
            admin_listen: Some("http://127.0.0.1:81".into()),
            io_threads: 1,
            rss_bytes: 9 << 20,
            allocated_bytes: Some(4 << 20),
            reload: Reload {
                state: ReloadState::Idle,
                last: Some(LastReload {
                    generation: Some(4),
                    outcome: ReloadOutcome::Abandoned,
                    why: Some("worker 9 exited with code 1".into()),
                    took: None,
                    ago: 61.0,
                }),
                finished: 2,
                abandoned: 1,
                refused: 0,
            },
            workers_wanted: 4,
            workers_asleep: 1,
            workers: vec![worker(1, WorkerState::Ready, 1), worker(2, WorkerState::Draining, 2)],
            restarting: vec![Restarting { index: 2, within: 0.5 }],
            connections: 3,
            channels: Channels {
                total: 1,
                largest: vec![Channel { name: "room".into(), connections: 3, workers: 0 }],
            },
            totals: Totals { requests: 10, worker_restarts: 2, ..Totals::default() },
        }
    }

    #[test]
    fn a_status_tells_what_an_operator_has_to_act_on() {
        let text = super::status(&status());
        for line in [
            "shovel-pool 1.2.3, pid 4000, up 1h 1m, generation 3",
            "none under way; the last, to generation 4, FAILED 1m 1s ago: worker 9 exited",
            "4 wanted, 1 ready, 1 draining, 1 asleep, 1 to be restarted; 2 restarts so far",
            "the worker of index 2 has failed; restarting in 500ms",
            "1: room 3",
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
    }

    #[test]
    fn times_and_sizes_are_told_in_units_that_fit() {
        let told: Vec<_> =
            [0.0, 0.25, 1.25, 59.9, 61.0, 3_600.0, 90_000.0].into_iter().map(duration).collect();
        assert_eq!(told, ["0ms", "250ms", "1.2s", "59s", "1m 1s", "1h 0m", "1d 1h"]);
        let told: Vec<_> = [0, 1023, 1024, 100 << 20, 3 << 30].into_iter().map(bytes).collect();
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "100 MiB", "3.0 GiB"]);
    }

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let rows = [vec!["A".to_owned(), "LONG".into()], vec!["text".into(), "7".into()]];
        assert_eq!(table(&rows, &[0]), "A     LONG\ntext     7\n");
    }

    #[test]
    fn what_a_client_has_chosen_cannot_steer_the_terminal() {
        let mut status = status();
        status.program = "/a\u{1b}[2Jb\n".to_owned();
        let facts = facts(&status);
        assert_eq!(facts[0], ("program", "/a\\u{1b}[2Jb\\u{a}".to_owned()));
        assert_eq!(table(&[vec!["/\u{202e}a".to_owned()]], &[0]), "/\\u{202e}a\n");
    }
}
