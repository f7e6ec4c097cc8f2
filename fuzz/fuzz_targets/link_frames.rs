//! What a hostile worker (or, to a worker, supervisor) may send: no bytes make the link's decoder
//! panic or hold more than its limit, and what was understood can be said again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shovel_protocol::pieces::Pieces;
use shovel_protocol::{BadFrame, Frame, ToSupervisor, ToWorker};

const LIMIT_BYTES: usize = 1000;

fuzz_target!(|bytes: &[u8]| {
    // The error ends the link, as it would anywhere.
    let _ = read_link(bytes);
});

fn read_link(bytes: &[u8]) -> Result<(), BadFrame> {
    let mut pieces = Pieces::new(LIMIT_BYTES);
    let mut left = bytes;
    while let Some((frame, taken)) = Frame::cut(left)? {
        left = &left[taken..];
        let whole = pieces.push(frame)?;
        if let Some(frame) = whole {
            check_to_supervisor(frame);
            check_to_worker(frame);
        }
        assert!(pieces.held_bytes() <= 4 * LIMIT_BYTES);
    }
    Ok(())
}

fn check_to_supervisor(frame: Frame<'_>) {
    let Ok(Some(read)) = ToSupervisor::read(frame) else { return };
    if let ToSupervisor::Upgrade { effects, .. } = &read {
        assert!(effects.into_iter().all(|effect| effect.is_ok()));
    }
    let mut batch = Vec::new();
    read.put(&mut batch);
    with_whole(&batch, |again| assert_eq!(ToSupervisor::read(again), Ok(Some(read))));
}

fn check_to_worker(frame: Frame<'_>) {
    let Ok(Some(read)) = ToWorker::read(frame) else { return };
    if let ToWorker::Adopt { request, .. } = &read {
        assert!(request.read().is_ok());
    }
    let mut batch = Vec::new();
    read.put(&mut batch);
    with_whole(&batch, |again| assert_eq!(ToWorker::read(again), Ok(Some(read))));
}

/// Gives the one frame that a batch holds, put together from its pieces.
fn with_whole(mut batch: &[u8], check: impl FnOnce(Frame<'_>)) {
    let mut pieces = Pieces::new(batch.len());
    loop {
        let (frame, taken) = Frame::cut(batch).expect("well-formed").expect("whole");
        batch = &batch[taken..];
        if let Some(whole) = pieces.push(frame).expect("within the limit") {
            assert!(batch.is_empty(), "one value is one frame");
            return check(whole);
        }
    }
}
