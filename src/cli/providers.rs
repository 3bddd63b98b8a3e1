//! `providers`: which there are, what they draw and how it stands with them.

mod allowed;
mod budgets;
mod resume;

use std::collections::HashMap;
use std::time::Duration;

use chrono::{NaiveDate, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::ExitStatus;
use crate::config::{Environment, ProviderSettings};
use crate::findings::{Checked, Findings};
use crate::http_client::Downloads;
use crate::ops::words::now_of;
use crate::provider::catalog::{self, Model};
use crate::provider::list::Providers;
use crate::provider::{ImageProvider, ImageSpec};
use crate::queue::{ProviderState, QueueSettings, Redis};
use crate::work_package::Word;
use crate::worker::Budgets;

/// How long the list waits for Redis, which need not be there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes every provider, configured or not.
///
/// # Errors
/// When a provider's settings cannot be used.
pub(super) fn all(config: &ProviderSettings) -> anyhow::Result<Providers> {
    catalog::install(config.models.clone());
    let downloads = Downloads::new(config.allow_private_result_urls)?;
    let all = config.services.build(&downloads)?;
    let providers = Providers::new(all, &config.default, config.fallbacks.clone());
    Ok(providers.allowing(config.allowed.clone()))
}

/// Looks at their settings, without asking any of them: whether those that the configuration names can be used, whether models that
/// can be used end soon, what packages are allowed to ask for, and what no budget pays.
///
/// # Errors
/// As [`all`].
pub(super) fn check(config: &ProviderSettings, budgets: &Budgets) -> anyhow::Result<Checked<Providers>> {
    let mut findings = Findings::about("providers");
    let providers = all(config)?;
    let today = Utc::now().date_naive();
    for provider in providers.iter() {
        let name = provider.name();
        match provider.check(&ImageSpec::default()) {
            Err(refusal) if name == config.default && config.is_chosen => {
                findings.fail(format!("IMAGE_PROVIDER: {name} cannot be used: {refusal}"));
            }
            // Every package may name one of its own.
            Err(refusal) if name == config.default => findings.warn(format!(
                "IMAGE_PROVIDER: is not set, so packages that name no imageProvider are for {name} and will fail: {refusal}"
            )),
            Err(refusal) if config.fallbacks.iter().any(|fallback| fallback == name) => {
                findings.fail(format!("IMAGE_PROVIDER_FALLBACKS: {name} cannot be used: {refusal}"));
            }
            Err(_) => {}
            Ok(_) => {
                for model in catalog::all(name).filter(|model| model.ends_soon(today)) {
                    findings.warn(format!("{name}: its model {} {}", model.id, model.end_in_words()));
                }
            }
        }
    }
    allowed::check(&providers, today, &mut findings);
    budgets::check(budgets, &providers, &mut findings);
    let service = Some(providers);
    Ok(Checked { findings, service })
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ProvidersArguments {
    #[command(subcommand)]
    command: Option<ProvidersCommand>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ProvidersCommand {
    /// End a pause that a provider has asked for, or let it be called again after failures, on all replicas
    Resume(resume::ResumeArguments),
}

/// A provider, as people see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    is_configured: bool,
    is_default: bool,
    is_free: bool,
    /// Why it cannot be used.
    missing: Option<String>,
    default_model: Option<String>,
    /// Why and for how long it is not called; `None` = it is well, or Redis cannot be reached.
    state: Option<ProviderState>,
    models: Vec<ShownModel<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownModel<'a> {
    id: &'a str,
    sizes: String,
    qualities: &'a [String],
    backgrounds: Vec<&'static str>,
    moderations: Vec<&'static str>,
    complexities: Vec<&'static str>,
    formats: Vec<&'static str>,
    has_seeds: bool,
    prompt_max_chars: usize,
    negative_prompt_max_chars: Option<usize>,
    /// How many pictures it takes to make one from.
    reference_images: usize,
    price: Option<String>,
    ends_on: Option<NaiveDate>,
    successor: Option<&'a str>,
}

pub(super) async fn run(
    arguments: &ProvidersArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    if let Some(ProvidersCommand::Resume(arguments)) = &arguments.command {
        return resume::resume(arguments, environment).await;
    }
    let config = ProviderSettings::from_environment(environment)?;
    let providers = all(&config)?;
    let today = Utc::now().date_naive();
    let mut states = states(&providers, environment).await;
    let shown: Vec<Shown<'_>> = providers
        .iter()
        .map(|provider| Shown {
            state: states.remove(provider.name()),
            ..show(&**provider, providers.name_of(None), today)
        })
        .collect();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&shown)?);
    } else {
        print!("{}", text(&shown, today));
    }
    Ok(ExitStatus::Done)
}

/// How it stands with providers, where Redis can be reached.
async fn states(providers: &Providers, environment: &Environment) -> HashMap<String, ProviderState> {
    let redis = QueueSettings::from_environment(environment)
        .map_err(anyhow::Error::from)
        .and_then(|settings| Redis::new(&settings));
    let Ok(redis) = redis else {
        return HashMap::new();
    };
    let names: Vec<&str> = providers.iter().map(|provider| provider.name()).collect();
    let states = tokio::time::timeout(PATIENCE, redis.provider_states(&names)).await;
    states.ok().and_then(Result::ok).unwrap_or_default()
}

