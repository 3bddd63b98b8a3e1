use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn limits() -> PackageLimits {
    PackageLimits {
        max_bytes: 262_144,
        reply_prefix: "{generative-ai}:reply:".to_owned(),
        callback_origins: ["https://example.org", "https://h"]
            .map(str::to_owned)
            .into_iter()
            .collect(),
    }
}

fn package() -> Value {
    json!({"type": "collection-image", "jobId": 42, "prompt": "a paper boat", "collectionType": "group", "collectionId": "7"})
}

fn with(name: &str, value: Value) -> Value {
    let mut package = package();
    package[name] = value;
    package
}

fn parse(package: &Value) -> Result<WorkPackage, Rejection> {
    WorkPackage::parse(package.to_string().as_bytes(), &limits())
}

fn image(package: &Value) -> ImageWork {
    match parse(package).unwrap().work {
        Work::CollectionImage(work) => *work,
        other => panic!("no image: {other:?}"),
    }
}

/// A picture with a transparent background, in this format.
fn see_through(format: &str) -> Value {
    let mut package = with("background", json!("transparent"));
    package["outputFormat"] = json!(format);
    package
}

#[test]
fn options_are_read_and_auto_asks_for_nothing() {
    let mut asked = see_through("webp");
    asked["moderation"] = json!("low");
    asked["complexity"] = json!("high");
    let expected = ImageOptions {
        background: Some(Background::Transparent),
        moderation: Some(Moderation::Low),
        complexity: Some(Complexity::High),
        output_format: Some(OutputFormat::Webp),
    };
    assert_eq!(image(&asked).options, expected);
    for nothing in [json!("auto"), json!(""), json!(null)] {
        let mut asked = with("background", nothing.clone());
        asked["moderation"] = nothing.clone();
        asked["complexity"] = nothing;
        assert_eq!(image(&asked).options, ImageOptions::default());
    }
}

#[test]
fn a_minimal_package_is_accepted() {
    let parsed = parse(&package()).unwrap();
    assert_eq!(parsed.job_id, 42);
    assert_eq!(parsed.work.type_name(), "collection-image");
    let work = image(&package());
    assert_eq!(work.image_type, ImageType::Collection);
    assert_eq!(
        (work.collection_type.as_str(), work.collection_id.as_str()),
        ("group", "7")
    );
    assert_eq!((work.provider, work.model, work.user_id), (None, None, None));
}

#[test]
fn ids_are_accepted_as_numbers_and_as_texts_of_digits() {
    for id in [json!(42), json!("42"), json!(42.0), json!("0042")] {
        assert_eq!(parse(&with("jobId", id)).unwrap().job_id, 42);
    }
    assert_eq!(image(&with("userId", json!("3"))).user_id, Some(3));
    assert_eq!(image(&with("collectionId", json!(9))).collection_id, "9");
    assert_eq!(
        image(&with("collectionId", json!("a_b-9"))).collection_id,
        "a_b-9"
    );
}

#[test]
fn only_the_exact_word_icon_selects_an_icon() {
    assert_eq!(
        image(&with("imageType", json!("icon"))).image_type,
        ImageType::Icon
    );
    for other in [
        json!("logo"),
        json!("Icon"),
        json!("other"),
        json!(null),
        json!(""),
    ] {
        assert_eq!(image(&with("imageType", other)).image_type, ImageType::Collection);
    }
}

#[test]
fn an_unknown_type_is_a_value_and_not_a_parse_error() {
    let parsed = parse(&json!({"type": "video", "jobId": 1})).unwrap();
    assert_eq!(parsed.work, Work::Unknown("video".to_owned()));
}

