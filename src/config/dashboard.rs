//! What the variables of the operators' page mean. Without a token it is for this machine alone.

use std::net::SocketAddr;

use secrecy::ExposeSecret;

use super::values;
use crate::ops::{DashboardSettings, OpsSettings};
use crate::settings::Reader;

/// Shorter ones can be guessed by whoever reaches the page for long enough.
const TOKEN_CHARS: usize = 16;

/// `None`: it is not served.
pub(super) fn dashboard_settings(reader: &mut Reader<'_>) -> Option<DashboardSettings> {
    let addr: Option<SocketAddr> = reader.optional("DASHBOARD_ADDR", values::socket_address);
    let base_path = reader.optional("DASHBOARD_BASE_PATH", values::base_path);
    let operator_token = reader.secret("DASHBOARD_OPERATOR_TOKEN");
    let viewer_token = reader.secret("DASHBOARD_VIEWER_TOKEN");
    let both = operator_token.as_ref().zip(viewer_token.as_ref());
    if both.is_some_and(|(one, other)| one.expose_secret() == other.expose_secret()) {
        reader.fault(
            "DASHBOARD_VIEWER_TOKEN: it is the same as DASHBOARD_OPERATOR_TOKEN; set another one, or leave it out".to_owned(),
        );
    }
    let addr = addr?;
    let has_token = operator_token.is_some() || viewer_token.is_some();
    if !has_token && !addr.ip().to_canonical().is_loopback() {
        reader.fault(format!(
            "DASHBOARD_ADDR: \"{addr}\" was found without a token, so anybody who reaches it could change jobs; set \
             DASHBOARD_OPERATOR_TOKEN or DASHBOARD_VIEWER_TOKEN, or an address of this machine alone such as 127.0.0.1:9465"
        ));
    }
    Some(DashboardSettings {
        addr,
        base_path: base_path.unwrap_or_default(),
        operator_token,
        viewer_token,
    })
}

/// The page and the probes cannot share a port.
pub(super) fn beside(reader: &mut Reader<'_>, ops: &OpsSettings) {
    let Some((probes, page)) = ops.http_addr.zip(ops.dashboard.as_ref().map(|page| page.addr)) else {
        return;
    };
    let is_everywhere = probes.ip().is_unspecified() || page.ip().is_unspecified();
    if probes.port() == page.port() && probes.port() != 0 && (is_everywhere || probes.ip() == page.ip()) {
        reader.fault(format!(
            "DASHBOARD_ADDR: \"{page}\" was found, and HTTP_ADDR has that port already; choose another one, such as {}:9465",
            page.ip()
        ));
    }
}

/// What works and is easily guessed, a sentence each.
pub(super) fn warnings(settings: &DashboardSettings) -> impl Iterator<Item = String> {
    let tokens = [
        ("DASHBOARD_OPERATOR_TOKEN", &settings.operator_token),
        ("DASHBOARD_VIEWER_TOKEN", &settings.viewer_token),
    ];
    tokens.into_iter().filter_map(|(name, token)| {
        let is_short = token.as_ref()?.expose_secret().chars().count() < TOKEN_CHARS;
        is_short.then(|| {
            format!("{name}: it has fewer than {TOKEN_CHARS} characters, which can be guessed; `openssl rand -hex 24` makes a good one")
        })
    })
}
