//! Bytes of a peer that means harm: no panic, and no memory beyond what it sent.
#![allow(unsafe_code, reason = "only an allocator can count what is allocated")]

mod frames;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use shovel_protocol::control::{self, AdoptCause, AdoptHead, Headers, Names, RequestHead};
use shovel_protocol::head::flags;
use shovel_protocol::limits::{ATTACHMENT_BYTES, CHANNEL_NAME_BYTES};
use shovel_protocol::pieces::Pieces;
use shovel_protocol::to_worker::RequestBytes;
use shovel_protocol::{BadFrame, Frame, Header, Kind, LeaseId, ToSupervisor, ToWorker};

/// What decoding may allocate for each byte that arrived. A header takes 16 bytes on the wire and
/// 32 in memory, an unfinished payload 16 and 48, and a vector that grows has up to twice the room
/// that it needs.
const ALLOCATED_PER_BYTE: usize = 8;

/// What decoding may allocate whatever arrived: the least room that vectors begin with.
const ALLOCATED_ANYWAY_BYTES: usize = 1024;

proptest! {
    #![proptest_config(frames::config())]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..2000)) {
        read_within_bounds(&bytes);
    }

    #[test]
    fn any_payload_of_any_kind_is_read_or_refused(
        raw in vec((any::<u8>(), any::<u8>(), 0..4u64, vec(any::<u8>(), 0..300)), 1..10),
    ) {
        let mut bytes = Vec::new();
        for (kind, flags, id, payload) in raw {
            raw_frame(&mut bytes, kind, flags, id, &payload);
        }
        read_within_bounds(&bytes);
    }

    #[test]
    fn damaged_frames_are_read_or_refused(
        to_worker in vec(frames::to_worker(), 0..4),
        to_supervisor in vec(frames::to_supervisor(), 0..4),
        damage in vec((any::<Index>(), prop_oneof![any::<u64>(), 0..70_000u64, Just(u64::MAX)]), 1..4),
    ) {
        let mut bytes = Vec::new();
        to_worker.iter().for_each(|frame| frame.put(&mut bytes));
        to_supervisor.iter().for_each(|frame| frame.put(&mut bytes));
        for (at, number) in damage {
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
        }
        read_within_bounds(&bytes);
    }

    #[test]
    fn kinds_that_are_not_known_are_skipped(
        sent in vec((skipped(), frames::to_worker(), frames::to_supervisor()), 1..5),
    ) {
        let (mut to_worker, mut to_supervisor) = (Vec::new(), Vec::new());
        for (skipped, for_worker, for_supervisor) in &sent {
            to_worker.extend_from_slice(skipped);
            to_supervisor.extend_from_slice(skipped);
            for_worker.put(&mut to_worker);
            for_supervisor.put(&mut to_supervisor);
        }
        let mut expected = sent.iter().map(|(_, frame, _)| frame.clone());
        read(&mut to_worker, |frame| {
            if let Some(read) = ToWorker::read(frame)? {
                assert_eq!(Some(read), expected.next());
            }
            Ok(())
        }).unwrap();
        prop_assert_eq!(expected.next(), None);
        let mut expected = sent.iter().map(|(_, _, frame)| frame.clone());
        read(&mut to_supervisor, |frame| {
            if let Some(read) = ToSupervisor::read(frame)? {
                assert_eq!(Some(read), expected.next());
            }
            Ok(())
        }).unwrap();
        prop_assert_eq!(expected.next(), None);
    }
}

#[test]
fn a_count_or_length_that_lies_costs_nothing() {
    for kind in 0..=u8::MAX {
        for zeroes in 0..100 {
            let mut payload = vec![0; zeroes];
            payload.extend_from_slice(&u64::MAX.to_le_bytes());
            let mut bytes = Vec::new();
            raw_frame(&mut bytes, kind, 0, 0, &payload);
            read_within_bounds(&bytes);
        }
    }
}

#[test]
fn flags_and_fields_that_contradict_themselves_are_refused() {
    const STAGED: u8 = flags::STAGED;
    const BOTH: u8 = flags::STAGED | flags::DURING;
    let close = [&1000u16.to_le_bytes()[..], &[0; 8]].concat();
    let attachment = |len| vec![7; 4 + len];
    let (short, longest) = (attachment(1), attachment(ATTACHMENT_BYTES));
    let too_long = attachment(ATTACHMENT_BYTES + 1);
    let publish = b"\x04\0newshello";
    for (kind, flags, id, payload) in [
        (Kind::WsSend, BOTH, 1, &b"hello"[..]),
        (Kind::WsClose, BOTH, 1, &close),
        (Kind::WsAttach, BOTH, 1, &short),
        (Kind::WsAttach, STAGED, 1, &too_long),
        (Kind::WsAttach, STAGED, 1, &[1, 0, 0]),
        (Kind::WsReleased, 0, 1, &[0; 15]),
        (Kind::WsAdopted, 0, 1, &[]),
        (Kind::WsAdopted, 0, 1, &[2]),
        (Kind::ChannelSubscribe, BOTH, 1, b"news"),
        (Kind::ChannelSubscribe, STAGED, u64::MAX, b"news"),
        (Kind::ChannelUnsubscribe, flags::DURING, u64::MAX, b"news"),
        (Kind::ChannelPublish, BOTH, 1, publish),
    ] {
        let frame = Frame { kind: kind as u8, flags, id, payload };
        assert!(ToSupervisor::read(frame).is_err(), "{} {flags:#x} {payload:x?}", kind.name());
    }
    let frame = Frame { kind: Kind::WsAttach as u8, flags: STAGED, id: 1, payload: &longest };
    assert!(ToSupervisor::read(frame).is_ok());
    let frame = Frame { kind: Kind::WsPressure as u8, flags: 0, id: 1, payload: &[2] };
    assert!(ToWorker::read(frame).is_err());
}

