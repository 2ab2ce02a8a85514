//! [`Chart`]: curves over each other, in the terminal or as a picture.

use std::fmt::Write as _;

use anstyle::AnsiColor;
use kuva::backend::png::PngBackend;
use kuva::prelude::{Layout, LinePlot, Plot, ScatterPlot, SvgBackend};
use kuva::render::palette::Palette;
use kuva::render::render::{Scene, render_multiple};
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::widgets::{Axis, Chart as TerminalChart, Dataset, GraphType, LegendPosition, Widget};

use super::{Output, format};

/// Greatest size of a chart in a terminal.
const MAX_COLUMNS: u16 = 120;
const MAX_LINES: u16 = 26;
/// Size of a picture, in points.
const PICTURE_WIDTH: f64 = 900.0;
const PICTURE_HEIGHT: f64 = 520.0;

/// Colours of the curves in a terminal.
const COLORS: [Color; 6] = [
    Color::Cyan,
    Color::Yellow,
    Color::Green,
    Color::Magenta,
    Color::Red,
    Color::Blue,
];

/// Curves over each other.
pub(crate) struct Chart<'c> {
    pub(crate) title: &'c str,
    pub(crate) x_label: &'c str,
    pub(crate) is_logarithmic: bool,
    pub(crate) curves: &'c [Curve],
}

/// Points of one curve, in the order of the horizontal axis.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Chart<'_> {
    /// Draws the chart with characters.
    pub(crate) fn to_terminal(&self, output: Output) -> String {
        let area = Rect::new(
            0,
            0,
            output.width.min(MAX_COLUMNS),
            output.height.saturating_sub(1).clamp(8, MAX_LINES),
        );
        let curves: Vec<Vec<(f64, f64)>> = self
            .curves
            .iter()
            .map(|curve| self.scaled(&curve.points))
            .collect();
        let all = || curves.iter().flatten();
        let x_ticks = Ticks::new(all().map(|point| point.0), 5.0);
        let y_ticks = Ticks::new(all().map(|point| point.1), 4.0);
        let datasets = self.curves.iter().zip(&curves).zip(COLORS.iter().cycle());
        let datasets = datasets
            .map(|((curve, points), color)| {
                Dataset::default()
                    .name(curve.name.as_str())
                    .marker(Marker::Braille)
                    .graph_type(GraphType::Line)
                    .style(Style::new().fg(*color))
                    .data(points)
            })
            .collect();
        let y_label = |value: f64| {
            format::number(if self.is_logarithmic {
                10f64.powf(value)
            } else {
                value
            })
        };
        let chart = TerminalChart::new(datasets)
            .x_axis(
                Axis::default()
                    .title(self.x_label)
                    .bounds(x_ticks.bounds())
                    .labels(x_ticks.values().map(format::number)),
            )
            .y_axis(
                Axis::default()
                    .title(self.title)
                    .bounds(y_ticks.bounds())
                    .labels(y_ticks.values().map(y_label)),
            )
            .legend_position(Some(LegendPosition::TopRight))
            .hidden_legend_constraints((Constraint::Ratio(1, 2), Constraint::Ratio(1, 1)));
        let mut buffer = Buffer::empty(area);
        chart.render(area, &mut buffer);
        to_text(&buffer)
    }

    /// Draws the chart as SVG.
    pub(crate) fn to_svg(&self) -> String {
        SvgBackend::new().render_scene(&self.scene())
    }

    /// Draws the chart as PNG.
    pub(crate) fn to_png(&self) -> Result<Vec<u8>, String> {
        PngBackend::new()
            .with_scale(2.0)
            .render_scene(&self.scene())
    }

    fn scene(&self) -> Scene {
        let palette = Palette::category10();
        let plots: Vec<Plot> = self
            .curves
            .iter()
            .zip(palette.colors().iter().cycle())
            .map(|(curve, color)| {
                let points = self.drawable(&curve.points);
                // A line through a single point would not be seen.
                if points.len() == 1 {
                    return ScatterPlot::new()
                        .with_data(points)
                        .with_color(color.as_str())
                        .with_legend(curve.name.as_str())
                        .into();
                }
                LinePlot::new()
                    .with_data(points)
                    .with_color(color.as_str())
                    .with_legend(curve.name.as_str())
                    .into()
            })
            .collect();
        let mut layout = Layout::auto_from_plots(&plots)
            .with_title(self.title)
            .with_x_label(self.x_label)
            .with_width(PICTURE_WIDTH)
            .with_height(PICTURE_HEIGHT);
        // `kuva` cannot draw a logarithmic axis without a point on it.
        let has_points =
            { self.curves.iter() }.any(|curve| !self.drawable(&curve.points).is_empty());
        if self.is_logarithmic && has_points {
            layout = layout.with_log_y();
        }
        render_multiple(plots, layout)
    }

    /// Returns the points that have a place on the axis: a logarithmic one has none for zero and less.
    fn drawable(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let is_drawable = |point: &&(f64, f64)| !self.is_logarithmic || point.1 > 0.0;
        points.iter().filter(is_drawable).copied().collect()
    }

    /// Returns the points as the axis shows them.
    fn scaled(&self, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let mut points = self.drawable(points);
        if self.is_logarithmic {
            for (_, y) in &mut points {
                *y = y.log10();
            }
        }
        points
    }
}