fn show<'a>(provider: &'a dyn ImageProvider, default: &str, today: NaiveDate) -> Shown<'a> {
    let checked = provider.check(&ImageSpec::default());
    Shown {
        name: provider.name(),
        is_configured: checked.is_ok(),
        is_default: provider.name() == default,
        is_free: provider.is_free(),
        missing: checked.as_ref().err().map(ToString::to_string),
        default_model: checked.ok().map(|checked| checked.model),
        state: None,
        models: catalog::all(provider.name())
            .filter(|model| !model.has_ended(today))
            .map(|model| ShownModel {
                id: &model.id,
                sizes: model.sizes.to_string(),
                qualities: &model.qualities,
                backgrounds: words(&model.backgrounds),
                moderations: words(&model.moderations),
                complexities: words(&model.complexities),
                formats: words(&model.formats),
                has_seeds: model.has_seeds,
                prompt_max_chars: model.prompt_max_chars,
                negative_prompt_max_chars: model.negative_prompt_max_chars,
                reference_images: model.references.as_ref().map_or(0, |taken| taken.most),
                price: price(model),
                ends_on: model.ends_on,
                successor: model.successor.as_deref(),
            })
            .collect(),
    }
}

fn words<W: Word>(words: &[W]) -> Vec<&'static str> {
    words.iter().map(|word| word.as_str()).collect()
}

fn price(model: &Model) -> Option<String> {
    let picture = model.usd_per_image.map(|usd| format!("about ${usd} a picture"));
    let tokens = model
        .usd_per_million_tokens
        .as_ref()
        .map(|prices| format!("${} for a million image tokens", prices.image_out));
    picture.or(tokens)
}

fn text(all: &[Shown<'_>], today: NaiveDate) -> String {
    let mut text = String::new();
    for provider in all {
        let state = match (&provider.missing, provider.is_free) {
            (Some(missing), _) => format!("not configured: {missing}"),
            (None, true) => "ready, free of charge".to_owned(),
            (None, false) if provider.state.as_ref().is_some_and(ProviderState::is_shut) => {
                "configured".to_owned()
            }
            (None, false) => "ready".to_owned(),
        };
        let default = if provider.is_default { " (default)" } else { "" };
        let now = provider
            .state
            .as_ref()
            .map(|state| format!("; {}", now_of(state)));
        let now = now.unwrap_or_default();
        text.push_str(&format!("{}{default}: {state}{now}\n", provider.name));
        if !provider.is_configured {
            continue;
        }
        if provider.models.is_empty()
            && let Some(model) = &provider.default_model
        {
            text.push_str(&format!("  {model}\n"));
        }
        for model in &provider.models {
            let mark = if provider.default_model.as_deref() == Some(model.id) {
                "*"
            } else {
                " "
            };
            text.push_str(&format!("  {mark} {}\n      sizes: {}\n", model.id, model.sizes));
            if !model.qualities.is_empty() {
                text.push_str(&format!("      qualities: {}\n", model.qualities.join(", ")));
            }
            for (what, words) in [("backgrounds", &model.backgrounds), ("formats", &model.formats)] {
                if !words.is_empty() {
                    text.push_str(&format!("      {what}: {}\n", words.join(", ")));
                }
            }
            if let Some(price) = &model.price {
                text.push_str(&format!("      price: {price}\n"));
            }
            let successor = model.successor.unwrap_or("nothing");
            match model.ends_on {
                Some(ends_on) => {
                    let days = (ends_on - today).num_days();
                    text.push_str(&format!(
                        "      ends on {ends_on}, in {days} days; then {successor}\n"
                    ));
                }
                None if model.successor.is_some() => {
                    text.push_str(&format!("      is deprecated; use {successor} instead\n"));
                }
                None => {}
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PROVIDERS;

    #[test]
    fn a_model_is_warned_about_in_its_last_sixty_days() {
        let model = catalog::find("openai", "gpt-image-1.5").unwrap();
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        assert!(!model.ends_soon(day("2026-10-01")));
        assert!(model.ends_soon(day("2026-10-02")));
        assert!(model.ends_soon(day("2026-11-30")));
        assert!(!model.ends_soon(day("2026-12-01")), "it has ended");
        assert_eq!(
            model.end_in_words(),
            "ends on 2026-12-01; use gpt-image-2.6-sunburst instead"
        );
    }

    #[test]
    fn what_is_ready_is_shown_with_its_models_and_what_is_not_with_the_reason() {
        crate::http_client::install_tls();
        let environment = Environment::from_iter([("GEMINI_API_KEY", "k")]);
        let config = ProviderSettings::from_environment(&environment).unwrap();
        let providers = all(&config).unwrap();
        let today = "2026-11-25".parse().unwrap();
        let shown: Vec<_> = providers
            .iter()
            .map(|provider| show(&**provider, "openai", today))
            .collect();
        let text = text(&shown, today);
        assert!(text.contains("openai (default): not configured:"), "{text}");
        assert!(text.contains("OPENAI_API_KEY"), "{text}");
        assert!(
            text.contains("\ngemini: ready\n  * gemini-nano-banana-2.1\n"),
            "{text}"
        );
        assert!(text.contains("\nbuiltin: ready, free of charge\n"), "{text}");
        assert_eq!(shown.len(), PROVIDERS.len());
    }
}
