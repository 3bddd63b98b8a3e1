//! The picture that is drawn again and again: 1024 × 1024 px, like a photo to whoever packs it.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

const SIDE: u32 = 1024;
/// Of the grain, in steps of brightness each way. Makes the file 1.5 MB.
const GRAIN: i32 = 3;

/// About 1.5 MB, the same bytes each time.
pub(crate) fn png() -> anyhow::Result<Vec<u8>> {
    let mut file = Vec::new();
    PngEncoder::new_with_quality(&mut file, CompressionType::Level(6), FilterType::Adaptive).write_image(
        &pixels(),
        SIDE,
        SIDE,
        ExtendedColorType::Rgb8,
    )?;
    Ok(file)
}

/// Soft fields of colour, discs with hard edges, and grain over all.
fn pixels() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as i32
    };
    let discs: Vec<(i32, i32, i32, [i32; 3])> = (0..48)
        .map(|_| {
            let colour = [random() % 120 - 60, random() % 120 - 60, random() % 120 - 60];
            (random() % 1024, random() % 1024, 20 + random() % 90, colour)
        })
        .collect();
    let mut pixels = Vec::with_capacity((SIDE * SIDE * 3) as usize);
    for y in 0..SIDE.cast_signed() {
        for x in 0..SIDE.cast_signed() {
            let (u, v) = (f64::from(x) / 163.0, f64::from(y) / 211.0);
            let soft = [
                128.0 + 70.0 * (u + (v * 1.3).sin()).sin(),
                120.0 + 60.0 * (v - (u * 0.7).cos()).cos(),
                140.0 + 80.0 * (u * 0.6 + v * 0.9).sin(),
            ];
            let mut shift = [0; 3];
            for (cx, cy, radius, colour) in &discs {
                if (x - cx).pow(2) + (y - cy).pow(2) < radius.pow(2) {
                    shift = *colour;
                }
            }
            for channel in 0..3 {
                let grain = random() % (2 * GRAIN + 1) - GRAIN;
                pixels.push((soft[channel] as i32 + shift[channel] + grain).clamp(0, 255) as u8);
            }
        }
    }
    pixels
}
