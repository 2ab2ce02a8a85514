//! `plot`: the curves of a metric, in the terminal or as a picture.

use std::fs;
use std::path::Path;

use mlflow::blocking::Client;
use mlflow::entities::{MetricHistory, Run};
use mlflow::search::metric;

use crate::analysis::thinning::thin;
use crate::arguments::{Axis, Plot as Options};
use crate::failure::Failure;
use crate::output::chart::{Chart, Curve};
use crate::output::table::shorten;
use crate::output::{Output, printable};
use crate::selection::{list_metrics, runs_of, select_or_newest};

/// Number of runs that are drawn if none is named.
const DEFAULT_RUNS: usize = 6;
/// Greatest number of points of one curve. A screen has fewer columns, and a longer curve is thinned so that its
/// extremes stay.
const MAX_POINTS: usize = 2000;
const MAX_NAME_CHARS: usize = 28;
/// Size from which a value is not drawn. The charts compute with differences, which must not be infinite, and a
/// greater value is one that has overflowed.
const MAX_DRAWN: f64 = 1e300;

/// Draws a metric of some runs.
pub(crate) fn run(client: &Client, output: Output, options: &Options) -> Result<(), Failure> {
    let runs = chosen_runs(client, options)?;
    let mut curves = Vec::new();
    for run in &runs {
        let history = client.metric_history(&*run.run_id, &*options.metric)?;
        if !history.is_empty() {
            curves.push((run, history));
        }
    }
    if curves.is_empty() {
        return Err(Failure::NotFound(no_curve(&runs, &options.metric)));
    }
    if output.json {
        return output.json(&curves);
    }
    let curves: Vec<Curve> = curves
        .iter()
        .map(|(run, history)| Curve {
            name: printable(&shorten(&run.name, MAX_NAME_CHARS)),
            points: thinned(&points(run, history, options.x)),
        })
        .collect();
    let chart = Chart {
        title: &options.metric,
        x_label: match options.x {
            Axis::Step => "step",
            Axis::Time => "seconds since the start",
        },
        is_logarithmic: options.log,
        curves: &curves,
    };
    if options.svg.is_none() && options.png.is_none() {
        return output.line(chart.to_terminal(output));
    }
    if let Some(path) = &options.svg {
        save(path, chart.to_svg().as_bytes())?;
    }
    if let Some(path) = &options.png {
        let png = chart
            .to_png()
            .map_err(|error| Failure::Other(format!("cannot draw the chart: {error}")))?;
        save(path, &png)?;
    }
    Ok(())
}

/// Returns the runs that are named, else the newest ones that have the metric. If none has it, the newest runs
/// are returned, whose metrics the error lists.
fn chosen_runs(client: &Client, options: &Options) -> Result<Vec<Run>, Failure> {
    if options.runs.is_empty() {
        // Every number is at least the smallest one.
        let has_metric = metric(&*options.metric).ge(f64::MIN);
        let search = runs_of(&options.experiment)
            .filter(has_metric)
            .limit(DEFAULT_RUNS);
        let found: Vec<Run> = client.search_runs(search).collect::<Result<_, _>>()?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    select_or_newest(client, &options.experiment, &options.runs, DEFAULT_RUNS)
}

/// Returns the error for runs without the metric, with the metrics that they have.
fn no_curve(runs: &[Run], metric: &str) -> String {
    let known = { runs.iter() }.flat_map(|run| run.metrics.keys().map(String::as_str));
    format!(
        "no run has the metric `{metric}`: {}",
        list_metrics("the runs have", known)
    )
}

/// Returns the points that can be drawn, in the order of the axis.
#[expect(clippy::cast_precision_loss, reason = "a screen has fewer columns")]
fn points(run: &Run, history: &MetricHistory, axis: Axis) -> Vec<(f64, f64)> {
    let start = run.start_time_ms.unwrap_or_default();
    let mut points: Vec<(f64, f64)> = history
        .iter()
        .filter(|point| point.value.abs() < MAX_DRAWN)
        .map(|point| {
            let x = match axis {
                Axis::Step => point.step as f64,
                Axis::Time => (point.timestamp_ms - start) as f64 / 1000.0,
            };
            (x, point.value)
        })
        .collect();
    points.sort_by(|left, right| left.0.total_cmp(&right.0));
    points
}

/// Returns the points of a curve that are drawn.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let values: Vec<f64> = points.iter().map(|&(_, value)| value).collect();
    let indices = thin(&values, MAX_POINTS).indices;
    { indices.into_iter() }
        .filter_map(|index| points.get(index).copied())
        .collect()
}

fn save(path: &Path, content: &[u8]) -> Result<(), Failure> {
    fs::write(path, content)
        .map_err(|error| Failure::Io(format!("cannot write {}", path.display()), error))
}
