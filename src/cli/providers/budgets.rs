//! Whether what the configured providers draw by default can be paid from the budgets at all.

use crate::findings::Findings;
use crate::provider::ImageSpec;
use crate::provider::list::Providers;
use crate::worker::{Budgets, Scope, in_dollars};

/// Warns of every provider whose pictures no budget will ever pay.
pub(in crate::cli) fn check(budgets: &Budgets, providers: &Providers, findings: &mut Findings) {
    for provider in providers.iter() {
        let name = provider.name();
        let is_its = |scope| matches!(scope, Scope::Provider(of) if of == name);
        if provider.is_free() {
            if budgets.all.iter().any(|budget| is_its(budget.scope)) {
                findings.warn(format!(
                    "BUDGETS: {name} costs nothing, so its budget is never used"
                ));
            }
            continue;
        }
        let Ok(spec) = provider.check(&ImageSpec::default()) else {
            continue;
        };
        let counts = |scope: Scope| !matches!(scope, Scope::Provider(of) if of != name);
        let of_it: Vec<_> = budgets.all.iter().filter(|budget| counts(budget.scope)).collect();
        let model = &spec.model;
        match provider.estimate_usd(&spec) {
            None if !of_it.is_empty() => findings.warn(format!(
                "BUDGETS: nobody knows what a picture of {model} of {name} costs: {} fail; add its usd_per_image to MODELS_FILE",
                such_jobs(of_it.iter().all(|budget| budget.scope == Scope::User))
            )),
            None => {}
            Some(usd) => {
                for budget in of_it.into_iter().filter(|budget| usd > budget.usd) {
                    findings.warn(format!(
                        "BUDGETS: a picture of {model} of {name} costs about {}, which is more than {}: {} fail; raise it, or \
                         have packages ask for a cheaper model or quality",
                        in_dollars(usd),
                        budget.in_words(),
                        such_jobs(budget.scope == Scope::User)
                    ));
                }
            }
        }
    }
}

/// Those that a budget is for: one of users is for jobs that say whose they are.
fn such_jobs(is_of_users: bool) -> &'static str {
    match is_of_users {
        true => "such jobs with a userId",
        false => "such jobs",
    }
}
