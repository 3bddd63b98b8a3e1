//! The address of an S3 service as its own pages write it: with the bucket in the path, in the host, or without it. No I/O.
//!
//! An address that is read otherwise than it was meant stores every picture under a key that no public URL leads to, so what
//! could be meant in two ways is refused.

use anyhow::{Context, bail, ensure};
use url::Url;

/// An S3 service that is reached at an address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// With the bucket in it, as far as it belongs into the host's name; no slash at the end.
    pub(super) url: String,
    /// Whether the bucket is the first folder instead of a part of the host's name.
    pub(super) path_style: bool,
    /// One of Amazon's other doors (FIPS, dual stack, acceleration, a private link): public URLs are as without it.
    pub(super) is_amazon: bool,
}

/// What an address says about where a bucket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Whereabouts {
    /// `None`: Amazon's usual address of the region.
    pub(super) endpoint: Option<Endpoint>,
    /// The region, where the host names it.
    pub(super) region: Option<String>,
}

/// Services whose hosts are known to be no buckets, and whose paths hold nothing but the bucket.
/// Source: their pages on S3 compatibility.
const SERVICES: [&str; 12] = [
    "r2.cloudflarestorage.com",
    "digitaloceanspaces.com",
    "backblazeb2.com",
    "wasabisys.com",
    "linodeobjects.com",
    "scw.cloud",
    "vultrobjects.com",
    "aliyuncs.com",
    "myqcloud.com",
    "storage.googleapis.com",
    "your-objectstorage.com",
    "idrivee2.com",
];

/// Reads the address that `variable` holds.
///
/// The bucket may stand in it too, as the only folder, as the last folder of a gateway's path, or in front of the host: it is
/// taken once. `force_path_style` says where the bucket is to stand in requests; without it that is the path, unless the
/// address itself has it in the host.
///
/// # Errors
/// A sentence that names the variable, what was found (never a password) and what is accepted.
pub(super) fn read(
    variable: &str,
    found: &str,
    bucket: &str,
    force_path_style: Option<bool>,
) -> anyhow::Result<Whereabouts> {
    let with_scheme = if found.contains("://") {
        found.to_owned()
    } else {
        format!("https://{found}")
    };
    let mut url = Url::parse(&with_scheme)
        .ok()
        .filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        })
        .with_context(|| {
            format!(
                "{variable} is not the address of a service; write for example https://minio.example.org:9000, without \
                 credentials"
            )
        })?;
    let whole_host = url.host_str().unwrap_or_default().to_owned();
    let without_bucket = whole_host.strip_prefix(&format!("{bucket}.")).map(str::to_owned);
    if let Some(door) = amazon_door(&whole_host) {
        let door = match without_bucket.as_deref().and_then(amazon_door) {
            Some(shorter) if url.domain().is_some() => shorter,
            _ => door,
        };
        return amazon(variable, &url, door, bucket, force_path_style);
    }
    let is_known = is_service(&whole_host);
    let has_bucket = match (&without_bucket, force_path_style) {
        (None, _) => false,
        (Some(rest), _) if is_service(rest) || rest.starts_with("s3.") || rest.starts_with("s3-") => true,
        (Some(_), Some(path_style)) => !path_style,
        (Some(_), None) => bail!(
            "{variable}: {whole_host:?} begins with the name of the bucket; set S3_FORCE_PATH_STYLE=false if the bucket is a \
             part of the host's name, or true if it is not"
        ),
    };
    let host = match &without_bucket {
        Some(rest) if has_bucket => rest.clone(),
        _ => whole_host,
    };
    take_bucket_from_path(variable, &mut url, bucket, is_known)?;
    let path_style = force_path_style.unwrap_or(!has_bucket);
    let wanted = if path_style {
        host.clone()
    } else {
        format!("{bucket}.{host}")
    };
    if url.host_str() != Some(&wanted) {
        url.set_host(Some(&wanted))
            .ok()
            .filter(|()| url.domain().is_some())
            .with_context(|| {
                format!(
                    "S3_FORCE_PATH_STYLE is false, but {wanted:?} is not the name of a host; leave it out"
                )
            })?;
    }
    Ok(Whereabouts {
        region: region_of(&host),
        endpoint: Some(Endpoint {
            url: url.as_str().trim_end_matches('/').to_owned(),
            path_style,
            is_amazon: false,
        }),
    })
}