/// Ticks of an axis, at round numbers and equal distances.
#[derive(Debug, PartialEq)]
pub(crate) struct Ticks {
    first: f64,
    step: f64,
    count: u32,
}

impl Ticks {
    /// Returns about `wanted` ticks that enclose all values. The distance of two ticks is a power of ten, or
    /// its double or half.
    pub(crate) fn new(values: impl Iterator<Item = f64>, wanted: f64) -> Self {
        let none = [f64::INFINITY, f64::NEG_INFINITY];
        let [least, greatest] = values.fold(none, |[least, greatest], value| {
            [least.min(value), greatest.max(value)]
        });
        let (least, greatest) = if least < greatest {
            (least, greatest)
        } else if least.is_finite() {
            // One value is in the middle.
            let margin = if least == 0.0 { 1.0 } else { least.abs() / 2.0 };
            (least - margin, least + margin)
        } else {
            (0.0, 1.0)
        };
        let rough = (greatest - least) / wanted;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(10.0 * power);
        let first = (least / step).floor() * step;
        let last = (greatest / step).ceil() * step;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few ticks"
        )]
        let count = ((last - first) / step).round().clamp(1.0, 100.0) as u32 + 1;
        Self { first, step, count }
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.count).map(|index| self.first + self.step * f64::from(index))
    }

    pub(crate) fn bounds(&self) -> [f64; 2] {
        [
            self.first,
            self.first + self.step * f64::from(self.count - 1),
        ]
    }
}

/// Returns the lines of the buffer, with the colours of its cells.
fn to_text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        if y > 0 {
            text.push('\n');
        }
        let mut line = String::new();
        let mut current = Color::Reset;
        for x in buffer.area.left()..buffer.area.right() {
            let Some(cell) = buffer.cell((x, y)) else {
                continue;
            };
            if cell.fg != current && cell.symbol() != " " {
                current = cell.fg;
                // Writing to a text does not fail.
                let _ = write!(line, "{}", ansi(current));
            }
            line.push_str(cell.symbol());
        }
        text.push_str(line.trim_end());
        if current != Color::Reset {
            let _ = write!(text, "{}", ansi(Color::Reset));
        }
    }
    text
}

/// Returns the control sequence that switches to the colour.
fn ansi(color: Color) -> String {
    let color = match color {
        Color::Cyan => AnsiColor::Cyan,
        Color::Yellow => AnsiColor::Yellow,
        Color::Green => AnsiColor::Green,
        Color::Magenta => AnsiColor::Magenta,
        Color::Red => AnsiColor::Red,
        Color::Blue => AnsiColor::Blue,
        _ => return anstyle::Reset.render().to_string(),
    };
    color.render_fg().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of which little fits on the screen.
    const SMALL: Output = Output {
        json: false,
        is_terminal: false,
        is_styled: false,
        width: 40,
        height: 12,
    };

    #[test]
    fn a_curve_goes_from_corner_to_corner() {
        let curves = [Curve {
            name: "a".to_owned(),
            points: (0..100).map(|x| (f64::from(x), f64::from(x))).collect(),
        }];
        let chart = Chart {
            title: "loss",
            x_label: "step",
            is_logarithmic: false,
            curves: &curves,
        };
        let text = anstream::adapter::strip_str(&chart.to_terminal(SMALL)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11, "{text}");
        assert!(lines[0].starts_with("100│loss"), "{text}");
        assert!(
            lines[10].contains(" 0 ") && lines[10].ends_with("100"),
            "{text}"
        );
        let is_braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
        assert!(
            lines[0].contains(is_braille) && lines[8].contains(is_braille),
            "{text}"
        );
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        for (values, ticks) in [
            (vec![0.0, 59.0], vec![0.0, 20.0, 40.0, 60.0]),
            (vec![0.36, 0.69], vec![0.3, 0.4, 0.5, 0.6, 0.7]),
            (vec![-3.0, 8.0], vec![-5.0, 0.0, 5.0, 10.0]),
            (vec![7.0], vec![2.0, 4.0, 6.0, 8.0, 10.0, 12.0]),
            (vec![], vec![0.0, 0.5, 1.0]),
        ] {
            let found: Vec<f64> = Ticks::new(values.iter().copied(), 4.0).values().collect();
            let is_equal = found.len() == ticks.len()
                && found
                    .iter()
                    .zip(&ticks)
                    .all(|(found, tick)| (found - tick).abs() < 1e-9);
            assert!(is_equal, "{values:?}: {found:?}");
        }
    }

    #[test]
    fn a_single_point_and_no_positive_one_are_drawn() {
        for (points, is_logarithmic) in [
            (vec![(3.0, 5.0)], false),
            (vec![(0.0, -1.0)], true),
            (vec![], false),
        ] {
            let curves = [Curve {
                name: "a".to_owned(),
                points,
            }];
            let chart = Chart {
                title: "loss",
                x_label: "step",
                is_logarithmic,
                curves: &curves,
            };
            let svg = chart.to_svg();
            assert!(svg.starts_with("<svg"));
            let has_circle = svg.contains("<circle");
            assert_eq!(has_circle, curves[0].points == [(3.0, 5.0)], "{svg}");
            assert!(chart.to_terminal(SMALL).contains("step"));
        }
    }
}
