//! Where the page is served and who may see it.

use std::net::SocketAddr;

use secrecy::SecretString;

/// What `DASHBOARD_…` says; made by `config`.
#[derive(Clone, Debug)]
pub struct DashboardSettings {
    /// `DASHBOARD_ADDR`.
    pub addr: SocketAddr,
    /// `DASHBOARD_BASE_PATH`: what stands before each path, with a slash in front and none behind; empty: nothing.
    pub base_path: String,
    /// Whoever has it may look and change.
    pub operator_token: Option<SecretString>,
    /// Whoever has it may look.
    pub viewer_token: Option<SecretString>,
}
