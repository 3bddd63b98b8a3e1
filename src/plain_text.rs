//! Text that somebody else has written, as a terminal, a line of a log or a column can bear it. Everything foreign that people
//! read passes through here: packages, answers of providers and stores, arguments of commands.

/// At most so many characters.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// In one line and without what a terminal would obey: parts of it may have been written by anybody.
#[must_use]
pub fn plain(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| {
            if breaks_line(c) || c == '\t' {
                ' '
            } else {
                shown(c)
            }
        })
        .collect();
    text.trim().to_owned()
}

/// One line for a column or an event: [`plain`], and no longer than this. No more of a long text is looked at than is kept.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    // What is dropped at its ends counts as well: no text is all blanks for longer than that by accident.
    let beginning = text
        .char_indices()
        .nth(most * 2)
        .map_or(text, |(end, _)| &text[..end]);
    let is_cut = beginning.len() < text.len();
    let line = plain(beginning);
    if is_cut && line.chars().count() < most {
        return format!("{line}…");
    }
    cut(&line, most)
}

fn shown(c: char) -> char {
    if c.is_control() || is_reordering(c) || is_unseen(c) {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

/// Also the separators that some viewers of logs take for the end of a line.
fn breaks_line(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Characters that turn the rest of a line around.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// Characters that nobody sees and that make one word look like another. Joiners stay: scripts and emoji need them.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_a_producer_has_written() {
        assert_eq!(plain("\u{1b}[2Ja\nb\u{202e}c "), "\u{fffd}[2Ja b\u{fffd}c");
        assert_eq!(plain("a\u{2028}b\u{9b}31m\u{200b}"), "a b\u{fffd}31m\u{fffd}");
        assert_eq!(plain("наука 科学 👩‍🚀 नमस्ते"), "наука 科学 👩‍🚀 नमस्ते");
    }

    #[test]
    fn a_long_text_is_cut_to_what_is_asked_for() {
        assert_eq!(one_line("abc", 3), "abc");
        assert_eq!(one_line("abcd", 3), "ab…");
        assert_eq!(one_line(&"x".repeat(200_000), 1_000).chars().count(), 1_000);
        assert_eq!(one_line(&format!("{}x", "\n".repeat(50)), 10), "…");
    }

    proptest! {
        #[test]
        fn one_line_is_one_line_of_bounded_length_that_stays_as_it_is(text: String, most in 1_usize..40) {
            let line = one_line(&text, most);
            prop_assert!(line.chars().count() <= most, "{line:?}");
            prop_assert!(!line.chars().any(|c| c.is_control() || breaks_line(c) || is_reordering(c)), "{line:?}");
            prop_assert_eq!(&one_line(&line, most), &line);
        }
    }
}
