//! Quoting somebody else's answer without its secrets and without the prompt that it may repeat.

use std::collections::HashSet;

/// Most characters of a quoted answer.
pub const QUOTE_CHARS: usize = 300;
/// A run of this many characters that also stands in the prompt is taken for an echo of it.
const PROMPT_RUN: usize = 12;
/// The same for keys, which services like to repeat in part.
const SECRET_RUN: usize = 8;
/// A shorter key is hidden only where it stands as a word.
const SECRET_MIN: usize = 4;
const MASK: &str = "***";

/// `text` on one line, without `secrets`, anything that looks like one, and queries or user names of URLs,
/// cut to [`QUOTE_CHARS`] characters.
#[must_use]
pub fn redact(text: &str, secrets: &[&str]) -> String {
    quote(&mask(text, secrets, &[]))
}

/// As [`redact`], but uncut, and without what `text` repeats of `prompts`, however it is escaped.
#[must_use]
pub fn mask(text: &str, secrets: &[&str], prompts: &[&str]) -> String {
    let mut page = Page::new(text);
    for secret in secrets {
        page.hide_runs_of(secret, SECRET_RUN, SECRET_MIN);
    }
    for form in prompts.iter().flat_map(|prompt| forms(prompt)) {
        page.hide_runs_of(&form, PROMPT_RUN, PROMPT_RUN);
    }
    page.hide_keys();
    page.hide_url_parts();
    page.write()
}

/// `text` on one line, cut to [`QUOTE_CHARS`] characters.
#[must_use]
pub fn quote(text: &str) -> String {
    let line = one_line(text);
    if line.len() <= QUOTE_CHARS {
        return line.into_iter().collect();
    }
    line[..QUOTE_CHARS]
        .iter()
        .collect::<String>()
        .trim_end()
        .to_owned()
        + "…"
}

/// How a prompt looks in an answer: as it is, in JSON (both ways of writing it), in HTML.
fn forms(prompt: &str) -> Vec<String> {
    if prompt.is_empty() {
        return Vec::new();
    }
    let json = serde_json::Value::from(prompt).to_string();
    let json = json.trim_matches('"').to_owned();
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    let html = prompt
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;");
    let mut forms = vec![prompt.to_owned(), json, ascii, html];
    forms.dedup();
    forms
}

/// Control characters and runs of white space become one space.
fn one_line(text: &str) -> Vec<char> {
    let mut line = Vec::new();
    for character in text.trim().chars() {
        if character.is_control() || character.is_whitespace() {
            if line.last() != Some(&' ') {
                line.push(' ');
            }
        } else {
            line.push(character);
        }
    }
    line
}

fn lowered(line: &[char]) -> Vec<char> {
    line.iter()
        .map(|character| character.to_lowercase().next().unwrap_or(*character))
        .collect()
}

fn length_of(text: &[char], belongs: impl Fn(char) -> bool) -> usize {
    text.iter().take_while(|character| belongs(**character)).count()
}

fn is_key_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_*.…+/=~".contains(character)
}

fn is_url_character(character: char) -> bool {
    !character.is_whitespace() && !"\"'<>`".contains(character)
}

/// A text with marks on what must not be seen. All marks are set on the same text, so that hiding
/// one thing cannot keep another from being recognized.
struct Page {
    text: Vec<char>,
    lower: Vec<char>,
    hidden: Vec<bool>,
}

impl Page {
    fn new(text: &str) -> Self {
        let text = one_line(text);
        Self {
            lower: lowered(&text),
            hidden: vec![false; text.len()],
            text,
        }
    }

    fn hide(&mut self, from: usize, to: usize) {
        self.hidden[from..to].fill(true);
    }

    /// Hides whatever has `run` or more characters in a row in common with `needle`. One shorter than `min`
    /// is hidden where it stands as a word of its own: a prompt "a" must not blot out every letter a.
    fn hide_runs_of(&mut self, needle: &str, run: usize, min: usize) {
        let needle = lowered(&one_line(needle));
        if needle.is_empty() {
            return;
        }
        let length = needle.len().min(run);
        let runs: HashSet<&[char]> = needle.windows(length).collect();
        let starts: Vec<usize> = (0..(self.lower.len() + 1).saturating_sub(length))
            .filter(|&start| runs.contains(&self.lower[start..start + length]))
            .filter(|&start| length >= min || self.is_word(start, start + length))
            .collect();
        for start in starts {
            self.hide(start, start + length);
        }
    }

    fn is_word(&self, from: usize, to: usize) -> bool {
        let continues =
            |character: Option<&char>| character.is_some_and(|character| character.is_alphanumeric());
        !continues(self.text[..from].last()) && !continues(self.text.get(to))
    }

    /// Hides `sk-…`, `Bearer …` and words that somebody else has masked in part.
    fn hide_keys(&mut self) {
        let mut start = 0;
        while start < self.lower.len() {
            let end = start + length_of(&self.lower[start..], is_key_character);
            let word = &self.lower[start..end];
            let key_at = (0..word.len()).find(|&at| {
                word[at..].starts_with(&['s', 'k', '-']) && (at == 0 || !word[at - 1].is_ascii_alphanumeric())
            });
            let announces_key = *word == ['b', 'e', 'a', 'r', 'e', 'r'] || *word == ['b', 'a', 's', 'i', 'c'];
            if word.windows(2).any(|pair| pair == ['*', '*']) {
                self.hide(start, end);
            } else if let Some(at) = key_at {
                self.hide(start + at, end);
            } else if announces_key && self.lower.get(end) == Some(&' ') {
                let token = length_of(&self.lower[end + 1..], |character| character != ' ');
                self.hide(end + 1, end + 1 + token);
            }
            start = end.max(start + 1);
        }
    }

