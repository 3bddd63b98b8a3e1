//! Wrong stores: what stands in `STORAGE_URL` and beside it.

use super::{Wrong, set};

pub(super) const ROWS: &[Wrong] = &[
    set(
        &[("STORAGE_URL", "s3:/pictures")],
        &["STORAGE_URL: \"s3:/pictures\" has too few slashes: write s3://pictures"],
    ),
    set(
        &[("STORAGE_URL", "s3:pictures/prefix")],
        &["STORAGE_URL: \"s3:pictures/prefix\" has too few slashes: write s3://pictures/prefix"],
    ),
    set(
        &[("STORAGE_URL", "gs:/pictures")],
        &["STORAGE_URL: \"gs:/pictures\" has too few slashes: write gs://pictures"],
    ),
    set(
        &[("STORAGE_URL", "file:/srv/pictures")],
        &["write file:///srv/pictures"],
    ),
    set(
        &[("STORAGE_URL", "minio:pictures")],
        &["STORAGE_URL: no store is called \"minio\""],
    ),
    set(
        &[
            ("STORAGE_URL", "pictures"),
            ("S3_ENDPOINT", "http://127.0.0.1:9000"),
        ],
        &[
            "STORAGE_URL: \"pictures\" is a directory of this machine, and S3_ENDPOINT is set, as if pictures went to a bucket: write s3://pictures",
        ],
    ),
    set(
        &[("STORAGE_URL", "pictures"), ("S3_BUCKET", "pictures")],
        &["STORAGE_URL: \"pictures\" is a directory of this machine, and S3_BUCKET is set"],
    ),
    set(
        &[("STORAGE_URL", ""), ("S3_ENDPOINT", "http://127.0.0.1:9000")],
        &["S3_ENDPOINT is set and no bucket is"],
    ),
    set(
        &[("STORAGE_URL", "/proc/pictures")],
        &["STORAGE_URL: cannot open /proc/pictures"],
    ),
    set(
        &[("STORAGE_URL", "/dev/null")],
        &["STORAGE_URL: cannot open /dev/null: a file stands in its way: name a directory"],
    ),
    set(
        &[("STORAGE_URL", "/dev/null/pictures")],
        &["STORAGE_URL: cannot open /dev/null/pictures: a file stands in its way"],
    ),
    set(
        &[("STORAGE_URL", "ftp://pictures")],
        &["STORAGE_URL: no store is called \"ftp\""],
    ),
    set(
        &[("STORAGE_URL", "https://bucket.example.org")],
        &["STORAGE_URL: a web address was found; write s3://bucket"],
    ),
    set(
        &[("STORAGE_URL", "s3://pictures"), ("AWS_ACCESS_KEY_ID", "AKIA")],
        &["AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not"],
    ),
    set(
        &[
            ("STORAGE_URL", "s3://pictures"),
            ("AWS_ACCESS_KEY_ID", "'AKIA'"),
            ("AWS_SECRET_ACCESS_KEY", "\"secret\""),
        ],
        &[
            "AWS_ACCESS_KEY_ID: its value stands in quotes, which would be taken as part of it; leave them out",
            "AWS_SECRET_ACCESS_KEY: its value stands in quotes",
        ],
    ),
    set(
        &[("PUBLIC_URL_BASE", "images.example.org")],
        &["PUBLIC_URL_BASE: \"images.example.org\" was found; an http or https URL is accepted"],
    ),
    set(
        &[("CLOUDFLARE_IMAGE_PROXY_DOMAIN", "images.example.org/a")],
        &["CLOUDFLARE_IMAGE_PROXY_DOMAIN: "],
    ),
    // Somebody else listens there.
    set(
        &[
            ("STORAGE_URL", "s3://pictures"),
            ("S3_ENDPOINT", "http://127.0.0.1:{stranger}"),
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ],
        &["what answers there does not store objects: mend S3_ENDPOINT (its scheme, its port)"],
    ),
];
