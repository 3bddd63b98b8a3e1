//! From a location to a client of its store: credentials, time limits, headers of every request.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider};
use secrecy::ExposeSecret;

use super::location::{Location, Place};
use super::profile::Profile;
use super::{StorageSettings, amazon};

/// Variables of Google's tools that say who is asking, beside those that say where (`location`).
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

/// A client, and what it is to say of its keys.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    /// What is true when the machine that is asked for keys has none.
    pub(super) no_keys: Option<String>,
    /// The outermost directory that was not there before.
    pub(super) made: Option<PathBuf>,
}

/// Makes the client. Reads files of credentials, makes the directory of a disk store, and asks Amazon for the
/// bucket's region where no setting says it.
///
/// # Errors
/// A sentence that names what is set and cannot be used, or that no keys are set.
pub(super) async fn open(
    location: &Location,
    settings: &StorageSettings,
    profile: &Profile,
) -> anyhow::Result<Opened> {
    let mut made = None;
    let (store, no_keys): (Arc<dyn ObjectStore>, _) = match &location.place {
        Place::Disk { root } => {
            let missing = root.ancestors().take_while(|directory| !directory.exists());
            made = missing.last().map(Path::to_owned);
            std::fs::create_dir_all(root).map_err(not_made)?;
            // On return from a put, the picture is on the disk itself: the job's row says so right after.
            (
                Arc::new(LocalFileSystem::new_with_prefix(root)?.with_fsync(true)),
                None,
            )
        }
        Place::Memory => (Arc::new(InMemory::new()), None),
        Place::S3 { bucket, at } => {
            let (builder, no_keys) = amazon::builder(bucket, at, settings, profile).await?;
            (Arc::new(builder.build()?), no_keys)
        }
        Place::Google { bucket, base } => {
            let no_keys = google_without_keys(settings, base.as_deref())?;
            let mut builder = GoogleCloudStorageBuilder::new()
                .with_bucket_name(bucket)
                .with_retry(retries())
                .with_client_options(options_for(base.as_deref()));
            if let Some(base) = base {
                // Otherwise the machine would be asked for a key that nobody wants.
                let nobody = GcpCredential {
                    bearer: String::new(),
                };
                builder = builder
                    .with_base_url(base)
                    .with_skip_signature(true)
                    .with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
            }
            let builder = cloud_keys(settings, "google_")
                .filter(|(key, _)| GOOGLE_KEYS.contains(key))
                .fold(builder, |builder, (key, value)| builder.with_config(key, value));
            let built = builder.build().context("GOOGLE_APPLICATION_CREDENTIALS")?;
            (Arc::new(built), no_keys)
        }
        Place::Azure {
            account,
            container,
            base,
        } => {
            let no_keys = azure_without_keys(settings)?;
            let mut builder = MicrosoftAzureBuilder::new()
                .with_account(account)
                .with_container_name(container)
                .with_retry(retries())
                .with_client_options(options_for(base.as_deref()));
            if let Some(base) = base {
                builder = builder.with_endpoint(base.clone());
            }
            if let Some(key) = settings.azure_key() {
                builder = builder.with_access_key(key);
            }
            let builder = cloud_keys(settings, "azure_")
                .filter(|(key, _)| AZURE_KEYS.contains(key))
                .fold(builder, |builder, (key, value)| builder.with_config(key, value));
            (Arc::new(builder.build()?), no_keys)
        }
    };
    Ok(Opened { store, no_keys, made })
}

/// Why there is no directory, and what to do.
fn not_made(error: std::io::Error) -> anyhow::Error {
    use std::io::ErrorKind;

    match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            anyhow!("a file stands in its way: name a directory")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            anyhow!("this account may not make that directory: make it, and let the account write there")
        }
        _ => anyhow!("the directory cannot be made: {error}; name another one, or make it"),
    }
}

/// What to say when Google's machine has no identity, where it is asked: without keys in variables or a login of gcloud.
fn google_without_keys(settings: &StorageSettings, base: Option<&str>) -> anyhow::Result<Option<String>> {
    let names = [
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
    ];
    let login = settings
        .home
        .as_ref()
        .map(|home| home.join(".config/gcloud/application_default_credentials.json"));
    let has_keys = names.iter().any(|name| settings.cloud_variable(name).is_some())
        || login.is_some_and(|login| login.exists());
    let no_keys = "no keys are set: neither GOOGLE_APPLICATION_CREDENTIALS, nor a login of gcloud, and this machine has no identity of \
                   its own; set GOOGLE_APPLICATION_CREDENTIALS to a file of the type service_account or authorized_user";
    Ok((!has_keys && base.is_none()).then(|| no_keys.to_owned()))
}

/// The same for Azure. Half a set of variables would be passed over in silence, and the machine asked.
fn azure_without_keys(settings: &StorageSettings) -> anyhow::Result<Option<String>> {
    let value = |names: [&str; 2]| names.into_iter().find_map(|name| settings.cloud_variable(name));
    let sas = value(["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"]);
    let secret = value(["AZURE_CLIENT_SECRET", "AZURE_STORAGE_CLIENT_SECRET"]);
    let token_file = settings.cloud_variable("AZURE_FEDERATED_TOKEN_FILE");
    let client = value(["AZURE_CLIENT_ID", "AZURE_STORAGE_CLIENT_ID"]);
    let tenant = value(["AZURE_TENANT_ID", "AZURE_STORAGE_TENANT_ID"]);
    if settings.azure_key().is_some() || sas.is_some() {
        return Ok(None);
    }
    if secret.is_some() || token_file.is_some() {
        let what = if secret.is_some() {
            "AZURE_CLIENT_SECRET"
        } else {
            "AZURE_FEDERATED_TOKEN_FILE"
        };
        ensure!(
            client.is_some() && tenant.is_some(),
            "{what} is set, and AZURE_CLIENT_ID and AZURE_TENANT_ID are not both; set them too"
        );
        if let Some(file) = token_file.filter(|_| secret.is_none()) {
            std::fs::metadata(Path::new(file))
                .with_context(|| format!("AZURE_FEDERATED_TOKEN_FILE: the file {file} cannot be read"))?;
        }
        return Ok(None);
    }
    if settings
        .cloud_variable("AZURE_USE_AZURE_CLI")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    {
        return Ok(None);
    }
    Ok(Some(
        "no keys are set: neither AZURE_STORAGE_ACCOUNT_KEY, nor AZURE_STORAGE_SAS_TOKEN, nor AZURE_CLIENT_ID with a secret or a \
         token, and this machine has no identity of its own; set AZURE_STORAGE_ACCOUNT_KEY"
            .to_owned(),
    ))
}

pub(super) fn cloud_keys<Key: std::str::FromStr>(
    settings: &StorageSettings,
    prefix: &str,
) -> impl Iterator<Item = (Key, String)> {
    settings.cloud_variables.iter().filter_map(move |(name, value)| {
        let name = name.to_ascii_lowercase();
        let key = name.starts_with(prefix).then(|| name.parse().ok())??;
        Some((key, value.expose_secret().trim().to_owned()))
    })
}

/// Resends within one call; the queue's retries come on top. The default is ten in three minutes.
pub(super) fn retries() -> RetryConfig {
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

pub(super) fn options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(20))
        // Each has buffers, and a replica can store for a thousand jobs at once.
        .with_pool_max_idle_per_host(32)
}

/// Plain HTTP where the operator has written it.
fn options_for(base: Option<&str>) -> ClientOptions {
    options().with_allow_http(base.is_some_and(|base| base.starts_with("http://")))
}
