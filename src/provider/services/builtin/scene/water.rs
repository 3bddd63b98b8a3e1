//! The sea with a sailing boat.

use std::f32::consts::TAU;

use tiny_skia::{Color, PathBuilder};

use super::super::canvas::{Canvas, Fill, ground, line, polygon, rounded};
use super::super::palette::{faded, mix};
use super::super::random::Random;
use super::super::theme::Theme;
use super::{birds, clouds, halo, medallion, sky};

pub(super) fn sea(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    sky(canvas, theme, random);
    let side = if random.coin() { 1.0 } else { -1.0 };
    let sun = (width * (0.5 - side * 0.1), height * 0.36);
    halo(canvas, theme, sun, unit * 0.2);
    clouds(canvas, theme, random, 0.17);
    medallion(canvas, theme, sun, unit * 0.2);
    birds(canvas, theme, random, (width * (0.5 + side * 0.22), height * 0.3));

    let horizon = height * 0.6;
    let far = ground(canvas, |_| horizon);
    canvas.fill(far, Fill::Down(theme.palette.layer(0), theme.palette.layer(1)));
    glitter(canvas, theme, sun.0, horizon, random);
    for wave in 0..4 {
        let swell = Swell {
            level: height * (0.68 + 0.085 * wave as f32),
            height: unit * (0.010 + 0.005 * wave as f32),
            length: unit * (0.24 + 0.09 * wave as f32),
            phase: random.between(0.0, TAU),
        };
        if wave == 1 {
            let x = width * (0.5 + side * 0.24);
            boat(canvas, theme, (x, swell.at(x) + unit * 0.012), unit * 0.30);
        }
        let water = theme.palette.layer(wave + 1);
        let shape = ground(canvas, |x| swell.at(x));
        canvas.fill(
            shape,
            Fill::Down(water, mix(water, theme.palette.layer(wave + 2), 0.5)),
        );
        foam(canvas, theme, &swell, random);
    }
}

struct Swell {
    level: f32,
    height: f32,
    length: f32,
    phase: f32,
}

impl Swell {
    /// Round below and pointed above, as water is.
    fn at(&self, x: f32) -> f32 {
        let angle = x / self.length * std::f32::consts::PI + self.phase;
        self.level + self.height * (1.0 - 2.0 * (1.0 - angle.sin().abs()).powf(1.5))
    }
}

/// The sun's way on the water.
fn glitter(canvas: &mut Canvas, theme: &Theme, x: f32, horizon: f32, random: &mut Random) {
    let unit = canvas.unit();
    for bar in 0..4 {
        let width = unit * (0.30 - 0.055 * bar as f32) * random.between(0.85, 1.1);
        let top = horizon + unit * (0.012 + 0.021 * bar as f32);
        let left = x - width / 2.0 + unit * random.between(-0.02, 0.02);
        let shape = rounded(left, top, width, unit * 0.009, unit);
        canvas.fill(shape, faded(theme.palette.disc(), 0.75 - 0.1 * bar as f32));
    }
}

/// Short light lines that follow the wave.
fn foam(canvas: &mut Canvas, theme: &Theme, swell: &Swell, random: &mut Random) {
    let (width, unit) = (canvas.width(), canvas.unit());
    let light = faded(mix(theme.palette.layer(0), Color::WHITE, 0.5), 0.4);
    // Each within one trough: across a crest the line would have a kink.
    let mut trough = (0.5 - swell.phase / std::f32::consts::PI) * swell.length;
    while trough < width + swell.length {
        if random.below(3) > 0 {
            let middle = trough + swell.length * random.between(-0.14, 0.14);
            let (down, length) = (
                unit * random.between(0.024, 0.05),
                swell.length * random.between(0.2, 0.5),
            );
            let points = (0..=16)
                .map(|step| middle + length * (step as f32 / 16.0 - 0.5))
                .map(|x| (x, swell.at(x) + down));
            canvas.stroke(line(points), light, unit * 0.0045);
        }
        trough += swell.length;
    }
}

/// `keel` is the middle of the water line.
pub(in super::super) fn boat(canvas: &mut Canvas, theme: &Theme, keel: (f32, f32), size: f32) {
    let palette = &theme.palette;
    let at = |across: f32, up: f32| (keel.0 + size * across, keel.1 - size * up);
    let (mast_top, mast_foot) = (at(0.0, 1.02), at(0.0, 0.12));
    canvas.stroke(line([mast_top, mast_foot]), palette.layer(4), size * 0.022);
    let white = mix(palette.disc(), Color::WHITE, 0.6);
    canvas.fill(
        sail(at(0.03, 0.98), at(0.42, 0.24), at(0.03, 0.24), size * 0.10),
        white,
    );
    canvas.fill(
        sail(at(-0.03, 0.86), at(-0.34, 0.24), at(-0.03, 0.24), -size * 0.07),
        mix(palette.accent(), white, 0.12),
    );
    let hull = [at(-0.46, 0.18), at(0.50, 0.18), at(0.36, -0.06), at(-0.33, -0.06)];
    canvas.fill(polygon(&hull), palette.layer(4));
    let rim = [
        at(-0.46, 0.18),
        at(0.50, 0.18),
        at(0.475, 0.135),
        at(-0.435, 0.135),
    ];
    canvas.fill(polygon(&rim), palette.accent());
    canvas.fill(
        polygon(&[mast_top, at(-0.13, 0.97), at(0.0, 0.92)]),
        palette.accent(),
    );
}

/// A triangle whose long side is filled with wind.
fn sail(head: (f32, f32), clew: (f32, f32), tack: (f32, f32), belly: f32) -> Option<tiny_skia::Path> {
    let mut path = PathBuilder::new();
    path.move_to(head.0, head.1);
    let middle = ((head.0 + clew.0) / 2.0, (head.1 + clew.1) / 2.0);
    path.quad_to(middle.0 + belly, middle.1 - belly.abs() * 0.4, clew.0, clew.1);
    path.line_to(tack.0, tack.1);
    path.close();
    path.finish()
}
