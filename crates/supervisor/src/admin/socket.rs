//! The admin socket: its file, who may ask, and one question for each connection.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::StreamCommon;
use interprocess::local_socket::{GenericFilePath, ListenerOptions};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use nix::unistd::{Uid, geteuid};
use serde::Serialize;
use shovel_edge::socket_file::{SocketFile, is_listened_on};
use shovel_protocol::MessageKind;
use shovel_protocol::limits::CHANNEL_NAME_BYTES;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::ReadHalf;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::lingering::{LINGERS, LINGERS_AT_LEAST, linger};
use super::wire::{Answer, Published, QUESTION_BYTES, Question, Reloaded, Scaled};
use super::{Admin, status};

/// Most operators at once; more are told so. One who waits for a reload is among them.
const OPERATORS: usize = 64;

/// Most messages at once that are read to be published; more wait.
const PUBLISHERS: usize = 2;

/// How long a question may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a message may take to arrive that is to be published.
const PATIENCE_WITH_MESSAGES: Duration = Duration::from_secs(60);

/// How long to pause when no descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket, listened on.
pub struct AdminSocket {
    listener: Listener,
    file: SocketFile,
}

impl AdminSocket {
    /// Listens on a path, in a runtime. What a pool has left there that is gone is replaced.
    ///
    /// # Errors
    /// If the path cannot be used, or another pool has it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot use the admin socket {}", path.display());
        if is_listened_on(path).with_context(context)? {
            bail!("another pool has the admin socket {}", path.display());
        }
        // Made beside and then moved there: whoever finds it can connect to it, so that one that
        // refuses is known to be left over.
        let beside = path.with_extension("new");
        remove(&beside).with_context(context)?;
        let name = beside.as_path().to_fs_name::<GenericFilePath>().with_context(context)?;
        let options = ListenerOptions::new().name(name).reclaim_name(false).mode(0o600);
        let listener = options.create_tokio().with_context(context)?;
        let file = SocketFile::made_at(&beside).with_context(context)?;
        Ok(AdminSocket { listener, file: file.moved_to(path).with_context(context)? })
    }

    /// What to serve, and what to keep until the end.
    pub fn into_parts(self) -> (Listener, SocketFile) {
        (self.listener, self.file)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Answers operators until the process ends.
pub(super) async fn serve(listener: Listener, admin: Admin) {
    let (operators, publishers) = (Semaphore::new(OPERATORS), Semaphore::new(PUBLISHERS));
    let (operators, publishers) = (Arc::new(operators), Arc::new(publishers));
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept an operator");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if !may_ask(&stream) {
            continue;
        }
        let (permit, admin) = (operators.clone().try_acquire_owned(), admin.clone());
        let publishers = publishers.clone();
        tokio::spawn(async move {
            let Stream::UdSocket(stream) = stream;
            let mut stream = UnixStream::from(stream);
            let (reader, mut writer) = stream.split();
            let mut reader = BufReader::new(reader);
            let (answer, patience) = match permit {
                Ok(_) => {
                    let asking = Asking { reader: &mut reader, admin, publishers };
                    (asking.answer().await, LINGERS)
                }
                Err(_) => (refusal("too many ask at once"), LINGERS_AT_LEAST),
            };
            if let Some(answer) = answer {
                // Whoever does not read the answer goes without it.
                let _ = timeout(PATIENCE, writer.write_all(&answer)).await;
            }
            let _ = writer.shutdown().await;
            linger(reader, patience).await;
        });
    }
}

/// Only this user and root: the file's mode says so too, but its folder may be another's.
fn may_ask(stream: &Stream) -> bool {
    let user = stream.peer_creds().ok().and_then(|peer| peer.euid());
    let may = user.is_some_and(|user| Uid::from_raw(user).is_root() || user == geteuid().as_raw());
    if !may {
        tracing::warn!(target: "refusals", user, "refused an operator who is neither this user nor root");
    }
    may
}

