//! Hostile packages: valid ones that are spoilt by rules which a seed chooses, so that each run has the same ones.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::harness::stack::{QUEUE, icon, logo, with};

/// Servers on this machine.
pub(super) struct Traps {
    /// Callbacks may be posted there.
    pub(super) allowed: String,
    /// Nothing may be asked there.
    pub(super) refused: String,
}

/// Every field that is read.
const FIELDS: [&str; 27] = generative_ai_worker::work_package::FIELDS;

/// Ways of writing this machine's address, without the port.
const THIS_MACHINE: [&str; 14] = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "0x7f000001",
    "0x7f.1",
    "0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "localhost",
];

/// Other hosts that are refused without a question to anybody.
const NOWHERE: [&str; 14] = [
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "10.1",
    "172.16.0.1",
    "192.168.257",
    "100.100.100.200",
    "[fe80::1]",
    "metadata.google.internal",
    "db.internal",
    "printer.local",
];

/// A package for this job, or one that was.
pub(super) fn hostile_package(job_id: i32, seed: u64, traps: &Traps) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let package = match random.random_range(0..6) {
        0 => icon(job_id),
        1 => {
            json!({"type": "delete-image", "jobId": job_id, "imageId": 1, "imageUrl": "https://h.invalid/ypGenAi/group/7/a.png"})
        }
        _ => logo(job_id),
    };
    match random.random_range(0..10) {
        0 => with_reply(package, &mut random),
        1 => with_callback(package, traps, &mut random),
        2 => with_references(package, traps, &mut random),
        3 => with_key_parts(package, &mut random),
        4 => with_deletion(package, traps, &mut random),
        5 => written_oddly(&package, &mut random),
        6 => broken(&package, &mut random),
        _ => with_odd_values(package, &mut random),
    }
}

/// The job whose number stands in a package, where it can still be read.
pub(super) fn job_of(package: &[u8]) -> Option<i32> {
    let package: Value = serde_json::from_slice(package).ok()?;
    let number = &package["jobId"];
    let number = number.as_i64().or_else(|| number.as_str()?.parse().ok())?;
    i32::try_from(number).ok()
}

/// Whether a path is one that objects of the store have.
pub(super) fn is_object(store: &str, path: &str) -> bool {
    let is_name = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed)
    };
    let parts = path
        .strip_prefix(store)
        .map(|rest| rest.split('/').collect::<Vec<_>>());
    parts.is_some_and(|parts| {
        parts.len() == 4 && parts[0] == "ypGenAi" && parts.iter().all(|part| is_name(part))
    })
}

fn bytes(package: &Value) -> Vec<u8> {
    package.to_string().into_bytes()
}

fn pick<'a, T>(random: &mut StdRng, all: &'a [T]) -> &'a T {
    all.choose(random).unwrap()
}

/// Names of lists that belong to others, or to the queue itself.
fn with_reply(package: Value, random: &mut StdRng) -> Vec<u8> {
    let prefix = format!("{{{QUEUE}}}:reply:");
    let names = [
        "other".to_owned(),
        "bull:other:wait".to_owned(),
        QUEUE.to_owned(),
        format!("{{{QUEUE}}}:dead"),
        format!("{{{QUEUE}}}:high"),
        format!("{{{QUEUE}}}:paused"),
        format!("{{{QUEUE}}}:reply"),
        format!(" {prefix}a"),
        format!("\u{0}{prefix}a"),
        prefix.to_uppercase(),
        prefix.clone(),
        format!("{prefix}a-text"),
        format!("{prefix}../other"),
        format!("{prefix}\r\nDEL other\r\n"),
        format!("{prefix}\u{0}other"),
        format!("{prefix}{{other}}"),
        format!("{prefix}*"),
        format!("{prefix}{}", "x".repeat(20_000)),
    ];
    let name = pick(random, &names).as_str();
    bytes(&with(package, "replyTo", name))
}

