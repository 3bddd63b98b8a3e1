//! Set-ups that a replica cannot work with: `run`, `check-config` and `doctor` say the same of each, before anything is bought.

use std::collections::BTreeSet;

use crate::harness::command::{Said, command_on};
use crate::harness::openai::{OpenAi, Reply};
use crate::harness::picture::any_picture;
use crate::harness::stack::{PATIENCE, Stack};

/// What is wrong, as a superuser has made it, and as it is mended; the status, and what is said.
struct Wrong {
    made: &'static str,
    mended: &'static str,
    status: i32,
    said: &'static [&'static str],
}

/// A role with the rights that a replica has and without those of an owner.
const ROLE: &str = "CREATE ROLE worker LOGIN PASSWORD 'change-me';
    GRANT USAGE ON SCHEMA generative_ai TO worker;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA generative_ai TO worker;
    GRANT SELECT, UPDATE ON ac_background_jobs TO worker;
    GRANT SELECT, INSERT ON images TO worker;
    GRANT USAGE ON SEQUENCE images_id_seq TO worker";

const POSTGRES: &[Wrong] = &[
    Wrong {
        made: "ALTER TABLE images ENABLE ROW LEVEL SECURITY",
        mended: "ALTER TABLE images DISABLE ROW LEVEL SECURITY",
        status: 78,
        said: &[
            "row level security hides every row of images from SELECT, as no policy is for worker: CREATE POLICY",
            "row level security hides every row of images from INSERT, as no policy is for worker: CREATE POLICY",
        ],
    },
    Wrong {
        made: "ALTER TABLE ac_background_jobs ENABLE ROW LEVEL SECURITY;
            CREATE POLICY readers ON ac_background_jobs FOR SELECT USING (true)",
        mended: "ALTER TABLE ac_background_jobs DISABLE ROW LEVEL SECURITY; DROP POLICY readers ON ac_background_jobs",
        status: 78,
        said: &["row level security hides every row of ac_background_jobs from UPDATE"],
    },
    Wrong {
        made: "REVOKE INSERT ON images FROM worker",
        mended: "GRANT INSERT ON images TO worker",
        status: 78,
        said: &["this account lacks INSERT on images: GRANT it"],
    },
    Wrong {
        made: "REVOKE INSERT ON images FROM worker; GRANT INSERT (id, user_id, formats) ON images TO worker",
        mended: "REVOKE INSERT ON images FROM worker; GRANT INSERT ON images TO worker",
        status: 78,
        said: &["this account cannot record a picture: ", "permission denied for table images"],
    },
    Wrong {
        made: "REVOKE USAGE ON SEQUENCE images_id_seq FROM worker",
        mended: "GRANT USAGE ON SEQUENCE images_id_seq TO worker",
        status: 78,
        said: &["this account lacks USAGE on public.images_id_seq: GRANT it"],
    },
    Wrong {
        made: "REVOKE UPDATE ON generative_ai.provider_calls FROM worker; REVOKE SELECT ON ac_background_jobs FROM worker",
        mended: "GRANT UPDATE ON generative_ai.provider_calls TO worker; GRANT SELECT ON ac_background_jobs TO worker",
        status: 78,
        said: &[
            "this account lacks UPDATE on generative_ai.provider_calls: GRANT it",
            "this account lacks SELECT on ac_background_jobs: GRANT it",
        ],
    },
    Wrong {
        made: "ALTER TABLE ac_background_jobs ALTER COLUMN data TYPE json USING data::json",
        mended: "ALTER TABLE ac_background_jobs ALTER COLUMN data TYPE jsonb USING data::jsonb",
        status: 78,
        said: &["ac_background_jobs.data is json, not jsonb: ALTER TABLE ac_background_jobs ALTER COLUMN data TYPE jsonb"],
    },
    Wrong {
        made: "ALTER TABLE ac_background_jobs ALTER COLUMN data TYPE text",
        mended: "ALTER TABLE ac_background_jobs ALTER COLUMN data TYPE jsonb USING data::jsonb",
        status: 78,
        said: &["ac_background_jobs.data is text, not jsonb"],
    },
    Wrong {
        made: "ALTER TABLE ac_background_jobs ALTER COLUMN progress TYPE text",
        mended: "ALTER TABLE ac_background_jobs ALTER COLUMN progress TYPE integer USING progress::integer",
        status: 78,
        said: &["this account cannot begin a job: ", "this account cannot show the progress of a job: "],
    },
    Wrong {
        made: "ALTER TABLE images RENAME TO old_images;
            CREATE TABLE images (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), url text NOT NULL, owner uuid);
            GRANT SELECT, INSERT ON images TO worker",
        mended: "DROP TABLE images; ALTER TABLE old_images RENAME TO images",
        status: 78,
        said: &[
            "images.id is uuid, not integer, which this worker counts by; if images is another application's table, make one",
            "images has no column formats: add it, or, if images is another application's table",
        ],
    },
    Wrong {
        made: "ALTER TABLE images DROP COLUMN user_agent",
        mended: "ALTER TABLE images ADD COLUMN user_agent text NOT NULL DEFAULT ''; ALTER TABLE images ALTER COLUMN user_agent DROP DEFAULT",
        status: 78,
        said: &["images has no column user_agent: add it"],
    },
    Wrong {
        made: "ALTER TABLE images ALTER COLUMN id DROP DEFAULT",
        mended: "ALTER TABLE images ALTER COLUMN id SET DEFAULT nextval('images_id_seq')",
        status: 78,
        said: &["this account cannot make a row of images: ", "null value in column \"id\""],
    },
    Wrong {
        made: "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''pictures are frozen''; END';
            CREATE TRIGGER no BEFORE INSERT ON images FOR EACH ROW EXECUTE FUNCTION no()",
        mended: "DROP FUNCTION no CASCADE",
        status: 78,
        said: &["this account cannot make a row of images: ", "pictures are frozen"],
    },
    Wrong {
        made: "ALTER ROLE worker SET default_transaction_read_only = on",
        mended: "ALTER ROLE worker RESET default_transaction_read_only",
        status: 78,
        said: &["default_transaction_read_only is on: set it to off"],
    },
    Wrong {
        made: "REVOKE USAGE ON SCHEMA generative_ai FROM worker",
        mended: "GRANT USAGE ON SCHEMA generative_ai TO worker",
        status: 78,
        said: &["GRANT USAGE ON SCHEMA generative_ai"],
    },
    Wrong {
        made: "ALTER ROLE worker NOLOGIN",
        mended: "ALTER ROLE worker LOGIN",
        status: 78,
        said: &["Postgres refuses this connection: ", "is not permitted to log in"],
    },
];

