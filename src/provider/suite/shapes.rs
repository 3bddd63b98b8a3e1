//! The same good answers as the field really sends them: each still ends in the picture, bought once.

use std::io::Write as _;

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use super::fake::Whole;
use super::{Asked, Fake, Reply, Run};

/// A name, and what becomes of every whole answer; `None` where a service has nothing to which it could be done.
type Shape = (&'static str, fn(Whole) -> Option<Whole>);

const SHAPES: &[Shape] = &[
    ("gzip", |whole| Some(encoded(whole, "gzip", gzip))),
    ("gzip under its old name", |whole| {
        Some(encoded(whole, "x-gzip", gzip))
    }),
    ("gzip under no name", |whole| {
        Some(encoded(whole, "identity", gzip))
    }),
    ("gzip that is none", |whole| {
        Some(encoded(whole, "gzip", <[u8]>::to_vec))
    }),
    ("zstd", |whole| Some(encoded(whole, "zstd", zstd))),
    ("deflate, then gzip", |whole| {
        Some(encoded(whole, "deflate, gzip", |body| gzip(&zlib(body))))
    }),
    ("a byte order mark", |whole| {
        in_text(whole, |text| format!("\u{feff}{text}"))
    }),
    ("one event of a stream", |whole| {
        in_text(whole, |text| {
            format!("event: completed\ndata: {text}\n\ndata: [DONE]\n\n")
        })
    }),
    ("NaN and Infinity", |whole| {
        in_text(whole, |text| {
            let numbers = "{\"loss\":NaN,\"more\":[-Infinity,Infinity],";
            text.replacen('{', numbers, 1).replace(",}", "}")
        })
    }),
    ("an error of null", |whole| with_error(whole, json!(null))),
    ("an empty error", |whole| with_error(whole, json!(""))),
    ("an error of nothing", |whole| with_error(whole, json!({}))),
    ("an error without content", |whole| {
        with_error(whole, json!({"message": "", "code": null}))
    }),
    ("base64 for URLs", |whole| {
        in_pictures(whole, |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }),
    ("base64 without padding", |whole| {
        in_pictures(whole, |bytes| BASE64_STANDARD_NO_PAD.encode(bytes))
    }),
    ("base64 in lines", |whole| {
        in_pictures(whole, |bytes| {
            let text = BASE64_STANDARD.encode(bytes);
            let (first, rest) = text.split_at(5);
            format!("{first}\r\n{rest}\n")
        })
    }),
    ("a data URI", |whole| {
        in_pictures(whole, |bytes| {
            format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes))
        })
    }),
    ("an empty first item", |whole| {
        in_json(whole, &|value| match value {
            Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
                items.insert(0, json!({}))
            }
            _ => {}
        })
    }),
    ("data as an object", |whole| {
        in_json(whole, &|value| {
            if let Some(Value::Array(items)) = value.get_mut("data") {
                let first = items.remove(0);
                value["data"] = first;
            }
        })
    }),
    ("images in place of data", |whole| {
        renamed(whole, "data", "images")
    }),
    ("output in place of data", |whole| {
        renamed(whole, "data", "output")
    }),
    ("output in place of images", |whole| {
        renamed(whole, "images", "output")
    }),
    ("names with underscores", |whole| {
        let whole = renamed(whole, "inlineData", "inline_data")?;
        renamed(whole, "mimeType", "mime_type")
    }),
];

impl Run<'_> {
    pub(super) async fn shapes(&mut self) {
        self.case = "a good answer in another shape".to_owned();
        let fake = Fake::start(self.subject.good).await;
        let url = fake.url.clone();
        let Ok(plain) = self.draw_at(&url).await else {
            return;
        };
        for (name, shape) in SHAPES {
            // The names of its lists are a server's own language.
            if self.subject.fixed_names && name.contains(" in place of ") {
                continue;
            }
            self.case = format!("a good answer, {name}");
            let (good, shape) = (self.subject.good, *shape);
            let fake = Fake::start(move |asked: &Asked| match good(asked) {
                Reply::Whole(whole) => Reply::Whole(shape(whole.clone()).unwrap_or(whole)),
                other => other,
            })
            .await;
            let url = fake.url.clone();
            match self.draw_at(&url).await {
                Ok(drawn) if drawn.bytes == plain.bytes => {}
                Ok(drawn) => self.fault(format!("another picture, of {} bytes", drawn.bytes.len())),
                Err(error) => self.fault(format!("no picture: {error}")),
            }
            let bought = fake
                .asked()
                .iter()
                .filter(|asked| (self.subject.buys)(asked))
                .count();
            if bought != 1 {
                self.fault(format!("{bought} requests buy a picture; 1 was expected"));
            }
        }
    }
}

fn encoded(mut whole: Whole, name: &str, encode: fn(&[u8]) -> Vec<u8>) -> Whole {
    whole
        .headers
        .push(("content-encoding".to_owned(), name.to_owned()));
    whole.body = encode(&whole.body).into();
    whole
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest)
}

fn in_text(mut whole: Whole, change: impl Fn(&str) -> String) -> Option<Whole> {
    let text = std::str::from_utf8(&whole.body)
        .ok()
        .filter(|text| text.starts_with('{'))?;
    whole.body = change(text).into();
    Some(whole)
}

/// Changes every value of an answer in JSON, the inner ones first.
fn in_json(mut whole: Whole, change: &dyn Fn(&mut Value)) -> Option<Whole> {
    let mut json: Value = serde_json::from_slice(&whole.body).ok()?;
    change_all(&mut json, change);
    whole.body = json.to_string().into();
    Some(whole)
}

fn change_all(value: &mut Value, change: &dyn Fn(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| change_all(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|field| change_all(field, change)),
        _ => {}
    }
    change(value);
}

fn with_error(whole: Whole, error: Value) -> Option<Whole> {
    let mut whole = whole;
    let mut json: Value = serde_json::from_slice(&whole.body).ok()?;
    json.as_object_mut()?.insert("error".to_owned(), error);
    whole.body = json.to_string().into();
    Some(whole)
}

fn renamed(whole: Whole, from: &'static str, to: &'static str) -> Option<Whole> {
    in_json(whole, &|value| {
        if let Some(fields) = value.as_object_mut()
            // A picture itself goes by a name of its own.
            && fields.get(from).is_some_and(|field| from != "data" || field.is_array())
            && let Some(field) = fields.remove(from)
        {
            fields.insert(to.to_owned(), field);
        }
    })
}

/// Writes the pictures in an answer otherwise.
fn in_pictures(whole: Whole, write: fn(&[u8]) -> String) -> Option<Whole> {
    in_json(whole, &|value| {
        let bytes = value.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
        if let Some(bytes) = bytes.filter(|bytes| bytes.starts_with(b"\x89PNG")) {
            *value = write(&bytes).into();
        }
    })
}
