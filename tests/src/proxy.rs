//! A TCP proxy that misbehaves on demand, between a client and a real server.
//!
//! Works for AMQP, PostgreSQL and HTTP alike: it knows bytes only. A mode set while connections are
//! open holds for those too. Random delays come from a seed, so a run can be repeated.
//!
//! Limits: the proxy ends TCP on both sides, so a connection is accepted even in [`Mode::Blackhole`]
//! (a real one would hang in connect), and what it swallows there is held back, not lost: it flows
//! on in [`Mode::Pass`], as retransmitted segments do. To lose it, cut the connections first.

mod pump;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::ports::free_port;
use crate::{runtime, wait};
use pump::{Direction, Obedience, Pump};

/// What the proxy does with bytes and connections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Mode {
    /// Forwards everything at once.
    #[default]
    Pass,
    /// Forwards everything later, in order, each way: after `by` and up to `jitter` more.
    Delay {
        /// The least delay.
        by: Duration,
        /// The random part on top.
        jitter: Duration,
    },
    /// Forwards nothing in the directions named; the sockets stay open.
    Blackhole {
        /// Swallow what the client sends.
        client_to_server: bool,
        /// Swallow what the server sends.
        server_to_client: bool,
    },
    /// Resets open connections (RST) and each new one as soon as it is accepted.
    Reset,
    /// Resets open connections and refuses new ones: nothing listens.
    Refuse,
    /// Lets each connection pass this many further bytes per direction, then resets it; `None` is
    /// no limit. Counted from the connection's start or from this setting, whichever is later.
    CutAfter {
        /// Limit for what the client sends.
        client_to_server: Option<u64>,
        /// Limit for what the server sends.
        server_to_client: Option<u64>,
    },
}

impl Mode {
    /// Nothing passes, either way.
    pub const BLACKHOLE: Self = Self::Blackhole { client_to_server: true, server_to_client: true };

    fn cuts_at_once(self) -> bool {
        matches!(self, Self::Reset | Self::Refuse)
    }
}

/// Bytes forwarded so far, over all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// From clients to the server.
    pub client_to_server: u64,
    /// From the server to clients.
    pub server_to_client: u64,
}

/// A running proxy; it closes everything when it is dropped.
pub struct Proxy {
    upstream: SocketAddr,
    addr: SocketAddr,
    orders: watch::Sender<Orders>,
    obeyed: watch::Receiver<u64>,
    counts: Arc<Counts>,
}

/// What all tasks of a proxy listen to.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    mode: Mode,
    /// Grows with every change of mode, so that a limit set twice counts anew.
    change: u64,
    /// Grows with every `cut_all`.
    cuts: u64,
}

#[derive(Default)]
struct Counts {
    client_to_server: AtomicU64,
    server_to_client: AtomicU64,
    accepted: AtomicU64,
    open: AtomicU64,
    obedience: Arc<Obedience>,
}

impl Proxy {
    /// Starts a proxy in front of a server, in [`Mode::Pass`].
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn to(upstream: SocketAddr) -> Self {
        Self::seeded(upstream, 1).await
    }

