//! What works as it is set, and is probably not what was meant.

use super::Config;
use crate::storage::StorageSettings;

/// The shortest package that asks for a picture has some 150 bytes, and people write prompts of a thousand.
const SMALL_PACKAGE_BYTES: usize = 4 * 1024;

/// A sentence for each.
pub(super) fn doubts(config: &Config) -> Vec<String> {
    let all = [
        calls_cut_off(config),
        waits_turned_round(config),
        tiny_packages(config),
        fallback_to_itself(config),
        two_places(&config.storage),
        two_addresses(&config.storage),
        kept_nowhere(&config.storage),
    ];
    all.into_iter().flatten().collect()
}

fn calls_cut_off(config: &Config) -> Option<String> {
    let (shutdown_timeout, job_timeout) =
        (config.worker.shutdown_timeout, config.worker.attempts.job_timeout);
    // Of nothing the standard library says "0ns".
    let seconds = shutdown_timeout.as_secs_f64();
    (shutdown_timeout < job_timeout).then(|| {
        format!(
            "SHUTDOWN_TIMEOUT: {seconds}s is less than JOB_TIMEOUT ({job_timeout:?}), so a picture that is being drawn when a replica \
             stops may be paid for twice; leave it out, or set it to {job_timeout:?} or more"
        )
    })
}

fn waits_turned_round(config: &Config) -> Option<String> {
    let backoff = &config.worker.attempts.backoff;
    (backoff.base > backoff.max).then(|| {
        format!(
            "RETRY_BASE_DELAY: {:?} is more than RETRY_MAX_DELAY ({:?}), so every wait is as long as that; exchange them, or raise \
             RETRY_MAX_DELAY",
            backoff.base, backoff.max
        )
    })
}

fn tiny_packages(config: &Config) -> Option<String> {
    let bytes = config.worker.attempts.packages.max_bytes;
    (bytes < SMALL_PACKAGE_BYTES).then(|| {
        format!(
            "MAX_PACKAGE_BYTES: {bytes} is less than packages with a long prompt have, and what is larger is rejected; 4KiB or more is \
             usual"
        )
    })
}

fn fallback_to_itself(config: &Config) -> Option<String> {
    let name = &config.providers.default;
    config.providers.fallbacks.contains(name).then(|| {
        format!(
            "IMAGE_PROVIDER_FALLBACKS: {name} is in it and draws by default already (IMAGE_PROVIDER), so nobody takes over from it \
             there; name another one"
        )
    })
}

fn two_places(storage: &StorageSettings) -> Option<String> {
    let (url, bucket) = (storage.url.as_ref()?, storage.s3.bucket.as_ref()?);
    let is_its = url
        .strip_prefix("s3://")
        .is_some_and(|rest| rest.split('/').next() == Some(bucket));
    (!is_its).then(|| {
        format!("S3_BUCKET: {bucket} is set and STORAGE_URL names another place, which is where pictures go; leave one of them out")
    })
}

fn two_addresses(storage: &StorageSettings) -> Option<String> {
    let (base, domain) = (
        storage.public_url_base.as_ref()?,
        storage.cloudflare_image_proxy_domain.as_ref()?,
    );
    Some(format!(
        "CLOUDFLARE_IMAGE_PROXY_DOMAIN: {domain} is set and PUBLIC_URL_BASE ({base}) is what addresses of pictures begin with; leave \
         one of them out"
    ))
}

fn kept_nowhere(storage: &StorageSettings) -> Option<String> {
    let is_memory = storage.url.as_ref()?.starts_with("memory:");
    is_memory.then(|| {
        "STORAGE_URL: memory:// keeps pictures until the process ends, and nobody can open them; for trying things out only".to_owned()
    })
}
