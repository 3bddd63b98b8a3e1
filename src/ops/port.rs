//! Whether `HTTP_ADDR` can be listened on, and who does already: seen before a start, without standing in its way.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// It is on this machine.
const PATIENCE: Duration = Duration::from_secs(1);
/// More of an answer need not be read to know whose it is.
const MAX_BYTES: u64 = 4096;
/// Of the page that says whether a replica lives.
const SIGN: &str = "\"loopStandsForSeconds\"";

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

/// Looks. A replica that starts at the same moment gets the address all the same, as nobody listens for this.
pub async fn look(addr: SocketAddr) -> Port {
    match claim(addr) {
        Ok(()) => Port::Free,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_replica(addr).await => Port::Replica,
        Err(error) => Port::Unusable(why_not(addr, &error)),
    }
}

/// What keeps an address from being listened on.
pub(super) fn why_not(addr: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "HTTP_ADDR: {addr} is in use by another program: choose another address, or leave it empty"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "HTTP_ADDR: {addr} is no address of this machine: choose one that is, such as 127.0.0.1:{}, or leave it empty",
            addr.port()
        ),
        io::ErrorKind::PermissionDenied => format!(
            "HTTP_ADDR: this account may not listen on {addr}: choose a port above 1023, or leave it empty"
        ),
        _ => format!("HTTP_ADDR: {addr} cannot be listened on: {error}; choose another or leave it empty"),
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

/// Whether a replica answers there.
pub(super) async fn is_replica(addr: SocketAddr) -> bool {
    let nearest = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let asking = async {
        let mut connection = TcpStream::connect((nearest, addr.port())).await?;
        let request = format!("GET /healthz HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        connection.take(MAX_BYTES).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, asking).await.ok().and_then(Result::ok);
    answer.is_some_and(|answer| String::from_utf8_lossy(&answer).contains(SIGN))
}