/// Leaves in the path what is neither the bucket nor could be one: `/storage/v1/s3` of a gateway. A single folder would be
/// taken for a bucket by the service, and the bucket for a folder.
fn take_bucket_from_path(variable: &str, url: &mut Url, bucket: &str, is_known: bool) -> anyhow::Result<()> {
    /// No bucket has a shorter name. Source: Amazon S3, "General purpose bucket naming rules".
    const SHORTEST_BUCKET: usize = 3;
    let mut folders: Vec<String> = url
        .path()
        .split('/')
        .filter(|folder| !folder.is_empty())
        .map(str::to_owned)
        .collect();
    if folders.first().is_some_and(|folder| folder == bucket) && folders.len() > 1 {
        let prefix = folders[1..].join("/");
        bail!(
            "{variable} holds the bucket and folders in it; write the folders into STORAGE_URL=s3://{bucket}/{prefix}, and leave \
             the path out"
        );
    }
    if folders.last().is_some_and(|folder| folder == bucket) {
        folders.pop();
    }
    let is_gateway = match folders.as_slice() {
        [] => true,
        [folder] => !is_known && folder.len() < SHORTEST_BUCKET,
        _ => !is_known,
    };
    let path = folders.join("/");
    ensure!(
        is_gateway,
        "{variable}: its path /{path} is not the bucket {bucket:?} that STORAGE_URL or S3_BUCKET names; write the address without \
         a path, and the bucket into STORAGE_URL"
    );
    url.set_path(&path);
    Ok(())
}

fn is_service(host: &str) -> bool {
    SERVICES.iter().any(|service| {
        host.strip_suffix(service)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// What stands in front of `.amazonaws.com`, where that is a door to S3: `s3.eu-west-1`, `s3-fips.us-east-2`, `s3-accelerate`.
fn amazon_door(host: &str) -> Option<&str> {
    let door = host.strip_suffix(".amazonaws.com")?;
    let is_door = door == "s3" || door.starts_with("s3.") || door.starts_with("s3-");
    (is_door || door.contains(".s3.") || door.contains(".s3-") || door.ends_with(".s3")).then_some(door)
}

/// Amazon's usual address needs no more than the region; its other ones are reached as they are written.
fn amazon(
    variable: &str,
    found: &Url,
    door: &str,
    bucket: &str,
    force_path_style: Option<bool>,
) -> anyhow::Result<Whereabouts> {
    let mut url = found.clone();
    take_bucket_from_path(variable, &mut url, bucket, true)?;
    let region = door.split('.').find_map(|label| {
        let region = label.strip_prefix("s3-").unwrap_or(label);
        is_amazon_region(region).then(|| region.to_owned())
    });
    let usual = match &region {
        Some(region) => door == format!("s3.{region}") || door == format!("s3-{region}"),
        None => door == "s3",
    };
    if usual {
        return Ok(Whereabouts {
            endpoint: None,
            region,
        });
    }
    ensure!(
        door.starts_with("s3") || door.ends_with(".vpce"),
        "{variable}: {door}.amazonaws.com is not the address of the bucket {bucket:?} that STORAGE_URL or S3_BUCKET names; leave \
         it out, or write for example https://s3.eu-west-1.amazonaws.com"
    );
    // Acceleration knows a bucket by its host alone.
    let path_style = force_path_style.unwrap_or(!door.starts_with("s3-accelerate"));
    let host = if path_style {
        format!("{door}.amazonaws.com")
    } else {
        format!("{bucket}.{door}.amazonaws.com")
    };
    url.set_host(Some(&host))
        .with_context(|| format!("{variable}: {host:?} is not the name of a host"))?;
    Ok(Whereabouts {
        endpoint: Some(Endpoint {
            url: url.as_str().trim_end_matches('/').to_owned(),
            path_style,
            is_amazon: true,
        }),
        region,
    })
}

/// `eu-west-1`, `us-gov-east-1`.
fn is_amazon_region(label: &str) -> bool {
    label.rsplit_once('-').is_some_and(|(area, number)| {
        area.contains('-') && !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
    })
}

/// The region that a service's host names, with which requests have to be signed there: `s3.<region>.…`.
fn region_of(host: &str) -> Option<String> {
    let mut labels = host.split('.');
    let (first, second) = (labels.next()?, labels.next()?);
    let is_named = first == "s3" && second.contains('-') && labels.count() >= 2;
    is_named.then(|| second.to_owned())
}

#[cfg(test)]
mod tests;
