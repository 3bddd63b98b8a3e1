//! What may be spent (`BUDGETS`): which budgets a call counts for, when their days and months begin, and what people are told where
//! one is spent. Postgres takes from them, in the statement that writes a call down.

use std::time::Duration;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use crate::db::{Charge, Reservation, SpentBudget};
use crate::failure::{ErrorClass, Failure};
use crate::work_package::ImageWork;

/// Whose spending a budget is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    Total,
    /// Each user's; packages that name none are not counted.
    User,
    /// Each collection's.
    Collection,
    /// At one provider.
    Provider(&'static str),
}

/// How long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the next.
    Month,
}

/// One of `BUDGETS`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Whose spending it is about.
    pub scope: Scope,
    /// What may be spent.
    pub usd: f64,
    /// Within what.
    pub period: Period,
}

/// What happens to a job whose budget is spent (`BUDGET_ACTION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetAction {
    /// It waits for the next period.
    Wait,
    /// It has failed.
    Fail,
}

/// All that is set about spending.
#[derive(Clone, Debug)]
pub struct Budgets {
    /// `BUDGETS`; empty: anything may be spent.
    pub all: Vec<Budget>,
    /// `BUDGET_ACTION`
    pub action: BudgetAction,
    /// `BUDGET_TIMEZONE`: where days and months begin at midnight.
    pub zone: Tz,
}

impl Scope {
    /// The word in `BUDGETS`, in metrics and in Postgres.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::User => "user",
            Self::Collection => "collection",
            Self::Provider(name) => name,
        }
    }
}

impl Period {
    /// The word in `BUDGETS`, in metrics and in Postgres.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// When periods begin around a time: the last one, this one, the next and the next but one.
    fn turns(self, now: DateTime<Utc>, zone: Tz) -> Vec<DateTime<Utc>> {
        let today = now.with_timezone(&zone).date_naive();
        let first = match self {
            Self::Day => today.checked_sub_days(Days::new(1)),
            Self::Month => today
                .with_day(1)
                .and_then(|day| day.checked_sub_months(Months::new(1))),
        };
        let later = |first: NaiveDate, count: u32| match self {
            Self::Day => first.checked_add_days(Days::new(count.into())),
            Self::Month => first.checked_add_months(Months::new(count)),
        };
        let days = first
            .into_iter()
            .flat_map(|first| (0..4).filter_map(move |count| later(first, count)));
        days.map(|day| beginning(day, zone)).collect()
    }
}

/// The first moment of a day: not midnight everywhere, as some zones change their clocks at midnight.
fn beginning(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    let quarters = (0..12).map(|quarter| midnight + TimeDelta::minutes(15 * quarter));
    let mut there = quarters.filter_map(|time| time.and_local_timezone(zone).earliest());
    there
        .next()
        .map_or_else(|| midnight.and_utc(), |time| time.with_timezone(&Utc))
}

impl Budget {
    /// `openai/day`
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.scope.as_str(), self.period.as_str())
    }

    /// `$2.00 a day for each user`
    #[must_use]
    pub fn in_words(&self) -> String {
        let for_whom = match self.scope {
            Scope::Total => "in all".to_owned(),
            Scope::User => "for each user".to_owned(),
            Scope::Collection => "for each collection".to_owned(),
            Scope::Provider(name) => format!("for {name}"),
        };
        format!("{} a {} {for_whom}", in_dollars(self.usd), self.period.as_str())
    }

    /// Whose row a call of this work at this provider counts in; `None`: it does not count.
    fn whose(&self, provider: &str, work: &ImageWork) -> Option<String> {
        match self.scope {
            Scope::Total => Some(String::new()),
            Scope::Provider(name) => (name == provider).then(String::new),
            Scope::User => work.user_id.map(|user_id| user_id.to_string()),
            Scope::Collection => Some(format!("{}/{}", work.collection_type, work.collection_id)),
        }
    }
}

impl Budgets {
    /// Scopes, periods and limits, as Postgres is asked about them.
    #[must_use]
    pub fn asked(&self) -> Vec<(&'static str, &'static str, f64)> {
        let asked = |budget: &Budget| (budget.scope.as_str(), budget.period.as_str(), budget.usd);
        self.all.iter().map(asked).collect()
    }

