//! A surface with the few strokes that the scenes are made of.

use tiny_skia::{
    BlendMode, Color, FillRule, LineCap, LineJoin, Mask, Paint, Path, PathBuilder, Pixmap,
    PremultipliedColorU8, Rect, Shader, Stroke, Transform,
};

use super::palette::mix;

/// What an area is filled with.
#[derive(Clone, Copy)]
pub(super) enum Fill {
    Flat(Color),
    /// From the top of the area to its bottom.
    Down(Color, Color),
    /// From the area's left to its right.
    Across(Color, Color),
}

impl From<Color> for Fill {
    fn from(color: Color) -> Self {
        Self::Flat(color)
    }
}

/// Shapes that come out empty (a side of 0) draw nothing, which is what they look like.
pub(super) type Shape = Option<Path>;

pub(super) struct Canvas {
    pub(super) pixmap: Pixmap,
}

impl Canvas {
    /// Puts white behind what has been painted.
    pub(super) fn put_on_white(&mut self) {
        for pixel in self.pixmap.pixels_mut() {
            // Colours are multiplied with their alpha here.
            let behind = u8::MAX - pixel.alpha();
            let [red, green, blue] =
                [pixel.red(), pixel.green(), pixel.blue()].map(|channel| channel.saturating_add(behind));
            if let Some(on_white) = PremultipliedColorU8::from_rgba(red, green, blue, u8::MAX) {
                *pixel = on_white;
            }
        }
    }

    /// Transparent; sides of at least one pixel.
    pub(super) fn new(width_px: u32, height_px: u32) -> Self {
        Self {
            pixmap: Pixmap::new(width_px, height_px).expect("sides have been checked"),
        }
    }

    pub(super) fn width(&self) -> f32 {
        self.pixmap.width() as f32
    }

    pub(super) fn height(&self) -> f32 {
        self.pixmap.height() as f32
    }

    /// The shorter side: what sizes are measured in.
    pub(super) fn unit(&self) -> f32 {
        self.width().min(self.height())
    }

    pub(super) fn cover(&mut self, fill: Fill) {
        let all = rectangle(0.0, 0.0, self.width(), self.height());
        self.fill(all, fill);
    }

    pub(super) fn fill(&mut self, shape: Shape, fill: impl Into<Fill>) {
        let Some(path) = shape else { return };
        match fill.into() {
            Fill::Flat(color) => self.blend(Some(path), color, BlendMode::SourceOver),
            Fill::Down(from, to) => self.fill_gradient(&path, from, to, false),
            Fill::Across(from, to) => self.fill_gradient(&path, from, to, true),
        }
    }

    pub(super) fn blend(&mut self, shape: Shape, color: Color, blend_mode: BlendMode) {
        let Some(path) = shape else { return };
        let paint = Paint {
            shader: Shader::SolidColor(color),
            blend_mode,
            ..Paint::default()
        };
        self.pixmap
            .fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
    }

    /// One colour for each row or column. The library's own gradients compute one for each pixel and take ten
    /// times as long, which half the time of a picture went into.
    fn fill_gradient(&mut self, path: &Path, from: Color, to: Color, across: bool) {
        let (width, height) = (self.pixmap.width(), self.pixmap.height());
        let Some(mut mask) = Mask::new(width, height) else {
            return;
        };
        mask.fill_path(path, FillRule::Winding, true, Transform::identity());
        let bounds = path.bounds();
        let clamped = |edge: f32, most: u32| edge.clamp(0.0, most as f32) as usize;
        let (left, right) = (
            clamped(bounds.left().floor(), width),
            clamped(bounds.right().ceil(), width),
        );
        let (top, bottom) = (
            clamped(bounds.top().floor(), height),
            clamped(bounds.bottom().ceil(), height),
        );
        let tone = |at: usize, start: f32, end: f32| {
            let share = ((at as f32 + 0.5 - start) / (end - start)).clamp(0.0, 1.0);
            mix(from, to, share).premultiply().to_color_u8()
        };
        let columns: Vec<_> = (left..right)
            .map(|x| tone(x, bounds.left(), bounds.right()))
            .collect();
        let pixels = self.pixmap.pixels_mut();
        for y in top..bottom {
            let row = tone(y, bounds.top(), bounds.bottom());
            let start = y * width as usize;
            let covered = &mask.data()[start + left..start + right];
            let under = &mut pixels[start + left..start + right];
            for ((pixel, &coverage), &column) in under.iter_mut().zip(covered).zip(&columns) {
                if coverage > 0 {
                    *pixel = over(*pixel, if across { column } else { row }, coverage);
                }
            }
        }
    }