#[test]
fn a_picture_to_be_deleted_is_named_by_its_number_or_its_address() {
    let read = |rest: Value| {
        let mut package = json!({"type": "delete-image", "jobId": 1, "prompt": 7, "imageType": [1]});
        package
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        parse(&package)
            .map(|package| package.work)
            .map_err(|rejection| rejection.message)
    };
    let url = "https://h/a.png".to_owned();
    for (rest, image_id, image_url) in [
        (json!({"imageId": "7"}), Some(7), None),
        (json!({"imageUrl": url}), None, Some(url.clone())),
        (
            json!({"imageId": 7.0, "imageUrl": url}),
            Some(7),
            Some(url.clone()),
        ),
        (json!({"imageId": 7, "imageUrl": ""}), Some(7), None),
    ] {
        assert_eq!(
            read(rest),
            Ok(Work::DeleteImage(DeletionWork { image_id, image_url }))
        );
    }
    let missing = "imageId: nothing was found; imageId or imageUrl is required".to_owned();
    for rest in [json!({}), json!({"imageId": null, "imageUrl": ""})] {
        assert_eq!(read(rest), Err(missing.clone()));
    }
    assert!(
        read(json!({"imageId": 0}))
            .unwrap_err()
            .starts_with("imageId: 0 was found")
    );
    assert!(
        read(json!({"imageUrl": "x".repeat(2_049)}))
            .unwrap_err()
            .starts_with("imageUrl: 2049 characters")
    );
    assert!(
        read(json!({"imageUrl": "https://h/a\u{0}.png"}))
            .unwrap_err()
            .starts_with("imageUrl: a control character was found")
    );
}

#[test]
fn each_rejection_names_the_field_what_was_found_and_what_is_accepted() {
    let cases = [
        (
            with("jobId", json!("x1")),
            "jobId: \"x1\" was found; an integer from 1 to 2147483647, as a number or a text of digits is accepted",
        ),
        (with("jobId", json!(0)), "jobId: 0 was found"),
        (
            with("jobId", json!(2_147_483_648_i64)),
            "jobId: 2147483648 was found",
        ),
        (with("jobId", json!(1.5)), "jobId: 1.5 was found"),
        (with("jobId", json!(null)), "jobId: nothing was found"),
        (with("type", json!(7)), "type: 7 was found; a text is accepted"),
        (
            with("prompt", json!(null)),
            "prompt: nothing was found; a text of 1 to 32000 characters is required",
        ),
        (with("prompt", json!(" \n")), "prompt: only white space was found"),
        (
            with("prompt", json!("x".repeat(32_001))),
            "prompt: 32001 characters were found",
        ),
        (with("prompt", json!(["secret idea"])), "prompt: a list was found"),
        (with("userId", json!("abc")), "userId: \"abc\" was found"),
        (
            with("collectionType", json!("../up")),
            "collectionType: \"../up\" was found; 1 to 64 of the characters",
        ),
        (
            with("collectionType", json!(null)),
            "collectionType: nothing was found",
        ),
        (
            with("collectionId", json!("a/b")),
            "collectionId: \"a/b\" was found",
        ),
        (with("collectionId", json!(-1)), "collectionId: -1 was found"),
        (
            with("imageModel", json!(5)),
            "imageModel: 5 was found; a text is accepted",
        ),
        (
            with("seed", json!("x")),
            "seed: \"x\" was found; an integer from -9007199254740991 to 9007199254740991 is accepted",
        ),
        (
            with("background", json!("clear")),
            "background: \"clear\" was found; transparent, opaque or auto is accepted",
        ),
        (
            with("moderation", json!("none")),
            "moderation: \"none\" was found; low or auto is accepted",
        ),
        (
            with("outputFormat", json!("gif")),
            "outputFormat: \"gif\" was found; png, jpeg or webp is accepted",
        ),
        (
            with("outputFormat", json!(["png"])),
            "outputFormat: a list was found; png, jpeg or webp is accepted",
        ),
        (
            see_through("jpeg"),
            "outputFormat: \"jpeg\" was found; with a transparent background png or webp is accepted",
        ),
        (
            with("notBefore", json!("soon")),
            "notBefore: \"soon\" was found; a time such as",
        ),
        (
            with("replyTo", json!("other:list")),
            "replyTo: \"other:list\" was found; the name of a list that starts with \"{generative-ai}:reply:\"",
        ),
        (
            with("callbackUrl", json!("http://h/x?token=s3cret")),
            "callbackUrl: a URL of http://h was found, which CALLBACK_HOSTS does not allow",
        ),
    ];
    for (package, expected) in cases {
        let rejection = parse(&package).unwrap_err();
        assert!(
            rejection.message.starts_with(expected),
            "{}\nshould start with\n{expected}",
            rejection.message
        );
        assert!(!rejection.message.contains("secret"), "{}", rejection.message);
    }
}

