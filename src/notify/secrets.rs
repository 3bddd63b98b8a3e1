//! `CALLBACK_SECRET`: what a receiver knows us by.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{self, HMAC_SHA256, Key};

/// Keys of fewer bytes are guessed, and libraries of receivers take no more.
///
/// Source: Standard Webhooks specification, "Signature scheme".
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// The new one, the one before, and some patience with receivers.
const MOST: usize = 4;
const PREFIX: &str = "whsec_";

/// Keys that sign what is posted, all of them at once, so that a receiver can change its own at any time. Prints none.
#[derive(Clone)]
pub struct Secrets(Arc<[Key]>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} keys)", self.0.len())
    }
}

impl Secrets {
    /// Reads `whsec_<base64>`, or several of them with commas between.
    ///
    /// # Errors
    /// Which one is wrong and what is accepted, without any of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let all: Vec<&str> = text.split(',').map(str::trim).collect();
        if all.len() > MOST {
            return Err(format!(
                "{} values were found; at most {MOST} are accepted",
                all.len()
            ));
        }
        let mut keys = Vec::with_capacity(all.len());
        for (place, one) in (1..).zip(&all) {
            keys.push(key(one).map_err(|found| {
                format!(
                    "value {place} of {} {found}; {PREFIX} and the base64 of {} to {} random bytes is accepted: echo \"{PREFIX}$(openssl \
                     rand -base64 32)\" makes one",
                    all.len(),
                    KEY_BYTES.start(),
                    KEY_BYTES.end()
                )
            })?);
        }
        Ok(Self(keys.into()))
    }

    /// The signatures of a message, by every key.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        let signatures: Vec<String> = self
            .0
            .iter()
            .map(|key| format!("v1,{}", STANDARD.encode(hmac::sign(key, signed.as_bytes()))))
            .collect();
        signatures.join(" ")
    }
}

fn key(text: &str) -> Result<Key, String> {
    let encoded = text
        .strip_prefix(PREFIX)
        .ok_or_else(|| format!("does not begin with {PREFIX}"))?;
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|_| format!("has no base64 behind {PREFIX}"))?;
    if !KEY_BYTES.contains(&bytes.len()) {
        return Err(format!("holds {} bytes", bytes.len()));
    }
    Ok(Key::new(HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the specification's own libraries.
        let body = r#"{"test": 2432232314}"#;
        let signed = Secrets::parse(ONE)
            .unwrap()
            .sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_sign_both_and_wrong_ones_are_told_apart_without_being_shown() {
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let both = Secrets::parse(&format!("{ONE}, {other}")).unwrap();
        let alone = |secret: &str| Secrets::parse(secret).unwrap().sign("a", 1, "{}");
        assert_eq!(
            both.sign("a", 1, "{}"),
            format!("{} {}", alone(ONE), alone(&other))
        );
        assert_eq!(format!("{both:?}"), "Secrets(2 keys)");
        let short = format!("{ONE},whsec_{}", STANDARD.encode("hunter2"));
        for (text, said) in [
            (
                "hunter2",
                "value 1 of 1 does not begin with whsec_; whsec_ and the base64 of 24 to 64 random bytes is accepted",
            ),
            ("whsec_hunter2!", "value 1 of 1 has no base64 behind whsec_"),
            (&*short, "value 2 of 2 holds 7 bytes"),
            (&format!("{ONE},"), "value 2 of 2 does not begin with whsec_"),
            (&[ONE; 5].join(","), "5 values were found"),
        ] {
            let found = Secrets::parse(text).unwrap_err();
            assert!(found.starts_with(said), "{found}");
            assert!(!found.contains("hunter2") && !found.contains("MfKQ"), "{found}");
        }
    }
}
