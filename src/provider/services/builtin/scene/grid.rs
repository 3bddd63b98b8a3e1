//! A landscape of cubes and a wall of tiles.

use std::f32::consts::TAU;

use tiny_skia::Color;

use super::super::canvas::{Canvas, Fill, circle, polygon, quarter_disc, rectangle};
use super::super::palette::{color, mix};
use super::super::random::Random;
use super::super::theme::Theme;
use super::{clouds, halo, medallion, sky};

pub(super) fn blocks(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    sky(canvas, theme, random);
    let sun = (width * random.between(0.42, 0.58), height * 0.32);
    halo(canvas, theme, sun, unit * 0.2);
    clouds(canvas, theme, random, 0.18);
    medallion(canvas, theme, sun, unit * 0.2);
    let half = unit * 0.075;
    let rows = (height * 0.55 / (half * 0.5)) as usize + 8;
    let columns = (width / (half * 2.0)) as usize + 3;
    let phase = random.between(0.0, TAU);
    for row in 0..rows {
        let back = 1.0 - row as f32 / rows as f32;
        for column in 0..columns {
            let x = (column as f32 - 0.5 + if row % 2 == 0 { 0.0 } else { 0.5 }) * half * 2.0;
            let y = height * 0.68 + row as f32 * half * 0.5;
            let aside = (x / width - 0.5).abs() * 2.0;
            let swell =
                (x / unit * 2.6 + phase).sin() * 0.5 + (x / unit * 1.3 - row as f32 * 0.35).cos() * 0.5;
            let stories = (1.6 * aside + 1.1 * swell + random.between(0.0, 2.2))
                .max(0.0)
                .floor();
            let tone = if random.below(11) == 0 {
                theme.palette.accent()
            } else {
                theme
                    .palette
                    .depth((0.80 - back * 0.55 - stories * 0.11 + random.between(-0.05, 0.05)).max(0.0))
            };
            // A story as high as half a top is wide: tops and edges then lie on one grid, without slivers.
            cube(canvas, theme, (x, y), half, half * stories, tone);
        }
    }
}

/// A column seen from above at an angle, down to the lower edge; `x`, `y` is the middle of its top when it has
/// no height.
pub(in super::super) fn cube(
    canvas: &mut Canvas,
    theme: &Theme,
    (x, y): (f32, f32),
    half: f32,
    rise: f32,
    tone: Color,
) {
    let flat = half * 0.5;
    let y = y - rise;
    let (left, right) = (x - half, x + half);
    let down = canvas.height() - y;
    let side =
        |from: (f32, f32), to: (f32, f32)| polygon(&[from, to, (to.0, to.1 + down), (from.0, from.1 + down)]);
    // Shaded with the palette's own dark: black would turn colours grey.
    let dark = theme.palette.layer(4);
    canvas.fill(side((left, y), (x, y + flat)), mix(tone, dark, 0.24));
    canvas.fill(side((x, y + flat), (right, y)), mix(tone, dark, 0.55));
    canvas.fill(
        polygon(&[(x, y - flat), (right, y), (x, y + flat), (left, y)]),
        mix(tone, Color::WHITE, 0.16),
    );
}

pub(super) fn tiles(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    let palette = &theme.palette;
    let paper = color(palette.sky[0]);
    canvas.cover(paper.into());
    let cell = unit / 4.0;
    // An even number of cells each way around the middle, so that the medallion takes four of them.
    let around = |length: f32| ((length / 2.0 / cell).ceil() as i32).max(1);
    for row in -around(height)..around(height) {
        for column in -around(width)..around(width) {
            if (-1..1).contains(&row) && (-1..1).contains(&column) {
                continue;
            }
            let corner = (
                width / 2.0 + column as f32 * cell,
                height / 2.0 + row as f32 * cell,
            );
            tile(canvas, theme, corner, cell, random);
        }
    }
    let (left, top) = (width / 2.0 - cell, height / 2.0 - cell);
    canvas.fill(
        rectangle(left, top, cell * 2.0, cell * 2.0),
        Fill::Down(palette.layer(3), palette.layer(4)),
    );
    medallion(canvas, theme, (width / 2.0, height / 2.0), cell * 0.86);
}

/// One square with a simple figure in two colours that differ.
pub(in super::super) fn tile(
    canvas: &mut Canvas,
    theme: &Theme,
    (left, top): (f32, f32),
    side: f32,
    random: &mut Random,
) {
    let palette = &theme.palette;
    let paper = color(palette.sky[0]);
    let sand = color(palette.sky[1]);
    let pairs = [
        (sand, palette.layer(3)),
        (palette.layer(2), paper),
        (paper, palette.accent()),
        (palette.layer(3), palette.layer(0)),
        (palette.accent(), palette.disc()),
        (palette.layer(0), palette.layer(3)),
        (sand, palette.layer(2)),
        (palette.layer(1), palette.disc()),
    ];
    let &(ground, figure) = random.pick(&pairs);
    // A hair wider than the cell: edges of neighbours would let the paper shine through.
    canvas.fill(rectangle(left, top, side + 0.6, side + 0.6), ground);
    let turn = random.below(4);
    let (half, middle) = (side / 2.0, (left + side / 2.0, top + side / 2.0));
    match random.below(7) {
        0 | 1 => canvas.fill(quarter_disc(left, top, side, turn), figure),
        2 => {
            canvas.fill(quarter_disc(left, top, side, turn), figure);
            let inner = side * 0.5;
            let (right, down) = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)][turn];
            canvas.fill(
                quarter_disc(left + right * inner, top + down * inner, inner, turn),
                ground,
            );
        }
        3 => {
            canvas.fill(circle(middle.0, middle.1, side * 0.34), figure);
            canvas.fill(circle(middle.0, middle.1, side * 0.15), ground);
        }
        4 => {
            // A leaf: two quarter discs from opposite corners would meet in it; drawn as four quarters it keeps its tips.
            for (right, down, turn) in [(0.0, 0.0, 2), (1.0, 0.0, 3), (1.0, 1.0, 0), (0.0, 1.0, 1)] {
                canvas.fill(
                    quarter_disc(left + right * half, top + down * half, half, turn),
                    figure,
                );
            }
        }
        5 => {
            let corners = [
                (left, top),
                (left + side, top),
                (left + side, top + side),
                (left, top + side),
            ];
            canvas.fill(
                polygon(&[corners[turn], corners[(turn + 1) % 4], corners[(turn + 2) % 4]]),
                figure,
            );
        }
        _ => {
            for half_disc in 0..2 {
                let y = top + half_disc as f32 * half;
                canvas.fill(quarter_disc(left, y, half, 2), figure);
                canvas.fill(quarter_disc(left + half, y, half, 3), figure);
            }
        }
    }
}
