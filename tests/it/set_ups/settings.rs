//! Wrong values of everything else: models, providers, addresses, names that are misspelled.

use super::{Wrong, set};

pub(super) const ROWS: &[Wrong] = &[
    set(
        &[
            ("DATABASE_URL", ""),
            ("DATABSE_URL", "postgres://worker@127.0.0.1:{postgres}/postgres"),
        ],
        &["DATABASE_URL: is not set, and DATABSE_URL, which nobody reads, is: did you mean DATABASE_URL?"],
    ),
    set(
        &[("DATABASE_URL", "")],
        &["DATABASE_URL: is not set; write for example postgres://"],
    ),
    set(
        &[("DATABASE_URL_FILE", "/no/such/file")],
        &["DATABASE_URL: both DATABASE_URL and DATABASE_URL_FILE are set"],
    ),
    set(
        &[("OPENAI_API_KEY", ""), ("OPENAI_API_KEY_FILE", "/no/such/file")],
        &["OPENAI_API_KEY_FILE: the file /no/such/file cannot be read"],
    ),
    set(
        &[("OPENAI_API_KEY", "\"sk-test\"")],
        &["OPENAI_API_KEY: its value stands in quotes, which would be taken as part of it; leave them out"],
    ),
    set(
        &[("REDIS_URL", "'redis://127.0.0.1:{redis}'")],
        &["REDIS_URL: its value stands in quotes"],
    ),
    set(
        &[("OPENAI_API_KEY", "")],
        &[
            "IMAGE_PROVIDER: openai cannot be used: openai is not configured on this service: OPENAI_API_KEY is not set",
        ],
    ),
    set(
        &[("IMAGE_PROVIDER", "opnai")],
        &["IMAGE_PROVIDER: \"opnai\" was found; openai, "],
    ),
    set(
        &[("IMAGE_PROVIDER_FALLBACKS", "gemini")],
        &["IMAGE_PROVIDER_FALLBACKS: gemini cannot be used: "],
    ),
    set(
        &[("ALLOWED_MODELS", "openai:gpt-imag-2")],
        &["ALLOWED_MODELS: openai has no model \"gpt-imag-2\"; did you mean openai:gpt-image-2?"],
    ),
    set(
        &[("ALLOWED_MODELS", "openai:gpt-image-2,opnai:gpt-image-2")],
        &["ALLOWED_MODELS: \"opnai\" was found; openai, "],
    ),
    set(
        &[("ALLOWED_MODELS", "openai:gpt-image-2:hihg")],
        &["ALLOWED_MODELS: gpt-image-2 of openai has no quality \"hihg\"; did you mean high?"],
    ),
    set(
        &[("ALLOWED_MODELS", "gemini")],
        &["ALLOWED_MODELS: no package can be drawn: "],
    ),
    set(
        &[("ALLOWED_MODELS", "openai:gpt-image-2:low")],
        &["ALLOWED_MODELS: packages that name no imageModel cannot be drawn: "],
    ),
    set(
        &[("MODELS_FILE", "/no/such/file")],
        &["MODELS_FILE: the file /no/such/file cannot be read"],
    ),
    set(
        &[("JOB_TIMEOUT", "5 minutes")],
        &["JOB_TIMEOUT: \"5 minutes\" is not a duration"],
    ),
    set(
        &[("WORKER_CONCURRENCY", "0"), ("LEASE_TTL", "1h")],
        &[
            "LEASE_TTL: ",
            "WORKER_CONCURRENCY: \"0\" was found; a number from 1 to 1024 is accepted",
        ],
    ),
    set(&[("QUEUE_NAME", "{a}")], &["QUEUE_NAME: "]),
    set(
        &[("LOG_FORMAT", "xml")],
        &["LOG_FORMAT: \"xml\" was found; pretty and json are accepted"],
    ),
    set(
        &[("HTTP_ADDR", "9464")],
        &["HTTP_ADDR: \"9464\" was found; an address with its port"],
    ),
    set(
        &[("HTTP_ADDR", "127.0.0.1:{stranger}")],
        &[
            "HTTP_ADDR: 127.0.0.1:{stranger} is in use by another program: choose another address, or leave it empty",
        ],
    ),
    set(
        &[("HTTP_ADDR", "192.0.2.1:9464")],
        &["HTTP_ADDR: 192.0.2.1:9464 is no address of this machine"],
    ),
];
