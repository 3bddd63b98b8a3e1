//! A pooler between the worker and Postgres: found by itself, and nothing of the worker's stays on what it lends.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::command::command_on;
use crate::harness::pgbouncer::PgBouncer;
use crate::harness::stack::{Stack, icon, logo};
use crate::set_ups::all_say;

/// PgBouncer's default, which refuses what it does not know at the beginning of a connection.
const SESSION: &[&str] = &["pool_mode = session"];
/// As many set it, for clients that ask for more than it knows: it is left out without a word.
const SESSION_IGNORING: &[&str] = &[
    "pool_mode = session",
    "ignore_startup_parameters = options,extra_float_digits",
];
/// More connections than sessions, so that each statement may meet another one.
const TRANSACTION: &[&str] = &[
    "pool_mode = transaction",
    "default_pool_size = 4",
    "server_round_robin = 1",
];
const TRANSACTION_IGNORING: &[&str] = &[
    "pool_mode = transaction",
    "default_pool_size = 4",
    "ignore_startup_parameters = options",
];
const ONE_SESSION: &[&str] = &["pool_mode = transaction", "default_pool_size = 1"];

/// What sessions of the pooler have that whoever gets them next would inherit.
const LEFT_BEHIND: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_done_through_every_kind_of_pooler_and_nothing_is_left_there() {
    for settings in [
        SESSION,
        SESSION_IGNORING,
        TRANSACTION,
        TRANSACTION_IGNORING,
        ONE_SESSION,
    ] {
        let stack = Stack::start_without_tables().await;
        let bouncer = PgBouncer::before(&stack, "pgbouncer", settings).await;
        let url = bouncer.url(&stack.postgres.url("postgres"));
        let variables = [("DATABASE_URL", url.as_str())];
        // Whoever migrates holds one session while it works on another.
        let migrating = if settings == ONE_SESSION {
            &[][..]
        } else {
            &variables
        };
        let said = command_on(&stack, &["migrate"], migrating).await;
        assert_eq!((said.status, &*said.err), (Some(0), ""), "{settings:?}");
        assert_eq!(stack.count(LEFT_BEHIND).await, 0, "{settings:?}");
        let said = command_on(&stack, &["check-config"], &variables).await;
        assert_eq!((said.status, &*said.err), (Some(0), ""), "{settings:?}");
        // Two, whose statements have the same names.
        let first = stack.replica(&variables).await;
        let second = stack.replica(&variables).await;
        let jobs = stack.jobs(12).await;
        for job_id in &jobs {
            stack
                .push(&if job_id % 2 == 0 {
                    icon(*job_id)
                } else {
                    logo(*job_id)
                })
                .await;
        }
        for job_id in &jobs {
            let job = stack.ended(*job_id).await;
            assert_eq!((job.error, job.progress), (None, Some(100)), "{settings:?}");
        }
        stack.idle().await;
        assert_eq!(
            stack.count("SELECT count(*) FROM images").await,
            12,
            "{settings:?}"
        );
        for replica in [&first, &second] {
            let log = replica.log();
            // What a pooler says of a statement or a setting that it does not know.
            for said in ["prepared statement", "startup parameter", "command-line options"] {
                assert!(!log.contains(said), "{settings:?}: {log}");
            }
        }
        let said = command_on(&stack, &["doctor", "--offline"], &variables).await;
        assert_eq!(
            (said.status, &*said.err),
            (Some(0), ""),
            "{settings:?}: {}",
            said.out
        );
        drop((first, second));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_the_url_reach_migrations_and_jobs_through_a_pooler_and_nobody_inherits_them() {
    for settings in [SESSION, TRANSACTION, TRANSACTION_IGNORING] {
        let stack = Stack::start_without_tables().await;
        let make = "CREATE SCHEMA app; CREATE SCHEMA other";
        stack.sql_client().await.batch_execute(make).await.unwrap();
        let bouncer = PgBouncer::before(&stack, "pgbouncer", settings).await;
        let direct = stack.postgres.url("postgres");
        let url = format!(
            "{}?options=-csearch_path%3Dapp%20-c%20lock_timeout%3D700",
            bouncer.url(&direct)
        );
        let variables = [("DATABASE_URL", url.as_str())];
        let said = command_on(&stack, &["migrate"], &variables).await;
        assert_eq!((said.status, &*said.err), (Some(0), ""), "{settings:?}");
        let replica = stack.replica(&variables).await;
        let insert = "INSERT INTO app.ac_background_jobs (progress, data, created_at, updated_at)
            VALUES (5, '{}', now(), now()) RETURNING id";
        let job_id: i32 = stack.sql(insert, &[]).await[0].get(0);
        stack.push(&logo(job_id)).await;
        stack
            .until("the job has its picture", async || {
                let done = "SELECT count(*) FROM app.ac_background_jobs AS job JOIN app.images AS image
                    ON image.id = (job.data->>'imageId')::integer WHERE job.progress = 100";
                (stack.count(done).await == 1).then_some(())
            })
            .await;
        drop(replica);
        // What others find on the sessions that were lent.
        let (client, connection) = tokio_postgres::connect(&bouncer.url(&direct), tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        for _ in 0..8 {
            let asked = "SELECT current_setting('search_path') || current_setting('lock_timeout')
                || current_setting('statement_timeout') || current_setting('enable_seqscan') || current_setting('plan_cache_mode')";
            let answers = client.simple_query(asked).await.unwrap();
            let found = answers.iter().find_map(|answer| match answer {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            assert_eq!(
                found.as_deref(),
                Some("\"$user\", public00onauto"),
                "{settings:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_missing_behind_a_pooler_is_told_alike_by_all_three() {
    let stack = Stack::start().await;
    let bouncer = PgBouncer::before(&stack, "pgbouncer", TRANSACTION).await;
    let url = bouncer.url(&stack.postgres.url("nobodys"));
    let expected = "Postgres refuses this connection: FATAL: database \"nobodys\" does not exist";
    all_say(
        &stack,
        &[("DATABASE_URL", url.as_str())],
        "no database",
        78,
        &[expected],
    )
    .await;
}

/// Answers like RDS Proxy where `options` are asked for, and leads to Postgres otherwise. Returns its port.
async fn proxy_without_options(port: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let own_port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(lead(client, port));
        }
    });
    own_port
}

async fn lead(mut client: TcpStream, port: u16) -> std::io::Result<()> {
    const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();
    let mut start = first_message(&mut client).await?;
    if start[4..8] == SSL_REQUEST {
        client.write_all(b"N").await?;
        start = first_message(&mut client).await?;
    }
    if start.windows(9).any(|part| part == b"\0options\0") {
        let fields = b"SERROR\0C0A000\0MFeature not supported: RDS Proxy currently doesn't support command-line options.\0\0";
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        client.write_all(&[&b"E"[..], &length, fields].concat()).await?;
        return client.shutdown().await;
    }
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    server.write_all(&start).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// With its length, which comes first.
async fn first_message(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = client.read_u32().await?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(length as usize, 0);
    client.read_exact(&mut message[4..]).await?;
    Ok(message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_do_options_is_worked_through_and_a_refusal_of_another_kind_is_told() {
    let stack = Stack::start().await;
    let direct = stack.postgres.url("postgres");
    let through = proxy_without_options(stack.postgres.port()).await;
    let url = direct.replace(&format!(":{}/", stack.postgres.port()), &format!(":{through}/"));
    let variables = [("DATABASE_URL", url.as_str())];
    let replica = stack.replica(&variables).await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    assert_eq!(stack.ended(job_id).await.error, None);
    drop(replica);
    // What is wrong with the options themselves is no matter of a pooler.
    for url in [&url, &direct] {
        let wrong = format!("{url}?options=-c%20no_such_setting%3D1");
        let said = command_on(&stack, &["check-config"], &[("DATABASE_URL", wrong.as_str())]).await;
        assert!(matches!(said.status, Some(69 | 78)), "{}", said.err);
        assert!(said.err.contains("no_such_setting"), "{}", said.err);
    }
}