#[test]
fn an_adoption_over_the_bounds_of_its_parts_is_refused() {
    let (name, long) = ("n".repeat(CHANNEL_NAME_BYTES), vec![7; ATTACHMENT_BYTES]);
    assert!(is_adoption(&long, &["news", &name]));
    assert!(!is_adoption(&[&long[..], b"1"].concat(), &["news", &name]));
    assert!(!is_adoption(&long, &["news", &format!("{name}1")]));
    assert!(!is_adoption(&long, &["news", ""]));
}

fn is_adoption(attachment: &[u8], channels: &[&str]) -> bool {
    let adopt = AdoptHead {
        cause: AdoptCause::Crash,
        uuid: [0; 16],
        protocol: None,
        committed: 4,
        pressed: false,
        version: 1,
        attachment,
        channels: Names(channels.to_vec()),
    };
    let request = control::request_head_bytes(&RequestHead {
        method: "GET",
        target: "/",
        version: 11,
        headers: Headers::default(),
        client: "",
        offer: None,
    });
    let (connection, request) = (LeaseId::from_wire(1), RequestBytes(&request));
    let mut batch = Vec::new();
    ToWorker::Adopt { connection, adopt, request }.put(&mut batch);
    let (frame, _) = Frame::cut(&batch).unwrap().unwrap();
    ToWorker::read(frame).is_ok()
}

/// Frames of kinds that no version so far has, whole or in pieces.
fn skipped() -> impl Strategy<Value = Vec<u8>> {
    let kind = any::<u8>()
        .prop_filter("known kinds are not skipped", |kind| Kind::from_wire(*kind).is_none());
    (kind, any::<u8>(), any::<u64>(), vec(vec(any::<u8>(), 0..100), 1..4)).prop_map(
        |(kind, flags, id, pieces)| {
            let mut bytes = Vec::new();
            for (at, payload) in pieces.iter().enumerate() {
                let more = u8::from(at + 1 < pieces.len());
                raw_frame(&mut bytes, kind, flags & !1 | more, id, payload);
            }
            bytes
        },
    )
}

/// Appends a frame as it is, whatever it says.
fn raw_frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, id: u64, payload: &[u8]) {
    let header = Header { len: payload.len() as u32, kind, flags, id };
    bytes.extend_from_slice(&header.to_bytes());
    bytes.extend_from_slice(payload);
}

/// Reads bytes as both ends would.
fn read_within_bounds(bytes: &[u8]) {
    let mut arrived = bytes.to_vec();
    let allocated = peak_bytes_allocated(|| {
        // A frame that cannot be read ends its link; here the others are read all the same.
        let _refused = read(&mut arrived, |frame| {
            if let Ok(Some(ToWorker::Adopt { request, .. })) = ToWorker::read(frame) {
                assert!(request.read().is_ok(), "a request was not checked");
            }
            if let Ok(Some(ToSupervisor::Upgrade { mut effects, .. })) = ToSupervisor::read(frame) {
                assert!(effects.all(|effect| effect.is_ok()), "an effect was not checked");
            }
            Ok(())
        });
    });
    let allowed = ALLOCATED_PER_BYTE * bytes.len() + ALLOCATED_ANYWAY_BYTES;
    assert!(allocated <= allowed, "{} bytes made the reader allocate {allocated}", bytes.len());
}

fn read(
    arrived: &mut Vec<u8>,
    mut read: impl FnMut(Frame<'_>) -> Result<(), BadFrame>,
) -> Result<(), BadFrame> {
    let mut pieces = Pieces::new(1024 * 1024);
    frames::take_frames(arrived, |frame| match pieces.push(frame)? {
        Some(whole) => read(whole),
        None => Ok(()),
    })
}

/// The most that was allocated at once by this thread while `work` ran, beyond what it had before.
fn peak_bytes_allocated(work: impl FnOnce()) -> usize {
    let before = LIVE_BYTES.get();
    PEAK_BYTES.set(before);
    work();
    (PEAK_BYTES.get() - before) as usize
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(change_bytes: isize) {
    let live = LIVE_BYTES.get() + change_bytes;
    LIVE_BYTES.set(live);
    PEAK_BYTES.set(PEAK_BYTES.get().max(live));
}

// SAFETY: every call goes to the system's allocator as it came. Counting neither allocates nor
// unwinds: the counters are constant-initialised and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize - layout.size() as isize);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
