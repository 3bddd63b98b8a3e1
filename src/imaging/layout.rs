//! A file as the parts of it that pixels need: what is kept of every picture, and the only thing that is decoded.

use std::borrow::Cow;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::Bytes;

use super::{BadPicture, Format, Outline};

/// The most chunks or segments of a file. The largest pictures, written in pieces of 4 KiB, stay below; each costs
/// time and memory in every reader that comes after.
pub(super) const MAX_PARTS: usize = 10_000;

/// What a walk through a file has found.
pub(super) struct Layout<'a> {
    pub(super) outline: Outline,
    /// In their order, with what goes before the first pixel in [`Layout::head`] of them.
    pub(super) parts: Vec<Cow<'a, [u8]>>,
    /// Where a part may be put in that tells of the picture.
    pub(super) head: usize,
}

impl<'a> Layout<'a> {
    /// Whether nothing is left out.
    pub(super) fn is_all(&self, bytes: &[u8]) -> bool {
        let lengths = self.parts.iter().map(|part| part.len()).sum::<usize>();
        lengths == bytes.len() && self.parts.iter().all(|part| matches!(part, Cow::Borrowed(_)))
    }

    /// The parts, of which those that stand in `bytes` are not copied.
    pub(super) fn into_parts(self, bytes: &Bytes) -> Vec<Bytes> {
        let part = |part| match part {
            Cow::Borrowed(part) => bytes.slice_ref(part),
            Cow::Owned(part) => Bytes::from(part),
        };
        self.parts.into_iter().map(part).collect()
    }

    /// The parts as one file that can be read.
    pub(super) fn reader(&self) -> Parts<'_> {
        let mut end = 0;
        let parts = self.parts.iter().map(|part| {
            let start = end;
            end += part.len();
            (start, &**part)
        });
        let parts = parts.collect();
        Parts { parts, end, at: 0 }
    }
}

/// Gathers parts; those that follow each other in the file become one.
pub(super) struct Kept<'a> {
    bytes: &'a [u8],
    parts: Vec<Cow<'a, [u8]>>,
    open: Range<usize>,
    left: usize,
    format: Format,
}

impl<'a> Kept<'a> {
    pub(super) fn of(format: Format, bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            parts: Vec::new(),
            open: 0..0,
            left: MAX_PARTS,
            format,
        }
    }

    /// Counts a chunk or segment, kept or not.
    ///
    /// # Errors
    /// [`BadPicture::TooMany`] for one more than there may be.
    pub(super) fn count(&mut self) -> Result<(), BadPicture> {
        let too_many = BadPicture::TooMany {
            format: self.format,
            most: MAX_PARTS,
            what: "chunks or segments",
        };
        self.left = self.left.checked_sub(1).ok_or(too_many)?;
        Ok(())
    }

    /// These bytes of the file.
    pub(super) fn keep(&mut self, part: Range<usize>) {
        if part.start == self.open.end {
            self.open.end = part.end;
        } else {
            self.close();
            self.open = part;
        }
    }

    /// Something in the place of what stands there, or nothing.
    pub(super) fn put(&mut self, part: impl Into<Option<Vec<u8>>>) {
        self.close();
        self.parts.extend(part.into().map(Cow::Owned));
    }

    /// How many parts there are so far: what is kept from here on is another one.
    pub(super) fn close(&mut self) -> usize {
        if !self.open.is_empty() {
            self.parts.push(Cow::Borrowed(&self.bytes[self.open.clone()]));
        }
        self.open = self.open.end..self.open.end;
        self.parts.len()
    }

    pub(super) fn into_layout(mut self, outline: Outline, head: usize) -> Layout<'a> {
        self.close();
        Layout {
            outline,
            parts: self.parts,
            head,
        }
    }
}

/// Reads parts as if they were one file, without a copy of it.
pub(super) struct Parts<'a> {
    /// Where each begins.
    parts: Vec<(usize, &'a [u8])>,
    end: usize,
    at: usize,
}

impl BufRead for Parts<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let next = self.parts.partition_point(|(start, _)| *start <= self.at);
        let part = next.checked_sub(1).and_then(|index| self.parts.get(index));
        let rest = part.and_then(|(start, part)| part.get(self.at - start..));
        Ok(rest.unwrap_or_default())
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl Seek for Parts<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => i64::try_from(at).ok(),
            SeekFrom::End(by) => (self.end as i64).checked_add(by),
            SeekFrom::Current(by) => (self.at as i64).checked_add(by),
        };
        self.at = at
            .and_then(|at| usize::try_from(at).ok())
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OUTLINE: Outline = Outline {
        width_px: 1,
        height_px: 1,
        has_content_credentials: false,
        lacks_end: false,
        decoded_bytes: 0,
    };

    proptest! {
        #[test]
        fn parts_are_read_like_the_file_that_they_make(
            file in prop::collection::vec(any::<u8>(), 1..60),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..3), 0..8),
            moves in prop::collection::vec((0..70_i64, 1..20_usize), 0..8),
        ) {
            let mut kept = Kept::of(Format::Png, &file);
            let mut expected = Vec::new();
            let mut at = 0;
            for (to, what) in cuts {
                let to = to.index(file.len()).max(at);
                match what {
                    0 => {}
                    1 => { kept.put(vec![7; to - at]); expected.extend(vec![7; to - at]); }
                    _ => { kept.keep(at..to); expected.extend_from_slice(&file[at..to]); }
                }
                at = to;
            }
            let layout = kept.into_layout(OUTLINE, 0);
            let mut found = Vec::new();
            layout.reader().read_to_end(&mut found).unwrap();
            prop_assert_eq!(&found, &expected);
            let (mut reader, mut whole) = (layout.reader(), io::Cursor::new(&expected));
            for (to, count) in moves {
                let to = SeekFrom::Start(to as u64);
                prop_assert_eq!(reader.seek(to).ok(), whole.seek(to).ok());
                let (mut here, mut there) = (vec![0; count], vec![0; count]);
                let is_read = reader.read_exact(&mut here).is_ok();
                prop_assert_eq!(is_read, whole.read_exact(&mut there).is_ok());
                prop_assert!(!is_read || here == there);
            }
        }
    }

    #[test]
    fn neighbours_become_one_part_and_are_not_copied() {
        let file = Bytes::from_static(b"abcdefgh");
        let mut kept = Kept::of(Format::Png, &file);
        kept.keep(0..2);
        kept.keep(2..4);
        kept.put(b"X".to_vec());
        kept.keep(5..8);
        let parts = kept.into_layout(OUTLINE, 0).into_parts(&file);
        assert_eq!(parts, [&b"abcd"[..], b"X", b"fgh"]);
        assert_eq!(parts[0].as_ptr(), file.as_ptr());
    }
}
