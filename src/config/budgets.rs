//! What may be spent: `BUDGETS`, `BUDGET_ACTION`, `BUDGET_TIMEZONE`.

use chrono_tz::Tz;

use crate::provider::list::PROVIDERS;
use crate::settings::Reader;
use crate::worker::{Budget, BudgetAction, Budgets, Period, Scope};

pub(super) fn budgets(reader: &mut Reader<'_>) -> Budgets {
    let text = reader.text("BUDGETS").unwrap_or_default();
    let mut all: Vec<Budget> = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match budget(item) {
            Ok(budget) if all.iter().any(|other| other.name() == budget.name()) => reader.fault(format!(
                "BUDGETS: \"{item}\" was found, and {} has a budget before it; write each once",
                budget.name()
            )),
            Ok(budget) => all.push(budget),
            Err(wrong) => reader.fault(format!("BUDGETS: {wrong}")),
        }
    }
    Budgets {
        all,
        action: reader.or_default("BUDGET_ACTION", action),
        zone: reader.or_default("BUDGET_TIMEZONE", zone),
    }
}

/// `openai:50/day`, `total:500/month`
fn budget(item: &str) -> Result<Budget, String> {
    let wrong = || {
        format!(
            "\"{item}\" was found; write a provider, user, collection or total, then dollars and day or month, for example \
             openai:50/day or total:500/month"
        )
    };
    let (scope, rest) = item.split_once(':').ok_or_else(wrong)?;
    let (usd, period) = rest.split_once('/').ok_or_else(wrong)?;
    let scope = match scope.trim() {
        "total" => Scope::Total,
        "user" => Scope::User,
        "collection" => Scope::Collection,
        name => {
            let known = PROVIDERS.into_iter().find(|provider| *provider == name);
            let unknown = || {
                format!(
                    "\"{item}\" was found, and {name} is nobody's name; total, user, collection, {} are accepted",
                    PROVIDERS.join(", ")
                )
            };
            Scope::Provider(known.ok_or_else(unknown)?)
        }
    };
    let period = match period.trim() {
        "day" => Period::Day,
        "month" => Period::Month,
        _ => return Err(wrong()),
    };
    let is_amount = |usd: &f64| *usd > 0.0 && *usd <= 1e9;
    let usd =
        usd.trim().parse().ok().filter(is_amount).ok_or_else(|| {
            format!("\"{item}\" was found; dollars above 0 are accepted, such as 50 or 0.5")
        })?;
    Ok(Budget { scope, usd, period })
}

fn action(text: &str) -> Result<BudgetAction, String> {
    match text {
        "wait" => Ok(BudgetAction::Wait),
        "fail" => Ok(BudgetAction::Fail),
        _ => Err(format!("\"{text}\" was found; wait and fail are accepted")),
    }
}

fn zone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| {
        format!("\"{text}\" was found; a name of the IANA time zone database is accepted, such as UTC or Europe/Berlin")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_has_a_scope_dollars_and_a_period() {
        for (item, scope, usd, period) in [
            ("openai:50/day", Scope::Provider("openai"), 50.0, Period::Day),
            ("user: 0.5 / day", Scope::User, 0.5, Period::Day),
            ("collection:10/month", Scope::Collection, 10.0, Period::Month),
            ("total:500/month", Scope::Total, 500.0, Period::Month),
        ] {
            assert_eq!(budget(item), Ok(Budget { scope, usd, period }));
        }
        for wrong in [
            "openai",
            "openai:50",
            "openai:50/week",
            "openai:/day",
            "openai:0/day",
            "openai:-1/day",
            "openai:inf/day",
            "openai:NaN/day",
            "openai:1e10/day",
            "openai:5$/day",
            "nobody:5/day",
            ":5/day",
        ] {
            budget(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn zones_have_the_names_that_the_world_gives_them() {
        assert_eq!(zone("Europe/Berlin"), Ok(Tz::Europe__Berlin));
        assert_eq!(zone("UTC"), Ok(Tz::UTC));
        zone("Berlin").unwrap_err();
    }
}
