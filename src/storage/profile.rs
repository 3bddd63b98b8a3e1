//! The files in which Amazon's tools keep keys and addresses, `~/.aws/credentials` and `~/.aws/config`.
//!
//! Read here rather than by Amazon's own crate, which brings an HTTP stack of its own along for what cannot be used anyway:
//! single sign-on, programs that print keys, and roles that are assumed with other keys. Those are refused by name.
//! Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files" and "Service-specific endpoints".

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use secrecy::SecretString;

use super::StorageSettings;

/// What the profile in use says, as far as a store needs it.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    /// Key id, secret, and the token of keys that end.
    pub(super) keys: Option<(String, SecretString, Option<SecretString>)>,
    /// Role and the file with the token that lets it be taken.
    pub(super) web_identity: Option<(String, String)>,
    /// Why it has no keys of its own although it names a way to them.
    pub(super) other_way: Option<String>,
    /// `region`.
    pub(super) region: Option<String>,
    /// `endpoint_url`, that of S3 first.
    pub(super) endpoint: Option<String>,
    /// `addressing_style` of S3.
    pub(super) path_style: Option<bool>,
    /// The files that were looked for, for messages.
    pub(super) files: Vec<PathBuf>,
}

/// Ways to keys that take a program, a person or another service.
const OTHER_WAYS: [&str; 5] = [
    "credential_process",
    "sso_session",
    "sso_start_url",
    "source_profile",
    "credential_source",
];

type Section = BTreeMap<String, String>;
type Sections = BTreeMap<String, Section>;

impl Profile {
    /// Reads the profile that `AWS_PROFILE` names, or the one called `default`. Files that are not there hold nothing.
    ///
    /// # Errors
    /// A sentence that names the variable and the file, when one that a variable names cannot be read or the profile is in
    /// neither of them.
    pub(super) fn load(settings: &StorageSettings) -> anyhow::Result<Self> {
        let (credentials_path, credentials) =
            sections_of(settings, "AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
        let (config_path, config) = sections_of(settings, "AWS_CONFIG_FILE", "config")?;
        let named = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]
            .into_iter()
            .find_map(|variable| Some((variable, settings.cloud_variable(variable)?)));
        let name = named.map_or("default", |(_, name)| name);
        let in_config = config
            .get(&format!("profile {name}"))
            .or_else(|| config.get(name).filter(|_| name == "default"));
        let in_credentials = credentials.get(name);
        let files: Vec<PathBuf> = [credentials_path, config_path].into_iter().flatten().collect();
        if let Some((variable, name)) = named.filter(|_| in_config.is_none() && in_credentials.is_none()) {
            bail!("{variable}: no profile is called {name:?} in {}", list(&files));
        }
        let mut all = in_config.cloned().unwrap_or_default();
        all.extend(in_credentials.cloned().unwrap_or_default());
        let value = |key: &str| all.get(key).filter(|value| !value.is_empty()).cloned();
        let services = value("services").and_then(|services| config.get(&format!("services {services}")));
        let keys = match (value("aws_access_key_id"), value("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Some((
                id,
                SecretString::from(secret),
                value("aws_session_token").map(SecretString::from),
            )),
            (None, None) => None,
            _ => bail!(
                "the profile {name:?} in {} holds one of aws_access_key_id and aws_secret_access_key; it takes both",
                list(&files)
            ),
        };
        let other_way = OTHER_WAYS.into_iter().find(|way| value(way).is_some());
        Ok(Self {
            keys,
            web_identity: value("role_arn").zip(value("web_identity_token_file")),
            other_way: other_way.map(|way| {
                format!(
                    "the profile {name:?} gets its keys by {way}, which this worker does not do; set AWS_ACCESS_KEY_ID and \
                     AWS_SECRET_ACCESS_KEY, or let `aws configure export-credentials --profile {name}` write them"
                )
            }),
            region: value("region"),
            endpoint: services
                .and_then(|services| services.get("s3.endpoint_url").cloned())
                .or_else(|| value("endpoint_url")),
            path_style: match value("s3.addressing_style").as_deref() {
                Some("path") => Some(true),
                Some("virtual") => Some(false),
                _ => None,
            },
            files,
        })
    }
}

/// The path and the content of one of the two files. `None` where nobody says where it is.
fn sections_of(
    settings: &StorageSettings,
    variable: &str,
    usual: &str,
) -> anyhow::Result<(Option<PathBuf>, Sections)> {
    let named = settings
        .cloud_variable(variable)
        .map(|path| match path.strip_prefix("~/") {
            Some(rest) => settings.home.clone().unwrap_or_default().join(rest),
            None => PathBuf::from(path),
        });
    let usual = settings.home.as_ref().map(|home| home.join(".aws").join(usual));
    let Some(path) = named.clone().or(usual) else {
        return Ok((None, Sections::new()));
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if named.is_none() && is_nothing(error.kind()) => String::new(),
        Err(error) => {
            let who = if named.is_some() {
                format!("{variable}: ")
            } else {
                String::new()
            };
            bail!("{who}the file {} cannot be read: {error}", path.display())
        }
    };
    let sections = sections(&text).with_context(|| format!("the file {} cannot be read", path.display()))?;
    Ok((Some(path), sections))
}

/// A home that is not this account's own holds nothing for it.
fn is_nothing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory
    )
}

