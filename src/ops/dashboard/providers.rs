//! How it stands with providers: whether they are called, how calls have gone, and what they have cost.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use chrono::Utc;
use maud::{Markup, html};

use super::layout::{button, foreign, maybe, page as framed, trouble, usd};
use super::strip::in_time;
use super::{Site, Visitor};
use crate::db::{BudgetUse, CallCounts};
use crate::ops::words::{in_cents, now_of, parked_for_budget, time, took};
use crate::provider::catalog;
use crate::provider::list::PROVIDERS;
use crate::queue::{BudgetPark, Overview, ProviderRoom};
use crate::worker::in_dollars;

const DAYS: i32 = 7;
/// Days and models that are shown.
const MOST: usize = 100;
/// What is shown of a day's calls.
const OF_DAY: [&str; 5] = ["Calls", "Succeeded", "p50", "p95", "Spent"];

pub(super) async fn page(State(site): State<Arc<Site>>, Extension(visitor): Extension<Visitor>) -> Markup {
    let db = &site.sources.db;
    let asked = site.sources.budgets.asked();
    let (strip, calls, uses) = tokio::join!(
        site.strips.get(&site.sources),
        in_time(db.call_counts(DAYS)),
        in_time(db.budget_uses(&asked))
    );
    let calls = calls.map(|calls| calls.into_iter().partition(|calls| calls.day.is_none()));
    let calls: Result<(Vec<_>, Vec<_>), _> = calls;
    let redis = strip.redis.as_ref().as_ref();
    let body = html! {
        @match redis {
            Ok(overview) => (states(&site, &visitor, overview, calls.as_ref().ok().map(|(lately, _)| &**lately))),
            Err(why) => (trouble("How it stands with providers", why)),
        }
        @match &uses {
            Ok(uses) => (budgets(&site, uses, redis.ok().map(|overview| &*overview.budgets))),
            Err(why) => (trouble("What is used of the budgets", why)),
        }
        (ending(&site))
        @match &calls {
            Ok((_, by_day)) => (spent(by_day)),
            Err(why) => (trouble("How calls have gone and what was spent", why)),
        }
    };
    framed(&site, &visitor, &strip, "/providers", "Providers", body)
}

fn states(site: &Site, visitor: &Visitor, overview: &Overview, day: Option<&[CallCounts]>) -> Markup {
    let room_of = |name: &str| overview.providers.iter().find(|room| room.provider == name);
    let day_of = |name: &str| day.map(|day| day.iter().find(|day| day.provider == name));
    let is_shown = |name: &&&str| {
        site.sources.configured.contains(*name) || room_of(name).is_some() || day_of(name).flatten().is_some()
    };
    html! {
        div.wide { table {
            caption { "Now, and calls of the last 24 hours that can cost money" }
            thead { tr {
                th scope="col" { "Provider" } th scope="col" { "State" } th.n scope="col" { "Parked" } th.n scope="col" { "Open" }
                th.n scope="col" { "Calls" } th.n scope="col" { "Succeeded" } th.n scope="col" { "p50" } th.n scope="col" { "p95" }
                th.n scope="col" { "Spent" } th scope="col" { span.unseen { "Change" } }
            } }
            tbody {
                @for name in PROVIDERS.iter().filter(is_shown) {
                    (state(site, visitor, name, room_of(name), day_of(name)))
                }
            }
        } }
    }
}

/// `day`: `None` where it is not known how calls have gone.
fn state(
    site: &Site,
    visitor: &Visitor,
    name: &str,
    room: Option<&ProviderRoom>,
    day: Option<Option<&CallCounts>>,
) -> Markup {
    let state = room.and_then(|room| room.state.as_ref());
    let is_shut = state.is_some_and(|state| state.is_shut());
    html! {
        tr {
            th scope="row" { (name) }
            td data-label="State" { @match state {
                None => span.badge.good { "well" },
                Some(state) => { span.badge.(if is_shut { "bad" } else { "soon" }) { @if is_shut { "shut" } @else { "careful" } } " " (foreign(&now_of(state))) },
            } }
            td.n data-label="Parked" { (room.map_or(0, |room| room.parked)) }
            td.n data-label="Open" { @match day {
                Some(Some(day)) => (day.open),
                _ => (room.map_or(0, |room| room.open_calls)),
            } }
            @for (label, value) in OF_DAY.into_iter().zip(of_day(day)) { td.n data-label=(label) { (value) } }
            td { @if state.is_some() { (button(site, visitor, &format!("/providers/{name}/resume"), "Resume", "")) } }
        }
    }
}

