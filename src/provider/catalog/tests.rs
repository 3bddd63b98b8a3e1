//! The table itself, and what the documents say of it.

use std::collections::HashSet;

use super::*;

#[test]
fn the_table_is_consistent() {
    let mut ids = HashSet::new();
    for model in TABLE.iter() {
        let name = &model.id;
        for id in model.aliases.iter().chain([name]) {
            assert!(ids.insert((&model.provider, id)), "{id} is there twice");
            assert_eq!(find(&model.provider, id).unwrap().id, *name);
        }
        assert!(model.ends_on.is_none() || model.successor.is_some(), "{name}");
        if let Some(successor) = &model.successor {
            let successor = find(&model.provider, successor).unwrap();
            assert!(
                successor.ends_on.is_none() && successor.successor.is_none(),
                "{name} is followed by a model that ends or is deprecated"
            );
        }
        for size in [&model.default_size.icon, &model.default_size.otherwise] {
            assert_eq!(model.sizes.accept(size).as_ref(), Some(size), "{name}");
        }
        assert_eq!(
            model.qualities.is_empty(),
            model.default_quality.is_none(),
            "{name}"
        );
        assert!(
            model
                .default_quality
                .iter()
                .all(|quality| model.qualities.contains(quality)),
            "{name}"
        );
        let is_png_asked_for = model.formats.contains(&OutputFormat::Png);
        assert!(is_png_asked_for || model.formats.is_empty(), "{name}");
        assert!(model.prompt_max_chars > 0, "{name}");
    }
    let providers: HashSet<&str> = TABLE.iter().map(|model| model.provider.as_str()).collect();
    for provider in providers {
        assert_eq!(all(provider).filter(|model| model.is_default).count(), 1);
    }
}

