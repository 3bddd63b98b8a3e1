//! Icons: a bold shape with large initials over a simple motif, to be read at 64 pixels.

use std::f32::consts::TAU;

use tiny_skia::{BlendMode, Mask, Path, PathBuilder, Transform};

use super::canvas::{Canvas, Fill, circle, ground, polygon, rounded};
use super::lettering;
use super::palette::{Mood, color, faded, mix};
use super::random::Random;
use super::scene::{boat, conifer, cube, house, round_tree, tile, walls};
use super::theme::{Motif, Theme};

/// Draws a badge in the middle of a transparent canvas.
pub(super) fn paint(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let palette = &theme.palette;
    let outline = outline(canvas, random);
    let [top, bottom] = if palette.is_dark() {
        [
            color(palette.sky[0]),
            mix(color(palette.sky[0]), palette.layer(1), 0.7),
        ]
    } else {
        [palette.layer(4), palette.layer(3)]
    };
    let Some(outline) = outline else { return };
    let (x, y, unit) = (canvas.width() / 2.0, canvas.height() / 2.0, canvas.unit());
    let shrunk = |share: f32| {
        let transform = Transform::from_translate(-x, -y)
            .post_scale(share, share)
            .post_translate(x, y);
        outline.clone().transform(transform)
    };
    // Laid out in the square in the middle, the motif runs out to where the rim cuts it off.
    motif(canvas, theme, random);
    cut(canvas, shrunk(0.93));
    let mut whole = Canvas::new(canvas.pixmap.width(), canvas.pixmap.height());
    whole.fill(Some(outline.clone()), Fill::Down(top, bottom));
    let (paint, place) = (tiny_skia::PixmapPaint::default(), Transform::identity());
    whole
        .pixmap
        .draw_pixmap(0, 0, canvas.pixmap.as_ref(), &paint, place, None);
    whole.stroke(shrunk(0.93), palette.disc(), unit * 0.017);
    let middle = (x, y - unit * 0.115);
    if theme.initials.is_empty() {
        // A sun, or by night a moon, for scripts that the font does not have.
        whole.fill(
            circle(middle.0, middle.1, unit * 0.19),
            faded(palette.disc(), 0.25),
        );
        whole.fill(circle(middle.0, middle.1, unit * 0.14), palette.disc());
    }
    lettering::write(
        &mut whole,
        &theme.initials,
        middle,
        (unit * 0.58, unit * 0.30),
        palette.disc(),
    );
    canvas.pixmap = whole.pixmap;
}

fn cut(canvas: &mut Canvas, outline: Option<Path>) {
    let Some(mut mask) = Mask::new(canvas.pixmap.width(), canvas.pixmap.height()) else {
        return;
    };
    if let Some(outline) = outline {
        mask.fill_path(
            &outline,
            tiny_skia::FillRule::Winding,
            true,
            Transform::identity(),
        );
    }
    canvas.pixmap.apply_mask(&mask);
}