#[test]
fn a_rejection_still_knows_the_job_to_tell() {
    assert_eq!(parse(&with("prompt", json!(null))).unwrap_err().job_id, Some(42));
    assert_eq!(parse(&with("jobId", json!("x"))).unwrap_err().job_id, None);
}

#[test]
fn what_is_not_a_json_object_is_refused_by_name() {
    let message = |raw: &[u8]| WorkPackage::parse(raw, &limits()).unwrap_err().message;
    assert!(message(b"{\"type\":").starts_with("The package is not valid JSON: EOF"));
    assert_eq!(
        message(b"[1]"),
        "The package is a list; a JSON object is accepted"
    );
    assert_eq!(
        message(b"\"x\""),
        "The package is a text; a JSON object is accepted"
    );
    assert_eq!(
        message(b"{\xff}"),
        "The package is not UTF-8 text (first wrong byte at 1)"
    );
    assert!(message(&vec![b'['; 100_000]).starts_with("The package is not valid JSON: recursion limit"));
    assert!(message(&vec![b' '; 262_145]).starts_with("The package has 262145 bytes; at most 262144"));
}

#[test]
fn times_are_accepted_as_rfc_3339_as_unix_seconds_and_as_unix_milliseconds() {
    for time in [
        json!("2026-11-22T10:00:00Z"),
        json!("2026-11-22T11:00:00+01:00"),
        json!(1_795_341_600_000_i64),
        json!(1_795_341_600_000.0),
        json!(1_795_341_600),
        json!(1_795_341_600.0),
    ] {
        let parsed = parse(&with("notBefore", time)).unwrap();
        assert_eq!(
            parsed.not_before.unwrap().to_rfc3339(),
            "2026-11-22T10:00:00+00:00"
        );
    }
}

#[test]
fn parts_of_seconds_are_kept_and_what_is_no_time_is_refused() {
    let parsed = parse(&with("notBefore", json!(1_795_341_600.25))).unwrap();
    assert_eq!(parsed.not_before.unwrap().timestamp_millis(), 1_795_341_600_250);
    for time in [
        json!(1e300),
        json!(-1e300),
        json!(true),
        json!([1]),
        json!("1795341600"),
    ] {
        assert!(parse(&with("deadline", time.clone())).is_err(), "{time}");
    }
}

#[test]
fn a_name_in_another_case_is_named() {
    let mut package = package();
    let prompt = package["prompt"].take();
    package["Prompt"] = prompt;
    let rejection = parse(&package).unwrap_err();
    assert_eq!(
        rejection.message,
        "prompt: \"Prompt\" was found, which is another name; a text of 1 to 32000 characters is required"
    );
    let rejection = parse(&json!({"type": "collection-image", "job_id": 42})).unwrap_err();
    assert!(
        rejection.message.contains("(1) jobId: \"job_id\" was found"),
        "{rejection}"
    );
    assert_eq!(rejection.job_id, Some(42));
}

#[test]
fn the_job_is_known_whenever_its_number_can_be_found() {
    let text = package().to_string();
    let latin1 = [&text.as_bytes()[..text.len() - 1], b",\"x\":\"caf\xe9\"}"].concat();
    let bytes = |text: String| text.into_bytes();
    for raw in [
        latin1,
        bytes(format!("{text}\0")),
        bytes(format!("{text},")),
        bytes(format!("[{text}]")),
        bytes(text.replace("42", "\"42 \"")),
        bytes(text[..text.len() - 1].to_owned()),
        bytes(text.clone() + &" ".repeat(300_000)),
    ] {
        let rejection = WorkPackage::parse(&raw, &limits()).unwrap_err();
        assert_eq!(rejection.job_id, Some(42), "{}", raw.escape_ascii());
    }
}

