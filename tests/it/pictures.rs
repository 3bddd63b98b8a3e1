//! No bytes from a provider harm the service or are stored under a false name.

use bytes::Bytes;
use generative_ai_worker::imaging::{self, Format};
use image::{GenericImageView, Rgba, RgbaImage};
use serde_json::{Value, json};

use crate::harness::files_below;
use crate::harness::openai::{OpenAi, Reply};
use crate::harness::picture::{
    any_picture, bomb, jpeg, photo, png, webp, with_orientation, with_png_chunk, xmp_of,
};
use crate::harness::replica::Replica;
use crate::harness::s3::S3Server;
use crate::harness::stack::{Job, Stack, icon, logo, with};

/// A JUMBF superbox with the description of a C2PA manifest store.
const C2PA_BOX: &[u8] =
    b"\x00\x00\x00\x2djumb\x00\x00\x00\x1djumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71\x03c2pa\0";

const ANSWER: &str = "application/json";

/// A stack, a stand-in for OpenAI, and a replica that uses both and tries each job once.
pub(crate) async fn studio(variables: &[(&str, &str)]) -> (Stack, OpenAi, Replica) {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::Picture(any_picture())).await;
    let replica = replica_of(&stack, &openai, variables).await;
    (stack, openai, replica)
}

async fn replica_of(stack: &Stack, openai: &OpenAi, variables: &[(&str, &str)]) -> Replica {
    let way = openai.variables();
    let mut all: Vec<(&str, &str)> = way.iter().map(|(name, value)| (&**name, &**value)).collect();
    all.push(("MAX_ATTEMPTS", "1"));
    all.extend(variables);
    stack.replica(&all).await
}

/// Has a job done for which the provider sends this.
pub(crate) async fn draw(
    stack: &Stack,
    openai: &OpenAi,
    package: fn(i32) -> Value,
    reply: Reply,
) -> (i32, Job) {
    let job_id = stack.job().await;
    openai.then(reply);
    stack.push(&package(job_id)).await;
    (job_id, stack.ended(job_id).await)
}

/// What the ledger says: the mark and the keys of the job's objects, the one to show first.
pub(crate) async fn ledger(stack: &Stack, job_id: i32) -> (String, Vec<String>) {
    let query = "SELECT provenance_mark, object_keys FROM generative_ai.jobs WHERE job_id = $1";
    let row = stack.sql(query, &[&job_id]).await.remove(0);
    (row.get(0), row.get(1))
}

/// The stored objects of a job that the provider drew like this, the one to show first.
async fn stored(
    stack: &Stack,
    openai: &OpenAi,
    package: fn(i32) -> Value,
    picture: Vec<u8>,
) -> Vec<(String, Vec<u8>)> {
    let (job_id, job) = draw(stack, openai, package, Reply::Picture(picture.into())).await;
    assert_eq!((job.progress, job.error), (Some(100), None));
    let files = files_below(stack.pictures.path());
    let (_, keys) = ledger(stack, job_id).await;
    keys.into_iter()
        .map(|key| (key.clone(), files[&key].clone()))
        .collect()
}

