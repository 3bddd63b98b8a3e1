//! Who may look and who may change. A token's name is its role; a session is derived from the token, so that every replica
//! takes it and another token ends it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, COOKIE, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::forms::encoded;
use super::origin::{self, is_this_machine};
use super::tries::Tries;
use super::{DashboardSettings, Site, headers};
use crate::plain_text::one_line;

const COOKIE_NAME: &str = "generative_ai_worker";
/// What a proxy in front says of who asks.
const FORWARDED_USER: [&str; 2] = ["x-forwarded-user", "x-forwarded-email"];
const NAME_CHARS: usize = 100;
/// What somebody without a token is told who is no browser.
const NEEDS_TOKEN: &str = "a token is needed: Authorization: Bearer <token>, or log in at /login\n";

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Look.
    Viewer,
    /// Look and change.
    Operator,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) role: Role,
    /// For the row of what is changed.
    pub(super) who: String,
    /// What script and style of this answer carry.
    pub(super) nonce: String,
    /// Whether there is a session to leave.
    pub(super) has_session: bool,
}

impl Visitor {
    pub(super) fn is_operator(&self) -> bool {
        self.role == Role::Operator
    }
}

/// A token, and what is derived from it.
struct Pass {
    role: Role,
    token: String,
    key: hmac::Key,
}

impl Pass {
    fn new(role: Role, token: &str, namespace: Uuid) -> Self {
        // Not from the token alone: whoever tries tokens is counted, and must not try them as sessions instead.
        let secret = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, namespace.as_bytes()),
            token.as_bytes(),
        );
        Self {
            role,
            token: token.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()),
        }
    }

    fn word(&self, what: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, what.as_bytes()))
    }

    fn is_word(&self, what: &str, word: &str) -> bool {
        URL_SAFE_NO_PAD
            .decode(word)
            .is_ok_and(|word| hmac::verify(&self.key, what.as_bytes(), &word).is_ok())
    }
}

/// The tokens.
pub(super) struct Gate {
    passes: Vec<Pass>,
    tries: Tries,
}

/// What came of a token.
pub(super) enum Tried {
    Right(Role),
    Wrong,
    /// Too many were wrong; it was not looked at.
    TooOften,
}

impl Gate {
    pub(super) fn new(settings: &DashboardSettings, namespace: Uuid) -> Self {
        let tokens = [
            (Role::Operator, &settings.operator_token),
            (Role::Viewer, &settings.viewer_token),
        ];
        let passes = tokens.into_iter().filter_map(|(role, token)| {
            let token = token.as_ref()?;
            Some(Pass::new(role, token.expose_secret(), namespace))
        });
        Self {
            passes: passes.collect(),
            tries: Tries::default(),
        }
    }

    /// Whether everybody who reaches the page is its operator.
    pub(super) fn is_open(&self) -> bool {
        self.passes.is_empty()
    }

    /// Compares in a time that does not depend on where a wrong token differs.
    pub(super) fn try_token(&self, token: &str, address: IpAddr) -> Tried {
        if !self.tries.may_try(address) {
            return Tried::TooOften;
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>());
        let tag = hmac::sign(&key, token.as_bytes());
        let mut found = None;
        for pass in &self.passes {
            if hmac::verify(&key, pass.token.as_bytes(), tag.as_ref()).is_ok() {
                found = Some(pass.role);
            }
        }
        match found {
            Some(role) => Tried::Right(role),
            None => {
                self.tries.was_wrong(address);
                Tried::Wrong
            }
        }
    }

    /// The cookie of a session, and of its end.
    pub(super) fn cookie(&self, role: Option<Role>, base: &str, headers: &HeaderMap) -> HeaderValue {
        let pass = self.passes.iter().find(|pass| Some(pass.role) == role);
        let value = pass.map(|pass| pass.word("session")).unwrap_or_default();
        let end = if role.is_none() { "; Max-Age=0" } else { "" };
        let path = if base.is_empty() { "/" } else { base };
        let is_https = headers
            .get("x-forwarded-proto")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(',').next())
            .is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
        let secure = if is_https { "; Secure" } else { "" };
        let cookie = format!("{COOKIE_NAME}={value}; Path={path}; HttpOnly; SameSite=Strict{secure}{end}");
        HeaderValue::from_str(&cookie).expect("sessions and paths are ASCII")
    }

    fn role_of_session(&self, headers: &HeaderMap) -> Option<Role> {
        let cookies = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut sessions = cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='));
        sessions.find_map(|session| {
            let pass = self.passes.iter().find(|pass| pass.is_word("session", session))?;
            Some(pass.role)
        })
    }
}

/// Lets in who may come in, and puts what protects a browser on every answer.
pub(super) async fn admit(State(site): State<Arc<Site>>, mut request: Request, next: Next) -> Response {
    let nonce = headers::nonce();
    let response = match visitor(&site, &request, &nonce) {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            if is_change(&request) {
                // To its end, also where whoever has asked goes away meanwhile.
                let changing = tokio::spawn(next.run(request)).await;
                changing.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
            } else {
                next.run(request).await
            }
        }
        Err(refusal) => *refusal,
    };
    headers::guard(response, &nonce)
}

