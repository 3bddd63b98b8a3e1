//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::bail;

/// Below the ports that systems hand out for outgoing connections (Linux from 32768, macOS from 49152).
///
/// A port that the kernel chooses comes from that range. While its server is down, a client of this machine
/// may then be given the very port for its own end; reconnecting in a loop, it even ends up connected to
/// itself, and the server can never come back. Source: Linux `ip-sysctl`, `ip_local_port_range`.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port on which nobody listens right now. Another process may take it first: callers try again.
pub(super) fn free_port() -> anyhow::Result<u16> {
    for _ in 0..1_000 {
        let port = rand::random_range(PORTS);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!(
        "found no free port on 127.0.0.1 between {} and {}",
        PORTS.start,
        PORTS.end - 1
    )
}
