//! Whether `HTTP_ADDR` and `DASHBOARD_ADDR` can be listened on, and who does already: seen before a start, without standing in its way.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::dashboard::headers;

/// It is on this machine.
const PATIENCE: Duration = Duration::from_secs(1);
/// More of an answer need not be read to know whose it is.
const MAX_BYTES: u64 = 4096;
/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// Nobody: a replica can listen there.
    Free,
    /// A replica of this worker, which serves its pages there.
    Replica,
    /// It cannot be listened on; a sentence that says why, and what to do.
    Unusable(String),
}

/// An address that a replica is to serve, and how one that serves it already is known.
#[derive(Clone, Debug)]
pub struct Door {
    /// The variable that names it.
    pub variable: &'static str,
    addr: SocketAddr,
    path: String,
    /// Of the answer; nobody else's has it.
    sign: &'static str,
}

impl Door {
    /// Of the probes.
    pub(super) fn of_probes(addr: SocketAddr) -> Self {
        Self {
            variable: "HTTP_ADDR",
            addr,
            path: "/healthz".to_owned(),
            sign: "\"loopStandsForSeconds\"",
        }
    }

    /// Of the operators' page, behind a login or not.
    pub(super) fn of_page(addr: SocketAddr, base_path: &str) -> Self {
        Self {
            variable: "DASHBOARD_ADDR",
            addr,
            path: format!("{base_path}/"),
            sign: headers::SIGN,
        }
    }

    /// Port 0 is whatever is free.
    pub(super) fn is_any(&self) -> bool {
        self.addr.port() == 0
    }

    /// Looks who has it. A replica that starts at the same moment gets the address all the same, as nobody listens for this.
    pub async fn look(&self) -> Port {
        match claim(self.addr) {
            Ok(()) => Port::Free,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && self.is_a_replicas().await => {
                Port::Replica
            }
            Err(error) => Port::Unusable(self.unusable(&error)),
        }
    }

    /// What keeps it from being listened on.
    pub(super) async fn why_not(&self, error: &io::Error) -> String {
        let Self { variable, addr, .. } = self;
        if error.kind() == io::ErrorKind::AddrInUse && self.is_a_replicas().await {
            return format!(
                "{variable}: another replica of this worker serves {addr}: choose another address, or leave it empty"
            );
        }
        self.unusable(error)
    }

    fn unusable(&self, error: &io::Error) -> String {
        let Self { variable, addr, .. } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "{variable}: {addr} is in use by another program: choose another address, or leave it empty"
            ),
            io::ErrorKind::AddrNotAvailable => format!(
                "{variable}: {addr} is no address of this machine: choose one that is, such as 127.0.0.1:{}, or leave it empty",
                addr.port()
            ),
            io::ErrorKind::PermissionDenied => format!(
                "{variable}: this account may not listen on {addr}: choose a port above 1023, or leave it empty"
            ),
            _ => {
                format!("{variable}: {addr} cannot be listened on: {error}; choose another or leave it empty")
            }
        }
    }

    /// Whether a replica answers there.
    async fn is_a_replicas(&self) -> bool {
        let nearest = match self.addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let asking = async {
            let mut connection = TcpStream::connect((nearest, self.addr.port())).await?;
            let request = format!(
                "GET {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
                self.path, self.addr
            );
            connection.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            connection.take(MAX_BYTES).read_to_end(&mut answer).await?;
            io::Result::Ok(answer)
        };
        let answer = timeout(PATIENCE, asking).await.ok().and_then(Result::ok);
        answer.is_some_and(|answer| String::from_utf8_lossy(&answer).contains(self.sign))
    }
}

/// An address that somebody listens on cannot be had, also by who does not listen.
fn claim(addr: SocketAddr) -> io::Result<()> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // As a listener sets it, for which this one is then not in the way.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)
}
