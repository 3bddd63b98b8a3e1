//! Who gets how much: limits, weights of the lists, turns.

use std::collections::BTreeMap;

use super::values::provider_name;
use crate::queue::{Fairness, Limit, Priority, Weights};
use crate::work_package::WORK_TYPES;

pub(super) fn provider_limits(text: &str) -> Result<BTreeMap<String, Limit>, String> {
    limits(text, "openai", provider_name)
}

pub(super) fn work_type_limits(text: &str) -> Result<BTreeMap<String, Limit>, String> {
    limits(text, WORK_TYPES[0], |name| {
        if WORK_TYPES.contains(&name) {
            Ok(name.to_owned())
        } else {
            Err(format!(
                "\"{name}\" was found; accepted: {}",
                WORK_TYPES.join(", ")
            ))
        }
    })
}

/// `openai:5` (at once, over all replicas), `openai:2/replica` and `openai:20/min`, separated by commas.
fn limits(
    text: &str,
    example: &str,
    name_of: impl Fn(&str) -> Result<String, String>,
) -> Result<BTreeMap<String, Limit>, String> {
    let mut limits: BTreeMap<String, Limit> = BTreeMap::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let wrong = || {
            format!(
                "\"{item}\" was found; write for example {example}:5 for so many at once, {example}:2/replica for so many at once on \
                 each replica, {example}:20/min for so many within a minute"
            )
        };
        let (name, number) = item.split_once(':').ok_or_else(wrong)?;
        let limit = limits.entry(name_of(name)?).or_default();
        let (field, number) = match number.split_once('/') {
            None => (&mut limit.open, number),
            Some((number, "replica")) => (&mut limit.per_replica, number),
            Some((number, "min")) => (&mut limit.per_minute, number),
            Some(_) => return Err(wrong()),
        };
        *field = number
            .parse()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(wrong)?;
    }
    Ok(limits)
}

/// `critical:20,low:2`: shares of the lists that are named; the others keep theirs.
pub(super) fn weights(text: &str) -> Result<Weights, String> {
    let mut weights = Weights::default();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let wrong = || {
            format!(
                "\"{item}\" was found; write critical, high, normal or low with a number from 1 to 1000, for example critical:20,low:2"
            )
        };
        let (name, number) = item.split_once(':').ok_or_else(wrong)?;
        let priority = Priority::ALL
            .into_iter()
            .find(|priority| priority.as_str() == name.trim())
            .ok_or_else(wrong)?;
        let number = number
            .trim()
            .parse()
            .ok()
            .filter(|number| (1..=1000).contains(number));
        *weights.of(priority) = number.ok_or_else(wrong)?;
    }
    Ok(weights)
}

pub(super) fn fairness(text: &str) -> Result<Fairness, String> {
    match text {
        "off" => Ok(Fairness::Off),
        "collection" => Ok(Fairness::Collection),
        "user" => Ok(Fairness::User),
        _ => Err(format!(
            "\"{text}\" was found; collection, user and off are accepted"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_for_all_replicas_for_each_and_within_a_minute() {
        let limits = provider_limits("openai:5, openai:2/replica,openai:20/min,flux:1,").unwrap();
        let openai = Limit {
            open: 5,
            per_replica: 2,
            per_minute: 20,
        };
        let flux = Limit {
            open: 1,
            ..Limit::default()
        };
        let expected = BTreeMap::from([("openai".to_owned(), openai), ("flux".to_owned(), flux)]);
        assert_eq!(limits, expected);
        assert_eq!(provider_limits("").unwrap(), BTreeMap::new());
        for wrong in [
            "openai",
            "openai:0",
            "openai:x",
            "openai:5/hour",
            "openai:-1",
            "nobody:5",
        ] {
            provider_limits(wrong).expect_err(wrong);
        }
        assert!(work_type_limits("collection-image:3").is_ok());
        assert_eq!(
            work_type_limits("video:3").unwrap_err(),
            "\"video\" was found; accepted: collection-image, delete-image"
        );
    }

    #[test]
    fn lists_that_are_not_named_keep_their_weight() {
        assert_eq!(weights("low:7, critical:9"), Ok(Weights([9, 10, 5, 7])));
        assert_eq!(weights(""), Ok(Weights::default()));
        for wrong in ["urgent:1", "low", "low:0", "low:1001", "low:x"] {
            weights(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn three_words_say_who_takes_turns() {
        assert_eq!(fairness("off"), Ok(Fairness::Off));
        assert_eq!(fairness("collection"), Ok(Fairness::Collection));
        assert_eq!(fairness("user"), Ok(Fairness::User));
        fairness("on").unwrap_err();
    }
}
