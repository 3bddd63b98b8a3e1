//! Colours that go together, chosen by hand.

use tiny_skia::Color;

/// The colours of one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Palette {
    pub(super) mood: Mood,
    /// Highest and lowest colour of the sky.
    pub(super) sky: [u32; 2],
    /// From the farthest and palest to the nearest and darkest.
    pub(super) layers: [u32; 5],
    /// Sun, moon or medallion: what the initials stand on.
    pub(super) disc: u32,
    /// The initials.
    pub(super) ink: u32,
    /// The one colour that stands out.
    pub(super) accent: u32,
}

/// What a palette feels like; prompts ask for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Warm,
    Water,
    Green,
    Cool,
    Night,
}

#[rustfmt::skip]
pub(super) const PALETTES: &[Palette] = &[
    // Dawn.
    Palette { mood: Mood::Warm, sky: [0xfde9c9, 0xf8b195], layers: [0xe98f80, 0xc66b7d, 0x8f4d76, 0x5a3d69, 0x2f2b51], disc: 0xfff5e1, ink: 0x5a3d69, accent: 0xf2545b },
    // Terracotta.
    Palette { mood: Mood::Warm, sky: [0xfcefdf, 0xf5cfae], layers: [0xecb088, 0xdc8a62, 0xbb6148, 0x814240, 0x4b2e3b], disc: 0xfff9ee, ink: 0x814240, accent: 0x2f7f86 },
    // Marigold.
    Palette { mood: Mood::Warm, sky: [0xfff3d1, 0xfcd581], layers: [0xf9b65b, 0xee8b44, 0xd1603d, 0x8c3f42, 0x4c2a3d], disc: 0xfffaf0, ink: 0x8c3f42, accent: 0x3d7ea6 },
    // Lagoon.
    Palette { mood: Mood::Water, sky: [0xeaf7f4, 0xb4e1e2], layers: [0x82c8cf, 0x4ea6b8, 0x2c81a0, 0x1c5c7f, 0x133c5c], disc: 0xffefc4, ink: 0x1c5c7f, accent: 0xff7a59 },
    // Harbour.
    Palette { mood: Mood::Water, sky: [0xfdeee0, 0xf9cdb4], layers: [0x8cc0c8, 0x5698ae, 0x34738f, 0x254f6e, 0x1a3350], disc: 0xfff8ec, ink: 0x254f6e, accent: 0xe4572e },
    // Meadow.
    Palette { mood: Mood::Green, sky: [0xf6f5dc, 0xd5eabf], layers: [0xaed394, 0x7fb77d, 0x4f956b, 0x2f6f58, 0x1d4c45], disc: 0xffedb3, ink: 0x2f6f58, accent: 0xf08a4b },
    // Birch.
    Palette { mood: Mood::Green, sky: [0xeef6ee, 0xc3e3d3], layers: [0x94cbb4, 0x63ab94, 0x3f8778, 0x27635f, 0x194349], disc: 0xfff6df, ink: 0x27635f, accent: 0xf4a259 },
    // Fjord.
    Palette { mood: Mood::Cool, sky: [0xeef3f8, 0xcbdcea], layers: [0xa9c3d8, 0x82a2c0, 0x5a7ea3, 0x3b5c84, 0x253e60], disc: 0xffeacb, ink: 0x3b5c84, accent: 0xe4674d },
    // Heather.
    Palette { mood: Mood::Cool, sky: [0xfbeaf1, 0xe6c0dc], layers: [0xcf9bc6, 0xa671ab, 0x7a4d8b, 0x55366d, 0x35234d], disc: 0xfff5e9, ink: 0x55366d, accent: 0xf4a259 },
    // Midnight.
    Palette { mood: Mood::Night, sky: [0x10183a, 0x4a4384], layers: [0x514b93, 0x3f3d7e, 0x2f2f68, 0x212351, 0x15173a], disc: 0xfdf3d3, ink: 0x2f2f68, accent: 0xf7c15c },
    // Northern lights.
    Palette { mood: Mood::Night, sky: [0x0a2236, 0x1e6a70], layers: [0x2a8580, 0x206c70, 0x17535e, 0x103d4b, 0x0a2937], disc: 0xf0fbe2, ink: 0x17535e, accent: 0x9be08a },
];

pub(super) fn color(rgb: u32) -> Color {
    let [_, red, green, blue] = rgb.to_be_bytes();
    Color::from_rgba8(red, green, blue, 255)
}

/// `share` of `to` in `from`: 0 is all `from`, 1 all `to`.
pub(super) fn mix(from: Color, to: Color, share: f32) -> Color {
    let part = |from: f32, to: f32| (from + (to - from) * share).clamp(0.0, 1.0);
    Color::from_rgba(
        part(from.red(), to.red()),
        part(from.green(), to.green()),
        part(from.blue(), to.blue()),
        part(from.alpha(), to.alpha()),
    )
    .unwrap_or(from)
}

pub(super) fn faded(mut color: Color, alpha: f32) -> Color {
    color.apply_opacity(alpha);
    color
}

impl Palette {
    pub(super) fn is_dark(&self) -> bool {
        self.mood == Mood::Night
    }

    /// Counted from the farthest; beyond the nearest stays the nearest.
    pub(super) fn layer(&self, index: usize) -> Color {
        color(self.layers[index.min(self.layers.len() - 1)])
    }

    /// Anywhere between the farthest (0) and the nearest (1).
    pub(super) fn depth(&self, depth: f32) -> Color {
        let position = depth.clamp(0.0, 1.0) * (self.layers.len() - 1) as f32;
        mix(
            self.layer(position as usize),
            self.layer(position as usize + 1),
            position.fract(),
        )
    }

    pub(super) fn disc(&self) -> Color {
        color(self.disc)
    }

    pub(super) fn accent(&self) -> Color {
        color(self.accent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: WCAG 2.2, "relative luminance" and "contrast ratio".
    fn contrast(one: u32, other: u32) -> f32 {
        let luminance = |rgb: u32| {
            let linear = |part: f32| {
                if part <= 0.04045 {
                    part / 12.92
                } else {
                    ((part + 0.055) / 1.055).powf(2.4)
                }
            };
            let color = color(rgb);
            0.2126 * linear(color.red()) + 0.7152 * linear(color.green()) + 0.0722 * linear(color.blue())
        };
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn initials_are_easy_to_read_in_every_palette() {
        for palette in PALETTES {
            assert!(contrast(palette.ink, palette.disc) >= 4.5, "{palette:?}");
            for deep in &palette.layers[3..] {
                assert!(contrast(palette.disc, *deep) >= 4.5, "{palette:?}");
            }
        }
    }

    #[test]
    fn every_mood_has_a_palette() {
        for mood in [Mood::Warm, Mood::Water, Mood::Green, Mood::Cool, Mood::Night] {
            assert!(
                PALETTES.iter().filter(|palette| palette.mood == mood).count() >= 2,
                "{mood:?}"
            );
        }
    }
}
