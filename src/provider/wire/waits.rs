//! How long a service asks us to wait, wherever in its answer it says so.
//!
//! Neutral to providers: each place is looked at, in a fixed order, whoever answered.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

/// Longer waits are a mistake, or a matter for a person.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait that an answer asks for, or `None` where it names none (or none above zero).
///
/// Looked for in this order: header `retry-after-ms`; header `Retry-After` in seconds or as a date, which is
/// compared with `now`; fields of the JSON `body` (Google's `RetryInfo`, `retry_after`); the words of
/// `message` ("try again in 12s"). See [`limit_reset`] for what comes after these.
///
/// Source: RFC 9110 §10.2.3; google.rpc.RetryInfo; the official OpenAI SDKs for the order of the headers.
#[must_use]
pub(in crate::provider) fn asked_wait(
    headers: &HeaderMap,
    body: Option<&Value>,
    message: &str,
    now: DateTime<Utc>,
) -> Option<Duration> {
    header(headers, "retry-after-ms")
        .and_then(|text| seconds(text.parse::<f64>().ok()? / 1000.0))
        .or_else(|| retry_after(header(headers, RETRY_AFTER.as_str())?, now))
        .or_else(|| from_body(body?))
        .or_else(|| from_words(message))
}

/// The time until a used-up limit is lifted: headers `x-ratelimit-reset-images`, `-requests`, `-tokens`.
///
/// They come with every answer, so ask only about one that was refused for its rate. A limit of which
/// something remains is not the cause.
#[must_use]
pub(in crate::provider) fn limit_reset(headers: &HeaderMap) -> Option<Duration> {
    ["images", "input-images", "requests", "tokens"]
        .into_iter()
        .filter(|limit| {
            header(headers, &format!("x-ratelimit-remaining-{limit}"))
                .is_none_or(|remaining| !remaining.parse::<f64>().is_ok_and(|count| count > 0.0))
        })
        .find_map(|limit| duration(header(headers, &format!("x-ratelimit-reset-{limit}"))?))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn seconds(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}

fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(number) = text.parse::<f64>() {
        return seconds(number);
    }
    let date = http_date(text)?;
    seconds((date - now).num_milliseconds() as f64 / 1000.0)
}

/// The three ways of writing a date that HTTP has had.
fn http_date(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(date.to_utc());
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .into_iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|date| date.and_utc())
}

fn from_body(body: &Value) -> Option<Duration> {
    let details = body.pointer("/error/details").and_then(Value::as_array);
    for detail in details.into_iter().flatten() {
        let kind = detail.get("@type").and_then(Value::as_str).unwrap_or_default();
        let delay = detail.get("retryDelay").and_then(Value::as_str);
        if let (true, Some(delay)) = (kind.ends_with("google.rpc.RetryInfo"), delay) {
            return duration(delay);
        }
    }
    ["/retry_after", "/error/retry_after", "/detail/retry_after"]
        .into_iter()
        .filter_map(|pointer| body.pointer(pointer))
        .find_map(|value| match value {
            Value::Number(number) => seconds(number.as_f64()?),
            Value::String(text) => text.parse().ok().map_or_else(|| duration(text), seconds),
            _ => None,
        })
}

fn from_words(message: &str) -> Option<Duration> {
    let message = message.to_ascii_lowercase();
    ["try again in ", "retry in ", "retry after ", "resets in "]
        .into_iter()
        .filter_map(|words| message.split_once(words))
        .find_map(|(_, rest)| duration(rest.trim_start_matches('~')))
}

