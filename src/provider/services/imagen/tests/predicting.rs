//! Imagen models that still answer.

use super::*;

#[tokio::test]
async fn an_imagen_model_is_asked_by_predict() {
    let mut spec = spec(PRIVATE, "16:9");
    let (outcome, asked) = drawn(
        Reply::json(
            200,
            &json!({"predictions": [{"bytesBase64Encoded": BASE64_STANDARD.encode(PNG)}]}),
        ),
        &spec,
    )
    .await;
    let drawn_image = outcome.unwrap();
    assert_eq!(&drawn_image.bytes[..], PNG);
    assert_eq!((drawn_image.cost, drawn_image.usage), (None, None));
    assert_eq!(
        asked[0].path,
        "/v1/projects/my-project/locations/us-east1/publishers/google/models/imagen-5.0-private:predict"
    );
    assert_eq!(
        asked[0].json(),
        json!({"instances": [{"prompt": PROMPT}], "parameters": {"sampleCount": 1, "aspectRatio": "16:9",
            "safetySetting": "block_medium_and_above", "includeRaiReason": true}})
    );
    spec.seed = Some(7);
    spec.size = Some("1:1@2K".into());
    let (_, asked) = drawn(Reply::json(200, &json!({})), &spec).await;
    assert_eq!(
        asked[0].json()["parameters"],
        json!({"sampleCount": 1, "aspectRatio": "1:1", "sampleImageSize": "2K", "seed": 7, "addWatermark": false,
            "safetySetting": "block_medium_and_above", "includeRaiReason": true})
    );
}

#[tokio::test]
async fn a_filtered_picture_is_a_refusal_and_names_its_support_code() {
    let reason = "Unable to show generated images. Support codes: 56562880";
    for (body, said) in [
        (json!({}), "the picture was filtered"),
        (json!({"predictions": []}), "the picture was filtered"),
        (
            json!({"predictions": null, "deployedModelId": "x"}),
            "the picture was filtered",
        ),
        (
            json!({"predictions": [{"raiFilteredReason": reason}]}),
            "the picture was filtered (violence): \"Unable to show generated images. Support codes: 56562880\"",
        ),
        (
            json!({"predictions": [{"raiFilteredReason": "no 123 code"}]}),
            "the picture was filtered: \"no 123 code\"",
        ),
    ] {
        let error = error_of(Reply::json(200, &body), PRIVATE).await;
        assert_eq!(error.class, ErrorClass::Moderation, "{body}");
        assert!(error.details.contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_picture_beside_a_filtered_one_is_taken() {
    let data = BASE64_STANDARD.encode(PNG);
    let body = json!({"predictions": [{"raiFilteredReason": "x"}, {"bytesBase64Encoded": data}]});
    let (outcome, _) = drawn(Reply::json(200, &body), &spec(PRIVATE, "1:1")).await;
    assert_eq!(&outcome.unwrap().bytes[..], PNG);
}

#[tokio::test]
async fn a_prediction_that_makes_no_sense_is_bad_output() {
    for body in [
        json!({"predictions": [{}]}),
        json!({"predictions": [{"bytesBase64Encoded": ""}]}),
        json!({"predictions": [{"bytesBase64Encoded": "?rubbish?"}]}),
        json!({"predictions": [{"gcsUri": "gs://x"}]}),
        json!({"predictions": 3}),
        json!([]),
    ] {
        let error = error_of(Reply::json(200, &body), PRIVATE).await;
        assert_eq!(error.class, ErrorClass::BadOutput, "{body}: {error}");
    }
}
