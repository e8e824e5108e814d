//! The plot's rectangle: values to pixels, and curves cut at its borders.

use super::axis::Axis;

/// A place in pixels, from the upper left corner.
pub(super) type Pixel = (f64, f64);

/// Pixels of slack, so that rounding does not cut off points on the border.
const SLACK: f64 = 1e-6;

#[derive(Debug)]
pub(super) struct Frame {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Frame {
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    /// Horizontal pixel of a place on the horizontal axis.
    pub fn x(&self, at: f64) -> f64 {
        self.left + at * self.width()
    }

    /// Vertical pixel of a place on the vertical axis.
    pub fn y(&self, at: f64) -> f64 {
        self.bottom - at * self.height()
    }

    /// The unbroken pieces of a curve that lie inside the frame. A piece of one
    /// point is a point without drawable neighbours.
    pub fn pieces(&self, points: &[(f64, f64)], x_axis: &Axis, y_axis: &Axis) -> Vec<Vec<Pixel>> {
        let mut pieces: Vec<Vec<Pixel>> = Vec::new();
        let mut previous: Option<Pixel> = None;
        for &(x, y) in points {
            let Some((x_at, y_at)) = x_axis.place(x).zip(y_axis.place(y)) else {
                previous = None;
                continue;
            };
            let end = (self.x(x_at), self.y(y_at));
            match previous.map(|start| self.clip(start, end)) {
                Some(Some((from, to))) => match pieces.last_mut() {
                    Some(piece) if piece.last() == Some(&from) => piece.push(to),
                    _ => pieces.push(vec![from, to]),
                },
                Some(None) => {}
                None if self.contains(end) => pieces.push(vec![end]),
                None => {}
            }
            previous = Some(end);
        }
        pieces
    }

    /// The points of a curve that lie inside the frame.
    pub fn dots(&self, points: &[(f64, f64)], x_axis: &Axis, y_axis: &Axis) -> Vec<Pixel> {
        points
            .iter()
            .filter_map(|&(x, y)| x_axis.place(x).zip(y_axis.place(y)))
            .map(|(x_at, y_at)| (self.x(x_at), self.y(y_at)))
            .filter(|&pixel| self.contains(pixel))
            .collect()
    }

    fn contains(&self, (x, y): Pixel) -> bool {
        (self.left - SLACK..=self.right + SLACK).contains(&x) && (self.top - SLACK..=self.bottom + SLACK).contains(&y)
    }

    /// The part of a segment inside the frame (Liang and Barsky's algorithm).
    fn clip(&self, start: Pixel, end: Pixel) -> Option<(Pixel, Pixel)> {
        let (dx, dy) = (end.0 - start.0, end.1 - start.1);
        let (mut enter, mut leave) = (0.0f64, 1.0f64);
        for (step, room) in [
            (-dx, start.0 - self.left + SLACK),
            (dx, self.right + SLACK - start.0),
            (-dy, start.1 - self.top + SLACK),
            (dy, self.bottom + SLACK - start.1),
        ] {
            if step == 0.0 {
                if room < 0.0 {
                    return None;
                }
            } else if step < 0.0 {
                enter = enter.max(room / step);
            } else {
                leave = leave.min(room / step);
            }
        }
        if enter > leave {
            return None;
        }
        // Uncut ends stay exact, so that neighbouring segments join.
        let at = |t: f64| (start.0 + t * dx, start.1 + t * dy);
        let from = if enter == 0.0 { start } else { at(enter) };
        let to = if leave == 1.0 { end } else { at(leave) };
        Some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Scale;
    use super::*;

    const FRAME: Frame = Frame { left: 0.0, top: 0.0, right: 100.0, bottom: 100.0 };

    /// Pieces of a curve on axes from 0 to 10 (or 1 to 10 on a log axis).
    fn pieces(points: &[(f64, f64)], y_scale: Scale) -> Vec<Vec<Pixel>> {
        let axis = |scale, low| Axis::new(scale, Some((low, 10.0)), std::iter::empty(), 0.0);
        let x_axis = axis(Scale::Linear, 0.0).unwrap();
        let y_low = if y_scale == Scale::Linear { 0.0 } else { 1.0 };
        FRAME.pieces(points, &x_axis, &axis(y_scale, y_low).unwrap())
    }

    fn lengths(pieces: &[Vec<Pixel>]) -> Vec<usize> {
        pieces.iter().map(Vec::len).collect()
    }

    #[test]
    fn points_without_a_place_break_the_line() {
        let curve = [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 3.0), (4.0, f64::INFINITY), (5.0, 5.0), (6.0, 6.0)];
        assert_eq!(lengths(&pieces(&curve, Scale::Linear)), [2, 1, 2]);
    }

    #[test]
    fn log_axis_breaks_the_line_where_values_are_not_positive() {
        let curve = [(0.0, 2.0), (1.0, 3.0), (2.0, 0.0), (3.0, -1.0), (4.0, 5.0)];
        assert_eq!(lengths(&pieces(&curve, Scale::Log10)), [2, 1]);
    }

    #[test]
    fn curves_are_cut_at_the_borders() {
        let curve = [(0.0, 5.0), (2.0, 15.0), (4.0, 5.0), (6.0, 5.0)];
        let pieces = pieces(&curve, Scale::Linear);
        assert_eq!(lengths(&pieces), [2, 3]);
        let (x, y) = pieces[0][1];
        assert!((x - 10.0).abs() < 1e-3 && y.abs() < 1e-3, "{x} {y}");
    }

    #[test]
    fn segments_that_miss_the_frame_are_not_drawn() {
        let curve = [(-5.0, 5.0), (5.0, 50.0), (20.0, 50.0)];
        assert!(pieces(&curve, Scale::Linear).is_empty());
    }
}
