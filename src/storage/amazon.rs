//! Who asks an S3 store, and with which address, region and keys: what Amazon's own tools would make of the same surroundings.
//!
//! What they honour and this does not is refused by name. A key of a machine's own is asked for only where it can be good for
//! something: at Amazon.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, resolve_bucket_region};
use object_store::{Certificate, ClientOptions, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;

use super::StorageSettings;
use super::client::{cloud_keys, options, retries};
use super::endpoint::{Endpoint, Whereabouts};
use super::profile::{self, Profile};

/// Variables of Amazon's tools that are passed on as they are. Those that say where (endpoints, buckets) stay out: public
/// URLs are made from the same address as requests, see `location`.
const PASSED_ON: [AmazonS3ConfigKey; 11] = [
    AmazonS3ConfigKey::Region,
    AmazonS3ConfigKey::DefaultRegion,
    AmazonS3ConfigKey::WebIdentityTokenFile,
    AmazonS3ConfigKey::RoleArn,
    AmazonS3ConfigKey::RoleSessionName,
    AmazonS3ConfigKey::StsEndpoint,
    AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
    AmazonS3ConfigKey::ContainerCredentialsFullUri,
    AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
    AmazonS3ConfigKey::MetadataEndpoint,
    AmazonS3ConfigKey::ImdsV1Fallback,
];

/// Switches that would change where requests go, and are not honoured: what to write instead.
const SWITCHES: [(&str, &str); 2] = [
    (
        "AWS_USE_FIPS_ENDPOINT",
        "S3_ENDPOINT=https://s3-fips.<region>.amazonaws.com",
    ),
    (
        "AWS_USE_DUALSTACK_ENDPOINT",
        "S3_ENDPOINT=https://s3.dualstack.<region>.amazonaws.com",
    ),
];

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Keys {
    /// Both variables are set.
    Variables,
    /// The profile holds them.
    Profile,
    /// A role is taken with the token in a file; the profile names both where the variables do not.
    WebIdentity,
    /// The container's surroundings give them.
    Container,
    /// The machine has to be asked. Holds what to say when it has none.
    Machine(String),
}

/// The client's settings, and what to say when a machine that was to have keys of its own has none.
///
/// # Errors
/// A sentence that names what is set and cannot be used, or that nothing is set.
pub(super) async fn builder(
    bucket: &str,
    at: &Whereabouts,
    settings: &StorageSettings,
    profile: &Profile,
) -> anyhow::Result<(AmazonS3Builder, Option<String>)> {
    for (switch, instead) in SWITCHES {
        let is_on = settings
            .cloud_variable(switch)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        ensure!(
            !is_on || at.endpoint.is_some(),
            "{switch} is not honoured; leave it out, and write {instead}"
        );
    }
    let keys = keys(settings, profile, at.endpoint.as_ref())?;
    let s3 = &settings.s3;
    let mut options = trusting(settings, options())?;
    if let Some(acl) = &s3.acl {
        let mut headers = HeaderMap::new();
        let acl = HeaderValue::from_str(acl).context("S3_ACL cannot be sent as a header")?;
        headers.insert("x-amz-acl", acl);
        options = options.with_default_headers(headers);
    }
    let mut builder = AmazonS3Builder::new();
    for (key, value) in cloud_keys(settings, "aws_").filter(|(key, _)| PASSED_ON.contains(key)) {
        builder = builder.with_config(key, value);
    }
    if let Some(address) = settings.cloud_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
        builder = builder.with_metadata_endpoint(address.trim_end_matches('/'));
    }
    let regions = [&s3.region, &at.region];
    if let Some(region) = regions.into_iter().flatten().next() {
        builder = builder.with_region(region);
    } else if builder.get_config_value(&AmazonS3ConfigKey::Region).is_none()
        && let Some(region) = &profile.region
    {
        builder = builder.with_region(region);
    }
    builder = match &at.endpoint {
        Some(endpoint) => {
            options = options.with_allow_http(endpoint.url.starts_with("http://"));
            builder
                .with_endpoint(&endpoint.url)
                .with_virtual_hosted_style_request(!endpoint.path_style)
        }
        None => {
            if builder.get_config_value(&AmazonS3ConfigKey::Region).is_none() {
                builder = builder.with_region(region_of(bucket, &options).await);
            }
            // Amazon's certificate covers one label in front of its name: a bucket with a dot needs path style.
            let path_style =
                s3.force_path_style.or(profile.path_style).unwrap_or(false) || bucket.contains('.');
            builder.with_virtual_hosted_style_request(!path_style)
        }
    };
    builder = match &keys {
        Keys::Variables => {
            let secret = s3.secret_access_key.as_ref().map(ExposeSecret::expose_secret);
            let builder = builder
                .with_access_key_id(s3.access_key_id.as_deref().unwrap_or_default())
                .with_secret_access_key(secret.unwrap_or_default());
            match &s3.session_token {
                Some(token) => builder.with_token(token.expose_secret()),
                None => builder,
            }
        }
        Keys::Profile => match &profile.keys {
            Some((id, secret, token)) => {
                let builder = builder
                    .with_access_key_id(id)
                    .with_secret_access_key(secret.expose_secret());
                match token {
                    Some(token) => builder.with_token(token.expose_secret()),
                    None => builder,
                }
            }
            None => builder,
        },
        Keys::WebIdentity => match &profile.web_identity {
            Some((role, file)) if settings.cloud_variable("AWS_ROLE_ARN").is_none() => builder
                .with_config(AmazonS3ConfigKey::RoleArn, role)
                .with_config(AmazonS3ConfigKey::WebIdentityTokenFile, file),
            _ => builder,
        },
        Keys::Container | Keys::Machine(_) => builder,
    };
    let builder = builder
        .with_bucket_name(bucket)
        // One object at a time by plain DELETE: some services like S3 do not know the call for many.
        .with_disable_bulk_delete(true)
        .with_retry(retries())
        .with_client_options(options);
    let no_keys = match keys {
        Keys::Machine(no_keys) => Some(no_keys),
        _ => None,
    };
    Ok((builder, no_keys))
}

