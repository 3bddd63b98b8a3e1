//! How much of a budget is used up, in one sentence.

use super::time;
use crate::db::BudgetUse;
use crate::queue::BudgetPark;
use crate::worker::{Budget, Budgets};

/// A sentence for each budget of which four fifths or more are used up, or that something waits for: it may have too little left for one
/// more picture.
pub(crate) fn near_budgets(budgets: &Budgets, uses: &[BudgetUse], parks: &[BudgetPark]) -> Vec<String> {
    let near = uses.iter().filter_map(|used| {
        let parked = parked(used, parks);
        (used.is_near() || parked > 0).then(|| sentence(budgets, used, parked))
    });
    near.collect()
}

/// Packages that wait for a budget, whosever.
pub(crate) fn parked(used: &BudgetUse, parks: &[BudgetPark]) -> u64 {
    let is_its = |park: &&BudgetPark| {
        park.budget.split('/').next() == Some(&used.scope) && park.budget.ends_with(&used.period)
    };
    parks.iter().filter(is_its).map(|park| park.parked).sum()
}

fn sentence(budgets: &Budgets, used: &BudgetUse, parked: u64) -> String {
    let of_it =
        |budget: &&Budget| budget.scope.as_str() == used.scope && budget.period.as_str() == used.period;
    let words = budgets.all.iter().find(of_it).map(Budget::in_words);
    let whose = match (&used.whose, used.near) {
        (None, _) => String::new(),
        (Some(whose), 0 | 1) => format!(" by {} {whose}", used.scope),
        (Some(whose), near) => format!(" by {} {whose}, and nearly so by {} others", used.scope, near - 1),
    };
    let until = used.ends_at.map(time).unwrap_or_default();
    let waits = match parked {
        0 => String::new(),
        1 => "; 1 package waits for it".to_owned(),
        parked => format!("; {parked} packages wait for it"),
    };
    format!(
        "The budget of {} is used up to {} %{whose}: {} until {until}{waits}.",
        words.unwrap_or_default(),
        used.percent(),
        in_cents(used.used_usd)
    )
}

/// `$41.20`
pub(crate) fn in_cents(usd: f64) -> String {
    format!("${usd:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{BudgetAction, Period, Scope};

    #[test]
    fn a_budget_that_is_nearly_used_up_says_whose_it_is_and_what_waits() {
        let budget = |scope, usd| Budget {
            scope,
            usd,
            period: Period::Day,
        };
        let budgets = Budgets {
            all: vec![budget(Scope::Provider("openai"), 50.0), budget(Scope::User, 2.0)],
            action: BudgetAction::Wait,
            zone: chrono_tz::UTC,
        };
        let used = |scope: &str, limit_usd, used_usd, whose: Option<&str>, near| BudgetUse {
            scope: scope.to_owned(),
            period: "day".to_owned(),
            limit_usd,
            used_usd,
            whose: whose.map(str::to_owned),
            ends_at: chrono::DateTime::from_timestamp(1_796_083_200, 0),
            near,
        };
        let park = |budget: &str, parked| BudgetPark {
            budget: budget.to_owned(),
            parked,
        };
        let parks = [
            park("user/7/day", 2),
            park("user/8/day", 1),
            park("openaiCompatible/day", 9),
        ];
        let uses = [
            used("openai", 50.0, 41.2, None, 1),
            used("user", 2.0, 2.0, Some("7"), 3),
        ];
        assert_eq!(
            near_budgets(&budgets, &uses, &parks),
            [
                "The budget of $50.00 a day for openai is used up to 82 %: $41.20 until 2026-12-01 00:00:00 UTC.",
                "The budget of $2.00 a day for each user is used up to 100 % by user 7, and nearly so by 2 others: $2.00 until \
                 2026-12-01 00:00:00 UTC; 3 packages wait for it."
            ]
        );
        let half = [used("openai", 50.0, 39.99, None, 0)];
        assert!(near_budgets(&budgets, &half, &parks).is_empty());
        let waits = [park("openai/day", 1)];
        assert!(near_budgets(&budgets, &half, &waits)[0].ends_with("UTC; 1 package waits for it."));
    }
}
