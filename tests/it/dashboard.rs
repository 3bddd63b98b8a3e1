//! The operators' page: who may see it, what it shows, and what its buttons do.

use crate::harness::page::Page;
use crate::harness::replica::Replica;
use crate::harness::stack::{BUILTIN, Stack};

mod access;
mod browser;
mod callbacks;
mod failures;
mod many;
mod outages;
mod pages;
mod text;

const OPERATOR: &str = "operator-6d1f0c77a1";
const VIEWER: &str = "viewer-0b94e2c5d3";
const PAGES: [&str; 9] = [
    "/",
    "/running",
    "/results",
    "/failures",
    "/providers",
    "/callbacks",
    "/actions",
    "/search?q=1",
    "/jobs/1",
];

const ON: (&str, &str) = ("DASHBOARD_ADDR", "127.0.0.1:0");

/// A replica with a page that anybody on this machine may use. It draws real pictures.
async fn open(stack: &Stack) -> (Replica, Page) {
    let replica = stack.replica(&[ON, BUILTIN]).await;
    let page = Page::of(&replica).await;
    (replica, page)
}

/// One that asks for a token.
async fn guarded(stack: &Stack, more: &[(&str, &str)]) -> (Replica, Page) {
    let mut variables = vec![
        ON,
        ("DASHBOARD_OPERATOR_TOKEN", OPERATOR),
        ("DASHBOARD_VIEWER_TOKEN", VIEWER),
    ];
    variables.extend(more);
    let replica = stack.replica(&variables).await;
    let page = Page::of(&replica).await;
    (replica, page)
}

/// The page as whoever has this token sees it, after a login.
async fn session(page: &Page, token: &str) -> Page {
    let entered = page.post_form("/login", &format!("token={token}")).await;
    page.with(Some(&entered.cookie.unwrap()))
}

/// What was written down: who, what, about what.
async fn actions(stack: &Stack) -> Vec<(String, String, String)> {
    let rows = stack
        .sql(
            "SELECT who, action, subject FROM generative_ai.operator_actions WHERE ended_at IS NOT NULL ORDER BY id",
            &[],
        )
        .await;
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}
