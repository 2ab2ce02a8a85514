//! Grid of charts: how many fit, and how each is drawn.

use std::sync::Arc;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis as ChartAxis, Block, Chart, Dataset, GraphType, Paragraph};

use super::curve::{Axis, Projection};
use super::draw::{run_color, warning_style};
use super::view::View;
use crate::live::{Live, Series};
use crate::output::chart::Ticks;
use crate::output::{format, printable};

/// Least size of a chart.
const MIN_WIDTH: u16 = 38;
const MIN_HEIGHT: u16 = 9;
/// Columns of dots in one character of braille.
const DOTS_PER_CHARACTER: usize = 2;
/// Markers of the curves where no colours tell them apart.
const MARKERS: [Marker; 4] = [
    Marker::Braille,
    Marker::Dot,
    Marker::Block,
    Marker::HalfBlock,
];

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
            let start = run.start_time_ms.unwrap_or_default();
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
    let block = Block::bordered()
        .border_style(style)
        .title(Line::from(title));
    let ranges = { shown.iter() }
        .filter_map(|(_, series, start)| Projection::range(view.axis, *start, series));
    let bounds = ranges.reduce(|one, other| [one[0].min(other[0]), one[1].max(other[1])]);
    let [left, right] = bounds.unwrap_or([0.0, 1.0]);
    let inner = block.inner(area);
    let outlines: Vec<(usize, Vec<(f64, f64)>)> = { shown.iter() }
        .map(|&(index, series, start_ms)| {
            let projection = Projection {
                axis: view.axis,
                start_ms,
                bounds: [left, right],
                columns: usize::from(inner.width) * DOTS_PER_CHARACTER,
                is_logarithmic: view.is_logarithmic,
                smoothing: view.smoothing(),
            };
            (index, view.outlines.get(index, metric, series, projection))
        })
        .collect();
    let ys = outlines
        .iter()
        .flat_map(|(_, points)| points)
        .map(|point| point.1);
    let y_ticks = Ticks::new(ys, f64::from(inner.height / 4).clamp(1.0, 6.0));
    let right = if right > left { right } else { left + 1.0 };
    let datasets = { outlines.iter() }
        .map(|(index, points)| {
            Dataset::default()
                .marker(marker(*index, view.has_colors))
                .graph_type(if points.len() == 1 {
                    GraphType::Scatter
                } else {
                    GraphType::Line
                })
                .style(run_color(*index, view.has_colors))
                .data(points)
        })
        .collect();
    let y_label = |value: f64| {
        format::number(if view.is_logarithmic {
            10f64.powf(value)
        } else {
            value
        })
    };
    let x_label = |value: f64| match view.axis {
        Axis::Step => format::number(value.round()),
        Axis::Time => format!("{} s", format::number(value.round())),
    };
    let chart = Chart::new(datasets)
        .block(block)
        .x_axis(
            ChartAxis::default()
                .bounds([left, right])
                .labels([left, right].map(x_label))
                .style(Style::new().add_modifier(Modifier::DIM)),
        )
        .y_axis(
            ChartAxis::default()
                .bounds(y_ticks.bounds())
                .labels(y_ticks.values().map(y_label))
                .style(Style::new().add_modifier(Modifier::DIM)),
        )
        .legend_position(None);
    frame.render_widget(chart, area);
}

fn marker(run: usize, has_colors: bool) -> Marker {
    if has_colors {
        return Marker::Braille;
    }
    MARKERS
        .get(run % MARKERS.len())
        .copied()
        .unwrap_or(Marker::Braille)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_fill_the_screen() {
        for (width, height, charts, expected) in [
            (80, 22, 1, (1, 1)),
            (80, 22, 2, (1, 2)),
            (80, 22, 3, (2, 2)),
            (80, 22, 4, (2, 2)),
            (80, 22, 40, (2, 2)),
            (200, 50, 6, (2, 3)),
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