#[test]
fn a_profile_fixes_provider_model_size_and_quality() {
    let mut package = with("imageGenerationProfile", json!("aoiIcon"));
    package["imageType"] = json!("icon");
    package["generationContext"] = json!("aoiIconPublic");
    package["imageQuality"] = json!("high");
    let work = image(&package);
    let chosen = (
        work.provider.as_deref(),
        work.model.as_deref(),
        work.size.as_deref(),
        work.quality.as_deref(),
    );
    assert_eq!(
        chosen,
        (
            Some("openai"),
            Some("gpt-image-2"),
            Some("1024x1024"),
            Some("low")
        )
    );
}

#[test]
fn a_profile_is_refused_where_it_does_not_belong() {
    let with_profile = |name: &str, context: &str, image_type: &str| {
        let mut package = with("imageGenerationProfile", json!(name));
        package["generationContext"] = json!(context);
        package["imageType"] = json!(image_type);
        parse(&package).unwrap_err().message
    };
    assert_eq!(
        with_profile("nope", "", ""),
        "Unsupported image generation profile: nope"
    );
    assert_eq!(
        with_profile("aoiIcon", "regularAiImage", "icon"),
        "Image generation profile aoiIcon is not allowed for regularAiImage"
    );
    assert_eq!(
        with_profile("regularAiImage", "regularAiImage", "icon"),
        "Image generation profile regularAiImage only supports logo images"
    );
}

#[test]
fn a_trace_context_that_is_none_is_ignored() {
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(
        parse(&with("traceparent", json!(valid)))
            .unwrap()
            .traceparent
            .as_ref()
            .map(TraceParent::as_str),
        Some(valid)
    );
    for other in [json!("00-xyz"), json!(5), json!("")] {
        assert_eq!(parse(&with("traceparent", other)).unwrap().traceparent, None);
    }
}

#[test]
fn a_prompt_prints_as_its_length() {
    let printed = format!("{:?}", parse(&package()).unwrap());
    assert!(printed.contains("Prompt(12 characters)"), "{printed}");
    assert!(!printed.contains("paper boat"), "{printed}");
}