/// `[section]`, `key = value`, and below `s3 =` lines that are indented: they become `s3.key`.
///
/// # Errors
/// The number of the line that is none of these; never its text, which may be a secret.
fn sections(text: &str) -> anyhow::Result<Sections> {
    let mut all = Sections::new();
    let mut section: Option<String> = None;
    let mut parent = String::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = content.strip_prefix('[') {
            let (name, _) = rest
                .split_once(']')
                .with_context(|| format!("line {}: ] is missing", index + 1))?;
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            all.entry(name.clone()).or_default();
            section = Some(name);
            continue;
        }
        let (key, value) = content
            .split_once('=')
            .with_context(|| format!("line {}: it is neither [profile] nor key = value", index + 1))?;
        let section = section
            .as_ref()
            .with_context(|| format!("line {}: no [profile] stands above it", index + 1))?;
        // A comment needs a blank before it: secrets may hold # as they are.
        let value = value
            .split(" #")
            .next()
            .unwrap_or_default()
            .split(" ;")
            .next()
            .unwrap_or_default();
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().to_owned());
        let is_nested = line.starts_with([' ', '\t']) && !parent.is_empty();
        let key = if is_nested { format!("{parent}.{key}") } else { key };
        if !is_nested {
            parent = if value.is_empty() {
                key.clone()
            } else {
                String::new()
            };
        }
        ensure!(
            !key.is_empty(),
            "line {}: the name before = is missing",
            index + 1
        );
        all.entry(section.clone()).or_default().insert(key, value);
    }
    Ok(all)
}

pub(super) fn list(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    if names.is_empty() {
        "no file (HOME is not set)".to_owned()
    } else {
        names.join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const CREDENTIALS: &str = "\u{feff}# by hand\n[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key=a#b/c=\n\n\
        [ r2 ]\r\nAWS_ACCESS_KEY_ID=AKIAR2 ; mine\r\naws_secret_access_key = hunter2\r\naws_session_token = t\r\n\
        [half]\naws_access_key_id = AKIAHALF\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\n  max_concurrent_requests = 5\noutput = json\n\
        [profile r2]\nregion=auto\nservices = r2\nendpoint_url = https://other.example.org\n\
        [services r2]\ns3 =\n\tendpoint_url = https://0a1b.r2.cloudflarestorage.com\ndynamodb =\n  endpoint_url = http://x\n\
        [profile login]\nsso_session = corp\n[profile pod]\nrole_arn = arn:r\nweb_identity_token_file = /t\n";

    fn load(profile: Option<&str>) -> anyhow::Result<Profile> {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join(".aws");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("credentials"), CREDENTIALS).unwrap();
        std::fs::write(directory.join("config"), CONFIG).unwrap();
        let profile = profile.map(|name| ("AWS_PROFILE".to_owned(), name.to_owned().into()));
        Profile::load(&StorageSettings {
            home: Some(home.path().to_owned()),
            cloud_variables: Vec::from_iter(profile),
            ..StorageSettings::default()
        })
    }

    fn keys(profile: &Profile) -> Option<(&str, &str, Option<&str>)> {
        let (id, secret, token) = profile.keys.as_ref()?;
        Some((
            id,
            secret.expose_secret(),
            token.as_ref().map(|token| token.expose_secret()),
        ))
    }

    #[test]
    fn keys_region_and_address_are_those_of_the_profile_in_use() {
        let default = load(None).unwrap();
        assert_eq!(keys(&default), Some(("AKIADEFAULT", "a#b/c=", None)));
        assert_eq!(default.region.as_deref(), Some("eu-west-1"));
        assert_eq!((default.endpoint, default.path_style), (None, Some(true)));
        let r2 = load(Some("r2")).unwrap();
        assert_eq!(keys(&r2), Some(("AKIAR2", "hunter2", Some("t"))));
        assert_eq!(
            r2.endpoint.as_deref(),
            Some("https://0a1b.r2.cloudflarestorage.com")
        );
        assert_eq!(r2.path_style, None);
        let pod = load(Some("pod")).unwrap();
        assert_eq!(pod.web_identity, Some(("arn:r".into(), "/t".into())));
    }

    #[test]
    fn what_a_profile_cannot_give_is_named() {
        assert!(
            load(Some("login"))
                .unwrap()
                .other_way
                .unwrap()
                .contains("sso_session")
        );
        for (profile, said) in [
            ("nobody", "AWS_PROFILE: no profile is called \"nobody\" in "),
            ("half", "takes both"),
        ] {
            let error = format!("{:#}", load(Some(profile)).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
        for (text, line) in [("[a", 1), ("a = b", 1), ("[a]\nhunter2", 2), ("[a]\n= b", 2)] {
            let error = format!("{:#}", sections(text).unwrap_err());
            assert!(
                error.starts_with(&format!("line {line}: ")) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn files_that_are_not_there_hold_nothing_unless_a_variable_names_them() {
        let missing = tempfile::tempdir().unwrap().path().join("gone");
        let mut settings = StorageSettings {
            home: Some(missing.clone()),
            ..StorageSettings::default()
        };
        assert!(Profile::load(&settings).unwrap().keys.is_none());
        settings.home = None;
        assert!(Profile::load(&settings).unwrap().files.is_empty());
        let named = (
            "AWS_CONFIG_FILE".to_owned(),
            missing.to_str().unwrap().to_owned().into(),
        );
        settings.cloud_variables = vec![named];
        let error = Profile::load(&settings).unwrap_err().to_string();
        assert!(error.starts_with("AWS_CONFIG_FILE: the file "), "{error}");
    }
}
