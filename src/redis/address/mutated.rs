//! Mutated URLs of Redis.

use super::Address;
use crate::mutations::{lines, run};

#[test]
fn a_mutated_redis_url_is_an_address_or_a_fault() {
    let words: [&[u8]; 10] = [
        b"redis://",
        b"rediss://",
        b"redis+sentinel://",
        b"redis+cluster://",
        b"unix://",
        b"%00",
        b"%",
        b"@",
        b"[::1]",
        b"?db=",
    ];
    run(
        &lines("redis-urls.txt"),
        &words,
        |_| (),
        |input| {
            let read = Address::parse(&String::from_utf8_lossy(input));
            if let Err(why) = &read {
                assert!(!why.to_string().is_empty());
            }
            read.is_ok()
        },
    );
}
