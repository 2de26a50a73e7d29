//! Points, boxes and the bridges between coordinate spaces. No pixels here.
//!
//! A space is a type, so that a box in model pixels cannot be mistaken for one in frame pixels: the only way across is a
//! [`Mapping`], which preprocessing returns together with the tensor it made.

use std::marker::PhantomData;

/// A coordinate space; a marker that exists only in types.
pub trait Space: Copy + std::fmt::Debug + Default + PartialEq + Send + Sync + 'static {}

/// Pixels of the whole camera frame: x to the right, y down, the top-left corner of the top-left pixel is (0, 0).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FramePx;
/// Pixels of a model's input tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelPx;
/// The frame as 0..1 in both directions, as events print it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unit;

impl Space for FramePx {}
impl Space for ModelPx {}
impl Space for Unit {}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// Columns first, as cameras say it: `Size::new(1280, 720)`.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Number of pixels.
    pub const fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// The longer of the two sides.
    pub fn long_side(self) -> u32 {
        self.width.max(self.height)
    }

    /// The box that covers the whole frame.
    pub fn bounds(self) -> Box2<FramePx> {
        Box2::from_xyxy(0.0, 0.0, self.width as f32, self.height as f32)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// A point in space `S`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point<S: Space> {
    /// To the right.
    pub x: f32,
    /// Down.
    pub y: f32,
    space: PhantomData<S>,
}

impl<S: Space> Point<S> {
    /// `x` (right), then `y` (down).
    pub const fn new(x: f32, y: f32) -> Self {
        Self { x, y, space: PhantomData }
    }
}

/// An axis-aligned box in space `S`, kept as its two corners.
///
/// Corners are ordered by the constructors' callers; a box whose width or height is not positive is [`Box2::is_empty`]
/// and has area 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Box2<S: Space> {
    /// Left edge.
    pub x0: f32,
    /// Top edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Bottom edge.
    pub y1: f32,
    space: PhantomData<S>,
}

impl<S: Space> Box2<S> {
    /// Left, top, right, bottom.
    pub const fn from_xyxy(x0: f32, y0: f32, x1: f32, y1: f32) -> Self {
        Self { x0, y0, x1, y1, space: PhantomData }
    }

    /// Left, top, width, height.
    pub const fn from_xywh(x: f32, y: f32, w: f32, h: f32) -> Self {
        Self::from_xyxy(x, y, x + w, y + h)
    }

    /// Centre x, centre y, width, height.
    pub const fn from_cxcywh(cx: f32, cy: f32, w: f32, h: f32) -> Self {
        Self::from_xyxy(cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0)
    }

    /// Right minus left.
    pub fn width(self) -> f32 {
        self.x1 - self.x0
    }

    /// Bottom minus top.
    pub fn height(self) -> f32 {
        self.y1 - self.y0
    }

    /// Width times height, 0 for an empty box.
    pub fn area(self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// The middle.
    pub fn center(self) -> Point<S> {
        Point::new((self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0)
    }

    /// True when it holds nothing, or when an edge is not a finite number.
    pub fn is_empty(self) -> bool {
        let ok = self.x1 > self.x0
            && self.y1 > self.y0
            && [self.x0, self.y0, self.x1, self.y1].iter().all(|v| v.is_finite());
        !ok
    }

    /// The common part; empty when the boxes do not touch.
    pub fn intersection(self, other: Self) -> Self {
        Self::from_xyxy(self.x0.max(other.x0), self.y0.max(other.y0), self.x1.min(other.x1), self.y1.min(other.y1))
    }

    /// The smallest box around both.
    pub fn hull(self, other: Self) -> Self {
        Self::from_xyxy(self.x0.min(other.x0), self.y0.min(other.y0), self.x1.max(other.x1), self.y1.max(other.y1))
    }

    /// Intersection over union, 0..=1; 0 when both are empty.
    pub fn iou(self, other: Self) -> f32 {
        let inter = self.intersection(other).area();
        let union = self.area() + other.area() - inter;
        if union > 0.0 { inter / union } else { 0.0 }
    }

    /// The share of `self` that lies in `other`, 0..=1; 0 when `self` is empty.
    pub fn covered_by(self, other: Self) -> f32 {
        let area = self.area();
        if area > 0.0 { self.intersection(other).area() / area } else { 0.0 }
    }

    /// True when the point lies inside (left and top edges included).
    pub fn contains(self, p: Point<S>) -> bool {
        p.x >= self.x0 && p.x < self.x1 && p.y >= self.y0 && p.y < self.y1
    }

    /// Moved by (dx, dy).
    pub fn translate(self, dx: f32, dy: f32) -> Self {
        Self::from_xyxy(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)
    }

    /// Grown (or shrunk) around its centre by a factor on each axis.
    pub fn scale_about_center(self, factor: f32) -> Self {
        let c = self.center();
        Self::from_cxcywh(c.x, c.y, self.width() * factor, self.height() * factor)
    }
}

impl Box2<FramePx> {
    /// Cut to the frame.
    pub fn clip(self, size: Size) -> Self {
        self.intersection(size.bounds())
    }

    /// To 0..1 of the frame, clipped to it, corners in order.
    pub fn to_unit(self, size: Size) -> Box2<Unit> {
        let (w, h) = (size.width.max(1) as f32, size.height.max(1) as f32);
        let x0 = (self.x0 / w).clamp(0.0, 1.0);
        let y0 = (self.y0 / h).clamp(0.0, 1.0);
        Box2::from_xyxy(x0, y0, (self.x1 / w).clamp(x0, 1.0), (self.y1 / h).clamp(y0, 1.0))
    }
}

/// A rectangle of whole pixels inside a frame, which a model looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// Left edge, pixels.
    pub x: u32,
    /// Top edge, pixels.
    pub y: u32,
    /// Width and height, pixels; never 0.
    pub size: Size,
}

impl Region {
    /// The whole frame.
    pub const fn whole(size: Size) -> Self {
        Self { x: 0, y: 0, size }
    }