    /// Hides user names, queries and fragments of URLs, and queries that stand without their URL.
    fn hide_url_parts(&mut self) {
        let mut at = 0;
        while at < self.text.len() {
            let rest = &self.text[at..];
            if rest.starts_with(&[':', '/', '/']) {
                let url = &rest[3..];
                let url = &url[..length_of(url, is_url_character)];
                let from = at + 3;
                let to = from + url.len();
                let authority = length_of(url, |character| !"/?#".contains(character));
                let user = url[..authority].iter().rposition(|character| *character == '@');
                let query = url.iter().position(|character| "?#".contains(*character));
                if let Some(user) = user {
                    self.hide(from, from + user);
                }
                if let Some(query) = query {
                    self.hide(from + query + 1, to);
                }
                at = to;
            } else if rest[0] == '?' {
                let name = length_of(&rest[1..], |character| {
                    character.is_ascii_alphanumeric() || "-_.%".contains(character)
                });
                let query = 1 + length_of(&rest[1..], is_url_character);
                if name > 0 && rest.get(1 + name) == Some(&'=') {
                    self.hide(at + 1, at + query);
                }
                at += 1 + name;
            } else {
                at += 1;
            }
        }
    }

    fn write(&self) -> String {
        let mut line = String::with_capacity(self.text.len());
        let mut was_hidden = false;
        for (character, hidden) in self.text.iter().zip(&self.hidden) {
            if !hidden {
                line.push(*character);
            } else if !was_hidden {
                line.push_str(MASK);
            }
            was_hidden = *hidden;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hidden_wherever_it_stands() {
        for text in [
            "Incorrect API key provided: hunter2hunter2.",
            "{\"key\":\"hunter2hunter2\"}",
            "header was xhunter2hunter2x",
            "HUNTER2HUNTER2",
        ] {
            let redacted = redact(text, &["hunter2hunter2"]);
            assert!(!redacted.to_lowercase().contains("hunter"), "{redacted}");
            assert!(redacted.contains(MASK), "{redacted}");
        }
    }

    #[test]
    fn what_looks_like_a_key_is_hidden_without_being_known() {
        for (text, redacted) in [
            ("provided: sk-proj-abc_DEF-123, find", "provided: ***, find"),
            ("key=sk-abc, then", "key=***, then"),
            (
                "Authorization: Bearer abc.def/ghi= end",
                "Authorization: Bearer *** end",
            ),
            ("Incorrect API key: my_s****cret is", "Incorrect API key: *** is"),
        ] {
            assert_eq!(redact(text, &[]), redacted);
        }
        assert_eq!(
            redact("a task-based risk-free desk", &[]),
            "a task-based risk-free desk"
        );
    }

    #[test]
    fn urls_lose_their_user_and_query() {
        assert_eq!(
            redact("see https://me:pw@x.example/a/b?sig=abc&se=1#frag, please", &[]),
            "see https://***@x.example/a/b?*** please"
        );
        assert_eq!(redact("GET /blob?sig=abc failed", &[]), "GET /blob?*** failed");
        assert_eq!(redact("ready? yes", &[]), "ready? yes");
        assert_eq!(redact("http://", &[]), "http://");
        assert_eq!(redact("x://?", &[]), "x://?");
    }

    #[test]
    fn a_repeated_prompt_is_hidden_in_every_spelling() {
        let prompt = "A \"wétt\" dragon\nüber the <old> harbour of Höfn, 龍龍龍龍龍龍龍龍龍龍龍龍龍";
        let ascii = forms(prompt).remove(2);
        for text in [
            format!("Prompt refused: {prompt}"),
            format!("raw {{\"prompt\":{}", serde_json::Value::from(prompt)),
            format!("raw {{\"prompt\":\"{ascii}\"}}"),
            "starts with A \"WÉTT\" DRAGON über the and ends".to_owned(),
        ] {
            let masked = mask(&text, &[], &[prompt]);
            for word in ["dragon", "harbour", "龍", "\\u9f8d"] {
                assert!(!masked.to_lowercase().contains(word), "{masked}");
            }
        }
    }

    #[test]
    fn a_short_prompt_is_hidden_as_a_word_only() {
        assert_eq!(mask("Refused: \"cat\".", &[], &["cat"]), "Refused: \"***\".");
        assert_eq!(
            mask("concatenated categories", &[], &["cat"]),
            "concatenated categories"
        );
        assert_eq!(mask("untouched", &[], &[]), "untouched");
    }

    #[test]
    fn a_quote_is_one_short_line() {
        let text = format!("a\r\n\tb\u{7}c\u{1b}[31m {}", "é".repeat(1000));
        let quoted = redact(&text, &[]);
        assert!(quoted.starts_with("a b c [31m é"), "{quoted}");
        assert_eq!(quoted.chars().count(), QUOTE_CHARS + 1);
        assert!(!quoted.chars().any(char::is_control));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_redaction_panic_or_keeps_the_key(before in ".{0,80}", after in ".{0,80}") {
            let text = format!("{before}SECRET-0123456789{after}");
            proptest::prop_assert!(!mask(&text, &["SECRET-0123456789"], &[&after]).contains("0123456"));
        }

        #[test]
        fn odd_urls_are_redacted_without_panic(text in "[a-z:/?#@=\" ]{0,60}") {
            let _ = redact(&text, &[]);
        }
    }
}
