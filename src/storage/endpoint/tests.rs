use super::*;

/// What becomes of an address with the bucket `pics`: where requests go, and the region.
fn seen(found: &str, force_path_style: Option<bool>) -> String {
    match read("S3_ENDPOINT", found, "pics", force_path_style) {
        Ok(Whereabouts { endpoint, region }) => {
            let place = endpoint.map_or_else(
                || "amazon".to_owned(),
                |at| format!("{}{}", at.url, if at.path_style { "/pics" } else { "" }),
            );
            format!("{place} {}", region.unwrap_or_default())
                .trim_end()
                .to_owned()
        }
        Err(error) => format!("refused: {error:#}"),
    }
}

#[test]
fn an_address_that_holds_the_bucket_holds_it_once() {
    let r2 = "https://0a1b.r2.cloudflarestorage.com/pics";
    for (found, path_style, expected) in [
        (r2, None, r2),
        ("https://0a1b.r2.cloudflarestorage.com", None, r2),
        ("https://0a1b.r2.cloudflarestorage.com/", None, r2),
        ("https://0a1b.r2.cloudflarestorage.com/pics/", None, r2),
        ("https://0a1b.r2.cloudflarestorage.com//pics//", None, r2),
        ("0a1b.r2.cloudflarestorage.com/pics", Some(true), r2),
        (
            "https://0a1b.eu.r2.cloudflarestorage.com/pics",
            None,
            "https://0a1b.eu.r2.cloudflarestorage.com/pics",
        ),
        (
            "https://pics.0a1b.r2.cloudflarestorage.com",
            None,
            "https://pics.0a1b.r2.cloudflarestorage.com",
        ),
        ("https://pics.0a1b.r2.cloudflarestorage.com/pics", Some(true), r2),
        (
            "https://pics.fra1.digitaloceanspaces.com",
            None,
            "https://pics.fra1.digitaloceanspaces.com",
        ),
        (
            "https://fra1.digitaloceanspaces.com",
            Some(false),
            "https://pics.fra1.digitaloceanspaces.com",
        ),
        (
            "http://127.0.0.1:9000/pics/",
            Some(true),
            "http://127.0.0.1:9000/pics",
        ),
        ("http://[::1]:9000/pics", None, "http://[::1]:9000/pics"),
        (
            "http://pics.s3.localhost:9000",
            None,
            "http://pics.s3.localhost:9000",
        ),
        (
            "http://pics.minio.test:9000",
            Some(false),
            "http://pics.minio.test:9000",
        ),
        (
            "http://pics.minio.test:9000/",
            Some(true),
            "http://pics.minio.test:9000/pics",
        ),
        ("http://minio.test/s3", None, "http://minio.test/s3/pics"),
        (
            "https://x.supabase.co/storage/v1/s3",
            None,
            "https://x.supabase.co/storage/v1/s3/pics",
        ),
        (
            "https://x.supabase.co/storage/v1/s3/pics/",
            None,
            "https://x.supabase.co/storage/v1/s3/pics",
        ),
        (
            "https://s3.fr-par.scw.cloud",
            None,
            "https://s3.fr-par.scw.cloud/pics fr-par",
        ),
        (
            "https://pics.s3.eu-central-003.backblazeb2.com",
            None,
            "https://pics.s3.eu-central-003.backblazeb2.com eu-central-003",
        ),
    ] {
        assert_eq!(seen(found, path_style), expected, "{found}");
    }
}

#[test]
fn amazons_own_addresses_are_its_usual_one_or_the_one_that_was_written() {
    for (found, path_style, expected) in [
        ("https://s3.amazonaws.com", None, "amazon"),
        ("https://s3.amazonaws.com/pics", None, "amazon"),
        ("https://pics.s3.amazonaws.com/", None, "amazon"),
        ("s3.eu-west-1.amazonaws.com", None, "amazon eu-west-1"),
        ("s3-eu-west-1.amazonaws.com", None, "amazon eu-west-1"),
        (
            "https://pics.s3.us-gov-east-1.amazonaws.com",
            None,
            "amazon us-gov-east-1",
        ),
        (
            "https://s3-accelerate.amazonaws.com",
            None,
            "https://pics.s3-accelerate.amazonaws.com",
        ),
        (
            "https://pics.s3-accelerate.amazonaws.com",
            None,
            "https://pics.s3-accelerate.amazonaws.com",
        ),
        (
            "https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com",
            None,
            "https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com/pics us-east-1",
        ),
        (
            "https://s3-fips.us-east-2.amazonaws.com",
            None,
            "https://s3-fips.us-east-2.amazonaws.com/pics us-east-2",
        ),
        (
            "https://s3.dualstack.eu-west-3.amazonaws.com",
            Some(false),
            "https://pics.s3.dualstack.eu-west-3.amazonaws.com eu-west-3",
        ),
    ] {
        assert_eq!(seen(found, path_style), expected, "{found}");
    }
}

#[test]
fn what_could_be_meant_in_two_ways_is_refused() {
    for (found, path_style, said) in [
        (
            "https://0a1b.r2.cloudflarestorage.com/other",
            None,
            "its path /other",
        ),
        ("https://0a1b.r2.cloudflarestorage.com/a/b", None, "its path /a/b"),
        ("http://127.0.0.1:9000/other/", Some(true), "its path /other"),
        (
            "http://127.0.0.1:9000/pics/icons",
            None,
            "STORAGE_URL=s3://pics/icons",
        ),
        ("http://minio.test/other/pics", None, "its path /other"),
        ("https://pics.example.org", None, "S3_FORCE_PATH_STYLE=false"),
        (
            "https://s3.eu-west-1.amazonaws.com/other",
            None,
            "its path /other",
        ),
        (
            "https://other.s3.eu-west-1.amazonaws.com",
            None,
            "not the address of the bucket",
        ),
        ("ftp://x", None, "is not the address"),
        ("https://key:hunter2@x", None, "is not the address"),
        ("https://x/?a=hunter2", None, "is not the address"),
        ("\"https://x\"", None, "is not the address"),
        (
            "http://127.0.0.1:9000",
            Some(false),
            "S3_FORCE_PATH_STYLE is false",
        ),
    ] {
        let said_of = seen(found, path_style);
        assert!(
            said_of.starts_with("refused: S3_") && said_of.contains(said) && !said_of.contains("hunter2"),
            "{found}: {said_of}"
        );
    }
}
