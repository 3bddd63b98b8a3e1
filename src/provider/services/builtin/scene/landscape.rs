//! Hills, mountains and forests: layers that get darker the nearer they are.

use std::f32::consts::TAU;

use tiny_skia::Color;

use super::super::canvas::{Canvas, Fill, circle, ground, polygon, rounded};
use super::super::palette::mix;
use super::super::random::Random;
use super::super::theme::Theme;
use super::{birds, clouds, halo, medallion, sky};

/// A wavy skyline.
#[derive(Clone, Copy)]
struct Ridge {
    base: f32,
    amplitude: f32,
    waves: f32,
    phase: f32,
}

impl Ridge {
    fn new(base: f32, amplitude: f32, random: &mut Random) -> Self {
        Self {
            base,
            amplitude,
            waves: random.between(1.1, 1.7),
            phase: random.between(0.0, TAU),
        }
    }

    /// The height at `x`, where `x` goes from 0 at the left to 1 at the right.
    fn at(&self, x: f32) -> f32 {
        let angle = x * self.waves * TAU;
        self.base
            - self.amplitude
                * (0.62 * (angle + self.phase).sin() + 0.38 * (angle * 1.9 + self.phase * 1.7).sin())
    }
}

/// Draws a layer of land that fades into mist downwards.
fn land(canvas: &mut Canvas, theme: &Theme, ridge: Ridge, depth: f32) {
    let width = canvas.width();
    let near = theme.palette.depth(depth);
    let mist = mix(near, theme.palette.depth(depth - 0.3), 0.55);
    let shape = ground(canvas, |x| ridge.at(x / width));
    canvas.fill(shape, Fill::Down(near, mist));
}

pub(super) fn hills(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    sky(canvas, theme, random);
    let sun = (width * random.between(0.40, 0.60), height * 0.36);
    halo(canvas, theme, sun, unit * 0.2);
    clouds(canvas, theme, random, 0.2);
    medallion(canvas, theme, sun, unit * 0.2);
    birds(
        canvas,
        theme,
        random,
        (
            if sun.0 > width / 2.0 {
                width * 0.26
            } else {
                width * 0.72
            },
            height * 0.36,
        ),
    );
    for layer in 0..5 {
        let base = height * (0.60 + 0.085 * layer as f32);
        let ridge = Ridge::new(base, height * (0.045 + 0.006 * layer as f32), random);
        land(canvas, theme, ridge, layer as f32 / 4.0);
        if layer == 3 {
            for grove in 0..3 {
                let middle = random.between(0.08, 0.22) + 0.31 * grove as f32;
                for (aside, grown) in [(-0.032, 0.8), (0.034, 0.66), (0.0, 1.0)] {
                    let (x, size) = (
                        middle + aside * unit / width,
                        unit * grown * random.between(0.085, 0.105),
                    );
                    round_tree(
                        canvas,
                        (x * width, ridge.at(x) + size * 0.1),
                        size,
                        theme.palette.layer(4),
                    );
                }
            }
        }
    }
}

pub(super) fn forest(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    sky(canvas, theme, random);
    let sun = (width * random.between(0.44, 0.56), height * 0.34);
    halo(canvas, theme, sun, unit * 0.2);
    clouds(canvas, theme, random, 0.17);
    medallion(canvas, theme, sun, unit * 0.2);
    let aside = if random.coin() { 0.22 } else { 0.76 };
    birds(canvas, theme, random, (width * aside, height * 0.36));
    for layer in 0..5 {
        let base = height * (0.60 + 0.09 * layer as f32);
        let ridge = Ridge::new(base, height * 0.035, random);
        if layer > 0 {
            // Trees stand behind their own hill's edge, so that no trunk floats.
            let size = unit * (0.07 + 0.032 * layer as f32);
            let gap = size * 0.62;
            let count = (width / gap) as usize + 2;
            for tree in 0..count {
                let x = (tree as f32 + random.between(-0.25, 0.25)) * gap;
                let clearing = layer > 2 && (x / width - 0.5).abs() < 0.1 * layer as f32;
                if clearing || random.below(5) == 0 {
                    continue;
                }
                let size = size * random.between(0.75, 1.2);
                let foot = (x, ridge.at(x / width) + size * 0.1);
                let leaves = theme.palette.depth(layer as f32 / 4.0);
                if layer > 1 && random.below(4) == 0 {
                    round_tree(canvas, foot, size * 0.85, leaves);
                } else {
                    conifer(canvas, foot, size, leaves);
                }
            }
        }
        land(canvas, theme, ridge, layer as f32 / 4.0);
    }
}