/// The duration at the beginning of `text`: `12s`, `350ms`, `6m0s`, `1.5 seconds`. A number needs its unit.
fn duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text.trim_start();
    let mut parts = 0;
    loop {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(rest.len());
        let Ok(number) = rest[..digits].parse::<f64>() else {
            break;
        };
        let tail = rest[digits..].trim_start();
        let unit_end = tail
            .find(|character: char| !character.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let unit = match &tail[..unit_end] {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            _ => break,
        };
        total += number * unit;
        parts += 1;
        rest = tail[unit_end..].trim_start();
    }
    if parts == 0 { None } else { seconds(total) }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn now() -> DateTime<Utc> {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn ms(milliseconds: u64) -> Option<Duration> {
        Some(Duration::from_millis(milliseconds))
    }

    #[track_caller]
    fn header_asks(name: &'static str, value: &'static str, expected: Option<Duration>) {
        let asked = asked_wait(&headers(&[(name, value)]), None, "", now());
        assert_eq!(asked, expected, "{name}: {value}");
    }

    #[test]
    fn headers_are_read_in_every_way_of_writing() {
        header_asks("retry-after-ms", "350", ms(350));
        header_asks("retry-after-ms", "350.5", Some(Duration::from_micros(350_500)));
        header_asks("retry-after", "2", ms(2000));
        header_asks("retry-after", " 0.25 ", ms(250));
        header_asks("retry-after", "Sun, 22 Nov 2026 10:00:09 GMT", ms(9000));
        header_asks("retry-after", "Sunday, 22-Nov-26 10:00:09 GMT", ms(9000));
        header_asks("retry-after", "Sun Nov 22 10:00:09 2026", ms(9000));
    }

    #[test]
    fn what_is_no_wait_is_none() {
        for value in ["0", "-5", "nan", "soon", "", "Sun, 22 Nov 2026 09:00:00 GMT"] {
            header_asks("retry-after", value, None);
        }
        for value in ["inf", "1e300", "99999999999"] {
            header_asks("retry-after", value, Some(LONGEST));
        }
    }

    #[test]
    fn the_first_place_that_names_a_wait_wins() {
        let all = headers(&[("retry-after-ms", "1"), ("retry-after", "2")]);
        let body = json!({"retry_after": 3});
        let words = "Please try again in 4s.";
        assert_eq!(asked_wait(&all, Some(&body), words, now()), ms(1));
        let spoilt = headers(&[("retry-after-ms", "x"), ("retry-after", "2")]);
        assert_eq!(asked_wait(&spoilt, Some(&body), words, now()), ms(2000));
        assert_eq!(asked_wait(&HeaderMap::new(), Some(&body), words, now()), ms(3000));
        assert_eq!(
            asked_wait(&HeaderMap::new(), Some(&json!({})), words, now()),
            ms(4000)
        );
        assert_eq!(asked_wait(&HeaderMap::new(), None, "no", now()), None);
    }

    #[test]
    fn a_wait_in_the_body_is_found() {
        for (body, expected) in [
            (
                json!({"error": {"details": [{"@type": "x"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": "34.4s"}]}}),
                ms(34_400),
            ),
            (json!({"retry_after": 2.5}), ms(2500)),
            (json!({"error": {"retry_after": "7"}}), ms(7000)),
            (json!({"retry_after": null}), None),
            (json!("text"), None),
        ] {
            assert_eq!(
                asked_wait(&HeaderMap::new(), Some(&body), "", now()),
                expected,
                "{body}"
            );
        }
    }

    #[test]
    fn a_wait_in_words_is_found() {
        for (message, expected) in [
            ("Limit: 5/1min. Please try again in 12s. Contact us", ms(12_000)),
            ("TRY AGAIN IN 350ms", ms(350)),
            ("try again in 1m30.5s.", ms(90_500)),
            ("Your rate limit resets in ~30s.", ms(30_000)),
            ("Please retry after 26 seconds.", ms(26_000)),
            ("try again in a while", None),
            ("try again in 12", None),
            ("try again in 1.2.3s", None),
        ] {
            assert_eq!(
                asked_wait(&HeaderMap::new(), None, message, now()),
                expected,
                "{message}"
            );
        }
    }

    #[test]
    fn the_limit_that_is_used_up_tells_its_reset() {
        let reset = |pairs: &[_]| limit_reset(&headers(pairs));
        assert_eq!(
            reset(&[
                ("x-ratelimit-reset-images", "1s"),
                ("x-ratelimit-reset-tokens", "9s")
            ]),
            ms(1000)
        );
        assert_eq!(reset(&[("x-ratelimit-reset-requests", "6m0s")]), ms(360_000));
        assert_eq!(reset(&[("x-ratelimit-reset-tokens", "20ms")]), ms(20));
        assert_eq!(
            reset(&[
                ("x-ratelimit-remaining-images", "3"),
                ("x-ratelimit-reset-images", "1s"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "5s"),
            ]),
            ms(5000)
        );
        assert_eq!(reset(&[]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_reading_a_wait_panic(text in ".{0,40}", number in "[0-9.]{0,8} ?[a-zé]{0,3}") {
            let _ = from_words(&format!("try again in {number}{text}"));
            let _ = retry_after(&text, now());
            let _ = duration(&number);
        }
    }
}
