//! Grid of charts: how many fit, and how each is drawn.

use std::sync::Arc;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use super::curve::{Outline, Projection, shown_range};
use super::draw::{run_color, warning_style};
use super::view::View;
use crate::live::{Live, Series};
use crate::output::plane::{AXIS_LINES, DOTS_PER_COLUMN, Plane, PlaneCurve};
use crate::output::ticks::Ticks;
use crate::output::{format, printable};

/// Least size of a chart.
const MIN_WIDTH: u16 = 38;
const MIN_HEIGHT: u16 = 9;
/// Distance of two ticks, about.
const COLUMNS_PER_TICK: u16 = 16;
const ROWS_PER_TICK: u16 = 4;

/// Draws as many charts as fit, with the chosen one among them.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, live: &Live, view: &mut View) {
    let charts = view.charts(live);
    if charts.is_empty() {
        let text = match (live.is_loading(), view.filter.is_empty()) {
            (true, _) => "reading the store …".to_owned(),
            (false, false) => format!("no metric on this page contains `{}`", view.filter),
            (false, true) => "no metrics yet".to_owned(),
        };
        frame.render_widget(Paragraph::new(text).centered(), area);
        return;
    }
    let (columns, rows) = if view.is_zoomed {
        (1, 1)
    } else {
        fitting(area, charts.len())
    };
    let shown = columns * rows;
    (view.columns, view.charts_shown) = (columns, shown);
    let first = view.chart / shown * shown;
    let lines = Layout::vertical(vec![Constraint::Fill(1); rows]).split(area);
    let cells = lines.iter().flat_map(|line| {
        Layout::horizontal(vec![Constraint::Fill(1); columns])
            .split(*line)
            .to_vec()
    });
    for ((index, metric), cell) in charts.iter().enumerate().skip(first).zip(cells) {
        let is_chosen = index == view.chart && charts.len() > 1;
        draw_chart(frame, cell, live, view, metric, is_chosen);
    }
}

/// Returns the numbers of columns and rows of charts that fit.
fn fitting(area: Rect, charts: usize) -> (usize, usize) {
    let columns = usize::from((area.width / MIN_WIDTH).max(1)).min(charts);
    let rows = usize::from((area.height / MIN_HEIGHT).max(1)).min(charts.div_ceil(columns));
    // A wide row is better than an empty place beside the last chart.
    let columns = charts.div_ceil(rows).min(columns);
    (columns.max(1), rows.max(1))
}

