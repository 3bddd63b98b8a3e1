//! TLS to Postgres: `sslmode`, `sslrootcert`, `sslcert` and `sslkey`, with the meanings that libpq gives them.
//!
//! Source: PostgreSQL documentation, "SSL Mode Descriptions": `prefer` and `require` encrypt without
//! checking who answers, with a root certificate they check like `verify-ca`. Without `sslrootcert` the system's authorities
//! are asked, where libpq would look for a file in the home directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// What a URL says about TLS.
pub(super) struct Trust {
    pub(super) mode: Option<String>,
    /// `sslrootcert`: a file, or `system`.
    pub(super) root: Option<String>,
    /// Who this client is, where the server wants to know by a certificate.
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// What is looked at of a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    /// Who has signed it.
    Chain,
    /// That, and whom it names.
    Name,
}

/// How to speak TLS, and whether to.
///
/// # Errors
/// Names the parameter.
pub(super) fn connector(trust: &Trust) -> anyhow::Result<(SslMode, MakeRustlsConnect)> {
    let is_system = trust.root.as_deref() == Some("system");
    let mode = trust
        .mode
        .as_deref()
        .unwrap_or(if is_system { "verify-full" } else { "prefer" });
    let (ssl_mode, wanted) = match mode {
        "disable" => (SslMode::Disable, Check::Nothing),
        "allow" | "prefer" => (SslMode::Prefer, Check::Nothing),
        "require" => (SslMode::Require, Check::Nothing),
        "verify-ca" => (SslMode::Require, Check::Chain),
        "verify-full" => (SslMode::Require, Check::Name),
        _ => bail!(
            "sslmode: \"{mode}\" was found; disable, allow, prefer, require, verify-ca and verify-full are accepted"
        ),
    };
    ensure!(
        !is_system || wanted == Check::Name,
        "sslrootcert=system: sslmode={mode} was found; verify-full is needed, as anybody gets a certificate of those authorities"
    );
    let check = if wanted == Check::Nothing && trust.root.is_some() {
        Check::Chain
    } else {
        wanted
    };
    let config = client_config(check, trust)?;
    Ok((ssl_mode, MakeRustlsConnect::new(config)))
}

fn client_config(check: Check, trust: &Trust) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?;
    let verifier: Arc<dyn ServerCertVerifier> = if check == Check::Nothing {
        Arc::new(Unverified(provider))
    } else {
        let roots = roots(trust.root.as_deref().filter(|root| *root != "system"))?;
        let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(store(&roots)), provider)
            .build()
            .context("sslrootcert: no certificate of an authority was found")?;
        Arc::new(Verified { signed, roots, check })
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    match (&trust.certificate, &trust.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("sslcert", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .with_context(|| format!("sslkey: {} cannot be read as PEM", key.display()))?;
            builder
                .with_client_auth_cert(chain, key)
                .context("sslcert: the certificate and the key do not fit")
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => bail!("sslcert: a certificate and its key are needed together; set sslcert and sslkey"),
    }
}

fn roots(path: Option<&str>) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    match path {
        Some(path) => certificates("sslrootcert", Path::new(path)),
        None => Ok(rustls_native_certs::load_native_certs().certs),
    }
}

fn certificates(name: &str, path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{name}: {} cannot be read as PEM", path.display()))
}

fn store(roots: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    store
}

/// Looks who has signed a certificate and, for `verify-full`, whom it names.
///
/// A certificate that stands in `sslrootcert` itself is its own authority, as libpq has it: most that are made by hand are.
#[derive(Debug)]
struct Verified {
    signed: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
    check: Check,
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let error =
            match self
                .signed
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            {
                Ok(verified) => return Ok(verified),
                Err(error) => error,
            };
        // The name is looked at last.
        let is_name = matches!(
            error,
            rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })
        );
        let is_pinned = self.roots.iter().any(|root| root.as_ref() == end_entity.as_ref());
        if self.check == Check::Chain && (is_name || is_pinned) {
            return Ok(ServerCertVerified::assertion());
        }
        if is_pinned && !is_name {
            rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        Err(error)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
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
