//! What a hostile worker (or, to a worker, supervisor) may send: no bytes make the link's decoder
//! panic or hold more than its limit, how they are cut into reads or frames into pieces changes
//! nothing, and what was understood can be said again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shovel_protocol::head::{Header, flags};
use shovel_protocol::pieces::Pieces;
use shovel_protocol::{BadFrame, Frame, ToSupervisor, ToWorker};

const LIMIT_BYTES: usize = 1000;

fuzz_target!(|input: ([u8; 4], &[u8])| {
    let (sizes, bytes) = input;
    let whole = read_link(bytes, &[usize::MAX]);
    assert_eq!(whole, read_link(bytes, &sizes.map(usize::from)));
});

/// All that is understood, a line for each thing, and the error that ends the link.
fn read_link(bytes: &[u8], sizes: &[usize]) -> (Vec<String>, Option<BadFrame>) {
    let mut understood = Vec::new();
    let mut pieces = Pieces::new(LIMIT_BYTES);
    let (mut carry, mut rest, mut sizes) = (Vec::new(), bytes, sizes.iter().cycle());
    loop {
        let mut taken_in_all = 0;
        loop {
            match Frame::cut(&carry[taken_in_all..]) {
                Ok(Some((frame, taken))) => {
                    taken_in_all += taken;
                    match pieces.push(frame) {
                        Ok(None) => {}
                        Ok(Some(frame)) => check(frame, &mut understood),
                        Err(bad) => return (understood, Some(bad)),
                    }
                    assert!(pieces.held_bytes() <= 4 * LIMIT_BYTES);
                }
                Ok(None) => break,
                Err(bad) => return (understood, Some(bad)),
            }
        }
        carry.drain(..taken_in_all);
        if rest.is_empty() {
            return (understood, None);
        }
        let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
        carry.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
    }
}

fn check(frame: Frame<'_>, understood: &mut Vec<String>) {
    understood.push(format!("{:?}", ToSupervisor::read(frame)));
    understood.push(format!("{:?}", ToWorker::read(frame)));
    check_to_supervisor(frame);
    check_to_worker(frame);
    for at in [0, frame.payload.len() / 2, frame.payload.len()] {
        let batch = in_pieces(frame, at);
        with_whole(&batch, |again| assert_eq!(again, frame));
    }
}

/// The frame in two pieces.
fn in_pieces(frame: Frame<'_>, at: usize) -> Vec<u8> {
    let (first, last) = frame.payload.split_at(at);
    let mut batch = Vec::new();
    for (payload, more) in [(first, flags::MORE), (last, 0)] {
        let Frame { kind, id, .. } = frame;
        let header = Header { len: payload.len() as u32, kind, flags: frame.flags | more, id };
        batch.extend_from_slice(&header.to_bytes());
        batch.extend_from_slice(payload);
    }
    batch
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
