//! One worker's way to PostgreSQL. It reads the messages of the client, so it can cut exactly at a COMMIT, which a worker sends
//! as a simple query of its own. The driver switches its mode; a connection whose bytes were withheld is closed afterwards.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Largest message that is passed on.
const LARGEST: usize = 64 << 20;
/// Version 3.0 of the protocol; requests with another number come before the start-up message.
const PROTOCOL: [u8; 4] = [0, 3, 0, 0];

/// What happens to the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// The server never sees the COMMIT.
    CutBeforeCommit,
    /// The server sees it; nobody waits for the answer.
    CutAfterCommit,
    /// The server has answered; the client never hears it.
    CutAnswer,
    /// Accepts, reads, never answers.
    Hole,
    /// Closes whatever comes.
    Refuse,
    /// Each message of the client and each answer waits.
    Slow(Duration),
}

/// A listening proxy; ends with its last owner.
pub struct Proxy {
    port: u16,
    mode: watch::Sender<Mode>,
    cuts: AtomicU32,
    outgoing: Mutex<HashSet<u16>>,
}

impl Proxy {
    pub async fn start(server: u16) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let proxy = Arc::new(Self {
            port: listener.local_addr().expect("an address").port(),
            mode: watch::Sender::new(Mode::Open),
            cuts: AtomicU32::new(0),
            outgoing: Mutex::default(),
        });
        let weak = Arc::downgrade(&proxy);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Some(proxy) = weak.upgrade() else { return };
                tokio::spawn(async move { proxy.serve(client, server).await });
            }
        });
        proxy
    }

    /// Where the worker connects to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The ports that its connections come from, as the server sees them.
    pub fn outgoing(&self) -> Vec<u16> {
        self.outgoing.lock().expect("the ports").iter().copied().collect()
    }

    pub fn switch(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The next `count` COMMITs are cut; answers how to see that it was done.
    pub fn cut(&self, mode: Mode, count: u32) {
        self.cuts.store(count, Ordering::SeqCst);
        self.switch(mode);
    }

    /// Cuts that are still to come.
    pub fn cuts_left(&self) -> u32 {
        self.cuts.load(Ordering::SeqCst)
    }

    fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    async fn until(&self, wanted: impl Fn(Mode) -> bool) {
        let _ = self.mode.subscribe().wait_for(|mode| wanted(*mode)).await;
    }

    async fn serve(&self, client: TcpStream, server: u16) {
        if self.mode() == Mode::Hole {
            self.until(|mode| mode != Mode::Hole).await;
            return;
        }
        if self.mode() == Mode::Refuse {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
        let Ok(port) = server.local_addr().map(|address| address.port()) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        self.outgoing.lock().expect("the ports").insert(port);
        let committing = AtomicBool::new(false);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            _ = self.up(from_client, to_server, &committing) => {}
            _ = self.down(from_server, to_client, &committing) => {}
            () = self.until(|mode| mode == Mode::Refuse) => {}
        }
        self.outgoing.lock().expect("the ports").remove(&port);
    }

    /// From the client to the server, message by message. Returns when the connection is to be closed.
    async fn up(
        &self,
        from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        committing: &AtomicBool,
    ) -> std::io::Result<()> {
        let mut from = BufReader::new(from);
        loop {
            let start = untyped(&mut from).await?;
            to.write_all(&start).await?;
            if start[4..].starts_with(&PROTOCOL) {
                break;
            }
        }
        loop {
            let message = typed(&mut from).await?;
            if !self.passes().await {
                return Ok(());
            }
            if is_commit(&message) {
                match self.take_cut() {
                    Some(Mode::CutBeforeCommit) => return Ok(()),
                    Some(Mode::CutAfterCommit) => return to.write_all(&message).await,
                    Some(Mode::CutAnswer) => committing.store(true, Ordering::SeqCst),
                    _ => {}
                }
            }
            to.write_all(&message).await?;
        }
    }

    /// From the server to the client, as it comes.
    async fn down(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        committing: &AtomicBool,
    ) -> std::io::Result<()> {
        let mut bytes = vec![0; 16 << 10];
        loop {
            let read = from.read(&mut bytes).await?;
            if read == 0 || committing.load(Ordering::SeqCst) || !self.passes().await {
                return Ok(());
            }
            to.write_all(&bytes[..read]).await?;
        }
    }

    /// Waits as the mode says. False if the bytes fell into a hole, which is over now.
    async fn passes(&self) -> bool {
        match self.mode() {
            Mode::Hole => {
                self.until(|mode| mode != Mode::Hole).await;
                false
            }
            Mode::Slow(pause) => {
                crate::pass(pause).await;
                true
            }
            _ => true,
        }
    }

    /// One of the cuts that were asked for.
    fn take_cut(&self) -> Option<Mode> {
        let mode = self.mode();
        let cuts = matches!(mode, Mode::CutBeforeCommit | Mode::CutAfterCommit | Mode::CutAnswer);
        let less = |left: u32| left.checked_sub(1);
        (cuts && self.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()).then_some(mode)
    }
}

/// A start-up message: length and body.
async fn untyped(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; 4];
    from.read_exact(&mut message).await?;
    body(from, message, 0).await
}

/// Any other message of the client: type, length and body.
async fn typed(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; 5];
    from.read_exact(&mut message).await?;
    body(from, message, 1).await
}

/// Reads what the length at `at` announces; it counts itself and not the type.
async fn body(
    from: &mut (impl AsyncRead + Unpin),
    mut message: Vec<u8>,
    at: usize,
) -> std::io::Result<Vec<u8>> {
    let length =
        u32::from_be_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]) as usize;
    if !(4..=LARGEST).contains(&length) {
        return Err(std::io::Error::other("no message of PostgreSQL"));
    }
    message.resize(at + length, 0);
    from.read_exact(&mut message[at + 4..]).await?;
    Ok(message)
}

fn is_commit(message: &[u8]) -> bool {
    message[0] == b'Q' && message[5..].get(..6).is_some_and(|text| text.eq_ignore_ascii_case(b"COMMIT"))
}
