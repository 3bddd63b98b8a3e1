//! A standby of a stack's Postgres that can be cut off, and take over without what it has not heard.

use std::io::Write;

use generative_ai_worker::private_servers::PostgresServer;

use super::proxy::Proxy;
use super::stack::Stack;

/// A standby, and the address at which whoever writes finds its primary.
pub(crate) struct Standby {
    server: PostgresServer,
    /// Leads to the primary of the moment.
    pub(crate) address: Proxy,
}

impl Standby {
    pub(crate) async fn of(stack: &mut Stack) -> Self {
        stack.copy_postgres("standby");
        let data = stack.path("standby").join("data");
        let primary = stack.postgres.url("postgres");
        let mut settings = std::fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.auto.conf"))
            .unwrap();
        writeln!(settings, "primary_conninfo = '{primary}'").unwrap();
        std::fs::write(data.join("standby.signal"), "").unwrap();
        let server = PostgresServer::start(&stack.path("standby"), super::postgres_options()).unwrap();
        Self {
            server,
            address: Proxy::to(stack.postgres.port()).await,
        }
    }

    /// `DATABASE_URL` of replicas.
    pub(crate) fn url(&self, stack: &Stack) -> String {
        let (port, through) = (stack.postgres.port(), self.address.port);
        let url = stack.postgres.url("postgres");
        url.replace(&format!(":{port}/"), &format!(":{through}/"))
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    async fn client(&self) -> tokio_postgres::Client {
        let url = self.server.url("postgres");
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }

    /// Waits until it has heard all that its primary has confirmed, and lets it hear nothing more.
    pub(crate) async fn cut_off(&self, stack: &Stack) {
        let client = self.client().await;
        let written: String = stack
            .sql("SELECT pg_current_wal_lsn()::text", &[])
            .await
            .remove(0)
            .get(0);
        let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        stack
            .until("the standby has heard all", async || {
                let row = client.query_one(replayed, &[&written]).await.unwrap();
                row.get::<_, bool>(0).then_some(())
            })
            .await;
        client
            .batch_execute("ALTER SYSTEM SET primary_conninfo = ''")
            .await
            .unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        stack
            .until("the standby hears nothing more", async || {
                let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
                let row = client.query_one(receivers, &[]).await.unwrap();
                (row.get::<_, i64>(0) == 0).then_some(())
            })
            .await;
    }

    /// Its primary is gone, and it takes over.
    pub(crate) async fn take_over(self, stack: &mut Stack) -> Proxy {
        stack.postgres.kill();
        self.client()
            .await
            .batch_execute("SELECT pg_promote()")
            .await
            .unwrap();
        stack.postgres = self.server;
        self.address.lead_to(stack.postgres.port());
        self.address
    }
}