fn in_json(picture: &[u8]) -> Reply {
    Reply::Picture(Bytes::copy_from_slice(picture))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_usable_picture_ends_with_a_reason_and_within_300_mib() {
    let (stack, openai, replica) = studio(&[]).await;
    let page = b"<!DOCTYPE html><html><title>502 Bad Gateway</title></html>";
    let svg = br#"<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>"#;
    let whole = png(&photo(600, 400));
    let no_picture =
        "openai answered without a usable picture (request req_test). Start the job again in some minutes.";
    let cases = [
        (
            in_json(&bomb(7072, 7072)),
            "bad_image",
            "The picture is 7072 × 7072 pixels large; at most 8192 on each side",
        ),
        (
            in_json(&whole[..whole.len() / 2]),
            "bad_image",
            "The PNG picture from the image provider is cut off: ",
        ),
        (
            in_json(svg),
            "bad_image",
            "The image provider delivered an SVG drawing; only PNG, JPEG and WebP pictures",
        ),
        (
            in_json(page),
            "bad_output",
            "The image provider delivered an HTML page instead of a picture.",
        ),
        (in_json(b""), "bad_output", no_picture),
        (
            Reply::Body("text/html", Bytes::from_static(page)),
            "bad_output",
            no_picture,
        ),
        (Reply::Body(ANSWER, Bytes::new()), "bad_output", no_picture),
        (
            Reply::Body(ANSWER, Bytes::from_static(br#"{"data":[]}"#)),
            "bad_output",
            no_picture,
        ),
        (Reply::Endless(200 * 1024 * 1024), "bad_output", no_picture),
    ];
    let calls = cases.len();
    for (reply, class, reason) in cases {
        // An icon, for which the pixels would be decoded.
        let (job_id, job) = draw(&stack, &openai, icon, reply).await;
        let error = job.error.unwrap();
        assert!(error.starts_with(reason), "{error}\nshould begin with\n{reason}");
        let query = "SELECT state, error_class FROM generative_ai.jobs WHERE job_id = $1";
        let row = stack.sql(query, &[&job_id]).await.remove(0);
        let (state, found): (String, String) = (row.get(0), row.get(1));
        assert_eq!((&*state, &*found), ("dead", class), "{error}");
    }
    assert_eq!(openai.calls().len(), calls, "each was asked for once");
    assert!(files_below(stack.pictures.path()).is_empty());
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 0);

    let (_, job) = draw(&stack, &openai, icon, in_json(&any_picture())).await;
    assert_eq!(job.progress, Some(100), "the replica works on");
    let peak = replica.peak_memory_kib();
    assert!(peak < 300 * 1024, "the replica took {peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_at_which_the_decoder_panics_is_a_bad_picture_and_bought_twice_at_most() {
    let variables = [
        ("MAX_ATTEMPTS", "5"),
        ("RETRY_BASE_DELAY", "1ms"),
        ("RETRY_MAX_DELAY", "1ms"),
    ];
    let (stack, openai, replica) = studio(&variables).await;
    // Found by mutation: its whole structure is right, and decoding it overflows.
    let picture = include_bytes!("../fixtures/panicking.jpg");
    openai.then(in_json(picture));
    let (job_id, job) = draw(&stack, &openai, icon, in_json(picture)).await;
    assert_eq!(
        job.error.unwrap(),
        "This service failed at reading the picture from the image provider. \
         Start the job again, with another prompt or model if it happens again."
    );
    assert_eq!(openai.calls().len(), 2);
    let query = "SELECT state, error_class FROM generative_ai.jobs WHERE job_id = $1";
    let row = stack.sql(query, &[&job_id]).await.remove(0);
    let (state, class): (String, String) = (row.get(0), row.get(1));
    assert_eq!((&*state, &*class), ("dead", "bad_image"));
    // Who asks the provider for the money back has something to ask by.
    let calls = "SELECT count(*) FROM generative_ai.provider_calls WHERE provider_request_id = 'req_test'";
    assert_eq!(stack.count(calls).await, 2);
    let story = stack.command(&["jobs", "show", &job_id.to_string()], &[]).await;
    let story = String::from_utf8(story.stdout).unwrap();
    let cost = "$0.0000 for 2 calls, and what 2 of them may still be billed";
    assert!(story.contains(cost), "{story}");

    // Its neighbours and the replica do not mind.
    let (_, job) = draw(&stack, &openai, icon, in_json(&any_picture())).await;
    assert_eq!(job.progress, Some(100), "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_stored_with_the_extension_and_type_that_its_bytes_have() {
    let store = S3Server::start("pictures").await;
    let endpoint = store.endpoint();
    let (stack, openai, _replica) = studio(&store.variables(&endpoint)).await;
    // The request asks for PNG; what counts is what came.
    let picture = photo(90, 60);
    for (bytes, format, extension, content_type) in [
        (png(&picture), Format::Png, ".png", "image/png"),
        (jpeg(&picture), Format::Jpeg, ".jpg", "image/jpeg"),
        (webp(&picture), Format::WebP, ".webp", "image/webp"),
    ] {
        let pixels = image::load_from_memory(&bytes).unwrap();
        let (job_id, job) = draw(&stack, &openai, logo, in_json(&bytes)).await;
        let url = job.data["imageUrl"].as_str().unwrap().to_owned();
        assert!(url.ends_with(extension), "{url}");
        let (mark, keys) = ledger(&stack, job_id).await;
        assert_eq!((&*mark, keys.len()), ("xmp", 1));
        assert!(url.ends_with(&keys[0]), "{url} should end with {}", keys[0]);
        let object = &store.objects()[&keys[0]];
        assert_eq!(imaging::inspect(object).unwrap().format, format);
        assert_eq!(
            image::load_from_memory(object).unwrap(),
            pixels,
            "the mark changes no pixel"
        );
        let path = format!("/pictures/{}", keys[0]);
        let put = store
            .requests()
            .into_iter()
            .find(|request| request.method == "PUT" && request.path == path);
        assert_eq!(put.unwrap().headers["content-type"], content_type);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_says_who_made_it_and_for_which_job_and_never_the_prompt() {
    let (stack, openai, _replica) = studio(&[]).await;
    let picture = photo(90, 60);
    let told = with_png_chunk(&png(&picture), b"tEXt", b"parameters\0a paper boat number one");
    let model = openai_model(&stack, &openai).await;
    for (bytes, package) in [
        (told.clone(), logo as fn(i32) -> Value),
        (jpeg(&picture), logo),
        (webp(&picture), logo),
        (told, icon),
    ] {
        let (job_id, job) = draw(&stack, &openai, package, in_json(&bytes)).await;
        assert_eq!(job.error, None);
        let (mark, keys) = ledger(&stack, job_id).await;
        assert_eq!(mark, "xmp");
        let object = &files_below(stack.pictures.path())[&keys[0]];
        let packet = xmp_of(object).unwrap();
        for part in [
            ">http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>",
            &format!("<Iptc4xmpExt:AISystemUsed>openai {model}</Iptc4xmpExt:AISystemUsed>"),
            &format!("<photoshop:TransmissionReference>{job_id}</photoshop:TransmissionReference>"),
        ] {
            assert!(packet.contains(part), "{part}\nis not in\n{packet}");
        }
        let everything = String::from_utf8_lossy(object);
        assert!(!everything.contains("paper boat"), "{} holds the prompt", keys[0]);
    }
}

/// The model that requests go to which name none.
async fn openai_model(stack: &Stack, openai: &OpenAi) -> String {
    draw(stack, openai, logo, in_json(&any_picture())).await;
    let calls = openai.calls();
    let body = &calls.last().unwrap().body;
    assert!(
        body["prompt"].as_str().unwrap().starts_with("a paper boat"),
        "{body}"
    );
    body["model"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_with_content_credentials_is_stored_byte_for_byte() {
    let (stack, openai, _replica) = studio(&[]).await;
    let signed = with_png_chunk(&png(&photo(90, 60)), b"caBX", C2PA_BOX);
    let signed = with_png_chunk(&signed, b"tEXt", b"Title\0covered by the signature");
    let (job_id, job) = draw(&stack, &openai, logo, in_json(&signed)).await;
    assert_eq!(job.error, None);
    let (mark, keys) = ledger(&stack, job_id).await;
    assert_eq!(mark, "content_credentials");
    assert_eq!(files_below(stack.pictures.path())[&keys[0]], signed);

    // Its pixels are others than those that were signed, so an icon is marked anew.
    let (job_id, _) = draw(&stack, &openai, icon, in_json(&signed)).await;
    let (mark, keys) = ledger(&stack, job_id).await;
    assert_eq!(mark, "xmp");
    let object = &files_below(stack.pictures.path())[&keys[0]];
    assert!(!imaging::inspect(object).unwrap().has_content_credentials);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_icon_is_upright_see_through_in_proportion_and_never_enlarged() {
    let (stack, openai, _replica) = studio(&[]).await;
    let see_through = RgbaImage::from_fn(1000, 500, |x, _| match x {
        0..500 => Rgba([200, 30, 30, 255]),
        _ => Rgba([0, 200, 0, 0]),
    });
    let cases = [
        ("wide", png(&photo(1000, 500)), (400, 200)),
        ("high, WebP", webp(&photo(300, 900)), (133, 400)),
        ("small", png(&photo(300, 200)), (300, 200)),
        (
            "on its side",
            with_orientation(&jpeg(&photo(800, 400)), 6),
            (200, 400),
        ),
        ("see-through", png(&see_through.into()), (400, 200)),
    ];
    for (name, bytes, size) in cases {
        let objects = stored(&stack, &openai, icon, bytes).await;
        let [(key, bytes)] = &objects[..] else {
            panic!("{name}: no original is kept unless settings say so: {objects:?}");
        };
        assert!(key.ends_with("-icon.png"), "{name}: {key}");
        assert_eq!(imaging::inspect(bytes).unwrap().format, Format::Png, "{name}");
        let small = image::load_from_memory(bytes).unwrap();
        assert_eq!(small.dimensions(), size, "{name}");
        let pixel = |x, y| small.get_pixel(x, y).0;
        match name {
            // Turned by a quarter clockwise: what was on the left is above, what was below is on the left.
            "on its side" => assert!(
                pixel(5, 5)[0] < 40
                    && pixel(5, 5)[1] > 215
                    && pixel(195, 395)[0] > 215
                    && pixel(195, 395)[1] < 40,
                "{:?} {:?}",
                pixel(5, 5),
                pixel(195, 395)
            ),
            "see-through" => assert_eq!((pixel(50, 100)[3], pixel(350, 100)[3]), (255, 0)),
            "small" => assert_eq!(small, photo(300, 200)),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_of_an_icon_is_kept_untouched_where_settings_say_so() {
    let (stack, openai, _replica) = studio(&[("KEEP_ORIGINALS", "true")]).await;
    let drawn = with_orientation(&jpeg(&photo(800, 600)), 3);
    let objects = stored(&stack, &openai, icon, drawn.clone()).await;
    let [(icon_key, _), (original_key, original)] = &objects[..] else {
        panic!("an icon and its original: {objects:?}");
    };
    let stem = icon_key.strip_suffix("-icon.png").unwrap();
    assert_eq!(*original_key, format!("{stem}-original.jpg"));
    assert_eq!(*original, drawn);
    let formats: String = stack.sql("SELECT formats FROM images", &[]).await[0].get(0);
    assert!(!formats.contains("original"), "{formats} shows the icon alone");

    // Of a collection's picture, the picture is the original.
    let package = |job_id| with(logo(job_id), "imageType", json!(null));
    assert_eq!(stored(&stack, &openai, package, drawn).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_enormous_answers_at_once_do_not_fill_the_memory() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(Reply::Endless(200 * 1024 * 1024)).await;
    openai.close();
    let replica = stack.replica_of(&openai, &[("MAX_ATTEMPTS", "1")]).await;
    let jobs = stack.push_logos(10).await;
    openai.called(10).await;
    openai.open();
    for job_id in jobs {
        let error = stack.ended(job_id).await.error.unwrap();
        assert!(error.contains("without a usable picture"), "{error}");
    }
    let peak = replica.peak_memory_kib();
    assert!(peak < 240 * 1024, "{peak} KiB");
}
