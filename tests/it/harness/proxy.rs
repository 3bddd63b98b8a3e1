//! A TCP proxy on loopback that cuts, stalls, slows or half-opens what goes through it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Passes everything on.
    Fair,
    /// Closes every connection at once, new ones too.
    Cut,
    /// Passes nothing on, either way, and keeps all of it for later.
    Stall,
    /// Passes each piece on only after this time.
    Slow(Duration),
}

/// A running proxy. Ends when dropped, its connections too.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// Where new connections lead.
    target: Arc<AtomicU16>,
    weather: Arc<watch::Sender<Weather>>,
    /// Rises each time that the connections which are open then are to pass nothing on any more, for ever.
    deaf: Arc<watch::Sender<u64>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let (weather, deaf) = (
            Arc::new(watch::Sender::new(Weather::Fair)),
            Arc::new(watch::Sender::new(0)),
        );
        let (changes, deafness) = (weather.clone(), deaf.clone());
        let target = Arc::new(AtomicU16::new(port));
        let leads_to = target.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (weather, deaf) = (changes.subscribe(), deafness.subscribe());
                let port = leads_to.load(Ordering::Relaxed);
                connections.spawn(connect(stream, port, weather, deaf));
            }
        });
        Self {
            port: own_port,
            target,
            weather,
            deaf,
            accepting,
        }
    }

    /// Leads new connections to another server.
    pub(crate) fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Lets all connections that are open now pass nothing on any more; neither side is told.
    pub(crate) fn half_open(&self) {
        self.deaf.send_modify(|count| *count += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connect(
    client: TcpStream,
    port: u16,
    weather: watch::Receiver<Weather>,
    deaf: watch::Receiver<u64>,
) {
    if *weather.borrow() == Weather::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut changes = weather.clone();
    tokio::select! {
        () = pass(from_client, to_server, weather.clone(), deaf.clone()) => {}
        () = pass(from_server, to_client, weather, deaf) => {}
        _ = changes.wait_for(|weather| *weather == Weather::Cut) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
    mut deaf: watch::Receiver<u64>,
) {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = tokio::select! {
            read = from.read(&mut piece) => match read {
                Ok(length) if length > 0 => length,
                _ => return,
            },
            _ = deaf.changed() => std::future::pending().await,
        };
        let now = *weather.borrow_and_update();
        match now {
            Weather::Slow(time) => tokio::time::sleep(time).await,
            Weather::Stall => {
                if weather.wait_for(|now| *now != Weather::Stall).await.is_err() {
                    return;
                }
            }
            Weather::Fair | Weather::Cut => {}
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
