//! The sandbox's end of its control socket: a thread that accepts, and one per connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::Errno;
use host::unix;

use crate::failure::Failure;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::{Channel, WireError};

/// The most connections at a time; further ones are closed at once. A `wait` holds one until its caller hangs up.
const MAX_CONNECTIONS: usize = 256;
/// Bytes of stack of a connection's thread.
const STACK_SIZE: usize = 256 << 10;

/// What answers the calls.
pub trait Handler: Send + Sync + 'static {
    /// Answers one call; may take as long as it needs and the `caller` stays connected, other connections have threads
    /// of their own. Descriptors that it does not keep are closed.
    ///
    /// # Errors
    /// What the caller is told.
    fn handle(&self, request: Request, fds: Vec<OwnedFd>, caller: BorrowedFd<'_>) -> Result<Reply, Failure>;

    /// The answer to a call has been sent (for a handler that ends the process after the last answer).
    fn answered(&self) {}
}

/// A listening control socket.
#[derive(Debug)]
pub struct Server {
    listener: OwnedFd,
}

impl Server {
    /// Serves connections on `listener`. Whoever can reach the socket may call: the directory that it is in, of mode
    /// 0700, is the wall. (In a sandbox's user name space all users of the host look the same.)
    #[must_use]
    pub fn new(listener: OwnedFd) -> Self {
        Self { listener }
    }

    /// Accepts connections until the socket fails; never returns otherwise.
    ///
    /// # Errors
    /// What `accept(2)` says, transient errors aside.
    pub fn run<H: Handler>(self, handler: Arc<H>) -> Result<(), Errno> {
        let open = Arc::new(AtomicUsize::new(0));
        loop {
            let socket = match unix::accept(self.listener.as_fd()) {
                Ok(socket) => socket,
                Err(Errno::ECONNABORTED | Errno::EINTR) => continue,
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS) => {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            if open.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
                continue;
            }
            let (handler, open) = (Arc::clone(&handler), Arc::clone(&open));
            open.fetch_add(1, Ordering::Relaxed);
            let count = Arc::clone(&open);
            let serve_it = move || {
                serve(&Channel::new(socket), &*handler);
                open.fetch_sub(1, Ordering::Relaxed);
            };
            let thread = std::thread::Builder::new().name("control".into()).stack_size(STACK_SIZE);
            if thread.spawn(serve_it).is_err() {
                count.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// Answers the calls of one connection until it ends or breaks the rules.
fn serve<H: Handler>(channel: &Channel, handler: &H) {
    loop {
        let (request, fds) = match channel.receive::<Request>() {
            Ok(received) => received,
            Err(WireError::Malformed(error)) => {
                let why = Failure::invalid(format!("not a call that this sandbox knows: {error}"));
                let _ = channel.send(&Reply::Failed(why), &[]);
                return;
            }
            Err(_) => return,
        };
        let reply = handler.handle(request, fds, channel.as_fd()).unwrap_or_else(Reply::Failed);
        let sent = channel.send(&reply, &[]);
        handler.answered();
        if sent.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::Arc;

    use host::unix::{self, Kind};

    use super::{Handler, Server};
    use crate::client::{CallError, Client};
    use crate::failure::{Failure, FailureKind};
    use crate::reply::{Reply, WaitStatus};
    use crate::request::{Exec, Request, Target};

    struct Echo;

    impl Handler for Echo {
        fn handle(
            &self,
            request: Request,
            fds: Vec<OwnedFd>,
            _caller: BorrowedFd<'_>,
        ) -> Result<Reply, Failure> {
            match request {
                Request::Exec(_) => Ok(Reply::Started { pid: fds.len() as i32 }),
                Request::Wait { .. } => Ok(Reply::Exited(WaitStatus::Signal(9))),
                Request::Signal { .. } => Err(Failure::not_found("no container \"x\" here")),
                _ => Ok(Reply::Done),
            }
        }
    }

    #[test]
    fn calls_are_answered() {
        let dir = std::env::temp_dir().join(format!("control-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("control.sock");
        let listener = unix::listen(&path, Kind::Stream, 16).unwrap();
        std::thread::spawn(move || Server::new(listener).run(Arc::new(Echo)));
        let client = Client::new(unix::connect(&path, Kind::Stream).unwrap());
        let null = std::fs::File::open("/dev/null").unwrap();
        let exec = Exec {
            container: "c".into(),
            process: serde_json::json!({"args": ["sh"]}),
            stdio: [0, 1, 2],
            pass_fds: vec![],
            window: None,
        };
        assert_eq!(client.exec(exec, &[null.as_fd(); 3]).unwrap(), 3);
        assert_eq!(client.wait("c", None).unwrap().exit_status(), 137);
        let refused = client.signal(Target::Init { container: "x".into() }, 15).unwrap_err();
        assert_eq!(refused.kind(), FailureKind::NotFound);
        assert!(matches!(client.state("c"), Err(CallError::Unexpected { call: "state" })));
        client.pause("c").unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