/// One of the addresses that must not be asked.
fn refused_url(traps: &Traps, random: &mut StdRng) -> String {
    let port = traps.refused.rsplit(':').next().unwrap();
    let allowed = traps.allowed.trim_start_matches("http://");
    match random.random_range(0..6) {
        0..3 => format!("http://{}:{port}/a.png", pick(random, &THIS_MACHINE)),
        3 => format!(
            "{}://{}/latest/meta-data/",
            pick(random, &["http", "https"]),
            pick(random, &NOWHERE)
        ),
        4 => {
            let tricks = [
                format!("http://{allowed}@127.0.0.1:{port}/"),
                format!("http://127.0.0.1:{port}/?{}", traps.allowed),
                format!("http://127.0.0.1:{port}#@{allowed}/"),
                format!("http://127.0.0.1:{port}\\@{allowed}/"),
                format!("http:\\\\127.0.0.1:{port}/"),
                format!("http:/127.0.0.1:{port}/"),
                format!("http://%31%32%37.0.0.1:{port}/"),
                format!("http://１２７.０.０.１:{port}/"),
                format!("http://127。0。0。1:{port}/"),
                format!("\thttp://127.0.0.1:{port}/"),
                format!("ht\ntp://127.0.0.1:{port}/"),
                format!("http://{allowed}.:{port}/"),
            ];
            pick(random, &tricks).clone()
        }
        _ => {
            let others = [
                "file:///etc/passwd",
                "gopher://127.0.0.1:6379/_FLUSHALL",
                "redis://127.0.0.1/",
                "javascript:alert(1)",
                "data:image/png;base64,AAAA",
                "//127.0.0.1/",
                "http://",
                "http://[::1",
                "http://127.0.0.1:99999/",
                "",
            ];
            (*pick(random, &others)).to_owned()
        }
    }
}

fn with_callback(package: Value, traps: &Traps, random: &mut StdRng) -> Vec<u8> {
    let url = if random.random_range(0..5) == 0 {
        format!("{}/told\r\nx: y?a=\u{0}", traps.allowed)
    } else {
        refused_url(traps, random)
    };
    bytes(&with(package, "callbackUrl", url))
}

/// For the provider that would send them on.
fn with_references(package: Value, traps: &Traps, random: &mut StdRng) -> Vec<u8> {
    let key = *pick(
        random,
        &[
            "ypGenAi/../beside",
            "ypGenAi/group/7/../../../beside",
            "/etc/passwd",
            "ypGenAi/group/7/none.png",
            "ypGenAi/.probe",
        ],
    );
    let url = loop {
        // Absent is no reference at all.
        let url = refused_url(traps, random);
        if !url.is_empty() {
            break url;
        }
    };
    let references = match random.random_range(0..4) {
        0 => json!([key]),
        1 => json!([url, key, 7, null, {"url": url}]),
        2 => json!(vec![url; 17]),
        _ => json!([url]),
    };
    let package = with(
        with(package, "referenceImages", references),
        "imageProvider",
        "openai",
    );
    // Of a deletion they are nobody's.
    bytes(&with(package, "imageModel", "gpt-image-2"))
}

/// Parts of an object's name that would lead elsewhere.
fn with_key_parts(package: Value, random: &mut StdRng) -> Vec<u8> {
    let parts = [
        "..",
        ".",
        "../../etc",
        "a/b",
        "/tmp/x",
        "a\\b",
        "%2e%2e",
        "a\u{0}b",
        "a\nb",
        "a b",
        "ä",
        "７",
        "..%2f",
        "CON",
        "a.b",
        "~",
        "$HOME",
        "`id`",
        "a'; DROP TABLE images; --",
    ];
    let part = (*pick(random, &parts)).to_owned();
    let field = *pick(random, &["collectionType", "collectionId"]);
    let length = random.random_range(1..200);
    let value = if random.random_range(0..6) == 0 {
        "x".repeat(length)
    } else {
        part
    };
    bytes(&with(package, field, value))
}

