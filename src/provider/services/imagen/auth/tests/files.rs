//! Files that hold no credentials that can be used.

use super::*;

#[tokio::test]
async fn a_key_that_cannot_sign_is_named_and_not_repeated() {
    install_tls();
    for key in [
        "hunter2",
        "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n",
    ] {
        let file = file_of(
            &json!({"type": "service_account", "private_key": key, "client_email": "a@b", "token_uri": "http://127.0.0.1:9/"}),
        );
        let fault = GoogleAuth::new(settings(Some(&file), None))
            .token(in_minutes(5))
            .await
            .unwrap_err();
        assert_eq!(fault.class, ErrorClass::Auth);
        assert!(fault.why.contains("private_key"), "{}", fault.why);
        assert!(
            !fault.why.contains("hunter2") && !fault.why.contains("aHVu"),
            "{}",
            fault.why
        );
    }
}

#[test]
fn a_file_that_cannot_be_used_is_a_fault_of_the_configuration() {
    let missing = GoogleAuthSettings {
        credentials_file: Some("/nonexistent/google.json".into()),
        ..GoogleAuthSettings::default()
    };
    assert!(
        missing.faults()[0].starts_with(
            "GOOGLE_APPLICATION_CREDENTIALS: the file /nonexistent/google.json cannot be read: "
        ),
        "{:?}",
        missing.faults()
    );
    for (content, said) in [
        (json!("hunter2"), "is not a credentials file of Google Cloud"),
        (json!({}), "holds credentials of the type \"\""),
        (
            json!({"type": "external_account"}),
            "holds credentials of the type \"external_account\"; service_account and authorized_user are accepted",
        ),
        (
            json!({"type": "service_account", "client_email": "a"}),
            "lacks the field private_key",
        ),
        (
            json!({"type": "authorized_user", "client_id": "a", "client_secret": "hunter2"}),
            "lacks the field refresh_token",
        ),
        (
            json!({"type": "service_account", "token_uri": "hunter2"}),
            "has a field token_uri that is not a URL",
        ),
    ] {
        let file = file_of(&content);
        let faults = settings(Some(&file), None).faults();
        assert!(faults.len() == 1 && faults[0].contains(said), "{faults:?}");
        assert!(!faults[0].contains("hunter2"), "{faults:?}");
    }
    assert!(GoogleAuthSettings::default().faults().is_empty());
}
