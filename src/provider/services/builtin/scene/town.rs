//! A row of gabled houses in front of a skyline.

use tiny_skia::Color;

use super::super::canvas::{Canvas, Fill, polygon, rectangle, rounded};
use super::super::palette::{color, faded, mix};
use super::super::random::Random;
use super::super::theme::Theme;
use super::{birds, clouds, halo, medallion, sky};

pub(super) fn city(canvas: &mut Canvas, theme: &Theme, random: &mut Random) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    sky(canvas, theme, random);
    let sun = (width * random.between(0.42, 0.58), height * 0.33);
    halo(canvas, theme, sun, unit * 0.2);
    clouds(canvas, theme, random, 0.16);
    medallion(canvas, theme, sun, unit * 0.2);
    let aside = if random.coin() { 0.2 } else { 0.76 };
    birds(canvas, theme, random, (width * aside, height * 0.34));
    let street = height * 0.9;
    skyline(canvas, theme, random, street, 0);
    skyline(canvas, theme, random, street, 1);
    let mut x = -unit * random.between(0.0, 0.1);
    let mut last = usize::MAX;
    while x < width {
        let (wide, tall) = (
            unit * random.between(0.14, 0.21),
            unit * random.between(0.13, 0.21),
        );
        let walls = walls(theme);
        let mut wall = random.below(walls.len());
        if wall == last {
            wall = (wall + 1) % walls.len();
        }
        last = wall;
        house(canvas, theme, (x, street), (wide, tall), walls[wall], random);
        x += wide + if random.below(4) == 0 { unit * 0.05 } else { 0.0 };
    }
    canvas.fill(
        rectangle(0.0, street, width, height - street),
        theme.palette.layer(4),
    );
    let dash = unit * 0.07;
    let middle = street + (height - street) * 0.52;
    for index in 0..(width / dash) as usize / 2 + 1 {
        let left = index as f32 * dash * 2.0 + dash * 0.4;
        canvas.fill(
            rounded(left, middle, dash, unit * 0.009, unit),
            faded(theme.palette.disc(), 0.55),
        );
    }
}

/// The colours that houses may have: those of the palette that can stand beside each other.
pub(in super::super) fn walls(theme: &Theme) -> [Color; 5] {
    let palette = &theme.palette;
    let white = mix(palette.disc(), Color::WHITE, 0.4);
    [
        palette.accent(),
        white,
        palette.layer(2),
        mix(palette.layer(1), white, 0.25),
        mix(palette.accent(), white, 0.45),
    ]
}

fn skyline(canvas: &mut Canvas, theme: &Theme, random: &mut Random, street: f32, layer: usize) {
    let (width, height, unit) = (canvas.width(), canvas.height(), canvas.unit());
    let tone = mix(theme.palette.layer(layer), color(theme.palette.sky[1]), 0.3);
    let mut x = -unit * random.between(0.0, 0.05);
    while x < width {
        let wide = unit * random.between(0.07, 0.13);
        // Lower in the middle, where the sun is.
        let aside = ((x + wide / 2.0) / width - 0.5).abs() * 2.0;
        let highest = height * (0.27 + 0.17 * aside - 0.07 * layer as f32);
        let tall = height * 0.1 + highest * random.between(0.62, 1.0);
        let top = street - tall;
        canvas.fill(
            rectangle(x, top, wide, tall),
            Fill::Down(tone, mix(tone, theme.palette.layer(layer + 1), 0.3)),
        );
        match random.below(4) {
            0 => canvas.fill(
                rectangle(x + wide * 0.47, top - unit * 0.05, wide * 0.06, unit * 0.05),
                tone,
            ),
            1 => {
                // Reaches a little into the wall, so that no seam shows.
                let seam = top + unit * 0.002;
                canvas.fill(
                    polygon(&[
                        (x, seam),
                        (x, top),
                        (x + wide, top - wide * 0.35),
                        (x + wide, seam),
                    ]),
                    tone,
                );
            }
            _ => {}
        }
        let glow = faded(
            theme.palette.disc(),
            if theme.palette.is_dark() { 0.75 } else { 0.5 },
        );
        let pane = unit * 0.011;
        let columns = (wide / (pane * 2.4)) as usize;
        for column in 0..columns {
            for row in 0..(tall / (pane * 3.2)) as usize {
                if random.below(3) == 0 {
                    let left =
                        x + (wide - columns as f32 * pane * 2.4) / 2.0 + pane * (0.7 + 2.4 * column as f32);
                    let top = top + pane * (1.6 + 3.2 * row as f32);
                    canvas.fill(rectangle(left, top, pane, pane * 1.5), glow);
                }
            }
        }
        x += wide + unit * random.between(0.0, 0.012);
    }
}

