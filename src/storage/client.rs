//! From a location to a client of its store: credentials, time limits, headers of every request.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, resolve_bucket_region};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{BackoffConfig, ClientOptions, HeaderMap, HeaderValue, ObjectStore, RetryConfig};
use secrecy::ExposeSecret;

use super::StorageSettings;
use super::location::{Location, Place};

/// Variables of Amazon's tools that say who is asking. Those that say where (endpoints, buckets) stay out:
/// public URLs are made from `STORAGE_URL` and `S3_ENDPOINT`, and must not differ from where objects go.
const AMAZON_KEYS: [AmazonS3ConfigKey; 11] = [
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

/// The same for Google.
const GOOGLE_KEYS: [GoogleConfigKey; 3] = [
    GoogleConfigKey::ApplicationCredentials,
    GoogleConfigKey::ServiceAccount,
    GoogleConfigKey::ServiceAccountKey,
];

/// The same for Azure.
const AZURE_KEYS: [AzureConfigKey; 11] = [
    AzureConfigKey::AccessKey,
    AzureConfigKey::SasKey,
    AzureConfigKey::ClientId,
    AzureConfigKey::ClientSecret,
    AzureConfigKey::AuthorityId,
    AzureConfigKey::AuthorityHost,
    AzureConfigKey::FederatedTokenFile,
    AzureConfigKey::MsiEndpoint,
    AzureConfigKey::ObjectId,
    AzureConfigKey::MsiResourceId,
    AzureConfigKey::UseAzureCli,
];

/// Makes the client. Reads files of credentials, makes the directory of a disk store, and asks Amazon for the
/// bucket's region where no setting says it.
pub(super) async fn open(
    location: &Location,
    settings: &StorageSettings,
) -> anyhow::Result<Arc<dyn ObjectStore>> {
    Ok(match &location.place {
        Place::Disk { root } => {
            std::fs::create_dir_all(root)?;
            // On return from a put, the picture is on the disk itself: the job's row says so right after.
            Arc::new(LocalFileSystem::new_with_prefix(root)?.with_fsync(true))
        }
        Place::Memory => Arc::new(InMemory::new()),
        Place::S3 { .. } => Arc::new(amazon(location, settings).await?.build()?),
        Place::Google { bucket } => {
            let builder = GoogleCloudStorageBuilder::new()
                .with_bucket_name(bucket)
                .with_retry(retries())
                .with_client_options(options());
            let builder = cloud_keys(settings, "google_")
                .filter(|(key, _)| GOOGLE_KEYS.contains(key))
                .fold(builder, |builder, (key, value)| builder.with_config(key, value));
            Arc::new(builder.build()?)
        }
        Place::Azure { account, container } => {
            let builder = MicrosoftAzureBuilder::new()
                .with_account(account)
                .with_container_name(container)
                .with_retry(retries())
                .with_client_options(options());
            let builder = cloud_keys(settings, "azure_")
                .filter(|(key, _)| AZURE_KEYS.contains(key))
                .fold(builder, |builder, (key, value)| builder.with_config(key, value));
            Arc::new(builder.build()?)
        }
    })
}

async fn amazon(location: &Location, settings: &StorageSettings) -> anyhow::Result<AmazonS3Builder> {
    let Place::S3 { bucket, endpoint } = &location.place else {
        anyhow::bail!("{} is no S3 store", location.name());
    };
    let s3 = &settings.s3;
    let mut options = options();
    if let Some(acl) = &s3.acl {
        let mut headers = HeaderMap::new();
        let acl = HeaderValue::from_str(acl).context("S3_ACL cannot be sent as a header")?;
        headers.insert("x-amz-acl", acl);
        options = options.with_default_headers(headers);
    }
    let mut builder = AmazonS3Builder::new();
    for (key, value) in cloud_keys(settings, "aws_").filter(|(key, _)| AMAZON_KEYS.contains(key)) {
        builder = builder.with_config(key, value);
    }
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    builder = match endpoint {
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
            let path_style = s3.force_path_style.unwrap_or(false) || bucket.contains('.');
            builder.with_virtual_hosted_style_request(!path_style)
        }
    };
    if let Some(id) = &s3.access_key_id {
        builder = builder.with_access_key_id(id);
    }
    if let Some(secret) = &s3.secret_access_key {
        builder = builder.with_secret_access_key(secret.expose_secret());
    }
    if let Some(token) = &s3.session_token {
        builder = builder.with_token(token.expose_secret());
    }
    Ok(builder
        .with_bucket_name(bucket)
        // One object at a time by plain DELETE: some services like S3 do not know the call for many.
        .with_disable_bulk_delete(true)
        .with_retry(retries())
        .with_client_options(options))
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

fn cloud_keys<Key: std::str::FromStr>(
    settings: &StorageSettings,
    prefix: &str,
) -> impl Iterator<Item = (Key, String)> {
    settings.cloud_variables.iter().filter_map(move |(name, value)| {
        let name = name.to_ascii_lowercase();
        let key = name.starts_with(prefix).then(|| name.parse().ok())??;
        Some((key, value.expose_secret().to_owned()))
    })
}

/// Resends within one call; the queue's retries come on top. The default is ten in three minutes.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(3),
            base: 2.0,
        },
        max_retries: 3,
        retry_timeout: Duration::from_secs(15),
    }
}

fn options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(20))
}
