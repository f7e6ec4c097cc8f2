//! How much memory a process holds.

/// Resident memory of a process (proc(5), statm); 0 if it is gone.
pub fn resident_bytes(pid: u32) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    pages * page.ok().flatten().unwrap_or(4096) as usize
}

/// What this process has allocated and not freed, of all threads, as the allocator counts it: with
/// what it adds to each piece, and with the few freed pieces that each thread keeps at hand. `None`
/// with an allocator that does not tell.
///
/// Takes the locks of the allocator one after the other, for as long as a walk through the pieces
/// that are free takes: not for the hot path.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "the allocator is asked by a function of C")]
pub fn allocated_bytes() -> Option<usize> {
    // SAFETY: mallinfo2(3) takes nothing, returns numbers, and may be called by any thread.
    let told = unsafe { nix::libc::mallinfo2() };
    // In the heaps of all arenas, and mapped for one piece alone.
    Some(told.uordblks + told.hblkhd)
}

/// With the allocator of another C library nothing is known.
#[cfg(not(target_env = "gnu"))]
pub fn allocated_bytes() -> Option<usize> {
    None
}
