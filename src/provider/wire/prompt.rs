//! What is sent of prompts. For servers that obey parts of them, what would steer the server becomes plain words.
//!
//! Pictures are asked for by people who may not choose the server's weights, files and arguments.

use crate::provider::{Call, CheckedSpec};
use crate::work_package::Prompt;

/// What is sent of a person's prompt.
#[derive(Clone, Copy)]
pub(in crate::provider) enum Prompts {
    /// It alone: most models draw what they read, instructions included.
    Alone,
    /// It, followed by what is wanted of every picture: the models obey that.
    Instructed,
    /// What this leaves of it, as the server would obey the rest.
    Without(fn(&str) -> String),
}

impl Prompts {
    /// As [`crate::provider::ImageProvider::prompt_for`].
    pub(in crate::provider) fn of(self, prompt: &Prompt, suffix: &str) -> Prompt {
        match self {
            Self::Alone => prompt.clone(),
            Self::Instructed => prompt.followed_by(suffix),
            Self::Without(leave) => Prompt::new(leave(prompt.expose())),
        }
    }
}

/// The texts of a call, as they may be sent.
pub(in crate::provider) struct Plain(Option<(Prompt, CheckedSpec)>);

impl Plain {
    pub(in crate::provider) fn of(call: &Call<'_>, prompts: Prompts) -> Self {
        let Prompts::Without(leave) = prompts else {
            return Self(None);
        };
        let plain = |text: &Prompt| Prompt::new(leave(text.expose()));
        let negative_prompt = call.spec.negative_prompt.as_ref().map(plain);
        let spec = CheckedSpec {
            negative_prompt,
            ..call.spec.clone()
        };
        Self(Some((plain(call.prompt), spec)))
    }

    /// The call with these texts.
    pub(in crate::provider) fn call<'a>(&'a self, call: &Call<'a>) -> Call<'a> {
        match &self.0 {
            Some((prompt, spec)) => Call {
                prompt,
                spec,
                ..*call
            },
            None => *call,
        }
    }
}

/// Nothing here means anything to a server but words: for AUTOMATIC1111, its relatives, and ComfyUI.
///
/// Source: AUTOMATIC1111 wiki, "Features": attention `(word:1.3)`, editing `[a:b:0.5]`, alternation `[a|b]`, `BREAK`,
/// `AND`, extra networks `<lora:name:1>`; extensions add `__wildcards__` and `{a|b}`. ComfyUI adds `embedding:name`.
pub(in crate::provider) fn without_markup(prompt: &str) -> String {
    let text = without_tags(&without_controls(prompt));
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        plain.push(match character {
            '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | '|' | '\\' => ' ',
            other => other,
        });
    }
    while plain.contains("__") {
        plain = plain.replace("__", "_");
    }
    let plain = lowered_word(&plain, "BREAK");
    let plain = lowered_word(&plain, "AND");
    without_word_colon(&plain, "embedding")
}

/// For servers of OpenAI's kind, most of which read a prompt as it is: takes out what some of them obey.
///
/// Source: LocalAI documentation, "Image generation": `positive|negative`; stable-diffusion.cpp, server
/// documentation: `<sd_cpp_extra_args>{json}</sd_cpp_extra_args>` and `<lora:name:1>`.
pub(in crate::provider) fn without_directives(prompt: &str) -> String {
    without_tags(&without_controls(prompt)).replace('|', " ")
}

/// Without control characters, of which a new line and a tabulator are none here.
fn without_controls(prompt: &str) -> String {
    prompt
        .chars()
        .filter(|character| !character.is_control() || matches!(character, '\n' | '\t'))
        .collect()
}

const EXTRA_ARGS: &str = "sd_cpp_extra_args";
const NETWORKS: [&str; 6] = ["lora", "lyco", "hypernet", "ti", "embedding", "lbw"];