    /// As a box in frame pixels.
    pub fn bounds(self) -> Box2<FramePx> {
        Box2::from_xywh(self.x as f32, self.y as f32, self.size.width as f32, self.size.height as f32)
    }

    /// True when it is the whole of a frame of that size.
    pub fn is_whole(self, frame: Size) -> bool {
        self == Self::whole(frame)
    }
}

/// The bridge from a model's pixels back to the frame's: `frame = model * scale + offset` on each axis.
///
/// Made only by preprocessing ([`crate::model::prep`]), beside the tensor it describes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mapping {
    scale_x: f32,
    scale_y: f32,
    offset_x: f32,
    offset_y: f32,
}

impl Mapping {
    /// `scale` in frame pixels per model pixel (x, y), then where the model's origin lies in the frame (x, y).
    pub const fn new(scale: (f32, f32), offset: (f32, f32)) -> Self {
        Self { scale_x: scale.0, scale_y: scale.1, offset_x: offset.0, offset_y: offset.1 }
    }

    /// A model point in frame pixels.
    pub fn point(&self, p: Point<ModelPx>) -> Point<FramePx> {
        Point::new(p.x * self.scale_x + self.offset_x, p.y * self.scale_y + self.offset_y)
    }

    /// A model box in frame pixels.
    pub fn boxed(&self, b: Box2<ModelPx>) -> Box2<FramePx> {
        let (p, q) = (self.point(Point::new(b.x0, b.y0)), self.point(Point::new(b.x1, b.y1)));
        Box2::from_xyxy(p.x, p.y, q.x, q.y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_half_overlap_is_one_third() {
        let a = Box2::<FramePx>::from_xywh(0.0, 0.0, 2.0, 1.0);
        let b = Box2::from_xywh(1.0, 0.0, 2.0, 1.0);
        assert!((a.iou(b) - 1.0 / 3.0).abs() < 1e-6);
        assert!((a.covered_by(b) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn boxes_that_do_not_touch_share_nothing() {
        let a = Box2::<FramePx>::from_xywh(0.0, 0.0, 1.0, 1.0);
        let b = Box2::from_xywh(5.0, 5.0, 1.0, 1.0);
        assert_eq!(a.iou(b), 0.0);
        assert!(a.intersection(b).is_empty());
    }

    #[test]
    fn a_box_outside_the_frame_is_clipped_in_order() {
        let u = Box2::<FramePx>::from_xywh(-10.0, 90.0, 200.0, 50.0).to_unit(Size::new(100, 100));
        assert_eq!((u.x0, u.y0, u.x1, u.y1), (0.0, 0.9, 1.0, 1.0));
        let gone = Box2::<FramePx>::from_xywh(150.0, 0.0, 5.0, 5.0).to_unit(Size::new(100, 100));
        assert!(gone.x1 >= gone.x0);
    }

    #[test]
    fn mapping_is_scale_then_offset() {
        let m = Mapping::new((2.0, 4.0), (10.0, 20.0));
        let b = m.boxed(Box2::from_xyxy(1.0, 1.0, 2.0, 2.0));
        assert_eq!((b.x0, b.y0, b.x1, b.y1), (12.0, 24.0, 14.0, 28.0));
    }

    #[test]
    fn nan_is_empty() {
        assert!(Box2::<FramePx>::from_xyxy(f32::NAN, 0.0, 1.0, 1.0).is_empty());
    }
}
