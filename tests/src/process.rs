//! Facts about processes, from `/proc`.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends a signal. A process that has ended meanwhile is no error.
pub fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// Whether the process runs. One that has ended and waits to be reaped does not.
pub fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name before the state is in parentheses and may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// The processes that it is the parent of, also those that have ended and were not reaped.
///
/// # Panics
/// Without `/proc`.
pub fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |other: &u32| {
        let stat = fs::read_to_string(format!("/proc/{other}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.to_owned());
        // Behind the name: the state, then the parent.
        let parent = fields.and_then(|fields| fields.split(' ').nth(1)?.parse().ok());
        parent == Some(pid)
    };
    pids.filter(is_child).collect()
}

/// Memory of the process that is resident, in bytes.
///
/// # Panics
/// If there is no such process.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("process status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB");
    kib * 1024
}

/// How many descriptors the process has open.
///
/// # Panics
/// If there is no such process.
pub fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("process descriptors").count()
}

/// Time that all threads of the process have spent on a processor so far.
///
/// # Panics
/// If there is no such process.
pub fn processor_time(pid: u32) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("process stat");
    let (_, fields) = stat.rsplit_once(") ").expect("fields behind the name");
    // proc_pid_stat(5): utime and stime are fields 14 and 15; the state behind the name is 3.
    let ticks = fields.split(' ').skip(11).take(2);
    TICK * ticks.map(|ticks| ticks.parse::<u32>().expect("a number of ticks")).sum::<u32>()
}
