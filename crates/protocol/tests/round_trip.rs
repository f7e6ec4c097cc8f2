//! What one end puts on a link, the other end reads, however the bytes arrive.

mod frames;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use shovel_protocol::head::flags;
use shovel_protocol::limits::{FRAME_PAYLOAD_BYTES, payload_bytes};
use shovel_protocol::pieces::Pieces;
use shovel_protocol::to_supervisor::{Effects, put_effect};
use shovel_protocol::{Frame, ToSupervisor, ToWorker};

const LONGEST_PAYLOAD_BYTES: usize = 4 * 1024 * 1024;

proptest! {
    #![proptest_config(frames::config())]

    #[test]
    fn a_worker_reads_what_the_supervisor_put(
        sent in vec(frames::to_worker(), 1..8),
        splits in vec(any::<Index>(), 0..12),
    ) {
        let mut batch = Vec::new();
        sent.iter().for_each(|frame| frame.put(&mut batch));
        let mut expected = sent.iter();
        deliver(&batch, &splits, |frame| {
            let expected = expected.next().expect("more frames than were sent").clone();
            assert_eq!(ToWorker::read(frame), Ok(Some(expected)));
        });
        prop_assert_eq!(expected.next(), None);
    }

    #[test]
    fn the_supervisor_reads_what_a_worker_put(
        sent in vec(frames::to_supervisor(), 1..8),
        splits in vec(any::<Index>(), 0..12),
    ) {
        let mut batch = Vec::new();
        sent.iter().for_each(|frame| frame.put(&mut batch));
        let mut expected = sent.iter();
        deliver(&batch, &splits, |frame| {
            let expected = expected.next().expect("more frames than were sent").clone();
            assert_eq!(ToSupervisor::read(frame), Ok(Some(expected)));
        });
        prop_assert_eq!(expected.next(), None);
    }

    #[test]
    fn effects_are_read_in_the_order_in_which_they_happened(
        effects in vec(frames::effect(), 0..8),
    ) {
        let mut bytes = Vec::new();
        effects.iter().for_each(|effect| put_effect(&mut bytes, effect));
        let read: Result<Vec<_>, _> = Effects::new(&bytes).collect();
        prop_assert_eq!(read, Ok(effects));
    }

    #[test]
    fn payloads_whose_pieces_mingle_come_out_whole(
        lengths in vec(0..5 * FRAME_PAYLOAD_BYTES, 2..5),
        turns in vec(any::<Index>(), 0..30),
    ) {
        let mut waiting: Vec<Vec<u8>> = (0u64..).zip(&lengths).map(|(id, length)| {
            let mut batch = Vec::new();
            shovel_protocol::head::put_pieces(
                &mut batch, shovel_protocol::Kind::WsSend, flags::BINARY, id, &vec![id as u8; *length],
            );
            batch
        }).collect();
        let mut batch = Vec::new();
        let rest = 0..lengths.len();
        let turns = turns.iter().map(|turn| turn.index(lengths.len()));
        for at in turns.chain(rest.flat_map(|at| [at; 6])) {
            if let Some((_, taken)) = Frame::cut(&waiting[at]).unwrap() {
                batch.extend(waiting[at].drain(..taken));
            }
        }
        let mut seen = vec![None; lengths.len()];
        deliver(&batch, &[], |frame| {
            assert!(frame.payload.iter().all(|byte| u64::from(*byte) == frame.id));
            assert!(!frame.has(flags::MORE) && frame.has(flags::BINARY));
            seen[frame.id as usize] = Some(frame.payload.len());
        });
        prop_assert_eq!(seen, lengths.into_iter().map(Some).collect::<Vec<_>>());
    }
}

/// Lets a batch arrive in parts that end at `splits`, and takes each frame once it is whole.
fn deliver(batch: &[u8], splits: &[Index], mut read: impl FnMut(Frame<'_>)) {
    let mut ends: Vec<usize> = splits.iter().map(|split| split.index(batch.len() + 1)).collect();
    ends.push(batch.len());
    ends.sort_unstable();
    let mut pieces = Pieces::new(payload_bytes(LONGEST_PAYLOAD_BYTES as u64));
    let (mut arrived, mut start) = (Vec::new(), 0);
    for end in ends {
        arrived.extend_from_slice(&batch[start..end]);
        start = end;
        let taken = frames::take_frames(&mut arrived, |frame| {
            assert!(frame.payload.len() <= FRAME_PAYLOAD_BYTES);
            if let Some(whole) = pieces.push(frame)? {
                read(whole);
            }
            Ok(())
        });
        assert_eq!(taken, Ok(()));
    }
    assert!(arrived.is_empty(), "{} bytes are left over", arrived.len());
    assert_eq!(pieces.held_bytes(), 0);
}
