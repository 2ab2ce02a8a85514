//! [`Chart`]: curves over each other, in the terminal or as a picture.

use std::fmt::Write as _;

use anstyle::AnsiColor;
use kuva::backend::png::PngBackend;
use kuva::prelude::{Layout, LinePlot, Plot, ScatterPlot, SvgBackend};
use kuva::render::palette::Palette;
use kuva::render::render::{Scene, render_multiple};
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::Output;
use super::plane::{AXIS_LINES, Plane, PlaneCurve, color, letter};
use super::ticks::Ticks;

/// Greatest size of a chart in a terminal.
const MAX_COLUMNS: u16 = 120;
const MAX_LINES: u16 = 26;
/// Lines of the heading above the curves.
const HEADING_LINES: u16 = 1;
/// Least number of lines of the curves.
const MIN_ROWS: u16 = 4;
/// Blanks between the entries of the legend.
const LEGEND_GAP: usize = 3;
/// Size of a picture, in points.
const PICTURE_WIDTH: f64 = 900.0;
const PICTURE_HEIGHT: f64 = 520.0;

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
    /// Draws the chart with characters: a heading, the curves between their axes, and a legend. A letter at the end
    /// of each curve names it also where there are no colours.
    pub(crate) fn to_terminal(&self, output: Output) -> String {
        let curves: Vec<Vec<(f64, f64)>> = self
            .curves
            .iter()
            .map(|curve| self.scaled(&curve.points))
            .collect();
        let all = || curves.iter().flatten();
        let x_ticks = Ticks::linear(all().map(|point| point.0), 5.0);
        let values = all().map(|point| point.1);
        let y_ticks = if self.is_logarithmic {
            Ticks::logarithmic(values)
        } else {
            Ticks::linear(values, 4.0)
        };
        let width = output.width.min(MAX_COLUMNS);
        let legend = self.legend(width.into());
        let lines = output.height.saturating_sub(1).clamp(8, MAX_LINES);
        let other_lines = HEADING_LINES + AXIS_LINES + u16::try_from(legend.len()).unwrap_or(0);
        let rows = lines.saturating_sub(other_lines).max(MIN_ROWS);
        let planes: Vec<PlaneCurve<'_>> = { curves.iter().enumerate() }
            .map(|(number, points)| PlaneCurve { number, points })
            .collect();
        let buffer = Plane::draw((width, rows), (&x_ticks, &y_ticks), &planes, true);
        let mut text = format!("{} over {}\n", self.title, self.x_label);
        text.push_str(&to_text(&buffer));
        for line in legend {
            text.push('\n');
            text.push_str(&line);
        }
        text
    }

    /// Returns the lines of the legend.
    fn legend(&self, width: usize) -> Vec<String> {
        let mut lines: Vec<(usize, String)> = Vec::new();
        for (index, curve) in self.curves.iter().enumerate() {
            let mut entry = curve.name.clone();
            if self.curves.len() > 1 {
                entry.insert_str(0, &format!("{} ", letter(index)));
            }
            let chars = entry.chars().count();
            let entry = format!("{}{entry}{}", ansi(color(index)), ansi(Color::Reset));
            match lines.last_mut() {
                Some((taken, line)) if *taken + LEGEND_GAP + chars <= width => {
                    *taken += LEGEND_GAP + chars;
                    let _ = write!(line, "{:LEGEND_GAP$}{entry}", "");
                }
                _ => lines.push((chars, entry)),
            }
        }
        lines.into_iter().map(|(_, line)| line).collect()
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
        assert_eq!((lines[0], lines[10]), ("loss over step", "a"));
        assert!(lines[1].starts_with("100┤"), "{text}");
        assert!(lines[7].starts_with("  0┤"), "{text}");
        assert!(
            lines[9].starts_with("    0  ") && lines[9].ends_with("100"),
            "{text}"
        );
        let is_braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
        assert!(
            lines[1].contains(is_braille) && lines[7].contains(is_braille),
            "{text}"
        );
    }

    #[test]
    fn curves_are_told_apart_without_colours() {
        let line = |end: f64| {
            (0..50)
                .map(|x| (f64::from(x), end * f64::from(x)))
                .collect()
        };
        let curves: Vec<Curve> = [("up", 1.0), ("down", -1.0), ("also up", 1.0)]
            .map(|(name, end)| Curve {
                name: name.to_owned(),
                points: line(end),
            })
            .into();
        let chart = Chart {
            title: "loss",
            x_label: "step",
            is_logarithmic: false,
            curves: &curves,
        };
        let text = anstream::adapter::strip_str(&chart.to_terminal(SMALL)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        // Two curves end at the same place: the letters are below each other.
        assert!(lines[1].ends_with('a') && lines[2].ends_with('c'), "{text}");
        assert!(lines[7].ends_with('b'), "{text}");
        assert_eq!(lines[10], "a up   b down   c also up");
        assert!(
            lines.iter().all(|line| line.chars().count() <= 40),
            "{text}"
        );
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