/// A circle, a rounded square, a hexagon or a shield, almost as large as the canvas.
fn outline(canvas: &Canvas, random: &mut Random) -> Option<Path> {
    let (x, y, half) = (canvas.width() / 2.0, canvas.height() / 2.0, canvas.unit() * 0.485);
    match random.below(4) {
        0 => circle(x, y, half),
        1 => rounded(x - half, y - half, half * 2.0, half * 2.0, half * 0.46),
        2 => {
            let corners = (0..6).map(|corner| {
                let angle = (corner as f32 / 6.0 + 1.0 / 12.0) * TAU;
                (x + half * 1.03 * angle.cos(), y + half * 1.03 * angle.sin())
            });
            rounded_polygon(&corners.collect::<Vec<_>>(), half * 0.2)
        }
        _ => {
            let mut path = PathBuilder::new();
            let at = |across: f32, down: f32| (x + half * across, y + half * down);
            let corner = 0.22;
            path.move_to(at(-0.92 + corner, 0.0).0, at(0.0, -1.0).1);
            path.line_to(at(0.92 - corner, 0.0).0, at(0.0, -1.0).1);
            path.quad_to(
                at(0.92, 0.0).0,
                at(0.0, -1.0).1,
                at(0.92, 0.0).0,
                at(0.0, -1.0 + corner).1,
            );
            path.line_to(at(0.92, 0.0).0, at(0.0, 0.12).1);
            path.cubic_to(
                at(0.92, 0.0).0,
                at(0.0, 0.66).1,
                at(0.42, 0.0).0,
                at(0.0, 0.86).1,
                x,
                at(0.0, 1.0).1,
            );
            path.cubic_to(
                at(-0.42, 0.0).0,
                at(0.0, 0.86).1,
                at(-0.92, 0.0).0,
                at(0.0, 0.66).1,
                at(-0.92, 0.0).0,
                at(0.0, 0.12).1,
            );
            path.line_to(at(-0.92, 0.0).0, at(0.0, -1.0 + corner).1);
            path.quad_to(
                at(-0.92, 0.0).0,
                at(0.0, -1.0).1,
                at(-0.92 + corner, 0.0).0,
                at(0.0, -1.0).1,
            );
            path.close();
            path.finish()
        }
    }
}

fn rounded_polygon(corners: &[(f32, f32)], radius: f32) -> Option<Path> {
    let mut path = PathBuilder::new();
    let toward = |from: (f32, f32), to: (f32, f32)| {
        let share = radius / ((to.0 - from.0).powi(2) + (to.1 - from.1).powi(2)).sqrt();
        (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share)
    };
    for (index, &corner) in corners.iter().enumerate() {
        let before = toward(corner, corners[(index + corners.len() - 1) % corners.len()]);
        let after = toward(corner, corners[(index + 1) % corners.len()]);
        if index == 0 {
            path.move_to(before.0, before.1)
        } else {
            path.line_to(before.0, before.1)
        }
        path.quad_to(corner.0, corner.1, after.0, after.1);
    }
    path.close();
    path.finish()
}

