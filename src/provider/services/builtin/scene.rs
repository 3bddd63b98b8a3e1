//! Full pictures: one scene for each motif, and what the scenes share.

mod geometry;
mod grid;
mod landscape;
mod town;
mod water;

use std::f32::consts::TAU;

use tiny_skia::Color;

pub(super) use self::grid::{cube, tile};
pub(super) use self::landscape::{conifer, round_tree};
pub(super) use self::town::{house, walls};
pub(super) use self::water::boat;

use super::canvas::{Canvas, Fill, arc, circle, polygon, rounded};
use super::lettering;
use super::palette::{color, faded, mix};
use super::random::Random;
use super::theme::{Motif, Theme};

/// Fills the canvas with the scene of a theme.
pub(super) fn paint(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    match theme.motif {
        Motif::Hills => landscape::hills(canvas, theme, random),
        Motif::Mountains => landscape::mountains(canvas, theme, random),
        Motif::Forest => landscape::forest(canvas, theme, random),
        Motif::Sea => water::sea(canvas, theme, random),
        Motif::City => town::city(canvas, theme, random),
        Motif::Arcs => geometry::arcs(canvas, theme, random),
        Motif::Discs => geometry::discs(canvas, theme, random),
        Motif::Ribbons => geometry::ribbons(canvas, theme, random),
        Motif::Blocks => grid::blocks(canvas, theme, random),
        Motif::Tiles => grid::tiles(canvas, theme, random),
    }
}

/// The disc that carries the initials: sun, moon or medallion.
fn medallion(canvas: &mut Canvas, theme: &Theme, (x, y): (f32, f32), radius: f32) {
    let palette = &theme.palette;
    let disc = palette.disc();
    let ink = color(palette.ink);
    canvas.fill(
        circle(x, y, radius),
        Fill::Down(mix(disc, Color::WHITE, 0.35), disc),
    );
    canvas.stroke(circle(x, y, radius * 0.9), faded(ink, 0.28), radius * 0.014);
    lettering::write(
        canvas,
        &theme.initials,
        (x, y),
        (radius * 1.12, radius * 0.66),
        ink,
    );
}

/// Rings of light around a medallion in the sky.
fn halo(canvas: &mut Canvas, theme: &Theme, (x, y): (f32, f32), radius: f32) {
    let strongest = if theme.palette.is_dark() { 0.09 } else { 0.2 };
    for (size, strength) in [(2.1, 0.5), (1.65, 0.7), (1.28, 1.0)] {
        canvas.fill(
            circle(x, y, radius * size),
            faded(theme.palette.disc(), strength * strongest),
        );
    }
}

/// The sky with what belongs into it: stars and northern lights by night, clouds and birds by day.
fn sky(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let [top, bottom] = theme.palette.sky.map(color);
    canvas.cover(Fill::Down(top, bottom));
    if theme.palette.is_dark() {
        northern_lights(canvas, random);
        stars(canvas, theme, random);
    }
}

fn stars(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    for _ in 0..70 {
        let (x, y) = (random.between(0.0, width), random.between(0.0, height * 0.6));
        let radius = unit * random.between(0.0012, 0.0034);
        canvas.fill(
            circle(x, y, radius),
            faded(Color::WHITE, random.between(0.35, 0.95)),
        );
    }
    for _ in 0..7 {
        let center = (
            random.between(0.03, 0.97) * width,
            random.between(0.03, 0.42) * height,
        );
        sparkle(
            canvas,
            center,
            unit * random.between(0.010, 0.020),
            theme.palette.disc(),
        );
    }
}

/// A star with four points.
fn sparkle(canvas: &mut Canvas, (x, y): (f32, f32), size: f32, color: Color) {
    let waist = size * 0.16;
    canvas.fill(
        polygon(&[
            (x, y - size),
            (x + waist, y - waist),
            (x + size, y),
            (x + waist, y + waist),
            (x, y + size),
            (x - waist, y + waist),
            (x - size, y),
            (x - waist, y - waist),
        ]),
        color,
    );
}

fn northern_lights(canvas: &mut Canvas, random: &mut Random) {
    let (width, height) = (canvas.width(), canvas.height());
    let light = color(0x74e3ae);
    for curtain in 0..3 {
        let level = height * (0.10 + 0.11 * curtain as f32);
        let (phase, bend) = (random.between(0.0, TAU), height * random.between(0.03, 0.06));
        let edge =
            |x: f32| level + bend * (x / width * 6.0 + phase).sin() + bend * (x / width * 2.3 - phase).cos();
        let length = height * random.between(0.16, 0.24);
        let steps = 120;
        let top = (0..=steps)
            .map(|step| width * step as f32 / steps as f32)
            .map(|x| (x, edge(x)));
        let below = (0..=steps).rev().map(|step| width * step as f32 / steps as f32);
        let below = below.map(|x| {
            (
                x,
                edge(x) + length * (0.75 + 0.25 * (x / width * 11.0 + phase).sin()),
            )
        });
        let curtain: Vec<_> = top.chain(below).collect();
        canvas.fill(
            polygon(&curtain),
            Fill::Down(faded(light, 0.0), faded(light, 0.20)),
        );
    }
}

/// A few long clouds, away from the middle of the sky.
fn clouds(canvas: &mut Canvas, theme: &Theme, random: &mut Random, level: f32) {
    if theme.palette.is_dark() {
        return;
    }
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    let white = faded(mix(theme.palette.disc(), Color::WHITE, 0.6), 0.62);
    for side in [0.0, 1.0_f32] {
        let x = width * (0.13 + side * 0.74 + random.between(-0.04, 0.04));
        let y = height * (level + random.between(-0.05, 0.06));
        let size = unit * random.between(0.15, 0.21);
        let thickness = size * 0.24;
        // Bars that touch make one outline when each is drawn whole: no seams show through.
        let mut cloud = tiny_skia::PathBuilder::new();
        for (left, top, length) in [(-0.5, 0.0, 1.0), (-0.26, -1.0, 0.62), (-0.72, 1.0, 0.9)] {
            if let Some(bar) = rounded(
                x + left * size,
                y + top * thickness * 0.98,
                length * size,
                thickness,
                thickness,
            ) {
                cloud.push_path(&bar);
            }
        }
        canvas.fill(cloud.finish(), white);
    }
}

fn birds(canvas: &mut Canvas, theme: &Theme, random: &mut Random, (x, y): (f32, f32)) {
    if theme.palette.is_dark() {
        return;
    }
    let unit = canvas.unit();
    let ink = faded(theme.palette.layer(3), 0.8);
    for (right, down) in [(0.0, 0.0), (0.055, -0.022), (0.038, 0.032)] {
        let wing = unit * random.between(0.013, 0.018);
        let (x, y) = (x + right * unit, y + down * unit);
        for side in [-1.0, 1.0] {
            canvas.stroke(
                arc(x + side * wing, y, wing, 0.62 + side * 0.03, 0.88 + side * 0.03),
                ink,
                unit * 0.0042,
            );
        }
    }
}