pub(super) fn mountains(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    sky(canvas, theme, random);
    let side = if random.coin() { 1.0 } else { -1.0 };
    let across = |part: f32| width * (0.5 + side * part);
    let sun = (across(-0.17), height * 0.33);
    halo(canvas, theme, sun, unit * 0.2);
    clouds(canvas, theme, random, 0.16);
    medallion(canvas, theme, sun, unit * 0.2);
    let foot = height * 0.86;
    for (part, top, layer) in [
        (-0.42, 0.46, 0),
        (0.44, 0.40, 0),
        (0.02, 0.52, 1),
        (0.24, 0.22, 1),
        (-0.27, 0.57, 2),
        (0.47, 0.50, 2),
    ] {
        let apex = (
            across(part + random.between(-0.015, 0.015)),
            height * (top + random.between(-0.015, 0.015)),
        );
        mountain(canvas, theme, apex, foot, layer, random);
    }
    for layer in 3..5 {
        let ridge = Ridge::new(height * (0.56 + 0.085 * layer as f32), height * 0.03, random);
        for tree in 0..9 {
            let x = random.between(0.0, 0.08) + tree as f32 * 0.118;
            let size = unit * random.between(0.06, 0.10);
            if random.below(3) > 0 {
                conifer(
                    canvas,
                    (x * width, ridge.at(x) + size * 0.1),
                    size,
                    theme.palette.layer(layer),
                );
            }
        }
        land(canvas, theme, ridge, layer as f32 / 4.0);
    }
}

/// A peak with a lit and a shaded face and snow on top.
fn mountain(
    canvas: &mut Canvas,
    theme: &Theme,
    apex: (f32, f32),
    foot: f32,
    layer: usize,
    random: &mut Random,
) {
    let rise = foot - apex.1;
    let reach = rise * random.between(0.82, 0.95);
    let lit = theme.palette.layer(layer);
    let shade = mix(lit, theme.palette.layer(layer + 1), 0.45);
    let fold = apex.0 + reach * 0.16;
    canvas.fill(
        polygon(&[apex, (apex.0 + reach, foot), (apex.0 - reach, foot)]),
        lit,
    );
    let shaded = [
        apex,
        (apex.0 + reach, foot),
        (fold, foot),
        (apex.0 - reach * 0.05, apex.1 + rise * 0.5),
        (apex.0 + reach * 0.07, apex.1 + rise * 0.26),
    ];
    canvas.fill(polygon(&shaded), shade);
    let snow = mix(theme.palette.disc(), Color::WHITE, 0.5);
    let at = |across: f32, down: f32| (apex.0 + reach * across, apex.1 + rise * down);
    let cap = [
        at(0.0, 0.0),
        at(0.27, 0.27),
        at(0.16, 0.235),
        at(0.09, 0.31),
        at(0.0, 0.22),
        at(-0.1, 0.30),
        at(-0.17, 0.24),
        at(-0.25, 0.25),
    ];
    canvas.fill(polygon(&cap), snow);
    let cap_shade = [
        at(0.0, 0.0),
        at(0.27, 0.27),
        at(0.16, 0.235),
        at(0.09, 0.31),
        at(0.045, 0.26),
        at(0.05, 0.15),
    ];
    canvas.fill(polygon(&cap_shade), mix(snow, lit, 0.4));
}

/// A tree of three tiers with a shaded right half.
pub(in super::super) fn conifer(canvas: &mut Canvas, (x, foot): (f32, f32), size: f32, color: Color) {
    let shade = mix(color, Color::BLACK, 0.14);
    canvas.fill(
        rounded(x - size * 0.035, foot - size * 0.2, size * 0.07, size * 0.2, 1.0),
        mix(color, Color::BLACK, 0.3),
    );
    for (top, bottom, reach) in [(0.52, 0.14, 0.27), (0.76, 0.37, 0.22), (1.0, 0.6, 0.165)] {
        let (top, bottom, reach) = (foot - size * top, foot - size * bottom, size * reach);
        canvas.fill(
            polygon(&[(x, top), (x + reach, bottom), (x - reach, bottom)]),
            color,
        );
        canvas.fill(polygon(&[(x, top), (x + reach, bottom), (x, bottom)]), shade);
    }
}

pub(in super::super) fn round_tree(canvas: &mut Canvas, (x, foot): (f32, f32), size: f32, color: Color) {
    let crown = size * 0.36;
    let middle = foot - size * 0.66;
    canvas.fill(
        rounded(x - size * 0.035, middle, size * 0.07, foot - middle, 1.0),
        mix(color, Color::BLACK, 0.3),
    );
    canvas.fill(circle(x, middle, crown), color);
    canvas.fill(
        circle(x - crown * 0.22, middle - crown * 0.22, crown * 0.62),
        mix(color, Color::WHITE, 0.09),
    );
}