/// How its calls have gone; `?` where nobody can be asked.
fn of_day(day: Option<Option<&CallCounts>>) -> [String; 5] {
    let none = || "–".to_owned();
    let time = |seconds: Option<f64>| {
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        time.map_or_else(none, took)
    };
    match day {
        None => std::array::from_fn(|_| "?".to_owned()),
        Some(None) => ["0".to_owned(), none(), none(), none(), none()],
        Some(Some(day)) => [
            day.calls.to_string(),
            rate(day),
            time(day.p50_s),
            time(day.p95_s),
            usd(day.cost_usd),
        ],
    }
}

/// Of the calls that have ended.
fn rate(day: &CallCounts) -> String {
    let ended = day.succeeded + day.failed + day.unknown;
    match ended {
        0 => "–".to_owned(),
        ended => format!("{} %", day.succeeded * 100 / ended),
    }
}

/// What is used of each budget, and what waits for it, where that is known.
fn budgets(site: &Site, uses: &[BudgetUse], parks: Option<&[BudgetPark]>) -> Markup {
    html! {
        @if !uses.is_empty() {
            div.wide { table {
                caption { "Budgets (BUDGETS), and what is used of them" }
                thead { tr {
                    th scope="col" { "Budget" } th.n scope="col" { "Used" } th.n scope="col" { "Of" } th.n scope="col" { "%" }
                    th scope="col" { "Most by" } th.n scope="col" { "Waiting" } th scope="col" { "Until" }
                } }
                tbody {
                    @for (used, budget) in uses.iter().zip(&site.sources.budgets.all) {
                        tr {
                            th scope="row" { (budget.in_words()) }
                            td.n data-label="Used" { (in_cents(used.used_usd)) }
                            td.n data-label="Of" { (in_dollars(used.limit_usd)) }
                            td.n data-label="%" { @if used.is_near() { span.badge.bad { (used.percent()) } } @else { (used.percent()) } }
                            td data-label="Most by" { (maybe(used.whose.as_deref())) }
                            td.n data-label="Waiting" { @match parks { Some(parks) => (parked_for_budget(used, parks)), None => "?" } }
                            td.t data-label="Until" { (maybe(used.ends_at.map(time).as_deref())) }
                        }
                    }
                }
            } }
        }
    }
}

fn ending(site: &Site) -> Markup {
    let today = Utc::now().date_naive();
    let models: Vec<(&str, &catalog::Model)> = site
        .sources
        .configured
        .iter()
        .flat_map(|name| catalog::all(name).map(move |model| (*name, model)))
        .filter(|(_, model)| model.ends_soon(today))
        .collect();
    html! {
        @if !models.is_empty() {
            section { h2 { "Models that end soon" }
                ul.warnings { @for (name, model) in models { li { span { (name) ": " (foreign(&model.id)) " " (foreign(&model.end_in_words())) } } } }
            }
        }
    }
}

fn spent(spending: &[CallCounts]) -> Markup {
    html! {
        @if spending.iter().any(|row| row.is_part) {
            p.note { "Counted are the latest " (CallCounts::MOST) " calls; the command cost knows all." }
        }
        div.wide { table {
            caption { "Spent in the last " (DAYS) " days, by day (UTC) and model" }
            thead { tr {
                th scope="col" { "Day" } th scope="col" { "Provider" } th scope="col" { "Model" } th.n scope="col" { "Calls" }
                th.n scope="col" { "Dollars" } th.n scope="col" { "Of unknown cost" }
            } }
            tbody {
                @if spending.is_empty() { tr { td colspan="6" { "No call that costs money was made." } } }
                @for row in spending.iter().take(MOST) {
                    tr {
                        th.t scope="row" { (maybe(row.day.as_deref())) }
                        td data-label="Provider" { (foreign(&row.provider)) } td data-label="Model" { (maybe(row.model.as_deref())) }
                        td.n data-label="Calls" { (row.calls) } td.n data-label="Dollars" { (usd(row.cost_usd)) }
                        td.n data-label="Of unknown cost" { (row.unknown) }
                    }
                }
            }
        } }
    }
}
