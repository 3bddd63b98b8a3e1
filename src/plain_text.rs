//! Text that somebody else has written, as a terminal, a line of a log or a column can bear it.

/// At most so many characters.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
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
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() || is_reordering(c) => '\u{fffd}',
            c => c,
        })
        .collect();
    text.trim().to_owned()
}

/// Characters that turn the rest of a line around.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_a_producer_has_written() {
        assert_eq!(plain("\u{1b}[2Ja\nb\u{202e}c "), "\u{fffd}[2Ja b\u{fffd}c");
    }
}