/// One operator's connection.
struct Asking<'a, 's> {
    reader: &'a mut BufReader<ReadHalf<'s>>,
    admin: Admin,
    publishers: Arc<Semaphore>,
}

impl Asking<'_, '_> {
    /// The answer as it goes out; `None` if nothing was asked.
    async fn answer(self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let mut bounded = (&mut *self.reader).take(QUESTION_BYTES);
        match timeout(PATIENCE, bounded.read_until(b'\n', &mut line)).await {
            Ok(Ok(0)) | Ok(Err(_)) => return None,
            Err(_) if line.is_empty() => return None,
            Err(_) => return refusal("the question does not end"),
            Ok(Ok(_)) => {}
        }
        if line.len() as u64 == QUESTION_BYTES && !line.ends_with(b"\n") {
            return refusal(format!("a question has at most {QUESTION_BYTES} bytes"));
        }
        let question = match serde_json::from_slice(&line) {
            Ok(question) => question,
            Err(error) => return refusal(format!("this pool does not understand: {error}")),
        };
        let Admin { desk, facts } = &self.admin;
        match question {
            Question::Status => reply(status::status(&self.admin).await),
            Question::Connections { from, limit, worker } => {
                reply(status::connections(desk, from.unwrap_or_default(), limit, worker).await)
            }
            Question::Reload => reply(desk.reload().await.map(|done| Reloaded {
                generation: done.generation.0,
                took: done.took.as_secs_f64(),
            })),
            Question::Scale { workers } => {
                reply(desk.scale(workers).await.map(|before| Scaled { before, workers }))
            }
            Question::Publish { bytes, .. } if bytes > facts.max_message_bytes => {
                refusal(format!("a message has at most {} bytes", facts.max_message_bytes))
            }
            Question::Publish { channel, .. } if channel.len() > CHANNEL_NAME_BYTES => {
                refusal(format!("a channel's name has at most {CHANNEL_NAME_BYTES} bytes"))
            }
            Question::Publish { channel, binary, bytes } => {
                let _permit = self.publishers.acquire().await.ok()?;
                let kind = if binary { MessageKind::Binary } else { MessageKind::Text };
                let data = read_message(self.reader, bytes).await?;
                if !binary && std::str::from_utf8(&data).is_err() {
                    return refusal("a text is UTF-8; other bytes are published as binary");
                }
                reply(desk.publish(&channel, kind, data).await.map(|published| Published {
                    delivered: published.delivered,
                    dropped: published.dropped,
                    closed: published.closed,
                }))
            }
        }
    }
}

/// Memory is taken as bytes arrive: the length is only a claim.
async fn read_message(reader: &mut BufReader<ReadHalf<'_>>, bytes: u64) -> Option<Bytes> {
    let mut data = Vec::new();
    let mut bounded = reader.take(bytes);
    let read = timeout(PATIENCE_WITH_MESSAGES, bounded.read_to_end(&mut data)).await.ok()?;
    (read.ok()? as u64 == bytes).then(|| data.into())
}

fn reply<T: Serialize, E: ToString>(answer: Result<T, E>) -> Option<Vec<u8>> {
    match answer {
        Ok(answer) => line(&Answer::Ok(answer)),
        Err(error) => refusal(error),
    }
}

fn refusal(why: impl ToString) -> Option<Vec<u8>> {
    line(&Answer::<()>::Error(why.to_string()))
}

fn line<T: Serialize>(answer: &Answer<T>) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(answer).ok()?;
    line.push(b'\n');
    Some(line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn open(path: &Path) -> anyhow::Result<AdminSocket> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        AdminSocket::open(path)
    }

    #[test]
    fn what_was_left_behind_is_replaced_and_goes_in_the_end() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("1.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn one_that_answers_and_what_is_no_socket_are_left_alone() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("1.sock");
        let other = UnixListener::bind(&path).unwrap();
        let told = open(&path).err().unwrap().to_string();
        assert!(told.contains("another pool has"), "{told}");
        drop(other);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(open(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_file_that_has_become_another_pools_is_left_alone() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("1.sock");
        let first = open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = open(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }
}