/// `foot` is the lower left corner.
pub(in super::super) fn house(
    canvas: &mut Canvas,
    theme: &Theme,
    foot: (f32, f32),
    (wide, tall): (f32, f32),
    wall: Color,
    random: &mut Random,
) {
    let dark = theme.palette.layer(4);
    let (left, bottom) = foot;
    let (top, middle) = (bottom - tall, left + wide / 2.0);
    let ridge = top - wide * 0.46;
    if random.coin() {
        let chimney = left + wide * 0.68;
        canvas.fill(
            rectangle(chimney, ridge + wide * 0.05, wide * 0.11, wide * 0.3),
            mix(dark, wall, 0.15),
        );
    }
    let gable = [
        (left, bottom),
        (left, top),
        (middle, ridge),
        (left + wide, top),
        (left + wide, bottom),
    ];
    canvas.fill(polygon(&gable), wall);
    let shaded = [
        (middle, ridge),
        (left + wide, top),
        (left + wide, bottom),
        (middle, bottom),
    ];
    canvas.fill(polygon(&shaded), faded(dark, 0.08));
    let thick = wide * 0.085;
    let eaves = wide * 0.07;
    let slope = 0.46 / 0.5;
    let roof = [
        (left - eaves, top + eaves * slope),
        (middle, ridge),
        (left + wide + eaves, top + eaves * slope),
        (left + wide + eaves, top + eaves * slope - thick),
        (middle, ridge - thick * 1.1),
        (left - eaves, top + eaves * slope - thick),
    ];
    canvas.fill(polygon(&roof), mix(dark, theme.palette.layer(3), 0.35));

    let glass = if theme.palette.is_dark() {
        theme.palette.accent()
    } else {
        mix(theme.palette.layer(3), dark, 0.4)
    };
    let frame = mix(theme.palette.disc(), Color::WHITE, 0.5);
    let pane = wide * 0.17;
    let mut window = |x: f32, y: f32| {
        canvas.fill(
            rounded(
                x - pane * 0.62,
                y - pane * 0.74,
                pane * 1.24,
                pane * 1.48,
                pane * 0.1,
            ),
            frame,
        );
        canvas.fill(
            rounded(
                x - pane * 0.46,
                y - pane * 0.58,
                pane * 0.92,
                pane * 1.16,
                pane * 0.06,
            ),
            glass,
        );
        canvas.fill(
            rectangle(x - pane * 0.04, y - pane * 0.58, pane * 0.08, pane * 1.16),
            frame,
        );
    };
    window(middle, top + wide * 0.02);
    let upper = top + wide * 0.36;
    window(left + wide * 0.26, upper);
    window(left + wide * 0.74, upper);
    if tall > wide * 0.86 {
        let door_left = if random.coin() {
            left + wide * 0.18
        } else {
            left + wide * 0.63
        };
        let door = mix(dark, theme.palette.accent(), 0.25);
        canvas.fill(
            rounded(
                door_left,
                bottom - wide * 0.30,
                wide * 0.19,
                wide * 0.36,
                wide * 0.03,
            ),
            door,
        );
    }
}