/// The first source of keys that is there, in the order of Amazon's tools.
fn keys(settings: &StorageSettings, profile: &Profile, endpoint: Option<&Endpoint>) -> anyhow::Result<Keys> {
    let is_set = |name: &str| settings.cloud_variable(name).is_some();
    if settings.s3.access_key_id.is_some() {
        return Ok(Keys::Variables);
    }
    if profile.keys.is_some() {
        return Ok(Keys::Profile);
    }
    let named = settings
        .cloud_variable("AWS_ROLE_ARN")
        .zip(settings.cloud_variable("AWS_WEB_IDENTITY_TOKEN_FILE"));
    let profiles = profile
        .web_identity
        .as_ref()
        .map(|(role, file)| (role.as_str(), file.as_str()));
    if let Some((_, file)) = named.or(profiles) {
        std::fs::metadata(Path::new(file))
            .with_context(|| format!("AWS_WEB_IDENTITY_TOKEN_FILE: the file {file} cannot be read"))?;
        return Ok(Keys::WebIdentity);
    }
    if is_set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        return Ok(Keys::Container);
    }
    if is_set("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
        ensure!(
            is_set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI takes a token in the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names, which \
             is not set"
        );
        return Ok(Keys::Container);
    }
    if let Some(other_way) = &profile.other_way {
        bail!("{other_way}");
    }
    for (half, other) in [
        ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
    ] {
        ensure!(
            !is_set(half),
            "no keys are set: {half} is set and {other} is not; set both, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        );
    }
    let no_keys = format!(
        "no keys are set: neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, nor keys of a profile in {}, nor a role of this \
         container or machine; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        profile::list(&profile.files)
    );
    let is_disabled = settings
        .cloud_variable("AWS_EC2_METADATA_DISABLED")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let is_elsewhere = endpoint.is_some_and(|endpoint| !endpoint.is_amazon);
    let is_named = is_set("AWS_METADATA_ENDPOINT") || is_set("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    ensure!(!is_disabled && (!is_elsewhere || is_named), "{no_keys}");
    Ok(Keys::Machine(no_keys))
}

/// With the authorities in the file that `AWS_CA_BUNDLE` names, beside the system's.
fn trusting(settings: &StorageSettings, options: ClientOptions) -> anyhow::Result<ClientOptions> {
    let Some(path) = settings.cloud_variable("AWS_CA_BUNDLE") else {
        return Ok(options);
    };
    let pem =
        std::fs::read(path).with_context(|| format!("AWS_CA_BUNDLE: the file {path} cannot be read"))?;
    let certificates = Certificate::from_pem_bundle(&pem)
        .with_context(|| format!("AWS_CA_BUNDLE: the file {path} holds no certificates in PEM form"))?;
    Ok(certificates
        .into_iter()
        .fold(options, ClientOptions::with_root_certificate))
}

/// Amazon tells a bucket's region to anybody; a request in another region fails.
async fn region_of(bucket: &str, options: &ClientOptions) -> String {
    const LIMIT: Duration = Duration::from_secs(5);
    match tokio::time::timeout(LIMIT, resolve_bucket_region(bucket, options)).await {
        Ok(Ok(region)) => region,
        _ => {
            tracing::warn!(
                "could not learn the region of bucket {bucket}, assuming us-east-1; set S3_REGION"
            );
            "us-east-1".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::S3Settings;

    fn with(variables: &[(&str, &str)]) -> StorageSettings {
        let set = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned().into()));
        StorageSettings {
            cloud_variables: set.collect(),
            ..StorageSettings::default()
        }
    }

    fn elsewhere() -> Endpoint {
        Endpoint {
            url: "http://127.0.0.1:1".into(),
            path_style: true,
            is_amazon: false,
        }
    }

    #[test]
    fn keys_come_from_the_first_source_that_amazons_tools_would_take() {
        let role = [
            ("AWS_ROLE_ARN", "arn:r"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/dev/null"),
        ];
        let container = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")];
        let mut all = with(&[role[0], role[1], container[0]]);
        let none = Profile::default();
        assert_eq!(keys(&all, &none, None).unwrap(), Keys::WebIdentity);
        assert_eq!(keys(&with(&container), &none, None).unwrap(), Keys::Container);
        let profile = Profile {
            keys: Some(("id".into(), "secret".to_owned().into(), None)),
            ..Profile::default()
        };
        assert_eq!(keys(&all, &profile, None).unwrap(), Keys::Profile);
        all.s3 = S3Settings {
            access_key_id: Some("id".into()),
            ..S3Settings::default()
        };
        assert_eq!(keys(&all, &profile, None).unwrap(), Keys::Variables);
        assert!(matches!(keys(&with(&[]), &none, None).unwrap(), Keys::Machine(_)));
    }

    #[test]
    fn no_machine_is_asked_where_its_keys_would_be_good_for_nothing() {
        let none = Profile::default();
        let metadata = with(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")]);
        assert!(keys(&metadata, &none, Some(&elsewhere())).is_ok());
        for (settings, endpoint, said) in [
            (with(&[]), Some(elsewhere()), "no keys are set: neither "),
            (
                with(&[("AWS_EC2_METADATA_DISABLED", "true")]),
                None,
                "no keys are set: neither ",
            ),
            (
                with(&[("AWS_ROLE_ARN", "arn:r")]),
                None,
                "AWS_WEB_IDENTITY_TOKEN_FILE is not",
            ),
            (
                with(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/x")]),
                None,
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            ),
            (
                with(&[
                    ("AWS_ROLE_ARN", "arn:r"),
                    ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent"),
                ]),
                None,
                "the file /nonexistent cannot be read",
            ),
        ] {
            let error = format!("{:#}", keys(&settings, &none, endpoint.as_ref()).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