#[test]
fn schema_and_parser_agree() {
    let schema = jsonschema::validator_for(&json_schema(&limits())).unwrap();
    let packages = [
        package(),
        json!({"type": "video", "jobId": 1}),
        json!({"type": "video"}),
        json!([]),
        json!({"type": "collection-image", "jobId": 1}),
        with("jobId", json!("17")),
        with("jobId", json!("seventeen")),
        with("jobId", json!(0)),
        with("jobId", json!(4_294_967_296_i64)),
        with("prompt", json!("")),
        with("prompt", json!("  ")),
        with("prompt", json!("x".repeat(32_000))),
        with("prompt", json!("x".repeat(32_001))),
        with("userId", json!(null)),
        with("userId", json!(-5)),
        with("collectionType", json!("a b")),
        with("collectionId", json!(12)),
        with("collectionId", json!(-12)),
        with("collectionId", json!("x".repeat(65))),
        with("imageModel", json!(null)),
        with("imageModel", json!({})),
        with("seed", json!(-3)),
        with("seed", json!("3")),
        with("seed", json!("")),
        with("seed", json!(1e300)),
        with("seed", json!(9_007_199_254_740_991_i64)),
        with("collectionId", json!(1e20)),
        with("imageGenerationProfile", json!("aoiIcon")),
        with("imageGenerationProfile", json!("another")),
        with(
            "referenceImages",
            json!([
                "https://cdn.example.org/a.png?sig=1",
                "ypGenAi/group/7/a-icon.png"
            ]),
        ),
        with("referenceImages", json!([])),
        with("referenceImages", json!(null)),
        with("referenceImages", json!("")),
        with("referenceImages", json!("https://cdn.example.org/a.png")),
        with("referenceImages", json!([""])),
        with("referenceImages", json!([1])),
        with("referenceImages", json!(["ftp://cdn.example.org/a.png"])),
        with("referenceImages", json!(["https://me:hunter2@example.org/a.png"])),
        with("referenceImages", json!(["https:///a.png"])),
        with("referenceImages", json!(["https://h/a b.png"])),
        with("referenceImages", json!(["other/group/7/a.png"])),
        with("referenceImages", json!(["ypGenAi/../a.png"])),
        with("referenceImages", json!(["ypGenAi/group//a.png"])),
        with("referenceImages", json!(["ypGenAi/.probe"])),
        with(
            "referenceImages",
            json!(vec!["https://h/a"; MAX_REFERENCE_IMAGES]),
        ),
        with(
            "referenceImages",
            json!(vec!["https://h/a"; MAX_REFERENCE_IMAGES + 1]),
        ),
        with("negativePrompt", json!("people")),
        with("negativePrompt", json!(" ")),
        with("negativePrompt", json!("")),
        with("negativePrompt", json!(null)),
        with("negativePrompt", json!(["people"])),
        with("negativePrompt", json!("x".repeat(32_001))),
        with("notBefore", json!(1_795_341_600_000_i64)),
        with("deadline", json!(1_795_341_600.5)),
        with("deadline", json!(false)),
        with("deadline", json!(1e300)),
        with("deadline", json!(-1e15)),
        with("replyTo", json!("{generative-ai}:reply:a\r\nb")),
        with(
            "replyTo",
            json!(format!("{{generative-ai}}:reply:{}", "x".repeat(1_024))),
        ),
        with("replyTo", json!("{generative-ai}:reply:abc")),
        with("replyTo", json!("elsewhere")),
        with("callbackUrl", json!("http://example.org/")),
        with("callbackUrl", json!("https://example.org/done")),
        with("callbackUrl", json!("https://example.org")),
        with("callbackUrl", json!("https://example.org.evil.example/")),
        with("callbackUrl", json!("")),
        with("callbackUrl", json!(7)),
        with("background", json!("transparent")),
        with("background", json!("auto")),
        with("background", json!("")),
        with("background", json!("clear")),
        with("moderation", json!("low")),
        with("moderation", json!("high")),
        with("moderation", json!(null)),
        with("complexity", json!("medium")),
        with("complexity", json!("max")),
        with("outputFormat", json!("webp")),
        with("outputFormat", json!("auto")),
        with("outputFormat", json!(1)),
        see_through("jpeg"),
        see_through("webp"),
        json!({"type": "delete-image", "jobId": 1}),
        json!({"type": "delete-image", "jobId": 1, "imageId": 7}),
        json!({"type": "delete-image", "jobId": 1, "imageId": "7", "imageUrl": ""}),
        json!({"type": "delete-image", "jobId": 1, "imageUrl": "https://h/a.png"}),
        json!({"type": "delete-image", "jobId": 1, "imageId": null, "imageUrl": ""}),
        json!({"type": "delete-image", "jobId": 1, "imageId": 0}),
        json!({"type": "delete-image", "jobId": 1, "imageUrl": 7}),
        json!({"type": "delete-image", "jobId": 1, "imageUrl": "x".repeat(2_049)}),
        json!({"type": "delete-image", "jobId": 1, "imageUrl": "https://h/a.png\u{0}"}),
        with("traceparent", json!(3)),
        with("something", json!("else")),
    ];
    for package in packages {
        let by_parser = parse(&package);
        assert_eq!(
            schema.is_valid(&package),
            by_parser
                .as_ref()
                .is_ok_and(|package| !matches!(package.work, Work::Unknown(_))),
            "{package}\n{by_parser:?}"
        );
    }
}

proptest! {
    #[test]
    fn parse_never_panics(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = WorkPackage::parse(&raw, &limits());
    }

    #[test]
    fn no_value_of_any_kind_in_any_field_makes_parse_panic(
        name in proptest::sample::select(vec!["type", "jobId", "prompt", "userId", "collectionId", "notBefore", "seed", "replyTo", "callbackUrl", "traceparent", "imageGenerationProfile", "background", "moderation", "outputFormat"]),
        value in proptest::sample::select(vec![json!(null), json!(true), json!(-1), json!(1e300), json!(u64::MAX), json!("é\u{0}"), json!(["x"]), json!({"a": 1})]),
    ) {
        if let Err(rejection) = parse(&with(name, value)) {
            prop_assert!(!rejection.message.is_empty());
        }
    }
}