    /// Starts a proxy whose random delays come from this seed.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn seeded(upstream: SocketAddr, seed: u64) -> Self {
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (orders, heard) = watch::channel(Orders::default());
        let (obey, mut obeyed) = watch::channel(u64::MAX);
        let counts = Arc::new(Counts::default());
        runtime::start(accept(Accept { addr, upstream, seed, orders: heard, obey, counts: Arc::clone(&counts) }));
        obeyed.changed().await.expect("the proxy could not listen");
        Self { upstream, addr, orders, obeyed, counts }
    }

    /// Where clients connect; the same for the proxy's whole life.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A URL of the server, rewritten to lead through the proxy.
    ///
    /// # Panics
    /// When the URL does not name the server's address and port.
    pub fn through(&self, url: &str) -> String {
        let (upstream, addr) = (self.upstream.to_string(), self.addr.to_string());
        assert!(url.contains(&upstream), "the URL does not lead to {upstream}");
        url.replacen(&upstream, &addr, 1)
    }

    /// Changes the mode, for open connections and new ones; both obey when it returns.
    ///
    /// # Panics
    /// When they do not, which would be a fault of the proxy.
    pub async fn set(&self, mode: Mode) {
        let mut change = 0;
        self.orders.send_modify(|orders| {
            orders.mode = mode;
            orders.change += 1;
            change = orders.change;
        });
        let mut obeyed = self.obeyed.clone();
        let done = obeyed.wait_for(|done| *done != u64::MAX && *done >= change).await;
        done.expect("the proxy's listener is gone");
        // A reset or refused connection is dropped with its pumps.
        let what = "the proxy's connections to obey";
        wait::until_true(Duration::from_secs(10), what, async || self.counts.obedience.reached(change)).await;
    }

    /// Resets every open connection once; the mode stays.
    pub fn cut_all(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// Bytes forwarded so far.
    pub fn forwarded(&self) -> Forwarded {
        Forwarded {
            client_to_server: self.counts.client_to_server.load(Ordering::Relaxed),
            server_to_client: self.counts.server_to_client.load(Ordering::Relaxed),
        }
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.counts.open.load(Ordering::Relaxed)
    }
}

struct Accept {
    addr: SocketAddr,
    upstream: SocketAddr,
    seed: u64,
    orders: watch::Receiver<Orders>,
    obey: watch::Sender<u64>,
    counts: Arc<Counts>,
}

/// Listens, or does not, as ordered; ends when the proxy is dropped.
async fn accept(mut proxy: Accept) {
    let mut listener = None;
    loop {
        let Orders { mode, change, .. } = *proxy.orders.borrow_and_update();
        if mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            let bind = async || TcpListener::bind(proxy.addr).await.ok();
            listener = wait::within(Duration::from_secs(5), bind).await;
            if listener.is_none() {
                // Dropping `obey` fails whoever waits for it.
                return;
            }
        }
        proxy.obey.send_replace(change);
        let next = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = proxy.orders.changed() => if changed.is_err() { return },
            Ok((client, _)) = next => {
                let number = proxy.counts.accepted.fetch_add(1, Ordering::Relaxed);
                // Each connection and direction draws from a sequence of its own.
                let seed = proxy.seed.wrapping_add(number.wrapping_mul(2) << 32);
                let connection = Connection {
                    upstream: proxy.upstream,
                    seed,
                    orders: proxy.orders.clone(),
                    counts: Arc::clone(&proxy.counts),
                };
                runtime::start(connection.serve(client));
            }
        }
    }
}

struct Connection {
    upstream: SocketAddr,
    seed: u64,
    orders: watch::Receiver<Orders>,
    counts: Arc<Counts>,
}

impl Connection {
    async fn serve(self, mut client: TcpStream) {
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        self.forward(&mut client).await;
        drop(client);
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn forward(&self, client: &mut TcpStream) {
        let mut orders = self.orders.clone();
        let cuts = orders.borrow().cuts;
        let connect = TcpStream::connect(self.upstream);
        let reached = if orders.borrow().mode.cuts_at_once() { None } else { connect.await.ok() };
        let Some(mut server) = reached else {
            let _ = client.set_zero_linger();
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let clean = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let up = Pump::new(Direction::ClientToServer, self.seed, &self.counts.obedience);
            let down = Pump::new(Direction::ServerToClient, self.seed + 1, &self.counts.obedience);
            let both = async {
                tokio::try_join!(
                    up.run(self.orders.clone(), from_client, to_server, &self.counts.client_to_server),
                    down.run(self.orders.clone(), from_server, to_client, &self.counts.server_to_client),
                )
            };
            let cut = orders.wait_for(|orders| orders.cuts != cuts || orders.mode.cuts_at_once());
            tokio::select! {
                ended = both => ended.is_ok(),
                _ = cut => false,
            }
        };
        if !clean {
            // Closing with a linger of zero sends RST instead of FIN.
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
    }
}
