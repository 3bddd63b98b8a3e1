//! What a `REDIS_URL` says besides its hosts: user, password, database, protocol, certificates, and what others write there.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use redis::{Client, ClientTlsConfig, ProtocolVersion, RedisConnectionInfo, TlsCertificates};

/// Who connects to which database, and who vouches for whom where TLS is spoken.
#[derive(Default)]
pub(super) struct Login {
    user: Option<String>,
    password: Option<String>,
    database: Option<i64>,
    protocol: ProtocolVersion,
    /// PEM files, by the names that redis-py has for them.
    authority: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl Login {
    pub(super) fn of(user: Option<String>, password: Option<String>) -> Self {
        Self {
            user,
            password,
            ..Self::default()
        }
    }

    /// `user` is what stands before the hosts, `database` the path. `other` takes parameters of its own, and returns whether
    /// it has.
    ///
    /// # Errors
    /// What was found, without a secret.
    pub(super) fn read(
        user: &str,
        database: &str,
        query: &[(String, String)],
        mut other: impl FnMut(&str, &str) -> bool,
    ) -> Result<Self, String> {
        let (user, password) = match user.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (user, None),
        };
        let text = |text: &str| decoded(text).ok_or("its user or password is no UTF-8 text");
        let mut login = Self::of(
            Some(text(user)?).filter(|user| !user.is_empty()),
            password.map(text).transpose()?,
        );
        // `redis://:@host` is written by templates whose variables are empty.
        if login.user.is_none() {
            login.password = login.password.filter(|password| !password.is_empty());
        }
        if !database.is_empty() {
            login.set_database(database)?;
        }
        for (name, value) in query {
            if !other(name, value) {
                login.read_parameter(name, value)?;
            }
        }
        Ok(login)
    }

    fn read_parameter(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, value) {
            ("db" | "database", number) => self.set_database(number)?,
            ("user" | "username", user) => set(&mut self.user, user, "two different users")?,
            ("pass" | "password", password) => set(&mut self.password, password, "two different passwords")?,
            ("ssl_ca_certs", file) => set(&mut self.authority, file, "two different files")?,
            ("ssl_certfile", file) => set(&mut self.certificate, file, "two different files")?,
            ("ssl_keyfile", file) => set(&mut self.key, file, "two different files")?,
            ("protocol", "2" | "resp2") => self.protocol = ProtocolVersion::RESP2,
            ("protocol", "3" | "resp3") => self.protocol = ProtocolVersion::RESP3,
            // What is done anyway: every address of the host is tried, a user is a user, certificates are looked at.
            ("family", "0")
            | ("allowUsernameInURI", "true")
            | ("ssl_cert_reqs", "required" | "CERT_REQUIRED") => {}
            _ => return Err(refused(name)),
        }
        Ok(())
    }

    fn set_database(&mut self, text: &str) -> Result<(), String> {
        let number: Option<u32> = text.parse().ok();
        let number = i64::from(number.ok_or("its database is not a number such as 2")?);
        match self.database.replace(number) {
            Some(other) if other != number => Err("it names two different databases".to_owned()),
            _ => Ok(()),
        }
    }

    /// Whom to trust and who this is, where TLS is spoken: what the files hold, else the system's authorities. They are
    /// read here, as the library trusts those that are compiled into it where others of its users want that.
    ///
    /// # Errors
    /// Which of them cannot be used, and why.
    pub(super) fn certificates(&self, is_encrypted: bool) -> Result<Option<TlsCertificates>, String> {
        let names_files = [&self.authority, &self.certificate, &self.key]
            .iter()
            .any(|file| file.is_some());
        if !is_encrypted {
            return if names_files {
                Err("it names files for TLS, which the scheme rediss switches on".to_owned())
            } else {
                Ok(None)
            };
        }
        let root_cert = match self.authority.as_deref() {
            Some(file) => Some(pem("ssl_ca_certs", file)?),
            None => system_authorities(),
        };
        let client_tls = match (&self.certificate, &self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(ClientTlsConfig {
                client_cert: pem("ssl_certfile", certificate)?,
                client_key: pem("ssl_keyfile", key)?,
            }),
            _ => return Err("it names one of ssl_certfile and ssl_keyfile, which go together".to_owned()),
        };
        let certificates = TlsCertificates {
            client_tls,
            root_cert,
        };
        // Tried here, so that it is known later to succeed.
        Client::build_with_tls("rediss://h", certificates.clone())
            .map_err(|error| format!("its files for TLS cannot be used: {error}"))?;
        Ok(Some(certificates))
    }

    pub(super) fn into_info(self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default()
            .set_db(self.database.unwrap_or_default())
            .set_protocol(self.protocol)
            // Whatever a server answers to the library's own name is passed over, and with it why it takes no clients.
            .set_skip_set_lib_name();
        // A user without a password is one to whom Redis gives none (`nopass`), who is not the default user for all that.
        let password = self
            .password
            .or_else(|| self.user.as_ref().map(|_| String::new()));
        if let Some(user) = self.user {
            info = info.set_username(user);
        }
        if let Some(password) = password {
            info = info.set_password(password);
        }
        info
    }
}

/// The authorities that this machine trusts, as one PEM file; `None`: it knows none, so those that the library has
/// within it are trusted.
fn system_authorities() -> Option<Vec<u8>> {
    let certificates = rustls_native_certs::load_native_certs().certs;
    let mut pem = String::new();
    for certificate in &certificates {
        let text = BASE64_STANDARD.encode(certificate);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for start in (0..text.len()).step_by(64) {
            pem.push_str(&text[start..text.len().min(start + 64)]);
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    (!pem.is_empty()).then(|| pem.into_bytes())
}

fn pem(name: &str, file: &str) -> Result<Vec<u8>, String> {
    let content =
        std::fs::read(file).map_err(|error| format!("the file of {name} cannot be read: {error}"))?;
    let is_pem = content.windows(11).any(|window| window == b"-----BEGIN ");
    is_pem
        .then_some(content)
        .ok_or_else(|| format!("the file of {name} is no PEM file"))
}

fn set(place: &mut Option<String>, value: &str, both: &str) -> Result<(), String> {
    match place.replace(value.to_owned()) {
        Some(other) if other != value => Err(format!("it names {both}")),
        _ => Ok(()),
    }
}

/// Says of a parameter that it is not honoured, and what to write where there is something.
fn refused(name: &str) -> String {
    let advice = match name {
        "protocol" => "is 2, 3, resp2 or resp3",
        "family" => "can only be 0: every address of the host is tried, IPv4 and IPv6; leave it out",
        "tls" | "ssl" => "is not honoured: the scheme rediss switches TLS on",
        "ssl_cert_reqs" | "skip_verify" | "rejectUnauthorized" | "insecure" | "verify" => {
            "is not honoured: certificates are always looked at; name a file with the server's authority in ssl_ca_certs"
        }
        "keyPrefix" | "prefix" => "is not honoured: QUEUE_NAME names the keys",
        _ => "is not honoured; leave it out",
    };
    let is_name = (1..=40).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_name {
        format!("its parameter {name} {advice}")
    } else {
        format!("it has a parameter that {advice}")
    }
}

/// A text without its percent-encoding. `+` stays what it is.
pub(super) fn decoded(text: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.ok().map(std::borrow::Cow::into_owned)
}
