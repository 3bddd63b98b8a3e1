//! Pictures written as text: base64 in whichever of its forms, with or without the head of a `data:` URI.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::DownloadFault;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
const SCHEME: &str = "data:";

/// Why a text is no picture. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecoded {
    /// Nothing is there.
    #[error("is empty")]
    Empty,
    /// Something else is there.
    #[error("is not base64")]
    NotBase64,
    /// More bytes than are allowed, which is given here.
    #[error("has more than {0} bytes")]
    TooLarge(usize),
}

impl From<NotDecoded> for DownloadFault {
    fn from(fault: NotDecoded) -> Self {
        match fault {
            NotDecoded::TooLarge(bytes) => Self::TooLarge(bytes),
            fault => Self::Unreadable(format!("its data URI {fault}")),
        }
    }
}

/// Whether an address is the content itself.
#[must_use]
pub fn is_data_uri(url: &str) -> bool {
    let url = url.trim_start();
    url.get(..SCHEME.len())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

/// Decodes base64 or `data:image/png;base64,…` to at most `cap` bytes. Either alphabet, white space, percent signs and
/// missing or wrong padding are put up with.
///
/// Source: RFC 4648 §4 and §5; RFC 2397.
///
/// # Errors
/// [`NotDecoded`].
pub fn decode_picture_text(text: &str, cap: usize) -> Result<Bytes, NotDecoded> {
    let text = match is_data_uri(text) {
        true => {
            let (head, text) = text.split_once(',').ok_or(NotDecoded::Empty)?;
            if !head.trim_end().to_ascii_lowercase().ends_with(";base64") {
                return Err(NotDecoded::NotBase64);
            }
            text
        }
        false => text,
    };
    // Before anything is copied; four characters are three bytes.
    if text.len() / 4 > cap.div_ceil(3) && !text.contains('%') {
        return Err(NotDecoded::TooLarge(cap));
    }
    // As it should be written, and nearly always is, by the vector instructions of the processor.
    let decoded = base64_simd::STANDARD
        .decode_to_vec(text)
        .ok()
        .or_else(|| BASE64.decode(plain(text)?).ok())
        .ok_or(NotDecoded::NotBase64)?;
    match decoded.len() {
        0 => Err(NotDecoded::Empty),
        length if length > cap => Err(NotDecoded::TooLarge(cap)),
        _ => Ok(decoded.into()),
    }
}

/// The text in the usual alphabet, without white space and padding, and with `%2B` and the like undone.
fn plain(text: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        };
        match byte {
            b'-' => plain.push(b'+'),
            b'_' => plain.push(b'/'),
            byte if byte.is_ascii_whitespace() => {}
            byte => plain.push(byte),
        }
    }
    let end = plain.iter().rposition(|byte| *byte != b'=');
    plain.truncate(end.map_or(0, |end| end + 1));
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_base64_is_read() {
        for text in [
            "aGVsbG8h",
            "aGVs\nbG8h",
            " aGVsbG8h\r\n",
            "data:image/png;base64,aGVsbG8h",
            " data:image/png;base64,aGVsbG8h",
            "DATA:image/webp;charset=x;BASE64,aGVsbG8h",
            "data:;base64,aGVs\nbG8h ",
            "data:image/png;base64,aGVsbG8%68",
            "aGVsbG8h====",
        ] {
            assert_eq!(
                decode_picture_text(text, 9).as_deref(),
                Ok(&b"hello!"[..]),
                "{text:?}"
            );
        }
        for text in [
            "aGVsbG8=",
            "aGVsbG8",
            "aGVsbG8==",
            "data:image/png;base64,aGVsbG8%3D",
        ] {
            assert_eq!(
                decode_picture_text(text, 5).as_deref(),
                Ok(&b"hello"[..]),
                "{text:?}"
            );
        }
        for text in ["+/+/", "-_-_", "%2B%2f-_", "-/\r\n+_"] {
            assert_eq!(
                decode_picture_text(text, 9).as_deref(),
                Ok(&b"\xfb\xff\xbf"[..]),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_picture_is_named() {
        for (text, fault) in [
            (" ", NotDecoded::Empty),
            ("data:", NotDecoded::Empty),
            ("data:image/png;base64", NotDecoded::Empty),
            ("data:image/png;base64,", NotDecoded::Empty),
            ("?rubbish?", NotDecoded::NotBase64),
            ("data:image/png,plain", NotDecoded::NotBase64),
            ("data:image/png;base64,secret!", NotDecoded::NotBase64),
            ("data:image/png;base64,%", NotDecoded::NotBase64),
            ("data:image/png;base64,%zz", NotDecoded::NotBase64),
            ("data:;base64,aGVsbG8h", NotDecoded::TooLarge(5)),
            (
                "data:;base64,aGVsbG8hYWdhaW4gYW5kIGFnYWlu",
                NotDecoded::TooLarge(5),
            ),
        ] {
            assert_eq!(decode_picture_text(text, 5), Err(fault), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_decoding_panic(text in "(data:)?.{0,20}(;base64)?,?.{0,40}") {
            let _ = decode_picture_text(&text, 16);
        }
    }
}
