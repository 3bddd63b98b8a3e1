//! What the codes mean with which stores refuse: what kind of trouble it is, and what an operator does about it.
//!
//! Sources: Amazon S3 API Reference, "Error responses"; Cloudflare R2, "Error codes"; MinIO and Ceph for what they add;
//! Google Cloud Storage XML API, "HTTP status and error codes"; Azure Blob Storage, "Error codes".

use super::StorageErrorKind as Kind;

/// What kind of trouble a code is, and the cure, to stand after what the store has said.
pub(super) type Verdict = (Kind, &'static str);

/// A row each: codes, kind, cure.
const CODES: &[(&[&str], Kind, &str)] = &[
    (
        &["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"],
        Kind::Missing,
        "there is no such bucket: make it, or mend STORAGE_URL",
    ),
    (
        &["InvalidBucketName", "InvalidResourceName", "InvalidUri"],
        Kind::Settings,
        "the store takes no bucket of this name: mend STORAGE_URL",
    ),
    (
        &["InvalidAccessKeyId", "NotSignedUp", "InvalidSecurity"],
        Kind::Refused,
        "the store does not know this key: mend AWS_ACCESS_KEY_ID",
    ),
    (
        &["SignatureDoesNotMatch"],
        Kind::Refused,
        "the secret does not belong to this key: mend AWS_SECRET_ACCESS_KEY",
    ),
    (
        &["ExpiredToken", "InvalidToken", "TokenRefreshRequired"],
        Kind::Refused,
        "the keys have ended: renew them, AWS_SESSION_TOKEN included, or leave AWS_SESSION_TOKEN out with keys that stay",
    ),
    (
        &[
            "AuthenticationFailed",
            "InvalidAuthenticationInfo",
            "Unauthorized",
        ],
        Kind::Refused,
        "the store does not accept these keys, or this machine's clock is wrong: mend them, or let it follow a time server",
    ),
    (
        &[
            "AccessDenied",
            "AllAccessDisabled",
            "AuthorizationFailure",
            "AuthorizationPermissionMismatch",
            "AuthorizationProtocolMismatch",
            "AuthorizationServiceMismatch",
            "InsufficientAccountPermissions",
            "KeyBasedAuthenticationNotPermitted",
            "PublicAccessNotPermitted",
        ],
        Kind::Refused,
        "the keys do not allow this: let them put, get and delete objects here",
    ),
    (
        &[
            "AccountProblem",
            "AccountIsDisabled",
            "UserProjectAccountProblem",
            "UserProjectMissing",
        ],
        Kind::Refused,
        "the account is not in order: ask whoever pays for it",
    ),
    (
        &[
            "QuotaExceeded",
            "ServiceQuotaExceeded",
            "StorageFull",
            "XMinioStorageFull",
            "XMinioAdminBucketQuotaExceeded",
            "InsufficientCapacity",
            "StorageLimitExceeded",
            "StorageQuotaExceeded",
        ],
        Kind::Full,
        "the store is full: make room, or raise its quota",
    ),
    (
        &[
            "SlowDown",
            "ServiceUnavailable",
            "ServerBusy",
            "TooManyRequests",
            "Throttling",
            "ThrottlingException",
            "RequestLimitExceeded",
            "BandwidthLimitExceeded",
            "OperationTimedOut",
            "RequestTimeout",
            "InternalError",
        ],
        Kind::Busy,
        "the store is busy: it is asked again",
    ),
    (
        &["RequestTimeTooSkewed", "RequestExpired"],
        Kind::Settings,
        "this machine's clock is wrong: let it follow a time server",
    ),
    (
        &[
            "PermanentRedirect",
            "TemporaryRedirect",
            "AuthorizationHeaderMalformed",
            "AuthorizationQueryParametersError",
            "IllegalLocationConstraintException",
            "InvalidRegionName",
            "InvalidLocationConstraint",
        ],
        Kind::Settings,
        "the bucket is in another region: set S3_REGION to it",
    ),
    (
        &["AccessControlListNotSupported"],
        Kind::Settings,
        "the bucket takes no ACLs: leave S3_ACL out",
    ),
    (
        &["MethodNotAllowed", "NotImplemented", "UnsupportedHttpVerb"],
        Kind::Settings,
        "leave S3_ACL out if it is set, which many stores do not know; without it, what answers there does not store objects: mend S3_ENDPOINT",
    ),
];

/// By the code that the store has given.
pub(super) fn by_code(code: &str) -> Option<Verdict> {
    let row = CODES.iter().find(|(codes, ..)| codes.contains(&code));
    if row.is_none() && code.starts_with("KMS.") {
        return Some((
            Kind::Refused,
            "the key that encrypts the bucket cannot be used: let these keys use it",
        ));
    }
    row.map(|(_, kind, cure)| (*kind, *cure))
}

/// By the status, where an answer has no code: it may come from what stands in front of the store.
pub(super) fn by_status(status: u16) -> Option<Verdict> {
    Some(match status {
        301 | 302 | 307 | 308 => (
            Kind::Settings,
            "the store is at another address, or the bucket in another region: mend S3_ENDPOINT or S3_REGION",
        ),
        400 | 405 | 411 | 501 => (
            Kind::Settings,
            "what answers there does not store objects: mend S3_ENDPOINT (its scheme, its port)",
        ),
        407 => (
            Kind::Settings,
            "a proxy stands in front of it and wants to be asked with a password",
        ),
        413 => (
            Kind::Settings,
            "what stands in front of the store takes no bodies of this size: raise its limit to 64 MB",
        ),
        408 | 429 | 500 | 503 => (Kind::Busy, "the store is busy: it is asked again"),
        502 | 504 => (
            Kind::Unreachable,
            "what stands in front of the store cannot reach it",
        ),
        507 => (Kind::Full, "the store is full: make room, or raise its quota"),
        _ => return None,
    })
}

/// By what the client says of a connection that did not come about.
pub(super) fn by_connection(text: &str) -> Option<Verdict> {
    let text = text.to_ascii_lowercase();
    if text.contains("certificate") {
        return Some((
            Kind::Settings,
            "its certificate is not believed: name the authority's file in AWS_CA_BUNDLE or SSL_CERT_FILE, or mend the host's name",
        ));
    }
    let speaks_no_tls = text.contains("invalidcontenttype") || text.contains("corrupt message");
    if speaks_no_tls {
        return Some((
            Kind::Settings,
            "it does not speak TLS on this port: write http:// in front of the address, or take its other port",
        ));
    }
    // It has taken the object as any page is taken, and gives no mark of it back.
    if text.contains("etag header missing") || text.contains("last-modified header missing") {
        return Some((
            Kind::Settings,
            "what answers there does not store objects: mend S3_ENDPOINT (its scheme, its port)",
        ));
    }
    text.contains("without location").then_some((
        Kind::Settings,
        "the bucket is in another region: set S3_REGION to it",
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_one_meaning_and_every_cure_says_what_to_do() {
        let all: Vec<&str> = CODES.iter().flat_map(|(codes, ..)| *codes).copied().collect();
        let once: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(once.len(), all.len());
        assert!(by_code("KMS.DisabledException").is_some());
        assert_eq!(by_code("Unheard"), None);
        assert_eq!(by_status(403), None, "403 without a code says no more than that");
    }
}
