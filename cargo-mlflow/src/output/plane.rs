//! [`Plane`]: curves between two axes, drawn with characters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart as TerminalChart, Dataset, GraphType, Widget};

use super::ticks::Ticks;

/// Lines of the axis below the curves.
pub(crate) const AXIS_LINES: u16 = 2;
/// Columns behind the curves, for their letters.
const LETTER_COLUMNS: u16 = 2;
/// Dots of a character.
pub(crate) const DOTS_PER_COLUMN: u16 = 2;
const DOTS_PER_ROW: u16 = 4;

/// Colours of the curves in a terminal.
const COLORS: [Color; 6] = [
    Color::Cyan,
    Color::Yellow,
    Color::Green,
    Color::Magenta,
    Color::Red,
    Color::Blue,
];

/// Curve of a plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaneCurve<'p> {
    /// Number of the curve, which its colour and its letter follow from.
    pub(crate) number: usize,
    /// Points in the units of the axes, in the order of the horizontal one.
    pub(crate) points: &'p [(f64, f64)],
}

/// Curves and axes while they are drawn with characters.
pub(crate) struct Plane {
    buffer: Buffer,
    /// Place of the curves, between the axes.
    area: Rect,
    x_bounds: [f64; 2],
    y_bounds: [f64; 2],
    has_colors: bool,
}

impl Plane {
    /// Draws curves between their axes, on `width` columns and `rows` lines for the curves, with [`AXIS_LINES`] more
    /// below them. With several curves, a letter at the end of each names it also where there are no colours.
    pub(crate) fn draw(
        (width, rows): (u16, u16),
        (x_ticks, y_ticks): (&Ticks, &Ticks),
        curves: &[PlaneCurve<'_>],
        has_colors: bool,
    ) -> Buffer {
        let left = u16::try_from(y_ticks.label_chars() + 1)
            .unwrap_or(1)
            .min(width);
        let columns = width.saturating_sub(left + LETTER_COLUMNS).max(1);
        let mut plane = Self {
            buffer: Buffer::empty(Rect::new(0, 0, width, rows + AXIS_LINES)),
            area: Rect::new(left, 0, columns, rows),
            x_bounds: x_ticks.bounds(),
            y_bounds: y_ticks.bounds(),
            has_colors,
        };
        plane.draw_curves(curves);
        plane.draw_axes(x_ticks, y_ticks);
        if curves.len() > 1 {
            plane.draw_letters(curves);
        }
        plane.buffer
    }

    fn draw_curves(&mut self, curves: &[PlaneCurve<'_>]) {
        let area = self.area.intersection(self.buffer.area);
        if area.is_empty() {
            return;
        }
        let datasets = { curves.iter() }
            .map(|curve| {
                Dataset::default()
                    .marker(Marker::Braille)
                    .graph_type(if curve.points.len() == 1 {
                        GraphType::Scatter
                    } else {
                        GraphType::Line
                    })
                    .style(self.style(curve.number))
                    .data(curve.points)
            })
            .collect();
        TerminalChart::new(datasets)
            .x_axis(Axis::default().bounds(self.x_bounds))
            .y_axis(Axis::default().bounds(self.y_bounds))
            .legend_position(None)
            .render(area, &mut self.buffer);
    }

    fn style(&self, curve: usize) -> Style {
        if self.has_colors {
            Style::new().fg(color(curve))
        } else {
            Style::new()
        }
    }

    fn draw_axes(&mut self, x_ticks: &Ticks, y_ticks: &Ticks) {
        let (left, bottom) = (self.area.left() - 1, self.area.bottom());
        for row in 0..bottom {
            self.set(left, row, "│");
        }
        self.set(left, bottom, "└");
        for column in self.area.left()..self.area.right() {
            self.set(column, bottom, "─");
        }
        for tick in y_ticks.iter() {
            let row = self.row(tick.place);
            self.set(left, row, "┤");
            let chars = u16::try_from(tick.label.chars().count()).unwrap_or(left);
            self.set(left.saturating_sub(chars), row, &tick.label);
        }
        // The labels must not touch each other.
        let mut free = 0;
        for tick in x_ticks.iter() {
            let column = self.column(tick.place);
            self.set(column, bottom, "┬");
            let chars = u16::try_from(tick.label.chars().count()).unwrap_or(left);
            let last = self.buffer.area.right().saturating_sub(chars);
            let start = column.saturating_sub(chars / 2).min(last);
            if start >= free {
                self.set(start, bottom + 1, &tick.label);
                free = start + chars + 1;
            }
        }
    }

    /// Writes the letter of each curve behind its last point, or as near to it as no other letter is.
    fn draw_letters(&mut self, curves: &[PlaneCurve<'_>]) {
        let mut taken: Vec<(u16, u16)> = Vec::new();
        for curve in curves {
            let Some((x, y)) = curve.points.last() else {
                continue;
            };
            let (column, row) = (self.column(*x) + 1, self.row(*y));
            let rows = self.area.top()..self.area.bottom();
            let nearest = { rows.filter(|row| !taken.contains(&(column, *row))) }
                .min_by_key(|free| free.abs_diff(row));
            let row = nearest.unwrap_or(row);
            taken.push((column, row));
            self.set(column, row, letter(curve.number).encode_utf8(&mut [0; 4]));
            let style = self.style(curve.number);
            if let Some(cell) = self.buffer.cell_mut((column, row)) {
                cell.set_style(style);
            }
        }
    }

    fn set(&mut self, column: u16, row: u16, text: &str) {
        if column < self.buffer.area.right() && row < self.buffer.area.bottom() {
            self.buffer.set_string(column, row, text, Style::new());
        }
    }

    fn column(&self, x: f64) -> u16 {
        let share = share(self.x_bounds, x);
        self.area.left() + dot(share, self.area.width * DOTS_PER_COLUMN) / DOTS_PER_COLUMN
    }

    fn row(&self, y: f64) -> u16 {
        let share = 1.0 - share(self.y_bounds, y);
        self.area.top() + dot(share, self.area.height * DOTS_PER_ROW) / DOTS_PER_ROW
    }
}

/// Returns the place of a value between two bounds, from 0 to 1.
fn share([least, greatest]: [f64; 2], value: f64) -> f64 {
    ((value - least) / (greatest - least)).clamp(0.0, 1.0)
}

/// Returns the index of the dot at a place from 0 to 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most the number of dots"
)]
fn dot(share: f64, dots: u16) -> u16 {
    (share * f64::from(dots.saturating_sub(1))).round() as u16
}

/// Returns the colour of a curve.
pub(crate) fn color(number: usize) -> Color {
    COLORS
        .get(number % COLORS.len())
        .copied()
        .unwrap_or_default()
}

/// Returns the letter that names a curve.
pub(crate) fn letter(number: usize) -> char {
    let letters = ('a'..='z').chain('A'..='Z');
    letters.cycle().nth(number).unwrap_or('*')
}
