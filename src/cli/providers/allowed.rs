//! Whether `ALLOWED_MODELS` names models that there are, and leaves something to draw with.

use chrono::NaiveDate;

use crate::findings::Findings;
use crate::provider::ImageSpec;
use crate::provider::catalog;
use crate::provider::list::Providers;
use crate::provider::policy::allowed::AllowedModel;

/// Letters that a misspelling leaves out, adds, changes or exchanges.
const SLIPS: usize = 3;

/// Looks at all that it names.
pub(super) fn check(providers: &Providers, today: NaiveDate, findings: &mut Findings) {
    let Some(named) = providers.allowed().models() else {
        return;
    };
    for entry in named {
        if let Some(wrong) = unknown(entry) {
            findings.fail(format!("ALLOWED_MODELS: {wrong}"));
        } else if let Some(ended) = ended(entry, today) {
            findings.warn(format!("ALLOWED_MODELS: {ended}"));
        }
    }
    if !findings.has_failures() {
        look_for_work(providers, named, findings);
    }
}

/// Whether anything can be drawn, and what without naming a model.
fn look_for_work(providers: &Providers, named: &[AllowedModel], findings: &mut Findings) {
    let accepts = |name: &str, spec: &ImageSpec| {
        let provider = providers.select(Some(name));
        provider.is_ok_and(|provider| providers.accept(&*provider, spec).is_ok())
    };
    let is_of_use = |entry: &AllowedModel| {
        let mut qualities = entry.qualities.iter().cloned().map(Some).chain([None]);
        qualities.any(|quality| {
            let spec = ImageSpec {
                model: entry.model.clone(),
                quality,
                ..ImageSpec::default()
            };
            accepts(&entry.provider, &spec)
        })
    };
    if !named.iter().any(is_of_use) {
        let all: Vec<String> = named.iter().map(AllowedModel::name).collect();
        findings.fail(format!(
            "ALLOWED_MODELS: no package can be drawn: none of what it names ({}) can be used with the keys and addresses that are set; \
             add a provider that can, or set what is missing, which generative-ai-worker providers says",
            all.join(", ")
        ));
        return;
    }
    let Ok(default) = providers.select(None) else {
        return;
    };
    let spec = ImageSpec::default();
    // What else is wrong with it is told beside.
    let Some(refusal) = default
        .check(&spec)
        .ok()
        .and_then(|_| providers.accept(&*default, &spec).err())
    else {
        return;
    };
    let cure = format!(
        "add it to ALLOWED_MODELS, or make another one the default, by is_default in MODELS_FILE or by IMAGE_PROVIDER, where {} is now",
        default.name()
    );
    if providers.names().any(|name| accepts(name, &spec)) {
        findings.warn(format!(
            "ALLOWED_MODELS: packages that name neither imageProvider nor imageModel will fail: {refusal}; {cure}"
        ));
    } else {
        findings.fail(format!(
            "ALLOWED_MODELS: packages that name no imageModel cannot be drawn: {refusal}; {cure}"
        ));
    }
}

/// What no table of models has. Providers whose models are an operator's own have none there.
fn unknown(entry: &AllowedModel) -> Option<String> {
    let AllowedModel {
        provider,
        model,
        qualities,
    } = entry;
    let id = model.as_ref()?;
    let ids: Vec<&str> = catalog::all(provider).map(|model| model.id.as_str()).collect();
    if ids.is_empty() {
        return None;
    }
    let Some(model) = catalog::find(provider, id) else {
        let meant = match nearest(id, &ids) {
            Some(near) => format!("did you mean {provider}:{near}?"),
            None => format!("it has {}", ids.join(", ")),
        };
        return Some(format!("{provider} has no model {id:?}; {meant}"));
    };
    let known: Vec<&str> = model.qualities.iter().map(String::as_str).collect();
    let wrong = qualities
        .iter()
        .find(|quality| !known.contains(&quality.as_str()))?;
    let meant = match (nearest(wrong, &known), known.is_empty()) {
        (_, true) => "it has no choice of them: leave them out".to_owned(),
        (Some(near), false) => format!("did you mean {near}?"),
        (None, false) => format!("it has {}", known.join(", ")),
    };
    Some(format!("{id} of {provider} has no quality {wrong:?}; {meant}"))
}

fn ended(entry: &AllowedModel, today: NaiveDate) -> Option<String> {
    let model = catalog::find(&entry.provider, entry.model.as_ref()?)?;
    let successor = model.successor.as_deref().unwrap_or("another one");
    let ended = model.ends_on.filter(|ends_on| *ends_on <= today)?;
    Some(format!(
        "{} was shut down on {ended}; name {successor}",
        entry.name()
    ))
}

fn nearest<'n>(found: &str, names: &[&'n str]) -> Option<&'n str> {
    let near = names
        .iter()
        .map(|name| (strsim::osa_distance(found, name), *name));
    near.filter(|(slips, name)| *slips <= SLIPS && *slips < name.chars().count())
        .min()
        .map(|(_, name)| name)
}
