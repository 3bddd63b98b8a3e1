//! A sentence without what differs from one job to the next: URLs, hosts, quoted texts, numbers, ids, hashes, and what a package has
//! asked for. Names that this program knows stay, as they say what is wrong: its providers, models and the status of an answer.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::provider::catalog;
use crate::provider::list::PROVIDERS;

/// Letters alone are a hash from this length on.
const HASH_CHARS: usize = 12;
/// What takes the place of a text, and of a word.
const TEXT: &str = "…";
const WORD: &str = "#";
/// So sentences of this program begin that repeat what a package has asked for.
const UNSUPPORTED: &str = "Unsupported image ";
/// What a number after it is: the status of an answer.
const BEFORE_STATUS: [&str; 2] = ["status ", "answered "];
/// What names of hosts end with that have only one point.
const DOMAINS: [&str; 18] = [
    "com", "net", "org", "io", "ai", "co", "eu", "de", "dev", "app", "cloud", "svc", "local", "internal",
    "lan", "test", "example", "invalid",
];

/// Providers, and models with their other names.
static KNOWN: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let models = PROVIDERS.into_iter().flat_map(catalog::all);
    let names = models.flat_map(|model| model.aliases.iter().chain([&model.id]).map(String::as_str));
    names.chain(PROVIDERS).collect()
});

/// The sentence.
pub(super) fn normal(text: &str) -> String {
    let mut normal = String::new();
    let mut rest = text;
    if let Some((before, asked, after)) = asked_for(text) {
        normal.push_str(&words(before));
        normal.push_str(if KNOWN.contains(asked) { asked } else { TEXT });
        rest = after;
    }
    normal.push_str(&words(rest));
    normal
}

/// What stands before, in and after the place where an unsupported option is repeated.
fn asked_for(text: &str) -> Option<(&str, &str, &str)> {
    let colon = text.starts_with(UNSUPPORTED).then(|| text.find(": "))?? + 2;
    let end = text[colon..].find("; ")? + colon;
    Some((&text[..colon], &text[colon..end], &text[end..]))
}

fn words(text: &str) -> String {
    let mut normal = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (what, length) = if rest.starts_with("http://") || rest.starts_with("https://") {
            (TEXT, url(rest))
        } else if let Some(length) = quoted(rest, normal.chars().next_back()) {
            ("\"…\"", length)
        } else if is_of_word(first) {
            let long = run(rest, "-.:/@");
            let length = run(rest, "-.:");
            let word = &rest[..length];
            if KNOWN.contains(&rest[..long]) {
                (&rest[..long], long)
            } else if KNOWN.contains(word) || is_status(word, &normal) {
                (word, length)
            } else if is_name_of_one(word) || is_host(word) {
                (WORD, length)
            } else {
                (word, length)
            }
        } else {
            (&rest[..first.len_utf8()], first.len_utf8())
        };
        normal.push_str(what);
        rest = &rest[length..];
    }
    normal
}

fn url(text: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || "\"'<>)],;".contains(c);
    let end = text.find(ends).unwrap_or(text.len());
    // The end of the sentence is none of the URL's.
    text[..end].trim_end_matches(['.', ':', '!', '?']).len()
}

/// How long a text in quotes is, quotes included. An apostrophe within a word quotes nothing.
fn quoted(text: &str, before: Option<char>) -> Option<usize> {
    let open = text.chars().next()?;
    let close = match open {
        '"' | '`' => open,
        '\'' if !before.is_some_and(char::is_alphanumeric) => open,
        '“' => '”',
        '‘' => '’',
        '«' => '»',
        _ => return None,
    };
    let inner = &text[open.len_utf8()..];
    let end = inner.find(close)?;
    Some(open.len_utf8() + end + close.len_utf8())
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How far a word goes. Ids are joined by dashes, and numbers by points.
fn run(text: &str, joins: &str) -> usize {
    let mut end = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let goes_on =
            is_of_word(c) || (joins.contains(c) && chars.peek().is_some_and(|(_, next)| is_of_word(*next)));
        if !goes_on {
            break;
        }
        end = at + c.len_utf8();
    }
    end
}

fn is_status(word: &str, before: &str) -> bool {
    word.len() == 3
        && word.bytes().all(|byte| byte.is_ascii_digit())
        && BEFORE_STATUS.iter().any(|words| before.ends_with(words))
}

fn is_name_of_one(word: &str) -> bool {
    let is_hash = word.len() >= HASH_CHARS && word.chars().all(|c| c.is_ascii_hexdigit());
    is_hash || word.chars().any(|c| c.is_numeric())
}

/// Names of fields have points too: `input.prompt`.
fn is_host(word: &str) -> bool {
    let labels: Vec<&str> = word.split('.').collect();
    let is_name = |label: &&str| label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    labels.len() > 1 && labels.iter().all(is_name) && labels.last().is_some_and(|last| DOMAINS.contains(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_job_to_job_is_taken_out_of_a_sentence() {
        for (text, expected) in [
            (
                "openai refused this prompt under its content policy (request req_4Hq). Change the prompt.",
                "openai refused this prompt under its content policy (request #). Change the prompt.",
            ),
            (
                "the object 0b6f3c1e-7a55-4a54-9b7c-0242ac120002 is gone after 3.5 s",
                "the object # is gone after # s",
            ),
            (
                r#"imageSize: "1x1" was found; it can't be fetched from https://example.org/a?b=1, the host's down"#,
                r#"imageSize: "…" was found; it can't be fetched from …, the host's down"#,
            ),
            ("hash deadbeefcafe is wrong", "hash # is wrong"),
            ("“наука” 7 и `код`", "\"…\" # и \"…\""),
            ("'unfinished", "'unfinished"),
            ("", ""),
        ] {
            assert_eq!(normal(text), expected);
        }
    }

    #[test]
    fn names_that_this_program_knows_stay_and_what_a_package_asked_for_does_not() {
        for (text, expected) in [
            (
                "Unsupported image model for openai: dall-e-9; use gpt-image-2, gpt-image-1.5, or chatgpt-image-latest",
                "Unsupported image model for openai: …; use gpt-image-2, gpt-image-1.5, or chatgpt-image-latest",
            ),
            (
                "Unsupported image model for openai: gpt-image-1; it was shut down on 2026-10-23",
                "Unsupported image model for openai: gpt-image-1; it was shut down on #",
            ),
            (
                "Unsupported image size for gpt-image-2: 1x1; use auto or 1024x1024",
                "Unsupported image size for gpt-image-2: …; use auto or #",
            ),
            (
                "Unsupported image provider: dallex; this version has openaiCompatible, automatic1111, comfyui",
                "Unsupported image provider: …; this version has openaiCompatible, automatic1111, comfyui",
            ),
            (
                "callbackUrl: a URL of http://h:1 was found, which CALLBACK_HOSTS does not allow",
                "callbackUrl: a URL of … was found, which CALLBACK_HOSTS does not allow",
            ),
            (
                "replicate has failed with the status 502 (prediction 77af21)",
                "replicate has failed with the status 502 (prediction #)",
            ),
            (
                "no answer from results.example.org:8443 or cdn.example.com; input.prompt is empty",
                "no answer from # or #; input.prompt is empty",
            ),
            ("See https://example.org/a.", "See …."),
        ] {
            assert_eq!(normal(text), expected);
        }
    }

    #[test]
    fn every_provider_and_model_is_known() {
        for provider in PROVIDERS {
            assert_eq!(normal(provider), provider);
            for model in catalog::all(provider) {
                assert_eq!(normal(&model.id), model.id);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_service_has_said_is_read_to_its_end(text: String) {
            normal(&text);
        }
    }
}
