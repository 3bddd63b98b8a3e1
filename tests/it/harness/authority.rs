//! Who vouches for a server that speaks TLS.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// A certificate authority of the test's own, and a certificate for a server on 127.0.0.1.
pub(crate) struct Authority {
    /// To be trusted by clients.
    pub(crate) root: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    pub(crate) fn make(directory: &Path) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        // Authorities that share a name are taken for one whose signatures are wrong.
        root.distinguished_name
            .push(DnType::CommonName, directory.display().to_string());
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_certificate = root.self_signed(&root_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = server.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
        std::fs::create_dir_all(directory).unwrap();
        let write = |name: &str, pem: String| {
            let path = directory.join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        Self {
            root: write("root.pem", root_certificate.pem()),
            certificate: write("server.pem", certificate.pem()),
            key: write("server-key.pem", key.serialize_pem()),
        }
    }

    /// A certificate of this authority, and its key.
    pub(crate) fn own_files(&self) -> (&Path, &Path) {
        (&self.certificate, &self.key)
    }

    /// Lines that let a server listen for TLS on `port` too.
    pub(crate) fn config(&self, port: u16) -> Vec<String> {
        vec![
            format!("tls-port {port}"),
            format!("tls-cert-file {}", self.certificate.display()),
            format!("tls-key-file {}", self.key.display()),
            format!("tls-ca-cert-file {}", self.root.display()),
            "tls-auth-clients no".to_owned(),
        ]
    }
}

/// A port below those that systems hand out, on which nobody listens now.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..32_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
