//! The beginning of a package without what its prompts say, for people who need to know what it is and not what it asks for.

/// What stands in the place of a prompt.
const MASK: &str = "•••";

/// `text` is JSON that may be cut off anywhere. Of each field whose name ends with `prompt` the value is left out: a text, or all that
/// follows where it is anything else.
#[must_use]
pub fn without_prompts(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('"') {
        let (string, after) = string_at(&rest[open..]);
        masked.push_str(&rest[..open]);
        masked.push_str(string);
        rest = after;
        let value = after.trim_start().strip_prefix(':').map(str::trim_start);
        let Some(value) = value.filter(|_| is_prompt(string)) else {
            continue;
        };
        masked.push_str(&after[..after.len() - value.len()]);
        rest = match value.chars().next() {
            Some('"') => {
                masked.push_str(&format!("\"{MASK}\""));
                string_at(value).1
            }
            Some('n') => value,
            Some(_) => {
                masked.push_str(MASK);
                ""
            }
            None => "",
        };
    }
    masked.push_str(rest);
    masked
}

/// The string that `text` begins with, quotes included, and what follows it.
fn string_at(text: &str) -> (&str, &str) {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return text.split_at(at + 1),
            _ => {}
        }
    }
    (text, "")
}

/// Names may be written with escapes as well.
fn is_prompt(name: &str) -> bool {
    let name: String = serde_json::from_str(name).unwrap_or_default();
    name.to_lowercase().ends_with("prompt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prompts_say_is_left_out_however_they_are_written_and_wherever_they_end() {
        for (text, expected) in [
            (
                r#"{"jobId":1,"prompt": "a heron \"here\"","type":"x"}"#,
                r#"{"jobId":1,"prompt": "•••","type":"x"}"#,
            ),
            (r#"{"prompt":"a heron at"#, r#"{"prompt":"•••""#),
            (
                r#"{"negativePrompt" : "a heron"}"#,
                r#"{"negativePrompt" : "•••"}"#,
            ),
            (r#"{"pr\u006fmpt":"a heron"}"#, r#"{"pr\u006fmpt":"•••"}"#),
            (r#"{"prompt":["a heron"],"b":1}"#, r#"{"prompt":•••"#),
            (r#"{"prompt":null,"b":1}"#, r#"{"prompt":null,"b":1}"#),
            (
                r#"{"note":"prompt","a":"heron"}"#,
                r#"{"note":"prompt","a":"heron"}"#,
            ),
            (r#"{"prompt":"#, r#"{"prompt":"#),
            (r#"{"prompt"#, r#"{"prompt"#),
            ("a heron", "a heron"),
            ("", ""),
        ] {
            assert_eq!(without_prompts(text), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_of_a_prompt_is_left_where_it_is_cut(prompt in "[a-z]{9}\\PC{0,40}", end in 0_usize..200) {
            let package = serde_json::json!({"jobId": 1, "prompt": prompt}).to_string();
            let cut = package.char_indices().map(|(at, _)| at).take_while(|at| *at <= end).last().unwrap_or_default();
            let masked = without_prompts(&package[..cut]);
            proptest::prop_assert!(!masked.contains(&prompt[..9]), "{masked}");
        }
    }
}
