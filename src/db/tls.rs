//! `sslmode` and `sslrootcert` of a Postgres URL, with the meanings that libpq gives them.
//!
//! Source: PostgreSQL documentation, "SSL Mode Descriptions": `prefer` and `require` encrypt without
//! checking who answers, `require` with a root certificate checks like `verify-ca`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

/// A Postgres URL taken apart: what the driver understands, and how to speak TLS.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: MakeRustlsConnect,
}

pub(super) fn target(database_url: &str) -> anyhow::Result<Target> {
    let mut url = Url::parse(database_url).context("is not a URL")?;
    let mut verify = false;
    let mut root: Option<PathBuf> = None;
    let mut kept = Vec::new();
    // The other parameters stay as they were written: the driver does not read `+` as a space.
    for pair in url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("sslmode", "verify-ca" | "verify-full") => {
                verify = true;
                kept.push("sslmode=require".to_owned());
            }
            ("sslmode", "allow") => kept.push("sslmode=prefer".to_owned()),
            ("sslmode", mode) if !["disable", "prefer", "require"].contains(&mode) => bail!(
                "sslmode: \"{mode}\" was found; disable, prefer, require, verify-ca and verify-full are accepted"
            ),
            ("sslrootcert", path) => {
                root = Some(PathBuf::from(percent_decoded(path)));
            }
            _ => kept.push(pair.to_owned()),
        }
    }
    let query = kept.join("&");
    url.set_query((!query.is_empty()).then_some(query.as_str()));
    let config = url.as_str().parse().context("is not a URL of Postgres")?;
    let verified = verify || root.is_some();
    Ok(Target {
        config,
        tls: MakeRustlsConnect::new(client_config(verified, root)?),
    })
}

fn percent_decoded(text: &str) -> String {
    // `+` is no space in this kind of URL, so it is kept from the form decoder.
    url::form_urlencoded::parse(text.replace('+', "%2B").as_bytes())
        .map(|(name, _)| name.into_owned())
        .collect()
}

fn client_config(verified: bool, root: Option<PathBuf>) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?;
    if !verified {
        let verifier = Arc::new(Unverified(provider));
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    if let Some(path) = root {
        let certificates = CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("sslrootcert: {} cannot be read as PEM", path.display()))?;
        roots.add_parsable_certificates(certificates);
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Encrypts without asking who answers, which is what `sslmode=prefer` and `require` mean.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslMode;

    use super::*;

    #[test]
    fn every_mode_that_libpq_knows_is_understood() {
        let mode = |mode: &str| {
            target(&format!("postgres://u:p@h/d?sslmode={mode}&application_name=x"))
                .unwrap()
                .config
                .get_ssl_mode()
        };
        assert_eq!(mode("disable"), SslMode::Disable);
        assert_eq!(mode("allow"), SslMode::Prefer);
        assert_eq!(mode("prefer"), SslMode::Prefer);
        assert_eq!(mode("require"), SslMode::Require);
        assert_eq!(mode("verify-ca"), SslMode::Require);
        assert_eq!(mode("verify-full"), SslMode::Require);
        assert_eq!(
            target("postgres://u:p@h/d").unwrap().config.get_ssl_mode(),
            SslMode::Prefer
        );
    }

    #[test]
    fn other_parameters_reach_the_driver_as_they_were_written() {
        let target = target("postgres://u:p@h/d?options=-c%20search_path%3Dapp&sslmode=require").unwrap();
        assert_eq!(target.config.get_options(), Some("-c search_path=app"));
    }

    #[test]
    fn an_unknown_mode_is_refused_by_name() {
        let error = target("postgres://u:secret@h/d?sslmode=yes").err().unwrap();
        let message = format!("{error:#}");
        assert!(
            message.starts_with("sslmode: \"yes\" was found; disable, prefer"),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }
}
