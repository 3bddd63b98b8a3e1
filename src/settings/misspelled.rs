//! Variables that nobody reads, and that look like ones that are.

use super::Variable;
use crate::environment::Environment;

/// Letters that a misspelling leaves out, adds, changes or exchanges.
const SLIPS: usize = 2;
/// A shorter name looks like too many others.
const SHORTEST: usize = 7;

/// A warning for each variable that is probably meant to be one of this service's. What belongs to others is left alone.
#[must_use]
pub fn misspelled(
    environment: &Environment,
    variables: impl Iterator<Item = &'static Variable>,
) -> Vec<String> {
    let known: Vec<String> = variables
        .flat_map(|variable| [variable.name.to_owned(), format!("{}_FILE", variable.name)])
        .collect();
    let mut warnings = Vec::new();
    for (name, _) in environment.iter() {
        if name.len() < SHORTEST || known.iter().any(|known| known == name) {
            continue;
        }
        let shouted = name.to_uppercase().replace('-', "_");
        let meant = known
            .iter()
            .filter(|known| known.len() >= SHORTEST)
            .map(|known| (slips(&shouted, known), known))
            .filter(|(slips, _)| *slips <= SLIPS)
            .min();
        if let Some((_, meant)) = meant {
            let beside = match environment.get(meant) {
                Some(_) => ", which is set as well",
                None => "",
            };
            warnings.push(format!(
                "{name}: nobody reads a variable of this name; did you mean {meant}{beside}?"
            ));
        }
    }
    warnings
}

/// A variable that is set and was probably meant to be this one.
pub(super) fn meant_to_be<'e>(environment: &'e Environment, name: &str) -> Option<&'e str> {
    let shouted = |found: &str| found.to_uppercase().replace('-', "_");
    let near = environment
        .iter()
        .map(|(found, _)| (slips(&shouted(found), name), found))
        .filter(|(slips, found)| *slips <= SLIPS && *found != name);
    near.min().map(|(_, found)| found)
}

/// How far apart two names are: not at all where only the order of their words differs, little where one of three or more is left
/// out (`OPENAI_KEY`).
fn slips(found: &str, known: &str) -> usize {
    let (found_words, known_words) = (words(found), words(known));
    let lacks_one = found_words.len() > 1 && found_words.len() + 1 == known_words.len();
    if found_words == known_words {
        0
    } else if lacks_one && found_words.iter().all(|word| known_words.contains(word)) {
        1
    } else {
        strsim::osa_distance(found, known)
    }
}

fn words(name: &str) -> Vec<&str> {
    let mut words: Vec<&str> = name.split('_').collect();
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::VARIABLES;

    #[test]
    fn what_is_nearly_a_variable_is_told_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("WORKER_CONCURENCY", Some("WORKER_CONCURRENCY")),
            ("HTP_ADDR", Some("HTTP_ADDR")),
            ("image_provider", Some("IMAGE_PROVIDER")),
            ("Redis-Url", Some("REDIS_URL")),
            ("DATABASE_URL_FIEL", Some("DATABASE_URL_FILE")),
            ("STROAGE_URL", Some("STORAGE_URL")),
            ("PUBLIC_BASE_URL", Some("PUBLIC_URL_BASE")),
            ("PUBLIC_URL", Some("PUBLIC_URL_BASE")),
            ("MAX_JOBS", None),
            ("REDIS_URL", None),
            ("DATABASE_URL_FILE", None),
            ("LANGUAGE", None),
            ("KUBERNETES_SERVICE_HOST", None),
            ("HOSTNAME", None),
            ("NODE_ENV", None),
        ] {
            let warnings = misspelled(&[(name, "x")].into_iter().collect(), VARIABLES.iter());
            match meant {
                None => assert!(warnings.is_empty(), "{warnings:?}"),
                Some(meant) => {
                    let end = format!("did you mean {meant}?");
                    assert!(
                        warnings.len() == 1 && warnings[0].ends_with(&end),
                        "{name}: {warnings:?}"
                    );
                }
            }
        }
        let both = [("WORKER_CONCURENCY", "50"), ("WORKER_CONCURRENCY", "10")];
        let warnings = misspelled(&both.into_iter().collect(), VARIABLES.iter());
        assert!(
            warnings.len() == 1
                && warnings[0].ends_with("did you mean WORKER_CONCURRENCY, which is set as well?"),
            "{warnings:?}"
        );
    }
}
