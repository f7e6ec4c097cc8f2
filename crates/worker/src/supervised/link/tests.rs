//! What is put into a batch, and what of it is written by whom.

use shovel_link::Incoming;
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::id::Leased;
use shovel_protocol::{Frame, MessageKind, When};

use super::*;

const ONE: LeaseId = LeaseId(Leased { slot: 1, lease: 1 });
const OTHER: LeaseId = LeaseId(Leased { slot: 2, lease: 1 });

fn link() -> Link {
    let welcome = Welcome {
        worker: 1,
        index: 0,
        generation: 1,
        link: 0,
        links: 1,
        max_message_bytes: 1024,
        body_window_bytes: 1024,
        dev: false,
    };
    Link::new(&welcome, Capabilities::ADOPT)
}

fn ws_send(connection: LeaseId, last: bool) -> WsSend<'static> {
    WsSend { connection, when: When::Now, kind: MessageKind::Binary, data: b"hi", last }
}

fn send(connection: LeaseId, last: bool) -> ToSupervisor<'static> {
    ws_send(connection, last).into()
}

#[track_caller]
fn assert_batch(link: &Link, expected: &[ToSupervisor<'_>]) {
    let mut batch = lock(&link.batch);
    let (mut bytes, mut expected) = (&*batch.outgoing.tail(0), expected.iter());
    while let Some((frame, taken)) = Frame::cut(bytes).unwrap() {
        assert_eq!(ToSupervisor::read(frame).unwrap().as_ref(), expected.next());
        bytes = &bytes[taken..];
    }
    assert_eq!(expected.next(), None);
}

#[test]
fn a_send_commits_once_and_only_its_own_connection() {
    let link = link();
    let commit = |connection, seq| ToSupervisor::Commit { connection, seq };
    link.put(ONE.to_wire(), &send(ONE, false));
    link.commit(ONE, 1, true);
    link.commit(ONE, 2, true);
    link.put(ONE.to_wire(), &send(ONE, false));
    link.commit(OTHER, 1, true);
    link.commit(ONE, 3, true);
    let expected =
        [send(ONE, true), commit(ONE, 2), send(ONE, false), commit(OTHER, 1), commit(ONE, 3)];
    assert_batch(&link, &expected);
}

#[test]
fn a_send_that_is_not_the_last_frame_commits_nothing() {
    let link = link();
    let pressed = ToSupervisor::Pressed { connection: ONE };
    link.put(ONE.to_wire(), &send(ONE, false));
    link.put(ONE.to_wire(), &pressed);
    link.commit(ONE, 1, true);
    let commit = ToSupervisor::Commit { connection: ONE, seq: 1 };
    assert_batch(&link, &[send(ONE, false), pressed, commit]);
}

#[test]
fn a_send_that_comes_too_late_is_not_put() {
    let link = link();
    let put = |is| link.try_send_while(&AtomicBool::new(is), ws_send(ONE, false));
    assert_eq!(put(false), Ok(false));
    assert_eq!(put(true), Ok(true));
    assert_batch(&link, &[send(ONE, false)]);
}

/// The numbers of the commits that have come over the link, `count` of them.
async fn commits(socket: &Socket, count: u64) -> Vec<u64> {
    let (mut incoming, mut seen) = (Incoming::default(), Vec::new());
    while seen.len() < count as usize {
        incoming.fill(socket).await.unwrap();
        while let Some(frame) = incoming.next_frame().unwrap() {
            match ToSupervisor::read(frame).unwrap() {
                Some(ToSupervisor::Commit { seq, .. }) => seen.push(seq),
                other => assert!(matches!(other, Some(ToSupervisor::Act(_))), "{other:?}"),
            }
        }
    }
    seen
}

#[tokio::test]
async fn whoever_writes_nothing_is_lost_doubled_or_out_of_order() {
    both_write().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_it_when_they_write_on_two_threads() {
    tokio::spawn(both_write()).await.unwrap();
}

/// A reader and a writer write to one link.
async fn both_write() {
    const COUNT: u64 = 4000;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let (ours, theirs) = (Arc::new(Socket::new(ours).unwrap()), Socket::new(theirs).unwrap());
    let link = Arc::new(link());
    let data = &[0; 500];
    let put = |seq| {
        link.put(ONE.to_wire(), &WsSend { data, ..ws_send(ONE, false) }.into());
        link.put(ONE.to_wire(), &ToSupervisor::Commit { connection: ONE, seq });
    };
    let writer = tokio::spawn(Writer { link: link.clone(), socket: ours.clone() }.run());
    // As the reader does: sometimes all is taken, sometimes the socket is full, and in between
    // the writer is woken, or is not.
    let writes = async {
        let mut full = 0;
        for seq in 1..=COUNT {
            put(seq);
            if seq % 3 == 0 {
                full += usize::from(link.write(&ours).unwrap() == Written::Full);
            }
            if seq % 1000 == 0 {
                yield_now().await;
            }
        }
        full
    };
    let (full, seen) = tokio::join!(writes, commits(&theirs, COUNT));
    assert!(full > 0, "the socket takes more than this test has");
    assert_eq!(seen, (1..=COUNT).collect::<Vec<_>>());
    link.written().await;
    writer.abort();
}

#[test]
fn a_send_commits_no_number_but_the_next() {
    let link = link();
    link.put(ONE.to_wire(), &send(ONE, false));
    link.commit(ONE, 7, false);
    assert_batch(&link, &[send(ONE, false), ToSupervisor::Commit { connection: ONE, seq: 7 }]);
}
