//! Pictures that are in the URL itself.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::DownloadFault;

/// Some servers leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const SCHEME: &str = "data:";

pub(super) fn is_data_uri(url: &str) -> bool {
    url.get(..SCHEME.len())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

/// Decodes `data:image/png;base64,…` to at most `cap` bytes; white space, percent signs and missing padding
/// are put up with.
///
/// Source: RFC 2397.
///
/// # Errors
/// [`DownloadFault::Unreadable`] or [`DownloadFault::TooLarge`]. Nothing of the URI is repeated.
pub fn decode_data_uri(uri: &str, cap: usize) -> Result<Bytes, DownloadFault> {
    let unreadable = |why: &str| Err(DownloadFault::Unreadable(why.to_owned()));
    let Some((head, text)) = uri.split_once(',').filter(|_| is_data_uri(uri)) else {
        return unreadable("its data URI has no content");
    };
    if !head.to_ascii_lowercase().ends_with(";base64") {
        return unreadable("its data URI is not base64");
    }
    // Before anything is copied; four characters are three bytes.
    if text.len() / 4 > cap.div_ceil(3) && !text.contains('%') {
        return Err(DownloadFault::TooLarge(cap));
    }
    let Some(text) = plain(text) else {
        return unreadable("its data URI has a broken escape");
    };
    match BASE64.decode(text) {
        Ok(bytes) if bytes.is_empty() => unreadable("its data URI is empty"),
        Ok(bytes) if bytes.len() > cap => Err(DownloadFault::TooLarge(cap)),
        Ok(bytes) => Ok(bytes.into()),
        Err(_) => unreadable("its data URI is not base64"),
    }
}

/// The text without white space and with `%2B` and the like undone.
fn plain(text: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                plain.push(u8::try_from(high * 16 + low).ok()?);
            }
            byte if byte.is_ascii_whitespace() => {}
            byte => plain.push(byte),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_in_a_data_uri_is_read_leniently() {
        for uri in [
            "data:image/png;base64,aGVsbG8h",
            "DATA:image/webp;charset=x;BASE64,aGVsbG8h",
            "data:;base64,aGVs\nbG8h ",
            "data:image/png;base64,aGVsbG8%68",
        ] {
            assert_eq!(&decode_data_uri(uri, 6).unwrap()[..], b"hello!", "{uri}");
        }
        for uri in [
            "data:image/png;base64,aGVsbG8=",
            "data:image/png;base64,aGVsbG8%3D",
            "data:image/png;base64,aGVsbG8",
        ] {
            assert_eq!(&decode_data_uri(uri, 5).unwrap()[..], b"hello", "{uri}");
        }
    }

    #[test]
    fn what_is_no_picture_in_a_data_uri_is_said_without_repeating_it() {
        for uri in [
            "data:",
            "data:image/png;base64",
            "data:image/png;base64,",
            "data:image/png,secret",
            "data:image/png;base64,secret!",
            "data:image/png;base64,%",
            "data:image/png;base64,%zz",
            "data:image/png;base64,%2",
            "https://x.invalid/a;base64,aGVsbG8h",
        ] {
            let fault = decode_data_uri(uri, 100).unwrap_err();
            assert!(
                matches!(&fault, DownloadFault::Unreadable(why) if !why.contains("secret")),
                "{uri}"
            );
        }
    }

    #[test]
    fn a_data_uri_above_the_cap_is_refused() {
        for uri in [
            "data:;base64,aGVsbG8h",
            "data:;base64,aGVsbG8hYWdhaW4gYW5kIGFnYWlu",
        ] {
            assert_eq!(decode_data_uri(uri, 5), Err(DownloadFault::TooLarge(5)), "{uri}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_data_uri_makes_decoding_panic(uri in "data:.{0,20}(;base64)?,?.{0,40}") {
            let _ = decode_data_uri(&uri, 16);
        }
    }
}
