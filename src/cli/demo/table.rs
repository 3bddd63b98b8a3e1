//! A table for a terminal.

use std::fmt::Write;

use super::story::End;

/// One line per package, columns as wide as they need to be.
pub(super) fn render(ends: &[End]) -> String {
    let title_width = ends
        .iter()
        .map(|end| end.title.chars().count())
        .max()
        .unwrap_or(0)
        .max("package".len());
    let mut table = format!(
        "  {:<title_width$}  {:>3}  {:<8}  result\n",
        "package", "job", "status"
    );
    let _ = writeln!(
        table,
        "  {}  {}  {}  {}",
        "─".repeat(title_width),
        "─".repeat(3),
        "─".repeat(8),
        "─".repeat(40)
    );
    for end in ends {
        let job = end
            .job_id
            .map_or_else(|| "-".to_owned(), |job_id| job_id.to_string());
        let _ = writeln!(
            table,
            "  {:<title_width$}  {job:>3}  {:<8}  {}",
            end.title, end.status, end.result
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_one_another() {
        let end = |title, job_id, status, result: &str| End {
            title,
            job_id,
            status,
            result: result.to_owned(),
        };
        let table = render(&[
            end("an icon", Some(1), "done", "/pictures/a.png"),
            end("broken JSON", None, "refused", "The package is not valid JSON"),
        ]);
        assert_eq!(
            table,
            "  package      job  status    result\n\
             \x20 ───────────  ───  ────────  ────────────────────────────────────────\n\
             \x20 an icon        1  done      /pictures/a.png\n\
             \x20 broken JSON    -  refused   The package is not valid JSON\n"
        );
    }
}