/// What stands between backticks.
fn words(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_reference_tells_of_the_models_that_answer_and_what_they_take() {
    let section = include_str!("../../../docs/reference/models.md");
    let mut told = HashSet::new();
    for row in section.lines().filter(|line| line.starts_with("| `openai`")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [provider, ids, sizes, qualities] = cells[..] else {
            panic!("{row} has other columns");
        };
        let ends_on = provider
            .split_once(" until ")
            .map(|(_, day)| day.trim().parse().unwrap());
        for id in words(ids) {
            let model = find("openai", &id).unwrap();
            assert_eq!(model.ends_on, ends_on, "{id}");
            let named_default = ids.contains(&format!("`{id}` (default)"));
            assert_eq!(model.is_default, named_default, "{id}");
            // From 2.5 on there are two qualities more, after a semicolon.
            let (of_all, of_later) = qualities.split_once(';').unwrap_or((qualities, ""));
            let mut expected = words(of_all);
            if model.qualities.len() > expected.len() {
                expected.extend(words(of_later));
            }
            assert_eq!(model.qualities, expected, "{id}");
            let listed: Vec<String> = words(sizes)
                .into_iter()
                .filter(|size| model.sizes.free.is_none() || size != "WxH")
                .collect();
            assert_eq!(model.sizes.listed, listed, "{id}");
            told.insert(id);
        }
    }
    told.extend(words(section));
    for model in TABLE.iter().filter(|model| model.ends_on.is_none()) {
        let (id, provider) = (&model.id, &model.provider);
        assert!(
            told.contains(id) && told.contains(provider),
            "docs/reference/models.md does not mention {id} of {provider}"
        );
    }
}

#[test]
fn an_operators_own_models_come_first() {
    let table = parse(include_str!("models.json")).unwrap();
    let mut own = table[0].clone();
    own.prompt_max_chars = 7;
    own.is_default = false;
    let mut new = own.clone();
    (new.id, new.is_default) = ("gpt-image-9".to_owned(), true);
    let count = table.len();
    let merged = merged(table, vec![own.clone(), new]);
    assert_eq!(merged.len(), count + 1);
    assert_eq!(merged[0].prompt_max_chars, 7);
    let defaults: Vec<_> = merged
        .iter()
        .filter(|model| model.provider == own.provider && model.is_default)
        .map(|model| model.id.as_str())
        .collect();
    assert_eq!(defaults, ["gpt-image-9"]);
    assert!(parse("[{\"provider\": 1}]").unwrap_err().contains("line 1"));
}

#[test]
fn a_model_ends_at_the_beginning_of_its_day() {
    let model = find("openai", "gpt-image-1.5-2025-12-16").unwrap();
    let day = |text: &str| text.parse::<NaiveDate>().unwrap();
    assert!(!model.has_ended(day("2026-11-30")));
    assert!(model.has_ended(day("2026-12-01")));
    assert!(
        !find("openai", "gpt-image-2")
            .unwrap()
            .has_ended(day("2099-01-01"))
    );
}

#[test]
fn ends_and_successors_are_those_that_the_services_have_named() {
    let nano = Some("gemini-nano-banana-2.1");
    for (provider, id, ends_on, successor) in [
        (
            "openai",
            "gpt-image-1.5",
            Some("2026-12-01"),
            Some("gpt-image-2.6-sunburst"),
        ),
        (
            "openai",
            "gpt-image-1-mini",
            Some("2026-12-01"),
            Some("gpt-image-2.6-flare"),
        ),
        (
            "openai",
            "chatgpt-image-latest",
            Some("2026-12-01"),
            Some("gpt-image-2.6-sunburst"),
        ),
        ("gemini", "gemini-nano-banana-2.1", None, None),
        ("gemini", "gemini-3.1-flash-image", None, nano),
        ("gemini", "gemini-3-pro-image", None, None),
        ("gemini", "gemini-3.1-flash-lite-image", None, None),
        ("gemini", "gemini-2.5-flash-image", Some("2027-03-15"), nano),
        ("imagen", "gemini-nano-banana-2.1", None, None),
        ("imagen", "gemini-3.1-flash-image", Some("2027-05-28"), nano),
        ("imagen", "gemini-3-pro-image", Some("2027-05-28"), nano),
        ("imagen", "gemini-3.1-flash-lite-image", None, None),
        ("imagen", "gemini-2.5-flash-image", Some("2027-03-15"), nano),
        (
            "imagen",
            "imagen-4.0-ultra-generate-001",
            Some("2026-08-17"),
            nano,
        ),
    ] {
        let model = find(provider, id).unwrap();
        let found = model.ends_on.map(|day| day.to_string());
        assert_eq!(
            (found.as_deref(), model.successor.as_deref()),
            (ends_on, successor),
            "{provider} {id}"
        );
    }
    for provider in ["gemini", "imagen"] {
        let model = all(provider).find(|model| model.is_default).unwrap();
        assert_eq!(Some(&*model.id), nano);
        assert_eq!(model.sizes.accept("8:1@4K").as_deref(), Some("8:1@4K"));
        assert_eq!(model.sizes.accept("1:1@512"), None);
    }
    assert!(find("openai", "gpt-image-2.6-flare-2026-11-04").is_none());
}

#[test]
fn pixels_become_the_nearest_shape() {
    let ratios = ["1:1", "16:9", "9:16", "3:2"].map(str::to_owned);
    let nearest = |width, height| nearest_ratio(&ratios, width, height);
    assert_eq!(nearest(1024, 1024).as_deref(), Some("1:1"));
    assert_eq!(nearest(1792, 1024).as_deref(), Some("16:9"));
    assert_eq!(nearest(1024, 1792).as_deref(), Some("9:16"));
    assert_eq!(nearest(1536, 1024).as_deref(), Some("3:2"));
    assert_eq!(nearest(0, 0), None);
}

proptest::proptest! {
    #[test]
    fn a_free_size_is_within_all_bounds_or_refused(width in 0_u32..5000, height in 0_u32..5000) {
        let sizes = &find("openai", "gpt-image-2").unwrap().sizes;
        let (longer, shorter) = (f64::from(width.max(height)), f64::from(width.min(height)));
        let right = shorter > 0.0
            && width % 16 == 0
            && height % 16 == 0
            && longer <= 3840.0
            && longer / shorter <= 3.0
            && (655_360.0..=8_294_400.0).contains(&(longer * shorter));
        let size = format!("{width}x{height}");
        proptest::prop_assert_eq!(sizes.accept(&size), right.then_some(size));
    }
}
