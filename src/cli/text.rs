//! What commands print for people: tables, and times for machines.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

pub(super) use crate::ops::words::{age, age_of_seconds, time};
use crate::plain_text::{cut, plain};

/// Where a column's values stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows below one another, columns as wide as they need to be, the last one cut at `width` characters of the line.
pub(super) fn table(columns: &[(&str, Align)], rows: &[Vec<String>], width: Option<usize>) -> String {
    let header: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| {
            let cells = std::iter::once(&header).chain(rows).filter_map(|row| row.get(i));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[i].saturating_sub(cell.chars().count()));
            let is_last = i + 1 == row.len();
            match columns[i].1 {
                Align::Left if is_last => line.push_str(cell),
                Align::Left => line.push_str(&format!("{cell}{padding}  ")),
                Align::Right => line.push_str(&format!("{padding}{cell}{}", if is_last { "" } else { "  " })),
            }
        }
        let line = line.trim_end();
        text.push_str(&width.map_or_else(|| line.to_owned(), |width| cut(line, width)));
        text.push('\n');
    }
    text
}

/// Reads an age as people write it: `90s`, `30m`, `12h`, `2d`.
pub(super) fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "no age was found; write for example 30m, 12h or 2d".to_owned();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

/// A time for machines, as in events.
pub(super) fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// How many characters a line of the terminal has; `None` where standard output is none.
pub(super) fn line_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns >= 20)
}

/// Prints one line to standard output, whatever is in it.
///
/// # Errors
/// As [`print`].
pub(super) fn say(line: &str) -> anyhow::Result<()> {
    print(&format!("{}\n", plain(line)))
}

/// Prints to standard output, as it is: foreign parts of it have to be plain already. Nobody has to read all of it: a closed pipe is no error.
///
/// # Errors
/// When it cannot be written for another reason, such as a full disk.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_one_another_and_lines_end_where_the_terminal_does() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned(), "short".to_owned()],
            vec!["boat".to_owned(), "12".to_owned(), "a long reason".to_owned()],
        ];
        let columns = [("id", Align::Left), ("no", Align::Right), ("reason", Align::Left)];
        assert_eq!(
            table(&columns, &rows, Some(18)),
            "id    no  reason\na      1  short\nboat  12  a long …\n"
        );
        assert!(table(&columns, &rows, None).ends_with("a long reason\n"));
    }

    #[test]
    fn ages_are_read_in_the_units_that_people_use() {
        assert_eq!(parse_age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_age("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["", "2", "d", "2 days", "-1h", "99999999999999999999d"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
    }
}