#[test]
fn all_that_is_wrong_with_a_package_is_told_at_once() {
    let wrong = json!({"jobId": 42, "prompt": " ", "collectionType": "../up", "collectionid": "7", "userId": "abc", "seed": 1.5,
        "background": "red", "deadline": "soon", "replyTo": "{generative-ai}:reply:x", "callbackUrl": "http://h/?key=hunter2"});
    let rejection = parse(&wrong).unwrap_err();
    assert_eq!(rejection.job_id, Some(42));
    assert_eq!(rejection.reply_to.as_deref(), Some("{generative-ai}:reply:x"));
    let message = rejection.message;
    assert!(
        message.starts_with("9 faults: (1) type: nothing was found"),
        "{message}"
    );
    let mut rest = message.as_str();
    for part in [
        "(2) prompt: only white space",
        "(3) collectionType: \"../up\" was found",
        "(4) collectionId: \"collectionid\" was found, which is another name",
        "(5) userId: \"abc\" was found",
        "(6) seed: 1.5 was found",
        "(7) background: \"red\" was found",
        "(8) deadline: \"soon\" was found",
        "(9) callbackUrl: a URL of http://h was found",
    ] {
        let (_, after) = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("{part} is not next in {rest}"));
        rest = after;
    }
    assert!(!message.contains("hunter2"), "{message}");
    let meant: Vec<_> = rejection.near_misses.iter().map(|near| near.meant).collect();
    assert_eq!(meant, ["collectionId"]);
}

#[test]
fn the_fields_that_are_read_are_those_of_the_manual_and_of_the_schema() {
    let manual = include_str!("../../docs/reference/package.md");
    let (table, _) = manual.split_once("`generative-ai-worker schema`").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.flat_map(|row| {
        let cell = row.split('|').next().unwrap_or_default();
        cell.split(',')
            .map(|name| name.trim().trim_matches('`').to_owned())
            .collect::<Vec<_>>()
    });
    let written: Vec<String> = names.collect();
    assert_eq!(written, FIELDS);
    let schema = json_schema(&limits());
    let mut described: Vec<&str> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut known = FIELDS.to_vec();
    described.sort_unstable();
    known.sort_unstable();
    assert_eq!(described, known);
}

#[test]
fn whoever_is_told_changes_nothing_about_what_is_asked_for() {
    let asked = parse(&package()).unwrap();
    for (name, value) in [
        ("replyTo", json!("{generative-ai}:reply:x")),
        (
            "traceparent",
            json!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ),
        ("callbackUrl", json!("https://h/")),
        ("pushedAt", json!(1)),
        ("jobId", json!("42")),
        ("imageProvider", json!("")),
    ] {
        assert!(
            parse(&with(name, value)).unwrap().asks_for_the_same_as(&asked),
            "{name}"
        );
    }
    for (name, value) in [
        ("prompt", json!("a boat")),
        ("imageProvider", json!("builtin")),
        ("seed", json!(1)),
        ("deadline", json!("2030-01-01T00:00:00Z")),
        ("notBefore", json!(1)),
        ("userId", json!(2)),
        ("outputFormat", json!("webp")),
        ("negativePrompt", json!("people")),
        ("referenceImages", json!(["https://h/a"])),
    ] {
        assert!(
            !parse(&with(name, value)).unwrap().asks_for_the_same_as(&asked),
            "{name}"
        );
    }
}

#[test]
fn what_is_wrong_with_references_is_told_by_number_and_no_address_is_repeated() {
    let found = parse(&with(
        "referenceImages",
        json!(["https://h/?sig=hunter2", "gs://b/hunter2", 3]),
    ))
    .unwrap_err();
    let accepted = "one of the https URLs and keys of this service's objects (ypGenAi/...) is accepted";
    let expected = format!(
        "2 faults: (1) referenceImages: number 2 is something else; {accepted}. (2) referenceImages: number 3 is something else; \
         {accepted}"
    );
    assert_eq!(found.message, expected);
    let package = parse(&with("referenceImages", json!(["https://h/?sig=hunter2"]))).unwrap();
    assert!(!format!("{package:?}").contains("hunter2"));
}