    /// What a call may cost, and the budgets that it is taken from. `None`: it counts for none.
    ///
    /// # Errors
    /// Where it can never be made: nobody knows its price, or it costs more than a whole budget.
    pub(super) fn reservation(
        &self,
        work: &ImageWork,
        (provider, model): (&str, &str),
        estimate_usd: Option<f64>,
    ) -> Result<Option<Reservation>, Failure> {
        let counts = |budget: &&Budget| budget.whose(provider, work).is_some();
        let of_call: Vec<&Budget> = self.all.iter().filter(counts).collect();
        if of_call.is_empty() {
            return Ok(None);
        }
        let Some(usd) = estimate_usd else {
            let message = format!(
                "Nobody knows what a picture of {model} of {provider} costs, and budgets are set here, so it is not asked for one. \
                 Choose another model, or have an operator add its usd_per_image to MODELS_FILE, and start the job again."
            );
            return Err(Failure::new(ErrorClass::OverBudget, message).finally());
        };
        if let Some(budget) = of_call.iter().find(|budget| usd > budget.usd) {
            let message = format!(
                "A picture of {model} of {provider} costs about {}, which is more than the whole budget of {}. Choose a cheaper \
                 model or quality, or have an operator raise BUDGETS, and start the job again.",
                in_dollars(usd),
                budget.in_words()
            );
            return Err(Failure::new(ErrorClass::OverBudget, message).finally());
        }
        let now = Utc::now();
        let charges = of_call.into_iter().filter_map(|budget| {
            Some(Charge {
                scope: budget.scope.as_str(),
                whose: budget.whose(provider, work)?,
                period: budget.period.as_str(),
                limit_usd: budget.usd,
                turns: budget.period.turns(now, self.zone),
            })
        });
        Ok(Some(Reservation {
            usd,
            charges: charges.collect(),
        }))
    }

    /// What people are told of a job whose budget is spent.
    pub(super) fn failure(&self, spent: &SpentBudget) -> Failure {
        let until = spent.opens_at.with_timezone(&self.zone).format("%Y-%m-%d %H:%M");
        let (name, zone) = (&spent.name, self.zone);
        let is_its = |budget: &&Budget| {
            name.split('/').next() == Some(budget.scope.as_str()) && name.ends_with(budget.period.as_str())
        };
        let words = self
            .all
            .iter()
            .find(is_its)
            .map(Budget::in_words)
            .unwrap_or_default();
        let (action, cure) = match self.action {
            BudgetAction::Wait => ("It waits, until then at the most.", ""),
            BudgetAction::Fail => (
                "It was not asked for.",
                " Start the job again after that, or have an operator raise BUDGETS.",
            ),
        };
        let message = format!(
            "The budget of {words} has not enough left for this picture until {until} ({zone}). {action}{cure}"
        );
        let failure = Failure::new(ErrorClass::OverBudget, message).with_details(format!("budget {name}"));
        match self.action {
            BudgetAction::Wait => failure.with_retry_after(Some(
                Duration::try_from_secs_f64(spent.opens_in_s).unwrap_or_default(),
            )),
            BudgetAction::Fail => failure.finally(),
        }
    }
}

/// `$2.00`, `$0.053`
#[must_use]
pub fn in_dollars(usd: f64) -> String {
    let cents = usd * 100.0;
    if (cents - cents.round()).abs() < 1e-9 {
        format!("${usd:.2}")
    } else {
        format!("${usd}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(period: Period, now: &str, zone: &str) -> Vec<String> {
        let now = DateTime::parse_from_rfc3339(now).unwrap().with_timezone(&Utc);
        let turns = period.turns(now, zone.parse().unwrap());
        turns
            .iter()
            .map(|turn| turn.format("%m-%dT%H:%M").to_string())
            .collect()
    }

    #[test]
    fn days_and_months_begin_where_the_zone_has_its_midnight() {
        assert_eq!(
            turns(Period::Day, "2026-11-30T23:30:00Z", "Europe/Berlin"),
            ["11-29T23:00", "11-30T23:00", "12-01T23:00", "12-02T23:00"]
        );
        assert_eq!(
            turns(Period::Month, "2026-11-30T23:30:00Z", "Europe/Berlin"),
            ["10-31T23:00", "11-30T23:00", "12-31T23:00", "01-31T23:00"]
        );
        assert_eq!(
            turns(Period::Month, "2026-11-30T23:30:00Z", "UTC"),
            ["10-01T00:00", "11-01T00:00", "12-01T00:00", "01-01T00:00"]
        );
    }

    #[test]
    fn a_day_whose_clocks_change_begins_all_the_same() {
        // 23 hours and 25.
        assert_eq!(
            turns(Period::Day, "2026-03-29T12:00:00Z", "Europe/Berlin"),
            ["03-27T23:00", "03-28T23:00", "03-29T22:00", "03-30T22:00"]
        );
        // Its clocks went from midnight to one.
        assert_eq!(
            turns(Period::Day, "2018-11-04T12:00:00Z", "America/Sao_Paulo"),
            ["11-03T03:00", "11-04T03:00", "11-05T02:00", "11-06T02:00"]
        );
    }

    #[test]
    fn dollars_have_cents_and_more_where_they_need_them() {
        for (usd, text) in [
            (2.0, "$2.00"),
            (0.5, "$0.50"),
            (0.053, "$0.053"),
            (1234.5, "$1234.50"),
        ] {
            assert_eq!(in_dollars(usd), text);
        }
    }
}