fn is_change(request: &Request) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Who asks, or what they are answered instead.
fn visitor(site: &Site, request: &Request, nonce: &str) -> Result<Visitor, Box<Response>> {
    let gate = &site.gate;
    let headers = request.headers();
    let refuse = |status: StatusCode, why: &str| Err(Box::new((status, why.to_owned()).into_response()));
    if gate.is_open() && !is_this_machine(headers) {
        return refuse(
            StatusCode::FORBIDDEN,
            "without a token this page is for this machine alone: ask for it at localhost, have the proxy send Host: localhost, or set \
             DASHBOARD_OPERATOR_TOKEN\n",
        );
    }
    let is_change = is_change(request);
    if is_change && let Err(why) = origin::check(headers) {
        return refuse(StatusCode::FORBIDDEN, &format!("{why}\n"));
    }
    let is_login = request.uri().path() == site.path("/login");
    let (role, has_session) = match known(gate, headers, address(request)) {
        Ok(Some((role, has_session))) => (role, has_session),
        Ok(None) if is_login => (Role::Viewer, false),
        Ok(None) => return Err(Box::new(unknown(site, request))),
        Err(status) => {
            return refuse(status, "too many wrong tokens; wait for a minute\n");
        }
    };
    if is_change && !is_login && role == Role::Viewer && request.uri().path() != site.path("/logout") {
        return refuse(StatusCode::FORBIDDEN, "this token may look and not change\n");
    }
    Ok(Visitor {
        role,
        who: who(gate, headers),
        nonce: nonce.to_owned(),
        has_session,
    })
}

/// The role of whoever asks, and whether it is by a session; `None`: no token was found, or a wrong one.
fn known(gate: &Gate, headers: &HeaderMap, address: IpAddr) -> Result<Option<(Role, bool)>, StatusCode> {
    if gate.is_open() {
        return Ok(Some((Role::Operator, false)));
    }
    if let Some(role) = gate.role_of_session(headers) {
        return Ok(Some((role, true)));
    }
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match bearer.map(|(_, token)| gate.try_token(token.trim(), address)) {
        Some(Tried::Right(role)) => Ok(Some((role, false))),
        Some(Tried::TooOften) => Err(StatusCode::TOO_MANY_REQUESTS),
        Some(Tried::Wrong) | None => Ok(None),
    }
}

/// A browser is led to where it can log in; anything else is told what is missing.
fn unknown(site: &Site, request: &Request) -> Response {
    let accepts = request
        .headers()
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|accepts| accepts.contains("text/html")) {
        let wanted = request.uri().path_and_query().map_or("", |path| path.as_str());
        let next = match *request.method() {
            Method::GET => format!("?next={}", encoded(wanted)),
            _ => String::new(),
        };
        return Redirect::to(&format!("{}{next}", site.path("/login"))).into_response();
    }
    let mut response = (StatusCode::UNAUTHORIZED, NEEDS_TOKEN).into_response();
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn who(gate: &Gate, headers: &HeaderMap) -> String {
    let named = FORWARDED_USER
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
        .map(|name| one_line(name, NAME_CHARS))
        .filter(|name| gate.is_open() && !name.is_empty());
    match named {
        Some(name) => format!("{name} (dashboard)"),
        None => "operator (dashboard)".to_owned(),
    }
}

/// Where a request comes from: what a proxy on this machine or in a private network has added, else the connection's other end.
pub(super) fn address(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip().to_canonical());
    let is_near = match peer {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    };
    let forwarded = request.headers().get_all("x-forwarded-for").iter().next_back();
    let forwarded = forwarded
        .and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok())
        .filter(|_| is_near);
    forwarded.unwrap_or(peer)
}

/// Sets the cookie of a session, or ends it.
pub(super) fn with_cookie(mut response: Response, cookie: HeaderValue) -> Response {
    response.headers_mut().insert(SET_COOKIE, cookie);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(operator: &str, namespace: u128) -> Gate {
        let settings = DashboardSettings {
            addr: "127.0.0.1:0".parse().unwrap(),
            base_path: String::new(),
            operator_token: Some(operator.into()),
            viewer_token: Some("look-only".into()),
        };
        Gate::new(&settings, Uuid::from_u128(namespace))
    }

    fn sent_back(gate: &Gate, role: Role) -> HeaderMap {
        let cookie = gate.cookie(Some(role), "", &HeaderMap::new());
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        [(COOKIE, format!("theme=dark; {cookie}").parse().unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn a_session_is_taken_by_every_replica_and_ends_with_its_token() {
        let cookie = sent_back(&gate("change-all", 7), Role::Operator);
        assert_eq!(
            gate("change-all", 7).role_of_session(&cookie),
            Some(Role::Operator)
        );
        assert_eq!(gate("another", 7).role_of_session(&cookie), None);
        assert_eq!(gate("change-all", 8).role_of_session(&cookie), None);
        let cookie = sent_back(&gate("another", 7), Role::Viewer);
        assert_eq!(gate("change-all", 7).role_of_session(&cookie), Some(Role::Viewer));
        assert!(!format!("{cookie:?}").contains("look-only"));
    }

    #[test]
    fn a_cookie_is_for_this_path_alone_and_for_https_where_a_proxy_speaks_it() {
        let gate = gate("change-all", 7);
        let https = [("x-forwarded-proto".parse().unwrap(), "https".parse().unwrap())]
            .into_iter()
            .collect();
        let cookie = gate.cookie(Some(Role::Viewer), "/workers", &https);
        let cookie = cookie.to_str().unwrap();
        assert!(
            cookie.ends_with("; Path=/workers; HttpOnly; SameSite=Strict; Secure"),
            "{cookie}"
        );
        let end = gate.cookie(None, "", &HeaderMap::new());
        assert_eq!(
            end.to_str().unwrap(),
            "generative_ai_worker=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        );
    }
}
