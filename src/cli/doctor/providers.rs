//! The image providers: whether their keys are accepted. Asks only what is free.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::config::{PROVIDERS, ProviderSettings};
use crate::findings::Findings;
use crate::ops::words::now_of;
use crate::provider::catalog;
use crate::provider::list::Providers;
use crate::provider::wire::account::{Account, AccountAnswer};
use crate::provider::{ImageProvider, ImageSpec};
use crate::queue::Redis;

/// What those that can be used say of this account, beside what a look at their settings finds.
pub(super) async fn advise(
    config: &ProviderSettings,
    providers: &Providers,
    redis: Option<&Redis>,
    is_offline: bool,
) -> Findings {
    let mut findings = Findings::about("providers");
    if let Some(redis) = redis {
        calls(&mut findings, redis).await;
    }
    let (configured, missing): (Vec<_>, Vec<_>) = providers
        .iter()
        .partition(|provider| provider.check(&ImageSpec::default()).is_ok());
    let names = |of: Vec<&Arc<dyn ImageProvider>>| of.into_iter().map(|one| one.name()).collect::<Vec<_>>();
    let (configured, missing) = (names(configured), names(missing));
    let is_needed =
        |name: &str| name == config.default || config.fallbacks.iter().any(|fallback| fallback == name);
    let asked = configured.iter().map(|name| async {
        let question = config.services.question(name).filter(|_| !is_offline);
        match question {
            Some(question) => Some(question.ask().await),
            None => None,
        }
    });
    for (name, answer) in configured.iter().zip(join_all(asked).await) {
        if let Some(AccountAnswer::Accepted(account)) = &answer {
            tell_ends(&mut findings, name, account);
        }
        tell_answer(&mut findings, name, answer, is_needed(name));
    }
    let not_needed: Vec<_> = missing.into_iter().filter(|name| !is_needed(name)).collect();
    if !not_needed.is_empty() {
        findings.ok(format!(
            "not configured and not needed: {}",
            not_needed.join(", ")
        ));
    }
    findings
}

/// Of models that are drawn with: where the service names another end than the table of models, which decides what is refused.
fn tell_ends(findings: &mut Findings, name: &str, account: &Account) {
    for (id, ends_on) in &account.ends {
        let Some(model) = catalog::find(name, id).filter(|model| model.ends_on != Some(*ends_on)) else {
            continue;
        };
        let known = match model.ends_on {
            Some(known) => format!("on {known}"),
            None => "of no end".to_owned(),
        };
        findings.warn(format!(
            "{name}: its service shuts {id} down on {ends_on}, and this version knows {known}: choose another model by then, \
             and set ends_on in MODELS_FILE"
        ));
    }
}

/// Whether replicas call them, whatever they answer now.
async fn calls(findings: &mut Findings, redis: &Redis) {
    let states = match redis.provider_states(&PROVIDERS).await {
        Ok(states) => states,
        Err(error) => {
            findings.warn(format!("whether replicas call them cannot be told: {error}"));
            return;
        }
    };
    let mut is_any = false;
    for name in PROVIDERS {
        let Some(state) = states.get(name).filter(|state| state.is_shut()) else {
            continue;
        };
        is_any = true;
        let now = now_of(state);
        findings.warn(format!(
            "{name}: {now}. The log and dead list say why; generative-ai-worker providers resume {name} has it called at once"
        ));
    }
    if !is_any {
        findings.ok("replicas call each of them");
    }
}

fn tell_answer(findings: &mut Findings, name: &str, answer: Option<AccountAnswer>, is_needed: bool) {
    match answer {
        None if matches!(name, "builtin" | "blank") => findings.ok(format!("{name}: draws by itself")),
        None => findings.ok(format!("{name}: configured, not checked")),
        Some(AccountAnswer::Accepted(Account { credits, .. })) => match credits {
            None => findings.ok(format!("{name}: its service accepts this account")),
            Some(credits) if credits > 0.0 => findings.ok(format!(
                "{name}: its service accepts this account, which has {credits} credits"
            )),
            Some(_) => findings.warn(format!(
                "{name}: this account has no credit: pay, or packages for it will fail"
            )),
        },
        Some(AccountAnswer::Refused(status)) => {
            let text = format!("{name}: its service refuses this account ({status}): set another key");
            if is_needed {
                findings.fail(text);
            } else {
                findings.warn(text);
            }
        }
        Some(AccountAnswer::Unclear(why)) => findings.warn(format!(
            "{name}: its service could not be asked: {why}; look at its address and the way to it"
        )),
    }
}
