//! Who may look, who may change, and what a browser may be led to do.

use reqwest::header::{HOST, ORIGIN};

use super::{ON, OPERATOR, PAGES, VIEWER, actions, guarded, open, session};
use crate::harness::command::command_on;
use crate::harness::stack::Stack;

const CHANGES: [&str; 12] = [
    "/pause",
    "/resume",
    "/providers/openai/resume",
    "/jobs/1/cancel",
    "/jobs/1/retry",
    "/jobs/1/release",
    "/jobs/1/prompt",
    "/failures/x/retry",
    "/failures/x/discard",
    "/callbacks/retry",
    "/callbacks/drop",
    "/logout",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_is_refused_without_a_token() {
    let stack = Stack::start().await;
    for addr in ["0.0.0.0:0", "[::]:0", "10.1.2.3:9465"] {
        let said = command_on(&stack, &["run"], &[("DASHBOARD_ADDR", addr)]).await;
        assert_eq!(said.status, Some(78), "{}", said.err);
        assert!(
            said.err
                .contains(&format!("DASHBOARD_ADDR: \"{addr}\" was found without a token")),
            "{}",
            said.err
        );
    }
    let token = ("DASHBOARD_VIEWER_TOKEN", VIEWER);
    let said = command_on(
        &stack,
        &["check-config"],
        &[("DASHBOARD_ADDR", "0.0.0.0:0"), token],
    )
    .await;
    assert_eq!((said.status, &*said.err), (Some(0), ""));
    let same = [
        ON,
        token,
        ("DASHBOARD_OPERATOR_TOKEN", VIEWER),
        ("DASHBOARD_BASE_PATH", "workers/../x"),
    ];
    let said = command_on(&stack, &["check-config"], &same).await;
    assert_eq!(said.status, Some(78));
    assert!(
        said.err.contains("the same as DASHBOARD_OPERATOR_TOKEN"),
        "{}",
        said.err
    );
    assert!(
        said.err
            .contains("DASHBOARD_BASE_PATH: \"workers/../x\" was found"),
        "{}",
        said.err
    );
    assert!(!said.err.contains(VIEWER), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_looks_without_a_token_and_a_token_becomes_a_session_that_every_replica_takes() {
    let stack = Stack::start().await;
    let (replica, page) = guarded(&stack, &[]).await;
    for path in PAGES.into_iter().chain([
        "/events",
        "/thumbnails/1",
        "/nothing",
        "/../etc/passwd",
        "//x",
        "/jobs/%2e%2e",
    ]) {
        page.get(path).await.is(401);
        let led = page.get_as_browser(path).await;
        led.is(303);
        assert!(
            led.location.as_deref().unwrap().starts_with("/login"),
            "{:?}",
            led.location
        );
    }
    for path in CHANGES {
        page.post(path).await.is(401);
    }
    page.get_as_browser("/login")
        .await
        .is(200)
        .has("type=\"password\"");

    let wrong = page.post_form("/login", "token=wrong").await;
    wrong.is(401).has("no token of this page");
    assert_eq!(wrong.cookie, None);
    let entered = page
        .post_form(
            "/login",
            &format!("token={OPERATOR}&next=%2Fresults%3Fday%3D2026-11-30"),
        )
        .await;
    entered.is(303);
    assert_eq!(entered.location.as_deref(), Some("/results?day=2026-11-30"));
    let cookie = entered.cookie.unwrap();
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    assert!(!cookie.contains(OPERATOR));
    for elsewhere in [
        "https%3A%2F%2Fevil.example",
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "x",
    ] {
        let form = format!("token={OPERATOR}&next={elsewhere}");
        assert_eq!(
            page.post_form("/login", &form).await.location.as_deref(),
            Some("/"),
            "{elsewhere}"
        );
    }
    let session = page.with(Some(&cookie));
    session.get_as_browser("/").await.is(200).has("Log out");
    let bearer = page.getting("/").bearer_auth(VIEWER);
    page.send(bearer).await.is(200).has("viewer");

    let (_other, elsewhere) = guarded(&stack, &[("DASHBOARD_VIEWER_TOKEN", "another-one-4711")]).await;
    elsewhere.with(Some(&cookie)).get("/").await.is(200);
    let of_viewer = page
        .post_form("/login", &format!("token={VIEWER}"))
        .await
        .cookie
        .unwrap();
    page.with(Some(&of_viewer)).get("/").await.is(200);
    elsewhere.with(Some(&of_viewer)).get("/").await.is(401);
    let left = session.post("/logout").await;
    left.is(303);
    assert!(left.cookie.unwrap().contains("Max-Age=0"));
    assert!(!replica.log().contains(OPERATOR) && !replica.log().contains(VIEWER));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_tokens_is_stopped_and_sessions_go_on() {
    let stack = Stack::start().await;
    let (_replica, page) = guarded(&stack, &[]).await;
    let operator = session(&page, OPERATOR).await;
    for _ in 0..10 {
        page.send(page.getting("/").bearer_auth("wrong")).await.is(401);
    }
    page.send(page.getting("/").bearer_auth(OPERATOR)).await.is(429);
    page.post_form("/login", &format!("token={OPERATOR}"))
        .await
        .is(429);
    operator.get("/").await.is(200);
    // What somebody in front of the proxy says of himself changes nothing: only the last address is the proxy's word.
    let another = page.getting("/").bearer_auth(OPERATOR);
    page.send(another.header("x-forwarded-for", "192.0.2.7, 127.0.0.1"))
        .await
        .is(429);
    let another = page.getting("/").bearer_auth(OPERATOR);
    page.send(another.header("x-forwarded-for", "192.0.2.7"))
        .await
        .is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_needs_an_operator_and_this_page() {
    let stack = Stack::start().await;
    let (_replica, page) = guarded(&stack, &[]).await;
    let viewer = session(&page, VIEWER).await;
    let operator = session(&page, OPERATOR).await;
    for path in CHANGES {
        operator.get(path).await.is(405);
        if path != "/logout" {
            viewer.post(path).await.is(403);
        }
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let request = operator.posting(path).header(name, value);
            operator.send(request).await.is(403);
        }
    }
    let proxied = operator
        .posting("/pause")
        .header(ORIGIN, "https://ops.example.org");
    operator
        .send(proxied)
        .await
        .is(403)
        .has("its Origin is https://ops.example.org")
        .has("X-Forwarded-Host is missing: have the proxy send the host that browsers ask it for");
    viewer.get("/").await.is(200);
    assert!(!viewer.get("/").await.text().contains("Pause the queue"));
    // A browser that hides where it comes from may come from anywhere.
    let unsaid = operator.posting("/pause").header(ORIGIN, "null");
    operator.send(unsaid).await.is(403).has("its Origin is null");
    assert!(actions(&stack).await.is_empty());
    assert!(!operator.get("/").await.text().contains("type=\"hidden\""));
    // Whoever sends neither header is no browser.
    let script = page.posting("/pause").bearer_auth(OPERATOR);
    page.send(script).await.is(200);
    let own = operator.posting("/resume").header(ORIGIN, page.origin());
    operator.send(own).await.is(200);
    let done = actions(&stack).await;
    let done: Vec<_> = done.iter().map(|(who, action, _)| (&**who, &**action)).collect();
    assert_eq!(
        done,
        [
            ("operator (dashboard)", "pause"),
            ("operator (dashboard)", "resume")
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_names_of_this_machine_lead_to_the_page() {
    let stack = Stack::start().await;
    let (_replica, page) = open(&stack).await;
    for path in PAGES {
        page.send(page.getting(path).header(HOST, "evil.example"))
            .await
            .is(403);
    }
    page.send(page.getting("/").header(HOST, "localhost:1"))
        .await
        .is(200);
    page.get_as_browser("/login").await.is(303);
    let named = page
        .posting("/pause")
        .header("x-forwarded-user", &b"anna\xff"[..]);
    page.send(named).await.is(200);
    let named = page.posting("/resume").header("x-forwarded-user", "anna");
    page.send(named).await.is(200);
    assert_eq!(actions(&stack).await[1].0, "anna (dashboard)");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_keeps_browsers_from_running_framing_and_keeping_it() {
    let stack = Stack::start().await;
    let (_replica, page) = guarded(&stack, &[]).await;
    let operator = session(&page, OPERATOR).await;
    let mut nonces = Vec::new();
    for answer in [
        operator.get("/").await,
        operator.get("/").await,
        operator.get("/nothing").await,
        operator.get("/thumbnails/7").await,
        operator.post("/jobs/1/cancel").await,
        page.get("/").await,
        page.get_as_browser("/login").await,
        page.post_form("/login", "token=wrong").await,
    ] {
        let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        let nonce = policy
            .split("'nonce-")
            .nth(1)
            .unwrap()
            .split('\'')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; \
                 connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
            )
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(header(name), value);
        }
        let body = answer.text();
        assert_eq!(
            body.matches("nonce=\"").count(),
            body.matches(&format!("nonce=\"{nonce}\"")).count()
        );
        assert!(!body.contains(" style=\"") && !body.contains("javascript:") && !body.contains(" onclick"));
        nonces.push(nonce);
    }
    let count = nonces.len();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_prefix_every_way_leads_below_it() {
    let stack = Stack::start().await;
    let (_replica, page) = guarded(&stack, &[("DASHBOARD_BASE_PATH", "/ops/workers/")]).await;
    let led = page.get_as_browser("/ops/workers/running").await;
    assert_eq!(
        led.location.as_deref(),
        Some("/ops/workers/login?next=%2Fops%2Fworkers%2Frunning")
    );
    let login = page
        .posting("/ops/workers/login")
        .header("x-forwarded-proto", "https");
    let entered = page.send(login.body(format!("token={OPERATOR}"))).await;
    assert_eq!(entered.location.as_deref(), Some("/ops/workers/"));
    let cookie = entered.cookie.unwrap();
    assert!(
        cookie.ends_with("; Path=/ops/workers; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
    let operator = page.with(Some(&cookie));
    operator.get("/ops/workers").await.is(200);
    let text = operator.get("/ops/workers/").await.is(200).text();
    for attribute in ["href=\"", "action=\"", "data-events=\""] {
        for way in text.split(attribute).skip(1) {
            let is_ours =
                way.starts_with("/ops/workers/") || way.starts_with("data:") || way.starts_with("#content");
            assert!(is_ours, "{attribute}{way:.60}");
        }
    }
    operator.get("/").await.is(404);
    page.get("/running").await.is(401);
}