/// Without `<sd_cpp_extra_args>…</…>` and `<lora:…>`, also where taking one out makes another.
fn without_tags(prompt: &str) -> String {
    let mut text = prompt.to_owned();
    while let Some(at) = find_ignoring_case(&text, &format!("<{EXTRA_ARGS}")) {
        let closing = format!("</{EXTRA_ARGS}>");
        let end = find_ignoring_case(&text[at..], &closing).map(|found| at + found + closing.len());
        text.replace_range(at..end.unwrap_or(text.len()), " ");
    }
    while let Some(at) = find_ignoring_case(&text, EXTRA_ARGS) {
        text.replace_range(at..at + EXTRA_ARGS.len(), "sd cpp extra args");
    }
    for network in NETWORKS {
        while let Some(at) = find_ignoring_case(&text, &format!("<{network}:")) {
            let end = text[at..].find('>').map_or(text.len(), |found| at + found + 1);
            text.replace_range(at..end, " ");
        }
    }
    text
}

/// `needle` is ASCII, so that what is found begins and ends between characters.
fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    text.as_bytes()
        .windows(needle.len())
        .position(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

/// Writes `word` in small letters wherever it stands alone.
fn lowered_word(text: &str, word: &str) -> String {
    text.split_inclusive(|character: char| !character.is_alphanumeric() && character != '_')
        .map(|piece| match piece.strip_prefix(word) {
            Some(rest) if rest.chars().all(|end| !end.is_alphanumeric() && end != '_') => {
                word.to_lowercase() + rest
            }
            _ => piece.to_owned(),
        })
        .collect()
}

/// Takes the colon off `word:`.
fn without_word_colon(text: &str, word: &str) -> String {
    let mut text = text.to_owned();
    let needle = format!("{word}:");
    while let Some(at) = find_ignoring_case(&text, &needle) {
        let colon = at + word.len();
        text.replace_range(colon..=colon, " ");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_would_steer_a_server_becomes_words() {
        for (prompt, plain) in [
            ("a boat", "a boat"),
            ("a (red:1.3) [boat|ship] {a|b}", "a red:1.3 boat ship a b"),
            ("sea <lora:evil:1> shore", "sea shore"),
            ("sea <LORA:evil:1", "sea"),
            ("sea <lo<lora:a:1>ra:evil:1> shore", "sea lo ra:evil:1 shore"),
            (
                "day BREAK night AND stars, BREAKER ANDES",
                "day break night and stars, BREAKER ANDES",
            ),
            ("BREAK", "break"),
            ("__wild__ ____card", "_wild_ _card"),
            ("a\\(b\\)", "a b"),
            ("a embedding:bad Embedding:bad", "a embedding bad Embedding bad"),
            ("a\u{0}\u{7}b\u{1b}[31m", "ab 31m"),
            ("<sd_cpp_extra_args>{\"seed\":1}</sd_cpp_extra_args>boat", "boat"),
            ("Höfn, 龍 é", "Höfn, 龍 é"),
        ] {
            assert_eq!(words(&without_markup(prompt)), plain, "{prompt:?}");
        }
        assert_eq!(without_markup("two\nlines"), "two\nlines");
    }

    #[test]
    fn what_a_server_of_openais_kind_would_obey_is_taken_out() {
        for (prompt, plain) in [
            ("a (red) [boat] {x}", "a (red) [boat] {x}"),
            ("a boat|ugly", "a boat ugly"),
            (
                "a <sd_cpp_extra_args>{\"steps\":1}</sd_cpp_extra_args> boat",
                "a boat",
            ),
            ("a <SD_CPP_EXTRA_ARGS>{\"steps\":1}", "a"),
            (
                "a <sd_cpp_<sd_cpp_extra_args>{}</sd_cpp_extra_args>extra_args>{\"steps\":1}</sd_cpp_extra_args>",
                "a <sd_cpp_ extra_args>{\"steps\":1}</sd cpp extra args>",
            ),
            ("a <lora:evil:1> boat", "a boat"),
            ("a\u{0}b", "ab"),
            ("1 < 2 > 0", "1 < 2 > 0"),
        ] {
            assert_eq!(words(&without_directives(prompt)), plain, "{prompt:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_plain_prompt_stays_plain(prompt in "[a-zé<>:|(){}\\[\\]_/ ]{0,40}|.{0,40}") {
            for plain in [without_markup, without_directives] {
                let once = plain(&prompt);
                proptest::prop_assert_eq!(&plain(&once), &once);
            }
        }
    }
}