    pub(super) fn stroke(&mut self, shape: Shape, color: Color, width: f32) {
        let Some(path) = shape else { return };
        let paint = Paint {
            shader: Shader::SolidColor(color),
            ..Paint::default()
        };
        let stroke = Stroke {
            width,
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        self.pixmap
            .stroke_path(&path, &paint, &stroke, Transform::identity(), None);
    }
}

/// `color`, as far as it covers the pixel, over what is there.
pub(super) fn over(
    under: PremultipliedColorU8,
    color: PremultipliedColorU8,
    coverage: u8,
) -> PremultipliedColorU8 {
    if coverage == u8::MAX && color.alpha() == u8::MAX {
        return color;
    }
    let coverage = u32::from(coverage);
    let through = 255 * 255 - u32::from(color.alpha()) * coverage;
    let part = |under: u8, color: u8| {
        let sum = u32::from(color) * coverage * 255 + u32::from(under) * through;
        ((sum + 255 * 255 / 2) / (255 * 255)) as u8
    };
    let alpha = part(under.alpha(), color.alpha());
    let channel = |under: u8, color: u8| part(under, color).min(alpha);
    PremultipliedColorU8::from_rgba(
        channel(under.red(), color.red()),
        channel(under.green(), color.green()),
        channel(under.blue(), color.blue()),
        alpha,
    )
    .unwrap_or(under)
}

pub(super) fn rectangle(left: f32, top: f32, width: f32, height: f32) -> Shape {
    Rect::from_xywh(left, top, width, height).map(PathBuilder::from_rect)
}

pub(super) fn circle(x: f32, y: f32, radius: f32) -> Shape {
    PathBuilder::from_circle(x, y, radius)
}

pub(super) fn polygon(points: &[(f32, f32)]) -> Shape {
    let mut path = PathBuilder::new();
    for (index, &(x, y)) in points.iter().enumerate() {
        if index == 0 {
            path.move_to(x, y)
        } else {
            path.line_to(x, y)
        }
    }
    path.close();
    path.finish()
}

/// An open line.
pub(super) fn line(points: impl IntoIterator<Item = (f32, f32)>) -> Shape {
    let mut path = PathBuilder::new();
    for (index, (x, y)) in points.into_iter().enumerate() {
        if index == 0 {
            path.move_to(x, y)
        } else {
            path.line_to(x, y)
        }
    }
    path.finish()
}

/// How far a cubic curve's handles are from its ends to look like a quarter of a circle, in radii.
const QUARTER: f32 = 0.552_284_8;

pub(super) fn rounded(left: f32, top: f32, width: f32, height: f32, radius: f32) -> Shape {
    let radius = radius.min(width / 2.0).min(height / 2.0);
    let (right, bottom, handle) = (left + width, top + height, radius * (1.0 - QUARTER));
    let mut path = PathBuilder::new();
    path.move_to(left + radius, top);
    path.line_to(right - radius, top);
    path.cubic_to(right - handle, top, right, top + handle, right, top + radius);
    path.line_to(right, bottom - radius);
    path.cubic_to(
        right,
        bottom - handle,
        right - handle,
        bottom,
        right - radius,
        bottom,
    );
    path.line_to(left + radius, bottom);
    path.cubic_to(
        left + handle,
        bottom,
        left,
        bottom - handle,
        left,
        bottom - radius,
    );
    path.line_to(left, top + radius);
    path.cubic_to(left, top + handle, left + handle, top, left + radius, top);
    path.close();
    path.finish()
}

/// A part of a circle as an open line; angles in turns, clockwise from the right.
pub(super) fn arc(x: f32, y: f32, radius: f32, from: f32, to: f32) -> Shape {
    let steps = 96;
    line((0..=steps).map(|step| {
        let angle = (from + (to - from) * step as f32 / steps as f32) * std::f32::consts::TAU;
        (x + radius * angle.cos(), y + radius * angle.sin())
    }))
}

/// A quarter of a disc around a corner of a square, filling the square; `turn` counts quarter turns.
pub(super) fn quarter_disc(left: f32, top: f32, side: f32, turn: usize) -> Shape {
    let (right, bottom) = (left + side, top + side);
    let (corner, start, end) = match turn % 4 {
        0 => ((left, top), (right, top), (left, bottom)),
        1 => ((right, top), (right, bottom), (left, top)),
        2 => ((right, bottom), (left, bottom), (right, top)),
        _ => ((left, bottom), (left, top), (right, bottom)),
    };
    let toward = |from: (f32, f32)| {
        let opposite = (start.0 + end.0 - corner.0, start.1 + end.1 - corner.1);
        (
            from.0 + (opposite.0 - from.0) * QUARTER,
            from.1 + (opposite.1 - from.1) * QUARTER,
        )
    };
    let (near_start, near_end) = (toward(start), toward(end));
    let mut path = PathBuilder::new();
    path.move_to(corner.0, corner.1);
    path.line_to(start.0, start.1);
    path.cubic_to(near_start.0, near_start.1, near_end.0, near_end.1, end.0, end.1);
    path.close();
    path.finish()
}

/// Everything below a line of heights, which is asked for every few pixels from left to right.
pub(super) fn ground(canvas: &Canvas, height_at: impl Fn(f32) -> f32) -> Shape {
    let (width, bottom) = (canvas.width(), canvas.height());
    let steps = 160;
    let mut path = PathBuilder::new();
    path.move_to(0.0, bottom);
    for step in 0..=steps {
        let x = width * step as f32 / steps as f32;
        path.line_to(x, height_at(x).min(bottom));
    }
    path.line_to(width, bottom);
    path.close();
    path.finish()
}
