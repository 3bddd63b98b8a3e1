//! Writes initials with the font that is built in.

use std::sync::LazyLock;

use fontdue::{Font, FontSettings};
use tiny_skia::Color;

use super::canvas::{Canvas, over};

/// Capitals and digits of DejaVu Sans Bold; `assets/DejaVuSans-Bold-subset.LICENSE` is its licence.
static FONT: LazyLock<Font> = LazyLock::new(|| {
    let file = include_bytes!("../../../../assets/DejaVuSans-Bold-subset.ttf").as_slice();
    // Outlines are simplified for this size and stay smooth at those drawn here.
    let settings = FontSettings {
        scale: 400.0,
        ..FontSettings::default()
    };
    Font::from_bytes(file, settings).expect("the font that is built in can be read")
});

/// Space between two letters, as a part of the font size. Capitals of a monogram stand closer than in a text.
const TRACKING: f32 = -0.02;

/// Whether the font has this character.
pub(super) fn can_write(character: char) -> bool {
    FONT.lookup_glyph_index(character) != 0
}

/// Writes `text` as large as fits a box around a centre, and centres what is seen rather than the line it stands on.
pub(super) fn write(canvas: &mut Canvas, text: &str, center: (f32, f32), max_size: (f32, f32), color: Color) {
    const TRIAL: f32 = 100.0;
    let Some(trial) = Ink::of(text, TRIAL) else { return };
    let size = TRIAL * (max_size.0 / trial.width()).min(max_size.1 / trial.height());
    let Some(ink) = Ink::of(text, size) else { return };
    let left = center.0 - ink.width() / 2.0 - ink.left;
    let baseline = center.1 - ink.height() / 2.0 + ink.top;
    let mut pen = left;
    for character in text.chars() {
        let (metrics, coverage) = FONT.rasterize(character, size);
        let x = (pen + metrics.xmin as f32).round() as i32;
        let y = (baseline - metrics.ymin as f32).round() as i32 - metrics.height as i32;
        blend(canvas, &coverage, metrics.width, (x, y), color);
        pen += metrics.advance_width + TRACKING * size;
    }
}

/// The box around what is seen of a text, relative to the pen's start on the baseline; upwards is positive.
struct Ink {
    left: f32,
    right: f32,
    top: f32,
    bottom: f32,
}

impl Ink {
    fn of(text: &str, size: f32) -> Option<Self> {
        let mut pen = 0.0;
        let mut ink: Option<Self> = None;
        for character in text.chars() {
            let metrics = FONT.metrics(character, size);
            let bounds = metrics.bounds;
            let glyph = Self {
                left: pen + bounds.xmin,
                right: pen + bounds.xmin + bounds.width,
                top: bounds.ymin + bounds.height,
                bottom: bounds.ymin,
            };
            ink = Some(match ink {
                None => glyph,
                Some(ink) => Self {
                    left: ink.left.min(glyph.left),
                    right: ink.right.max(glyph.right),
                    top: ink.top.max(glyph.top),
                    bottom: ink.bottom.min(glyph.bottom),
                },
            });
            pen += metrics.advance_width + TRACKING * size;
        }
        ink.filter(|ink| ink.width() > 0.0 && ink.height() > 0.0)
    }

    fn width(&self) -> f32 {
        self.right - self.left
    }

    fn height(&self) -> f32 {
        self.top - self.bottom
    }
}

fn blend(canvas: &mut Canvas, coverage: &[u8], width: usize, (left, top): (i32, i32), color: Color) {
    let (canvas_width, canvas_height) = (canvas.pixmap.width() as i32, canvas.pixmap.height() as i32);
    let color = color.premultiply().to_color_u8();
    let pixels = canvas.pixmap.pixels_mut();
    for (index, &covered) in coverage.iter().enumerate().filter(|(_, covered)| **covered > 0) {
        let (x, y) = (left + (index % width) as i32, top + (index / width) as i32);
        if x < 0 || y < 0 || x >= canvas_width || y >= canvas_height {
            continue;
        }
        let pixel = &mut pixels[(y * canvas_width + x) as usize];
        *pixel = over(*pixel, color, covered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_the_capitals_of_latin_cyrillic_and_greek() {
        let capitals = "AZ09ÁÐÉÍÓÚÝÞÆÖÅØÑÇŁŠŽŐŰİĞ ЖЯЙЂ ΑΩ"
            .chars()
            .filter(|c| !c.is_whitespace());
        for capital in capitals {
            assert!(can_write(capital), "{capital}");
        }
        assert!(!can_write('字'));
    }

    #[test]
    fn text_stays_inside_its_box_and_in_its_middle() {
        for text in ["I", "WM", "ÅÖ", "ÞÍ", "Q2", "ЩЖ"] {
            let mut canvas = Canvas::new(300, 200);
            write(&mut canvas, text, (150.0, 100.0), (120.0, 90.0), Color::BLACK);
            let seen: Vec<(i32, i32)> = canvas
                .pixmap
                .pixels()
                .iter()
                .enumerate()
                .filter(|(_, pixel)| pixel.alpha() > 60)
                .map(|(index, _)| (index as i32 % 300, index as i32 / 300))
                .collect();
            let bounds = |part: fn(&(i32, i32)) -> i32| {
                let parts = seen.iter().map(part);
                (parts.clone().min().unwrap(), parts.max().unwrap())
            };
            let ((left, right), (top, bottom)) = (bounds(|at| at.0), bounds(|at| at.1));
            assert!(
                left >= 88 && right <= 212 && top >= 53 && bottom <= 147,
                "{text}: {left}-{right} {top}-{bottom}"
            );
            assert!(
                (left + right - 300).abs() <= 4 && (top + bottom - 200).abs() <= 4,
                "{text} is off centre"
            );
        }
    }
}
