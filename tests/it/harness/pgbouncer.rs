//! A PgBouncer in front of a stack's Postgres, from the system's packages.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::guarded::Guarded;
use super::stack::Stack;

/// A running PgBouncer.
pub(crate) struct PgBouncer {
    port: u16,
    own_port: u16,
    _server: Guarded,
}

impl PgBouncer {
    /// Starts one; `settings` are lines of `pgbouncer.ini`.
    pub(crate) async fn before(stack: &Stack, name: &str, settings: &[&str]) -> Self {
        let directory = stack.path(name);
        std::fs::create_dir_all(&directory).unwrap();
        let own_port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let port = stack.postgres.port();
        let url = stack.postgres.url("postgres");
        let password = url.split_once("postgres:").unwrap().1.split_once('@').unwrap().0;
        let password = password
            .rsplit_once(':')
            .map_or(password, |(_, password)| password);
        let users = write(
            &directory,
            "users.txt",
            &format!("\"postgres\" \"{password}\"\n\"worker\" \"change-me\"\n"),
        );
        let settings = settings.join("\n");
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {own_port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\nadmin_users = postgres\nlogfile = {}\n{settings}\n",
            users.display(),
            directory.join("pgbouncer.log").display(),
        );
        let config = write(&directory, "pgbouncer.ini", &config);
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
        let mut arguments = vec![config.as_os_str()];
        // It does not run as root.
        if rustix::process::getuid().is_root() {
            arguments.splice(0..0, ["-u", "postgres"].map(AsRef::as_ref));
        }
        let bouncer = Self {
            port,
            own_port,
            _server: Guarded::start("pgbouncer", &arguments, &directory.join("output.log")),
        };
        stack
            .until(
                "PgBouncer listens (scripts/install-servers tests installs it)",
                async || {
                    tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, own_port))
                        .await
                        .ok()
                },
            )
            .await;
        bouncer
    }

    /// A URL of the stack's Postgres, led through here.
    pub(crate) fn url(&self, direct: &str) -> String {
        direct.replace(&format!(":{}/", self.port), &format!(":{}/", self.own_port))
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, text).unwrap();
    file
}
