//! A body with files in it, in pieces: it is put together, and files are encoded, while it is sent, so that a file is in
//! memory once and no longer than until it is sent.

use std::convert::Infallible;
use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use futures_util::stream;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// So many bytes are encoded at once. Divisible by three: what is encoded in parts is the same as in one.
const STEP: usize = 48 * 1024;
/// No text in JSON has it: there each quotation mark within a text has a backslash before it, and no name of a field begins so.
const MARK: &str = "{\"\\u0000";

/// A file that goes along with a request.
#[derive(Clone)]
pub struct Attachment {
    /// The file itself.
    pub bytes: Bytes,
    /// As forms and data URIs name it.
    pub media_type: &'static str,
    /// What its name ends with in a form, without the dot.
    pub extension: &'static str,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attachment({}, {} bytes)", self.media_type, self.bytes.len())
    }
}

/// Stands in a JSON body for an attachment, by its number from 0 on, and becomes a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inline {
    /// Its bytes as base64.
    Base64(usize),
    /// The same, with `data:<media type>;base64,` before it.
    DataUri(usize),
}

impl Serialize for Inline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Base64(number) => map.serialize_entry("\0base64", number)?,
            Self::DataUri(number) => map.serialize_entry("\0uri", number)?,
        }
        map.end()
    }
}

/// Texts and files, one after the other.
pub(super) struct Pieces(Vec<Piece>);

enum Piece {
    Plain(Bytes),
    Base64(Bytes),
}

impl Piece {
    fn length(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Base64(bytes) => bytes.len().div_ceil(3) * 4,
        }
    }

    /// What is sent of it, one part after the other.
    fn parts(self) -> impl Iterator<Item = Bytes> {
        let (mut rest, is_encoded) = match self {
            Self::Plain(bytes) => (bytes, false),
            Self::Base64(bytes) => (bytes, true),
        };
        std::iter::from_fn(move || {
            let part = rest.split_to(rest.len().min(STEP));
            match (part.is_empty(), is_encoded) {
                (true, _) => None,
                (false, false) => Some(part),
                (false, true) => Some(BASE64_STANDARD.encode(part).into()),
            }
        })
    }
}

impl Pieces {
    /// JSON in which [`Inline`] stands for some of these.
    pub(super) fn of_json(json: Vec<u8>, attachments: &[Attachment]) -> Self {
        let json = Bytes::from(json);
        let mut pieces = Vec::new();
        let mut from = 0;
        let text = std::str::from_utf8(&json).unwrap_or_default();
        for (at, _) in text.match_indices(MARK) {
            let inline = &text[at + MARK.len()..];
            let end = inline.find('}').unwrap_or(inline.len());
            let (kind, number) = inline[..end].split_once("\":").unwrap_or_default();
            let number = number.parse().unwrap_or(usize::MAX);
            let Some(attachment) = attachments.get(number) else {
                continue;
            };
            pieces.push(Piece::Plain(json.slice(from..at)));
            let start = match kind {
                "uri" => format!("\"data:{};base64,", attachment.media_type),
                _ => "\"".to_owned(),
            };
            pieces.push(Piece::Plain(start.into()));
            pieces.push(Piece::Base64(attachment.bytes.clone()));
            pieces.push(Piece::Plain(Bytes::from_static(b"\"")));
            from = at + MARK.len() + end + 1;
        }
        pieces.push(Piece::Plain(json.slice(from..)));
        Self(pieces)
    }

    /// A form (`multipart/form-data`) of these fields, and of these files, all under one name.
    pub(super) fn of_form<'a>(
        boundary: &str,
        fields: impl Iterator<Item = (&'a str, String)>,
        name: &str,
        files: Vec<Attachment>,
    ) -> Self {
        let part =
            |about: &str| format!("--{boundary}\r\nContent-Disposition: form-data; name={about}\r\n\r\n");
        let mut text: String = fields
            .map(|(name, value)| format!("{}{value}\r\n", part(&format!("{name:?}"))))
            .collect();
        let mut pieces = Vec::new();
        for (number, file) in (1..).zip(files) {
            let (extension, media_type) = (file.extension, file.media_type);
            text.push_str(&part(&format!(
                "{name:?}; filename=\"{number}.{extension}\"\r\nContent-Type: {media_type}"
            )));
            pieces.push(Piece::Plain(
                std::mem::replace(&mut text, "\r\n".to_owned()).into(),
            ));
            pieces.push(Piece::Plain(file.bytes));
        }
        text.push_str(&format!("--{boundary}--\r\n"));
        pieces.push(Piece::Plain(text.into()));
        Self(pieces)
    }

