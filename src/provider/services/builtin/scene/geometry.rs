//! Rings, overlapping discs and flowing ribbons.

use tiny_skia::{BlendMode, Color};

use super::super::canvas::{Canvas, Fill, arc, circle, ground};
use super::super::palette::{color, faded, mix};
use super::super::random::Random;
use super::super::theme::Theme;
use super::{halo, medallion, sky};

pub(super) fn arcs(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    let [paper, warm] = theme.palette.sky.map(color);
    canvas.cover(Fill::Down(paper, mix(paper, warm, 0.7)));
    let (x, y) = (width / 2.0, height / 2.0);
    let step = unit * 0.082;
    let thick = step * 0.62;
    let farthest = (width * width + height * height).sqrt() / 2.0;
    let palette = &theme.palette;
    let tones = if palette.is_dark() {
        let pale = mix(palette.layer(0), palette.disc(), 0.55);
        [
            palette.accent(),
            palette.layer(0),
            pale,
            mix(palette.layer(0), palette.accent(), 0.5),
            palette.layer(1),
        ]
    } else {
        [
            palette.accent(),
            palette.layer(1),
            palette.layer(2),
            palette.layer(3),
            palette.layer(4),
        ]
    };
    let rings = ((farthest - unit * 0.26) / step).ceil() as usize;
    for ring in 0..rings {
        let radius = unit * 0.285 + step * ring as f32;
        let track = theme.palette.layer(if theme.palette.is_dark() { 0 } else { 1 });
        canvas.stroke(circle(x, y, radius), faded(track, 0.16), thick);
        let start = random.between(0.0, 1.0);
        let sweep = random.between(0.30, 0.62);
        let tone = tones[(ring + random.below(2)) % tones.len()];
        canvas.stroke(arc(x, y, radius, start, start + sweep), tone, thick);
        let planet = (start + sweep + random.between(0.1, 0.2)) * std::f32::consts::TAU;
        let (planet_x, planet_y) = (x + radius * planet.cos(), y + radius * planet.sin());
        canvas.fill(circle(planet_x, planet_y, thick * 0.5), tones[(ring % 2) * 3]);
    }
    medallion(canvas, theme, (x, y), unit * 0.215);
}

pub(super) fn discs(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    let palette = &theme.palette;
    // Paper with a breath of the discs' own colour: on any other they would look dirty.
    let [top, bottom] = if palette.is_dark() {
        palette
            .sky
            .map(|sky| mix(color(palette.sky[0]), color(sky), 0.35))
    } else {
        [0.95, 0.84].map(|white| mix(palette.layer(0), Color::WHITE, white))
    };
    canvas.cover(Fill::Down(top, bottom));
    // Neighbours on the colour wheel: where opposite colours overlap they turn to mud.
    let (mode, strength) = if palette.is_dark() {
        (BlendMode::Screen, 0.5)
    } else {
        (BlendMode::Multiply, 0.62)
    };
    let tones = [
        palette.layer(0),
        mix(palette.layer(1), Color::WHITE, 0.1),
        mix(palette.layer(0), Color::WHITE, 0.4),
        mix(palette.layer(2), Color::WHITE, 0.3),
    ];
    for side in [-1.0, 1.0] {
        let x = width / 2.0 + side * (width / 2.0 - unit * random.between(0.0, 0.06));
        let y = height * random.between(0.25, 0.75);
        canvas.blend(circle(x, y, unit * 0.30), faded(tones[2], 0.7 * strength), mode);
        canvas.blend(
            circle(x - side * unit * 0.16, y + unit * 0.18, unit * 0.15),
            faded(tones[0], 0.5 * strength),
            mode,
        );
    }
    let petals = 6 + 2 * random.below(2);
    let turn = random.between(0.0, 1.0);
    for petal in 0..petals {
        let angle = (petal as f32 / petals as f32 + turn) * std::f32::consts::TAU;
        let center = (
            width / 2.0 + unit * 0.225 * angle.cos(),
            height / 2.0 + unit * 0.225 * angle.sin(),
        );
        let tone = tones[petal % tones.len()];
        canvas.blend(
            circle(center.0, center.1, unit * 0.205),
            faded(tone, strength),
            mode,
        );
    }
    for dot in 0..petals {
        let angle = ((dot as f32 + 0.5) / petals as f32 + turn) * std::f32::consts::TAU;
        let (x, y) = (
            width / 2.0 + unit * 0.44 * angle.cos(),
            height / 2.0 + unit * 0.44 * angle.sin(),
        );
        let tone = if dot % 2 == 0 {
            palette.accent()
        } else {
            palette.layer(if palette.is_dark() { 0 } else { 3 })
        };
        canvas.fill(
            circle(x, y, unit * if dot % 2 == 0 { 0.022 } else { 0.014 }),
            tone,
        );
    }
    medallion(canvas, theme, (width / 2.0, height / 2.0), unit * 0.2);
}

pub(super) fn ribbons(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    sky(canvas, theme, random);
    let side = if random.coin() { 1.0 } else { -1.0 };
    let sun = (width * (0.5 - side * 0.16), height * 0.34);
    halo(canvas, theme, sun, unit * 0.2);
    medallion(canvas, theme, sun, unit * 0.2);
    let phase = random.between(-0.3, 0.3);
    let count = 9;
    for ribbon in 0..count {
        let part = ribbon as f32 / (count - 1) as f32;
        let level = height * (0.60 + 0.42 * part);
        let bend = height * (0.10 - 0.035 * part);
        let tilt = height * 0.30 * (1.0 - part * 0.7) * side;
        let shape = ground(canvas, |x| {
            let x = x / width;
            level - tilt * (x - 0.5) + bend * (x * 5.2 * side + phase + part * 2.3).sin()
        });
        let tone = if ribbon == 3 {
            theme.palette.accent()
        } else {
            theme.palette.depth(part)
        };
        let light = mix(tone, Color::WHITE, 0.2);
        let fill = if side > 0.0 {
            Fill::Across(tone, light)
        } else {
            Fill::Across(light, tone)
        };
        canvas.fill(shape, fill);
    }
}
