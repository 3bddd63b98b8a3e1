//! Undoing what was done to a body on its way: gzip and the like, asked for or not, named or not.
//!
//! Own code in place of the client's, which knows the usual names alone: gateways write `x-gzip` and two encodings at
//! once, and name some that they have not used.

use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use ruzstd::decoding::StreamingDecoder;

const GZIP: &[u8] = b"\x1f\x8b\x08";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// Most encodings that are undone, one within the other.
const MOST: usize = 3;
const BUFFER_BYTES: usize = 16 * 1024;

/// Why the content of a body is not to be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Encoded {
    /// It has more bytes than it may.
    TooLarge,
    /// It breaks off, or is not what its head says.
    Broken(&'static str),
}

/// Whether there is anything to undo.
pub(super) fn is_encoded(headers: &HeaderMap, body: &[u8]) -> bool {
    body.starts_with(GZIP) || body.starts_with(ZSTD) || names(headers).next().is_some()
}

/// The content of `body`, which has at most `cap` bytes.
///
/// One that is not encoded in the way that its head says is taken as it is: no picture begins by chance as one that is.
///
/// Source: RFC 9110 §8.4 (Content-Encoding: the last one named was applied last).
///
/// # Errors
/// [`Encoded`].
pub(super) fn decode(headers: &HeaderMap, body: Vec<u8>, cap: usize) -> Result<Vec<u8>, Encoded> {
    let mut named: Vec<String> = names(headers).collect();
    let mut body = body;
    for _ in 0..MOST {
        let by_name = named.pop();
        let name = match by_name.as_deref() {
            _ if body.starts_with(GZIP) => "gzip",
            _ if body.starts_with(ZSTD) => "zstd",
            Some("br") => "br",
            Some("deflate") => "deflate",
            Some(_) => continue,
            None => return Ok(body),
        };
        body = match (undo(name, &body, cap), name) {
            (Ok(content), _) => content,
            (Err(Encoded::Broken(_)), "br" | "deflate") if is_plain(&body) => return Ok(body),
            (Err(error), _) => return Err(error),
        };
    }
    Ok(body)
}

/// Encodings that are named, in small letters, the last one last.
fn names(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all(CONTENT_ENCODING).into_iter();
    let words = values.filter_map(|value| value.to_str().ok());
    let words = words.flat_map(|value| value.split(','));
    words
        .map(|word| word.trim().to_ascii_lowercase())
        .filter(|word| !word.is_empty() && word != "identity")
}

/// JSON, a page or a picture: neither Brotli nor Deflate begins so and goes on in a way that can be read.
fn is_plain(body: &[u8]) -> bool {
    let body = body
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(body)
        .trim_ascii_start();
    let starts: [&[u8]; 8] = [
        b"{",
        b"[",
        b"<",
        b"data:",
        b"event:",
        b"\x89PNG",
        b"\xff\xd8\xff",
        b"RIFF",
    ];
    body.is_empty() || starts.iter().any(|start| body.starts_with(start))
}

fn undo(name: &str, body: &[u8], cap: usize) -> Result<Vec<u8>, Encoded> {
    match name {
        "gzip" => read(MultiGzDecoder::new(body), cap, "its gzip is broken or breaks off"),
        "zstd" => {
            let why = "its zstd is broken or breaks off";
            let decoder = StreamingDecoder::new(body).map_err(|_| Encoded::Broken(why))?;
            read(decoder, cap, why)
        }
        "br" => read(
            Decompressor::new(body, BUFFER_BYTES),
            cap,
            "its Brotli is broken or breaks off",
        ),
        // By the standard with the head of zlib, and by many without.
        _ => {
            let why = "its Deflate is broken or breaks off";
            match read(ZlibDecoder::new(body), cap, why) {
                Err(Encoded::Broken(_)) => read(DeflateDecoder::new(body), cap, why),
                content => content,
            }
        }
    }
}

fn read(decoder: impl Read, cap: usize, why: &'static str) -> Result<Vec<u8>, Encoded> {
    let mut content = Vec::new();
    let most = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    let read = decoder.take(most).read_to_end(&mut content);
    match read {
        Ok(_) if content.len() > cap => Err(Encoded::TooLarge),
        Ok(_) => Ok(content),
        Err(_) => Err(Encoded::Broken(why)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use reqwest::header::HeaderValue;

    use super::*;

    const TEXT: &[u8] = b"{\"data\":[]}";
    /// [`TEXT`] as one block that is not compressed. Source: RFC 7932 §9.2.
    const BROTLI: &[u8] = b"\x0b\x05\x80{\"data\":[]}\x03";

    fn headers(names: &[&'static str]) -> HeaderMap {
        let values = names.iter().map(|name| HeaderValue::from_static(name));
        values.map(|value| (CONTENT_ENCODING, value)).collect()
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn every_encoding_is_undone_under_every_name() {
        for (names, body) in [
            (&["gzip"][..], gzip(TEXT)),
            (&["x-gzip"], gzip(TEXT)),
            (&["GZIP"], gzip(TEXT)),
            (&[], gzip(TEXT)),
            (&["identity"], gzip(TEXT)),
            (&["br"], gzip(TEXT)),
            (&["gzip, gzip"], gzip(&gzip(TEXT))),
            (&["gzip", "gzip"], gzip(&gzip(TEXT))),
            (&["deflate, gzip"], gzip(&zlib(TEXT))),
            (&["deflate"], zlib(TEXT)),
            (&["deflate"], deflate(TEXT)),
            (&["br"], BROTLI.to_vec()),
            (&["zstd"], zstd(TEXT)),
            (&[], zstd(TEXT)),
            // Named, and not done.
            (&["gzip"], TEXT.to_vec()),
            (&["br"], TEXT.to_vec()),
            (&["deflate"], TEXT.to_vec()),
            (&["zstd"], TEXT.to_vec()),
            (&["nonsense"], TEXT.to_vec()),
            (&["identity"], TEXT.to_vec()),
        ] {
            let content = decode(&headers(names), body, 100);
            assert_eq!(content.as_deref(), Ok(TEXT), "{names:?}");
        }
    }

    #[test]
    fn what_breaks_off_and_what_is_too_much_is_no_content() {
        for (name, body) in [
            ("gzip", gzip(TEXT)),
            ("zstd", zstd(TEXT)),
            ("br", BROTLI.to_vec()),
        ] {
            let cut = body[..body.len() - 4].to_vec();
            assert!(
                matches!(decode(&headers(&[name]), cut, 100), Err(Encoded::Broken(_))),
                "{name}"
            );
            assert_eq!(
                decode(&headers(&[name]), body, 10),
                Err(Encoded::TooLarge),
                "{name}"
            );
        }
        let bomb = gzip(&vec![0; 1 << 20]);
        assert_eq!(decode(&headers(&["gzip"]), bomb, 1000), Err(Encoded::TooLarge));
    }
}