/// Pictures that are not this service's to delete.
fn with_deletion(package: Value, traps: &Traps, random: &mut StdRng) -> Vec<u8> {
    let url = match random.random_range(0..3) {
        0 => refused_url(traps, random),
        1 => format!(
            "file://{}",
            pick(random, &["/etc/passwd", "/ypGenAi/../../etc/passwd", "/beside"])
        ),
        _ => format!(
            "https://h.invalid/{}",
            pick(random, &["ypGenAi/a/b/c.png", "../x", "ypGenAi/../../x"])
        ),
    };
    let id = pick(
        random,
        &[
            json!(2_000_000_000),
            json!(-1),
            json!("7; DROP TABLE images"),
            json!(null),
        ],
    )
    .clone();
    bytes(&json!({"type": "delete-image", "jobId": package["jobId"], "imageId": id, "imageUrl": url}))
}

/// Valid fields with values of the wrong kind, too large, too deep, or in an odd text.
fn with_odd_values(mut package: Value, random: &mut StdRng) -> Vec<u8> {
    for _ in 0..random.random_range(1..4) {
        let deep = (0..random.random_range(1..100)).fold(json!(1), |inner, _| json!([{"a": inner}]));
        let long = "é".repeat(random.random_range(1..33_000));
        let values = [
            json!(null),
            json!(true),
            json!(-1),
            json!(0),
            json!(1e300),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(2_147_483_648_u64),
            json!(0.5),
            json!(""),
            json!(" "),
            json!("\u{0}"),
            json!("a\u{202e}b\u{0}c\u{7}"),
            json!("__proto__"),
            json!("{}"),
            json!("'; DROP TABLE images; --"),
            json!("${jndi:ldap://127.0.0.1/a}"),
            json!(long),
            json!([]),
            json!({}),
            json!([[], {"a": [1]}]),
            deep,
        ];
        let field = *pick(random, &FIELDS);
        // A time that is far away waits for it, which is no end.
        if field != "notBefore" || random.random_range(0..2) == 0 {
            let value = pick(random, &values).clone();
            let is_time = field == "notBefore" && value.as_f64().is_some_and(|time| time > 0.0);
            package[field] = if is_time { json!("soon") } else { value };
        }
    }
    bytes(&package)
}

/// Texts that readers of JSON differ about.
fn written_oddly(package: &Value, random: &mut StdRng) -> Vec<u8> {
    let text = package.to_string();
    let depth = random.random_range(100..5_000);
    let odd = match random.random_range(0..9) {
        0 => text.replacen('{', "{\"jobId\":\"x\",\"type\":\"video\",", 1),
        1 => format!(
            "{},\"jobId\":-7,\"collectionId\":\"../x\"}}",
            &text[..text.len() - 1]
        ),
        2 => text.replacen("\"type\"", "\"\\ud800\":1,\"ty\\u0070e\"", 1),
        3 => text.replacen(
            '{',
            "{\"a\":\"\\udc00\\ud83d\",\"b\":NaN,\"c\":-Infinity,\"d\":1e9999,",
            1,
        ),
        4 => format!("{}{}{}", "[".repeat(depth), text, "]".repeat(depth)),
        5 => text.replacen(
            '{',
            &format!("{{\"a\":{}1{},", "{\"b\":".repeat(depth), "}".repeat(depth)),
            1,
        ),
        6 => format!("\u{feff}{}", Value::String(text)),
        7 => text.replacen('{', &format!("{{\"n\":{},", "9".repeat(depth)), 1),
        _ => format!("{text}{text}"),
    };
    odd.into_bytes()
}

/// Bytes that are changed, cut or put in.
fn broken(package: &Value, random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes(package);
    for _ in 0..random.random_range(1..8) {
        let at = random
            .random_range(0..bytes.len().max(1))
            .min(bytes.len().saturating_sub(1));
        match random.random_range(0..5) {
            0 if !bytes.is_empty() => bytes[at] = random.random(),
            1 => bytes.truncate(at),
            2 => bytes.insert(
                at,
                *pick(random, &[0, b'"', b'{', b'}', b'\\', 0xff, 0xc3, b'\n']),
            ),
            3 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ => bytes.reverse(),
        }
    }
    // An empty package is one as well, and none is like another.
    bytes.extend_from_slice(format!(" {}", random.random::<u32>()).as_bytes());
    bytes
}