fn draw_chart(
    frame: &mut Frame<'_>,
    area: Rect,
    live: &Live,
    view: &mut View,
    metric: &Arc<str>,
    is_chosen: bool,
) {
    let style = if is_chosen {
        Style::new().add_modifier(Modifier::BOLD)
    } else {
        Style::new().add_modifier(Modifier::DIM)
    };
    let mark = if is_chosen { "▶ " } else { "" };
    let mut title = vec![Span::from(format!("{mark}{}", printable(metric)))];
    let shown: Vec<(usize, &Series, i64)> = { live.runs().iter().enumerate() }
        .filter(|(index, _)| !view.hidden.contains(index))
        .filter_map(|(index, run)| {
            let start = run.start_time_ms().unwrap_or_default();
            Some((index, run.series.get(metric)?, start))
        })
        .collect();
    for (index, series, _) in &shown {
        if let Some(last) = series.last() {
            let text = format!("  {}", format::number(last.value));
            title.push(Span::styled(text, run_color(*index, view.has_colors)));
        }
    }
    let non_finite: u64 = shown
        .iter()
        .map(|(_, series, _)| series.extremes().non_finite)
        .sum();
    if non_finite > 0 {
        let text = format!("  {} NaN/inf", format::count(non_finite));
        title.push(Span::styled(text, warning_style(view.has_colors)));
    }
    let inner = Block::bordered().inner(area);
    let rows = inner.height.saturating_sub(AXIS_LINES);
    if rows == 0 || inner.width == 0 {
        let block = Block::bordered().border_style(style);
        frame.render_widget(block.title(Line::from(title)), area);
        return;
    }
    let ranges = { shown.iter() }
        .filter_map(|(_, series, start)| Projection::range(view.axis, *start, series));
    let x_ticks = Ticks::linear(
        ranges.flatten(),
        f64::from(inner.width / COLUMNS_PER_TICK).max(1.0),
    );
    let mut outlines: Vec<(usize, Outline)> = { shown.iter() }
        .map(|&(index, series, start_ms)| {
            let projection = Projection {
                axis: view.axis,
                start_ms,
                bounds: x_ticks.bounds(),
                columns: usize::from(inner.width * DOTS_PER_COLUMN),
                is_logarithmic: view.is_logarithmic,
                smoothing: view.smoothing(),
            };
            (index, view.outlines.get(index, metric, series, projection))
        })
        .collect();
    let values = { outlines.iter() }
        .flat_map(|(_, outline)| &outline.points)
        .map(|point| point.1);
    let (y_ticks, beyond) = if view.is_logarithmic {
        (Ticks::logarithmic(values), 0)
    } else {
        let (range, beyond) = shown_range(values);
        let ticks = Ticks::linear(
            range.into_iter().filter(|end| end.is_finite()),
            f64::from(rows / ROWS_PER_TICK).max(1.0),
        );
        (ticks, beyond)
    };
    if beyond > 0 {
        // A value beyond the axis lies at its end.
        let [bottom, top] = y_ticks.bounds();
        for (_, y) in { outlines.iter_mut() }.flat_map(|(_, outline)| &mut outline.points) {
            *y = y.clamp(bottom, top);
        }
    }
    let undrawn: u64 = outlines.iter().map(|(_, outline)| outline.undrawn).sum();
    for (count, what) in [(beyond, "beyond the axis"), (undrawn, "not drawn")] {
        if count > 0 {
            let text = format!("  {} {what}", format::count(count));
            title.push(Span::styled(text, warning_style(view.has_colors)));
        }
    }
    let block = Block::bordered().border_style(style);
    frame.render_widget(block.title(Line::from(title)), area);
    if outlines
        .iter()
        .all(|(_, outline)| outline.points.is_empty())
    {
        let text = if view.is_logarithmic {
            "no value above 0"
        } else {
            "no finite value"
        };
        frame.render_widget(Paragraph::new(text).centered(), inner);
        return;
    }
    let curves: Vec<PlaneCurve<'_>> = { outlines.iter() }
        .map(|(number, outline)| PlaneCurve {
            number: *number,
            points: &outline.points,
        })
        .collect();
    let drawn = Plane::draw(
        (inner.width, rows),
        (&x_ticks, &y_ticks),
        &curves,
        view.has_colors,
    );
    copy(&drawn, frame.buffer_mut(), inner);
}

/// Copies what was drawn for itself into its place on the screen.
fn copy(from: &Buffer, to: &mut Buffer, place: Rect) {
    for position in from.area.positions() {
        let (x, y) = (place.x + position.x, place.y + position.y);
        if let (Some(source), Some(target)) = (from.cell(position), to.cell_mut((x, y)))
            && place.contains((x, y).into())
        {
            *target = source.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_fill_the_screen() {
        for (width, height, charts, expected) in [
            (80, 22, 1, (1, 1)),
            (80, 22, 2, (2, 1)),
            (80, 22, 3, (2, 2)),
            (80, 22, 4, (2, 2)),
            (80, 22, 40, (2, 2)),
            (200, 50, 6, (3, 2)),
            (200, 50, 100, (5, 5)),
            (20, 5, 9, (1, 1)),
        ] {
            let area = Rect::new(0, 0, width, height);
            assert_eq!(
                fitting(area, charts),
                expected,
                "{width}×{height}, {charts} charts"
            );
        }
    }
}
