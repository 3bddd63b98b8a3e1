//! Pictures as somebody would make them who wants the worker to fall: small on the wire, large in memory.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::picture::{bomb, jpeg, photo, png, webp, with_png_chunk};

/// The kinds that there are, by name.
type Kind = (&'static str, fn() -> Vec<u8>);

pub(crate) const KINDS: [Kind; 7] = [
    ("PNG, a colour profile of 190 MB", png_with_large_profile),
    ("PNG, 40 megapixels", || bomb(8000, 5000)),
    ("JPEG, one channel a scan", || {
        flat_jpeg(6300, 6300, 3, Scans::One)
    }),
    ("JPEG, four channels", || flat_jpeg(6300, 6300, 4, Scans::One)),
    ("JPEG, 3,000 scans", || flat_jpeg(400, 400, 3, Scans::Many(1000))),
    ("JPEG, 7.8 million empty segments", jpeg_of_empty_segments),
    ("WebP, four million chunks", webp_of_empty_chunks),
];

/// What every byte of the profile is does not matter: a decoder unpacks it before it looks.
fn png_with_large_profile() -> Vec<u8> {
    let mut packed = ZlibEncoder::new(b"profile\0\0".to_vec(), Compression::best());
    let zeroes = vec![0; 1_000_000];
    for _ in 0..190 {
        packed.write_all(&zeroes).unwrap();
    }
    with_png_chunk(&png(&photo(64, 64)), b"iCCP", &packed.finish().unwrap())
}

fn jpeg_of_empty_segments() -> Vec<u8> {
    let whole = jpeg(&photo(64, 64));
    let empty = b"\xff\xe5\0\x02".repeat(7_800_000);
    [&whole[..2], &empty, &whole[2..]].concat()
}

fn webp_of_empty_chunks() -> Vec<u8> {
    let mut file = webp(&photo(64, 64));
    file.extend_from_slice(&b"junk\0\0\0\0".repeat(4_000_000));
    let riff_bytes = u32::try_from(file.len() - 8).unwrap();
    file[4..8].copy_from_slice(&riff_bytes.to_le_bytes());
    file
}

/// In what order a JPEG tells of its channels.
#[derive(Clone, Copy)]
pub(crate) enum Scans {
    /// All of them in one scan.
    All,
    /// Each in a scan of its own.
    One,
    /// The same over and over.
    Many(usize),
}

/// A JPEG of one colour, with so many channels (1, 3 or 4), whose every block is there.
pub(crate) fn flat_jpeg(width: u16, height: u16, channels: u8, scans: Scans) -> Vec<u8> {
    let model = jpeg(&photo(16, 16));
    let mut file = b"\xff\xd8".to_vec();
    // Its tables: two for quantities, four for codes, those with the number 0 for brightness.
    let mut at = 2;
    while model[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([model[at + 2], model[at + 3]]));
        if matches!(model[at + 1], 0xdb | 0xc4) {
            file.extend_from_slice(&model[at..end]);
        }
        at = end;
    }
    let (sides, ids) = ([height.to_be_bytes(), width.to_be_bytes()].concat(), 1..=channels);
    let parts: Vec<u8> = ids.clone().flat_map(|id| [id, 0x11, 0]).collect();
    segment(&mut file, 0xc0, &[&[8], &sides[..], &[channels], &parts].concat());
    let blocks = usize::from(width).div_ceil(8) * usize::from(height).div_ceil(8);
    let all: Vec<u8> = ids.clone().collect();
    let each = || ids.clone().map(|id| vec![id]);
    let scans: Vec<Vec<u8>> = match scans {
        Scans::All => vec![all],
        Scans::One => each().collect(),
        Scans::Many(times) => (0..times).flat_map(|_| each()).collect(),
    };
    for scan in scans {
        let parts: Vec<u8> = scan.iter().flat_map(|id| [*id, 0]).collect();
        segment(
            &mut file,
            0xda,
            &[&[scan.len() as u8], &parts[..], &[0, 63, 0]].concat(),
        );
        // A block is six bits: no difference (00), and nothing more (1010). Source: ITU-T T.81, tables K.3 and K.5.
        let blocks = blocks * scan.len();
        file.extend(b"\x28\xa2\x8a".repeat(blocks / 4));
        file.extend_from_slice([&[][..], &[0x2b], &[0x28, 0xaf], &[0x28, 0xa2, 0xbf]][blocks % 4]);
    }
    file.extend_from_slice(b"\xff\xd9");
    file
}

fn segment(file: &mut Vec<u8>, marker: u8, content: &[u8]) {
    file.extend_from_slice(&[0xff, marker]);
    file.extend_from_slice(&u16::try_from(content.len() + 2).unwrap().to_be_bytes());
    file.extend_from_slice(content);
}

/// A PNG of noise: as large as such a picture can be.
pub(crate) fn noise(width: u32, height: u32) -> Bytes {
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let picture = image::RgbImage::from_fn(width, height, |_, _| image::Rgb([random(), random(), random()]));
    png(&picture.into()).into()
}