/// What keeps a replica from starting, as a command has said it.
fn failures(said: &Said) -> BTreeSet<String> {
    let of_doctor = |line: &str| line.strip_prefix("FAIL  ").map(|line| line[11..].to_owned());
    let of_others = |line: &str| line.strip_prefix("generative-ai-worker: ").map(str::to_owned);
    let lines = said.out.lines().filter_map(of_doctor);
    lines.chain(said.err.lines().filter_map(of_others)).collect()
}

/// Looks that the three say the same, and this.
async fn all_say(stack: &Stack, variables: &[(&str, &str)], what: &str, status: i32, expected: &[&str]) {
    let mut verdicts = Vec::new();
    for arguments in [&["check-config"][..], &["doctor", "--offline"], &["run"]] {
        let said = tokio::time::timeout(PATIENCE, command_on(stack, arguments, variables)).await;
        let said = said.unwrap_or_else(|_| panic!("{arguments:?} has started with {what}"));
        assert_eq!(
            said.status,
            Some(status),
            "{arguments:?} with {what}: {}{}",
            said.out,
            said.err
        );
        verdicts.push(failures(&said));
    }
    for text in expected {
        let is_said = verdicts[0].iter().any(|failure| failure.contains(text));
        assert!(is_said, "{text} is not said of {what}: {:#?}", verdicts[0]);
    }
    assert_eq!(verdicts[0], verdicts[1], "check-config and doctor, with {what}");
    assert_eq!(verdicts[0], verdicts[2], "check-config and run, with {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_postgres_is_found_by_all_three_before_anything_is_bought() {
    let stack = Stack::start().await;
    stack.sql_client().await.batch_execute(ROLE).await.unwrap();
    let openai = OpenAi::start(Reply::Picture(any_picture())).await;
    let url = format!(
        "postgres://worker:change-me@127.0.0.1:{}/postgres",
        stack.postgres.port()
    );
    let own = openai.variables();
    let mut variables: Vec<(&str, &str)> = own
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    variables.push(("DATABASE_URL", &url));
    let well = command_on(&stack, &["check-config"], &variables).await;
    assert_eq!((well.status, well.err.as_str()), (Some(0), ""), "{}", well.out);
    for wrong in POSTGRES {
        stack.sql_client().await.batch_execute(wrong.made).await.unwrap();
        all_say(&stack, &variables, wrong.made, wrong.status, wrong.said).await;
        stack
            .sql_client()
            .await
            .batch_execute(wrong.mended)
            .await
            .unwrap();
    }
    let well = command_on(&stack, &["check-config"], &variables).await;
    assert_eq!((well.status, well.err.as_str()), (Some(0), ""), "{}", well.out);
    assert_eq!((openai.calls().len(), openai.bills()), (0, 0));
    for empty in ["images", "generative_ai.jobs", "generative_ai.dead_packages"] {
        assert_eq!(
            stack.count(&format!("SELECT count(*) FROM {empty}")).await,
            0,
            "a try stays in {empty}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_hold_every_text_is_found_by_all_three() {
    let stack = Stack::start().await;
    let make = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    stack.sql_client().await.batch_execute(make).await.unwrap();
    let url = stack.postgres.url("latin");
    let variables = [("DATABASE_URL", url.as_str())];
    let migrated = command_on(&stack, &["migrate"], &variables).await;
    assert_eq!(migrated.status, Some(0), "{}", migrated.err);
    all_say(
        &stack,
        &variables,
        "LATIN1",
        78,
        &["the encoding LATIN1, which cannot hold every text"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_all_services_and_of_the_provider_are_told_at_once() {
    let stack = Stack::start().await;
    let variables = [
        ("DATABASE_URL", "postgres://worker@127.0.0.1:1/app"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("STORAGE_URL", "/proc/pictures"),
        ("IMAGE_PROVIDER", "openai"),
        ("IMAGE_PROVIDER_FALLBACKS", "gemini"),
    ];
    let expected = [
        "DATABASE_URL: Postgres cannot be reached: ",
        "REDIS_URL: Redis at 127.0.0.1:1 cannot be reached: ",
        "STORAGE_URL",
        "IMAGE_PROVIDER: openai cannot be used: openai is not configured on this service: OPENAI_API_KEY is not set",
        "IMAGE_PROVIDER_FALLBACKS: gemini cannot be used: ",
    ];
    all_say(&stack, &variables, "all of it", 69, &expected).await;
    let one = [("IMAGE_PROVIDER", "openai")];
    all_say(&stack, &one, "a missing key", 78, &expected[3..4]).await;
}
