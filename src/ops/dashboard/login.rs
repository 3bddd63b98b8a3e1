//! Where a token becomes a session, and where a session ends.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequest, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::forms::{self, Fields, Form, filled};
use super::gate::{Tried, Visitor, address, with_cookie};
use super::{Site, layout};

/// The form, or the page itself where no token is needed.
pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Response {
    let fields = forms::query(query.as_deref());
    if site.gate.is_open() {
        return Redirect::to(&next(&site, &fields)).into_response();
    }
    form(&site, &visitor, &fields, None).into_response()
}

/// Takes a token.
pub(super) async fn enter(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Response {
    let from = address(&request);
    let headers = request.headers().clone();
    let Ok(Form(fields)) = Form::from_request(request, &()).await;
    let to = next(&site, &fields);
    if site.gate.is_open() {
        return Redirect::to(&to).into_response();
    }
    let token = filled(&fields, "token").unwrap_or_default();
    match site.gate.try_token(token, from) {
        Tried::Right(role) => {
            let cookie = site.gate.cookie(Some(role), &site.base, &headers);
            with_cookie(Redirect::to(&to).into_response(), cookie)
        }
        Tried::Wrong => {
            tracing::warn!("somebody has tried a wrong token at the operators' page, from {from}");
            let wrong = "That is no token of this page.";
            (
                StatusCode::UNAUTHORIZED,
                form(&site, &visitor, &fields, Some(wrong)),
            )
                .into_response()
        }
        Tried::TooOften => {
            let wait = "Too many wrong tokens. Wait for a minute, then try again.";
            (
                StatusCode::TOO_MANY_REQUESTS,
                form(&site, &visitor, &fields, Some(wait)),
            )
                .into_response()
        }
    }
}

/// Ends the session.
pub(super) async fn leave(State(site): State<Arc<Site>>, request: Request) -> Response {
    let cookie = site.gate.cookie(None, &site.base, request.headers());
    with_cookie(Redirect::to(&site.path("/login")).into_response(), cookie)
}

/// Where somebody wanted to go, if that is a path of this page.
fn next(site: &Site, fields: &Fields) -> String {
    let is_own = |path: &&str| {
        path.strip_prefix(&site.base)
            .is_some_and(|rest| rest.starts_with('/'))
            && !path.starts_with("//")
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    let wanted = filled(fields, "next").filter(is_own);
    wanted.map_or_else(|| site.path("/"), str::to_owned)
}

fn form(site: &Site, visitor: &Visitor, fields: &Fields, wrong: Option<&str>) -> Markup {
    layout::bare(
        visitor,
        "Log in",
        html! {
            form.card.login method="post" action=(site.path("/login")) {
                h1 { "Image worker" }
                @if let Some(wrong) = wrong { p.wrong role="alert" { (wrong) } }
                label for="token" { "Token" }
                input #token type="password" name="token" autocomplete="current-password" required autofocus;
                input type="hidden" name="next" value=(next(site, fields));
                button type="submit" { "Log in" }
                p.note { "The value of DASHBOARD_OPERATOR_TOKEN or DASHBOARD_VIEWER_TOKEN." }
            }
        },
    )
}