    /// Its length and itself. Without files it is one whole, which can be signed, and sent once more where a connection was dead.
    pub(super) fn into_body(mut self) -> (usize, reqwest::Body) {
        let length = self.0.iter().map(Piece::length).sum();
        let body = match &mut self.0[..] {
            [Piece::Plain(only)] => std::mem::take(only).into(),
            _ => {
                let parts = self.0.into_iter().flat_map(Piece::parts);
                reqwest::Body::wrap_stream(stream::iter(parts.map(Ok::<_, Infallible>)))
            }
        };
        (length, body)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    fn attachment(length: usize) -> Attachment {
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        Attachment {
            bytes: bytes.into(),
            media_type: "image/png",
            extension: "png",
        }
    }

    async fn sent(pieces: Pieces) -> Vec<u8> {
        let (length, body) = pieces.into_body();
        let sent = body.collect().await.unwrap().to_bytes();
        assert_eq!(sent.len(), length);
        sent.into()
    }

    #[tokio::test]
    async fn files_take_their_places_in_json_whatever_else_stands_there() {
        let prompt = "{\"\\u0000uri\":0} {\"\0base64\":0} {";
        for length in [0, 1, 2, 3, STEP - 1, STEP, STEP + 1, 3 * STEP + 2] {
            let files = [attachment(5), attachment(length)];
            let body = json!({"prompt": prompt, "all": [Inline::DataUri(1), Inline::DataUri(0)], "one": Inline::Base64(1)});
            let pieces = Pieces::of_json(serde_json::to_vec(&body).unwrap(), &files);
            let read: Value = serde_json::from_slice(&sent(pieces).await).unwrap();
            let text = |file: &Attachment| BASE64_STANDARD.encode(&file.bytes);
            let uri = |file: &Attachment| format!("data:image/png;base64,{}", text(file));
            let expected =
                json!({"prompt": prompt, "all": [uri(&files[1]), uri(&files[0])], "one": text(&files[1])});
            assert_eq!(read, expected, "{length}");
        }
    }

    #[tokio::test]
    async fn a_form_has_its_fields_and_then_its_files_byte_by_byte() {
        let fields = [("prompt", "a \"boat\"".to_owned()), ("n", "1".to_owned())];
        let files = vec![attachment(2), attachment(STEP + 7)];
        let pieces = Pieces::of_form("limit", fields.into_iter(), "image[]", files.clone());
        let mut expected =
            b"--limit\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na \"boat\"\r\n\
            --limit\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n1\r\n"
                .to_vec();
        for (number, file) in (1..).zip(&files) {
            let head = format!(
                "--limit\r\nContent-Disposition: form-data; name=\"image[]\"; filename=\"{number}.png\"\r\n\
                 Content-Type: image/png\r\n\r\n"
            );
            expected.extend([head.as_bytes(), &file.bytes, b"\r\n"].concat());
        }
        expected.extend(b"--limit--\r\n");
        assert_eq!(sent(pieces).await, expected);
        let plain = Pieces::of_form("limit", std::iter::empty(), "", Vec::new());
        assert!(plain.into_body().1.as_bytes().is_some(), "it can be sent again");
    }

    #[tokio::test]
    async fn a_file_is_given_back_while_the_rest_is_sent() {
        let held = std::sync::Arc::new(());
        struct Held(
            Vec<u8>,
            #[expect(dead_code, reason = "it is counted")] std::sync::Arc<()>,
        );
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let first = Attachment {
            bytes: Bytes::from_owner(Held(vec![1; 10], held.clone())),
            ..attachment(0)
        };
        let body = json!([Inline::Base64(0), Inline::Base64(1)]);
        let pieces = Pieces::of_json(serde_json::to_vec(&body).unwrap(), &[first, attachment(9)]);
        let mut body = pieces.into_body().1;
        let mut kept = Vec::new();
        while let Some(frame) = body.frame().await {
            kept.push((
                frame.unwrap().into_data().unwrap(),
                std::sync::Arc::strong_count(&held),
            ));
        }
        let counts: Vec<usize> = kept.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts.first(), Some(&2));
        assert_eq!(counts.last(), Some(&1), "{counts:?}");
    }
}
