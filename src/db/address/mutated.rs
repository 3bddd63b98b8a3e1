//! Mutated URLs of Postgres.

use super::target;
use crate::mutations::{lines, run};

#[test]
fn a_mutated_postgres_url_is_an_address_or_a_fault() {
    let words: [&[u8]; 10] = [
        b"postgres://",
        b"host=",
        b"hostaddr=",
        b"sslmode=",
        b"options=",
        b"%00",
        b"%",
        b"@",
        b"[::1]",
        b"'",
    ];
    run(
        &lines("postgres-urls.txt"),
        &words,
        |_| (),
        |input| {
            let read = target(&String::from_utf8_lossy(input));
            if let Err(why) = &read {
                assert!(!why.to_string().is_empty());
            }
            read.is_ok()
        },
    );
}
