//! The legend, in rows beneath the plot, where it hides no data.

use super::canvas::{Anchor, Canvas};
use super::raster::{fitting_size, text_width};
use super::{Color, Mark, Series, Style};
use crate::Result;

const SIZE: f64 = 14.0;
const ROW: f64 = 24.0;
/// Above the first row.
const ABOVE: f64 = 8.0;
const SAMPLE: f64 = 36.0;
const SAMPLE_GAP: f64 = 8.0;
const ENTRY_GAP: f64 = 26.0;
/// More colours than this cannot be told apart in a sample.
const MOST_COLORS: usize = 12;

/// What a sample looks like.
#[derive(Clone, Copy)]
enum Sample {
    Curve(Style),
    Upright,
}

/// The curves, or the marks, that share a label.
struct Entry<'a> {
    label: &'a str,
    sample: Sample,
    line: f64,
    colors: Vec<Color>,
    text_size: f64,
    width: f64,
}

pub(super) struct Legend<'a> {
    rows: Vec<Vec<Entry<'a>>>,
}

impl<'a> Legend<'a> {
    /// The legend of `series` and `marks`, in rows at most `room` pixels wide.
    pub fn new(series: &'a [Series], marks: &'a [Mark], room: f64) -> Self {
        let curves = series.iter().map(|one| (&one.label, Sample::Curve(one.style), one.width, one.color));
        let marks = marks.iter().map(|mark| match mark {
            Mark::VerticalLine { color, label, .. } => (label, Sample::Upright, 2.0, *color),
            Mark::Diagonal { color, label } => (label, Sample::Curve(Style::Dashed), 1.6, *color),
        });
        let mut entries: Vec<Entry> = Vec::new();
        for (label, sample, line, color) in curves.chain(marks) {
            let Some(label) = label.as_deref() else {
                continue;
            };
            match entries.iter_mut().find(|entry| entry.label == label) {
                Some(entry) => entry.colors.push(color),
                None => {
                    let text_size = fitting_size(label, SIZE, room - SAMPLE - SAMPLE_GAP);
                    entries.push(Entry {
                        label,
                        sample,
                        line,
                        colors: vec![color],
                        text_size,
                        width: SAMPLE + SAMPLE_GAP + text_width(label, text_size),
                    });
                }
            }
        }
        let mut rows: Vec<Vec<Entry>> = Vec::new();
        let mut used = 0.0;
        for entry in entries {
            match rows.last_mut() {
                Some(row) if used + ENTRY_GAP + entry.width <= room => {
                    used += ENTRY_GAP + entry.width;
                    row.push(entry);
                }
                _ => {
                    used = entry.width;
                    rows.push(vec![entry]);
                }
            }
        }
        Self { rows }
    }

    pub fn height(&self) -> f64 {
        if self.rows.is_empty() { 0.0 } else { ABOVE + ROW * self.rows.len() as f64 }
    }

    /// Draws the rows, centred at `middle`, from `top` downwards.
    pub fn draw(&self, canvas: &Canvas, middle: f64, top: f64, text: Color) -> Result<()> {
        for (index, row) in self.rows.iter().enumerate() {
            let y = top + ABOVE + ROW * (index as f64 + 0.5);
            let gaps = ENTRY_GAP * (row.len() - 1) as f64;
            let width = row.iter().map(|entry| entry.width).sum::<f64>() + gaps;
            let mut x = middle - width / 2.0;
            for entry in row {
                entry.draw_sample(canvas, x, y)?;
                let place = (x + SAMPLE + SAMPLE_GAP, y);
                canvas.text(entry.label, place, entry.text_size, text, Anchor::Left)?;
                x += entry.width + ENTRY_GAP;
            }
        }
        Ok(())
    }
}

impl Entry<'_> {
    /// Draws a short stretch of the curves, their colours from left to right.
    fn draw_sample(&self, canvas: &Canvas, left: f64, y: f64) -> Result<()> {
        let shown = self.colors.len().min(MOST_COLORS);
        let part = SAMPLE / shown as f64;
        for index in 0..shown {
            // The first and the last colour always show.
            let chosen = index * (self.colors.len() - 1) / (shown - 1).max(1);
            let color = self.colors[chosen];
            let from = left + part * index as f64;
            // Lines run on under the next colour, which leaves no seams.
            let rest = [(from, y), (left + SAMPLE, y)];
            let middle = (from + part / 2.0, y);
            match self.sample {
                Sample::Upright => canvas.line(&[(middle.0, y - 8.0), (middle.0, y + 8.0)], color, self.line)?,
                Sample::Curve(Style::Line) if shown > 1 => canvas.line(&rest, color, 5.0)?,
                Sample::Curve(Style::Line) => canvas.line(&rest, color, self.line.max(2.0))?,
                Sample::Curve(Style::Dashed) => canvas.dashed(&[(from, y), (from + part, y)], color, self.line)?,
                Sample::Curve(Style::Dotted) => canvas.dotted(&[(from, y), (from + part, y)], color, self.line)?,
                Sample::Curve(Style::Points) => canvas.dot(middle, self.line, color)?,
                Sample::Curve(Style::Hollow) => canvas.ring(middle, self.line, color)?,
                Sample::Curve(Style::Crosses) => canvas.cross(middle, self.line, color)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(label: &str, color: Color) -> Series {
        Series::line(Vec::new(), color).label(label)
    }

    #[test]
    fn equal_labels_share_an_entry() {
        let all = [
            series("top", Color::BLACK),
            Series::line(Vec::new(), Color::BLACK),
            series("loss", Color::BLACK),
            series("top", Color::GREY),
        ];
        let legend = Legend::new(&all, &[], 1000.0);
        assert_eq!(legend.rows.len(), 1);
        let entries = &legend.rows[0];
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].colors, [Color::BLACK, Color::GREY]);
        assert_eq!(entries[1].label, "loss");
    }

    #[test]
    fn rows_break_where_the_room_ends() {
        let labels: Vec<String> = (0..9).map(|index| format!("curve number {index}")).collect();
        let all: Vec<Series> = labels.iter().map(|l| series(l, Color::BLACK)).collect();
        let legend = Legend::new(&all, &[], 500.0);
        assert!(legend.rows.len() > 2);
        for row in &legend.rows {
            let width: f64 = row.iter().map(|entry| entry.width + ENTRY_GAP).sum();
            assert!(width - ENTRY_GAP <= 500.0);
        }
        assert!(Legend::new(&[], &[], 500.0).height() == 0.0);
    }

    #[test]
    fn a_label_longer_than_the_room_is_set_smaller() {
        let all = [series(&"long ".repeat(40), Color::BLACK)];
        let legend = Legend::new(&all, &[], 500.0);
        assert!(legend.rows[0][0].width < 501.0);
    }
}
