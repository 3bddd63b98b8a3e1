//! The image providers: whether those that packages need are configured, whether their keys are accepted, and which
//! models end soon. Asks only what is free.

use chrono::Utc;
use futures_util::future::join_all;

use super::super::providers::{all, end_of, ends_soon};
use crate::config::ProviderSettings;
use crate::findings::Findings;
use crate::provider::account::{AccountAnswer, AccountQuestion, HasAccount};
use crate::provider::{ImageSpec, models};

pub(super) async fn look(config: &ProviderSettings, is_offline: bool) -> anyhow::Result<Findings> {
    let mut findings = Findings::about("providers");
    let providers = all(config)?;
    let needed: Vec<&str> = std::iter::once(config.default.as_str())
        .chain(config.fallbacks.iter().map(String::as_str))
        .collect();
    let mut missing = Vec::new();
    let mut configured = Vec::new();
    for provider in providers.iter() {
        match provider.check(&ImageSpec::default()) {
            Ok(checked) => configured.push((provider.name(), checked.model)),
            Err(refusal) if needed.contains(&provider.name()) => findings.fail(format!(
                "{}, which IMAGE_PROVIDER or IMAGE_PROVIDER_FALLBACKS names: {refusal}",
                provider.name()
            )),
            Err(_) => missing.push(provider.name()),
        }
    }
    let asked = configured.iter().map(|(name, _)| async {
        let question = question(config, name).filter(|_| !is_offline);
        match question {
            Some(question) => Some(question.ask().await),
            None => None,
        }
    });
    let answers = join_all(asked).await;
    let today = Utc::now().date_naive();
    for ((name, model), answer) in configured.iter().zip(answers) {
        tell_answer(&mut findings, name, answer, needed.contains(name));
        let ending = models::all(name).find(|known| known.id == *model && ends_soon(known, today));
        if let Some(ending) = ending {
            findings.warn(format!("{name}: its model {} {}", ending.id, end_of(ending)));
        }
    }
    if !missing.is_empty() {
        findings.ok(format!("not configured and not needed: {}", missing.join(", ")));
    }
    Ok(findings)
}

fn tell_answer(findings: &mut Findings, name: &str, answer: Option<AccountAnswer>, is_needed: bool) {
    match answer {
        None if matches!(name, "builtin" | "blank") => findings.ok(format!("{name}: draws by itself")),
        None => findings.ok(format!("{name}: configured, not checked")),
        Some(AccountAnswer::Accepted(None)) => {
            findings.ok(format!("{name}: its service accepts this account"))
        }
        Some(AccountAnswer::Accepted(Some(credits))) if credits > 0.0 => findings.ok(format!(
            "{name}: its service accepts this account, which has {credits} credits"
        )),
        Some(AccountAnswer::Accepted(Some(_))) => {
            findings.warn(format!(
                "{name}: this account has no credit: pay, or packages for it will fail"
            ));
        }
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

/// What can be asked for free.
fn question(config: &ProviderSettings, name: &str) -> Option<AccountQuestion> {
    let settings: &dyn HasAccount = match name {
        "openai" => &config.openai,
        "flux" => &config.replicate,
        "gemini" => &config.gemini,
        "bfl" => &config.bfl,
        "stability" => &config.stability,
        "openaiCompatible" => &config.openai_compatible,
        "automatic1111" => &config.automatic1111,
        "comfyui" => &config.comfyui,
        _ => return None,
    };
    settings.question()
}
