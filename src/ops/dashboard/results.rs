//! A contact sheet of the latest pictures.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use maud::{Markup, html};

use super::forms::{self, Fields, encoded, filled};
use super::layout::{foreign, maybe, page as framed, trouble, usd};
use super::search::only_pictures;
use super::strip::in_time;
use super::{Site, Visitor};
use crate::db::{Picture, PictureFilter};
use crate::ops::words::{time, took};

const A_PAGE: u32 = 24;
const FILTERS: [(&str, &str); 6] = [
    ("provider", "Provider"),
    ("model", "Model"),
    ("type", "Type"),
    ("user", "User"),
    ("collection", "Collection"),
    ("day", "Day"),
];

pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Markup {
    let fields = forms::query(query.as_deref());
    let (filter, wrong) = filter(&fields);
    let find = async {
        // What cannot be read is no filter, and everybody's pictures are not what was asked for.
        match wrong.is_empty() {
            true => in_time(site.sources.db.pictures(&filter, A_PAGE)).await.map(Some),
            false => Ok(None),
        }
    };
    let (strip, found) = tokio::join!(site.strips.get(&site.sources), find);
    let body = html! {
        form.filters method="get" action=(site.path("/results")) {
            @for (name, label) in FILTERS {
                label { (label) input name=(name) value=(filled(&fields, name).unwrap_or_default()) type=(if name == "day" { "date" } else { "text" }); }
            }
            button type="submit" { "Filter" }
            a href=(site.path("/results")) { "Clear" }
        }
        @for wrong in &wrong { p.wrong role="alert" { (wrong) } }
        @match found {
            Err(why) => (trouble("The pictures", &why)),
            Ok(None) => {},
            Ok(Some(found)) => {
                @if found.pictures.is_empty() {
                    p { "No picture matches among the jobs that were looked through." }
                    (only_pictures(&site))
                }
                ul.sheet { @for picture in &found.pictures { (card(&site, picture)) } }
                @if let Some(before) = found.next_before {
                    p.more { a rel="next" href=(older(&site, &fields, before)) { "Older pictures" } }
                }
            }
        }
    };
    framed(&site, &visitor, &strip, "/results", "Results", body)
}

/// What is asked for, and what of it cannot be read.
fn filter(fields: &Fields) -> (PictureFilter, Vec<String>) {
    let text = |name| filled(fields, name).map(|value| value.replace('\0', ""));
    let mut wrong = Vec::new();
    let user_id = filled(fields, "user").and_then(|user| match user.parse() {
        Ok(user_id) => Some(user_id),
        Err(_) => {
            wrong.push("A user is a number.".to_owned());
            None
        }
    });
    let day = filled(fields, "day").and_then(|day| match day.parse() {
        Ok(day) => Some(day),
        Err(_) => {
            wrong.push("A day is written like 2026-11-30.".to_owned());
            None
        }
    });
    let is_icon = filled(fields, "type").and_then(|kind| match kind {
        "icon" | "logo" => Some(kind == "icon"),
        _ => {
            wrong.push("A type is icon or logo.".to_owned());
            None
        }
    });
    let filter = PictureFilter {
        provider: text("provider"),
        model: text("model"),
        is_icon,
        user_id,
        collection: text("collection"),
        day,
        before: filled(fields, "before").and_then(|before| before.parse().ok()),
    };
    (filter, wrong)
}

fn older(site: &Site, fields: &Fields, before: i32) -> String {
    let mut path = format!("{}?before={before}", site.path("/results"));
    for (name, _) in FILTERS {
        if let Some(value) = filled(fields, name) {
            path.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    path
}

/// What a picture has cost, and how that is known.
fn cost(usd_of_it: Option<f64>, basis: Option<&str>) -> Markup {
    html! {
        @match usd_of_it {
            Some(cost) => { (usd(cost)) " " span.note { (foreign(basis.unwrap_or("of unknown basis"))) } },
            None => { "free, or not known" },
        }
    }
}

/// The small picture, or why there is none.
pub(super) fn thumbnail(site: &Site, image_id: i32, job_id: i32) -> Markup {
    let path = site.path(&format!("/thumbnails/{image_id}?job={job_id}"));
    html! { img src=(path) alt=(format!("Picture {image_id} of job {job_id}")) loading="lazy" width="160" height="160"; }
}

fn card(site: &Site, picture: &Picture) -> Markup {
    let story = site.path(&format!("/jobs/{}", picture.job_id));
    let seconds = picture
        .took_s
        .and_then(|took| Duration::try_from_secs_f64(took).ok());
    html! {
        li.card {
            a.picture href=(story) {
                @if picture.object_key.is_some() { (thumbnail(site, picture.image_id, picture.job_id)) }
                @else { span.gone { "erased" } }
            }
            div {
                a href=(story) { "Job " (picture.job_id) }
                @if picture.is_deleted { " " span.badge.bad { "deleted" } }
                p { (maybe(picture.provider.as_deref())) " " (maybe(picture.model.as_deref())) }
                p { @if let Some(seconds) = seconds { (took(seconds)) " · " } (cost(picture.cost_usd, picture.cost_basis.as_deref())) }
                p.note { @if let Some(at) = picture.finished_at { (time(at)) } }
            }
        }
    }
}