/// The lower two fifths of a badge.
fn motif(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let palette = &theme.palette;
    let unit = canvas.unit();
    let (center, top) = (canvas.width() / 2.0, (canvas.height() - unit) / 2.0);
    let at = |across: f32, down: f32| (center + unit * (across - 0.5), top + unit * down);
    let wave = |canvas: &Canvas, level: f32, bend: f32, waves: f32, phase: f32| {
        ground(canvas, |x| {
            top + unit * (level + bend * ((x - center) / unit * waves * TAU + phase).sin())
        })
    };
    let phase = random.between(0.0, TAU);
    match theme.motif {
        Motif::Hills => {
            if !theme.initials.is_empty() {
                let (x, y) = at(0.5, 0.76);
                canvas.fill(circle(x, y, unit * 0.15), palette.disc());
            }
            for (layer, level) in [(2, 0.70), (1, 0.77), (0, 0.85)] {
                let hill = wave(canvas, level, 0.035, 0.8, phase + level * 17.0);
                canvas.fill(hill, palette.layer(layer));
            }
        }
        Motif::Mountains => {
            for (across, peak, layer) in [(0.26, 0.67, 2), (0.75, 0.655, 2), (0.5, 0.595, 1)] {
                let (apex, reach) = (at(across, peak), 0.95 - peak + 0.06);
                let (left, right) = (at(across - reach, 1.0), at(across + reach, 1.0));
                canvas.fill(polygon(&[apex, right, left]), palette.layer(layer));
                canvas.fill(
                    polygon(&[apex, right, (apex.0, right.1)]),
                    faded(palette.layer(4), 0.25),
                );
                let snow = [
                    apex,
                    at(across + 0.075, peak + 0.082),
                    at(across + 0.03, peak + 0.07),
                    at(across, peak + 0.1),
                    at(across - 0.035, peak + 0.066),
                    at(across - 0.075, peak + 0.082),
                ];
                canvas.fill(polygon(&snow), palette.disc());
            }
            let meadow = wave(canvas, 0.86, 0.02, 0.9, phase);
            canvas.fill(meadow, palette.layer(0));
        }
        Motif::Sea => {
            let far = wave(canvas, 0.74, 0.012, 3.0, phase);
            canvas.fill(far, palette.layer(2));
            boat(canvas, theme, at(0.5, 0.81), unit * 0.21);
            for (layer, level) in [(1, 0.80), (0, 0.87)] {
                let water = wave(canvas, level, 0.018, 2.4, phase + level * 40.0);
                canvas.fill(water, palette.layer(layer));
            }
        }
        Motif::Forest => {
            let far = wave(canvas, 0.76, 0.02, 0.8, phase);
            canvas.fill(far, palette.layer(2));
            for (across, size) in [(0.24, 0.21), (0.76, 0.22), (0.37, 0.27), (0.63, 0.25)] {
                conifer(canvas, at(across, 0.87), unit * size, palette.layer(1));
            }
            // An accent is a leaf's colour only beside green.
            let leaves = match palette.mood {
                Mood::Green => palette.accent(),
                _ => mix(palette.layer(0), palette.disc(), 0.4),
            };
            round_tree(canvas, at(0.5, 0.88), unit * 0.25, leaves);
            let near = wave(canvas, 0.86, 0.012, 0.7, phase + 2.0);
            canvas.fill(near, palette.layer(0));
        }
        Motif::City => {
            let walls = walls(theme);
            for (index, (across, wide, tall)) in [
                (0.10, 0.18, 0.10),
                (0.28, 0.21, 0.15),
                (0.49, 0.22, 0.11),
                (0.71, 0.19, 0.15),
            ]
            .into_iter()
            .enumerate()
            {
                house(
                    canvas,
                    theme,
                    at(across, 0.88),
                    (unit * wide, unit * tall),
                    walls[index % walls.len()],
                    random,
                );
            }
            let street = ground(canvas, |_| at(0.0, 0.875).1);
            canvas.fill(street, palette.layer(0));
        }
        Motif::Arcs => {
            let (x, y) = at(0.5, 1.0);
            for (ring, tone) in [
                palette.layer(1),
                palette.accent(),
                palette.layer(0),
                palette.disc(),
                palette.layer(2),
            ]
            .into_iter()
            .enumerate()
            {
                canvas.fill(circle(x, y, unit * (0.40 - 0.075 * ring as f32)), tone);
            }
        }
        Motif::Discs => {
            for (across, tone) in [
                (0.3, palette.layer(1)),
                (0.5, palette.accent()),
                (0.7, palette.layer(0)),
            ] {
                let (x, y) = at(across, 0.80);
                canvas.blend(circle(x, y, unit * 0.155), faded(tone, 0.85), BlendMode::Screen);
            }
        }
        Motif::Ribbons => {
            for (ribbon, tone) in [
                palette.layer(2),
                palette.accent(),
                palette.layer(1),
                palette.layer(0),
            ]
            .into_iter()
            .enumerate()
            {
                let band = wave(
                    canvas,
                    0.70 + 0.07 * ribbon as f32,
                    0.045,
                    0.75,
                    phase + 0.45 * ribbon as f32,
                );
                canvas.fill(band, tone);
            }
        }
        Motif::Blocks => {
            for (across, down, rise, tone) in [
                (0.38, 0.80, 0.05, palette.layer(1)),
                (0.62, 0.80, 0.0, palette.layer(2)),
                (0.26, 0.86, 0.0, palette.layer(0)),
                (0.5, 0.86, 0.06, palette.accent()),
                (0.74, 0.86, 0.03, palette.layer(1)),
            ] {
                cube(canvas, theme, at(across, down), unit * 0.12, unit * rise, tone);
            }
        }
        Motif::Tiles => {
            let side = unit * 0.15;
            for column in 0..7 {
                for row in 0..2 {
                    let corner = at(-0.025 + 0.15 * column as f32, 0.67 + 0.15 * row as f32);
                    tile(canvas, theme, corner, side, random);
                }
            }
        }
    }
}
