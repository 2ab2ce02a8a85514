//! Drawing of the screen: head, page, and keys at the foot.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::curve::Axis;
use super::fit::{Fact, columns, cut, name_and_facts, wrap};
use super::grid;
use super::view::{Page, View};
use crate::live::{Live, LiveRun, Process, State};
use crate::output::plane::{color, letter};
use crate::output::{format, printable};

/// Greatest number of runs with a line of their own in the head.
const MAX_HEAD_RUNS: usize = 6;
/// Greatest number of lines of a notice in the head.
const MAX_NOTICE_LINES: usize = 3;
/// Part of the screen that the lines of runs may take.
const MAX_HEAD_SHARE: u16 = 4;
/// Greatest part of a console log that is shown, in bytes.
const MAX_CONSOLE_BYTES: u64 = 256 << 10;

const HELP: &str = "\
Tab 1 2 3 4   metrics, system metrics, console, details
← ↑ ↓ →       another chart, or scroll (also h j k l, PgUp, PgDn, Home, End)
Enter         one chart on the full screen, and back
/             only metrics whose names contain a text
x             steps or seconds on the horizontal axis
g             logarithmic vertical axis
s             smooth: moving average with the weight 0.6, 0.9, 0.98, none
[ ]           another run, for console and details
Space         hide or show the curves of that run
Ctrl-Z        stop, until `fg`
q Esc         leave; the training goes on";

/// Returns the style of a run's name and values.
pub(super) fn run_color(run: usize, has_colors: bool) -> Style {
    if !has_colors {
        return Style::new();
    }
    Style::new().fg(color(run))
}

/// Returns the style of a warning.
pub(super) fn warning_style(has_colors: bool) -> Style {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    if has_colors {
        bold.fg(Color::Red)
    } else {
        bold
    }
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, live: &Live, view: &mut View) {
    let mut head = head(live, view, frame.area());
    head.lines
        .truncate(usize::from(frame.area().height / 2).max(1));
    #[expect(clippy::cast_possible_truncation, reason = "a few lines")]
    let head_lines = head.lines.len() as u16;
    let [top, body, bottom] = Layout::vertical([
        Constraint::Length(head_lines),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    match view.page {
        Page::Metrics | Page::System => grid::draw(frame, body, live, view),
        Page::Console => draw_console(frame, body, live, view),
        Page::Details => draw_details(frame, body, live, view),
    }
    frame.render_widget(
        Paragraph::new(foot(view, usize::from(bottom.width))),
        bottom,
    );
    if view.shows_help {
        draw_help(frame, frame.area(), view);
    }
}

/// Returns the lines that tell the state of the runs and of the store.
fn head(live: &Live, view: &View, area: Rect) -> Text<'static> {
    let mut text = Text::default();
    let now = Timestamp::now().as_millisecond();
    let width = usize::from(area.width);
    let several = live.runs().len() > 1;
    // The chosen run is among those that have a line.
    let count = usize::from(area.height / MAX_HEAD_SHARE).clamp(1, MAX_HEAD_RUNS);
    let first = (view.run + 1).saturating_sub(count);
    let with_line = first..first + count;
    for (index, run) in live.runs().iter().enumerate() {
        if !with_line.contains(&index) {
            continue;
        }
        let state = state_span(run.state(), view.has_colors);
        let mut line = Vec::new();
        if several {
            let is_chosen = index == view.run;
            let mark = if is_chosen { "›" } else { " " };
            line.push(Span::from(format!("{mark}{} ", letter(index))));
        }
        line.push(state);
        let is_hidden = view.hidden.contains(&index);
        let hidden = if is_hidden { "(hidden) " } else { "" };
        let rate = view.points_per_second().filter(|_| !several);
        let begin: usize = line.iter().map(Span::width).sum();
        // Two blanks stand around the name.
        let left = width.saturating_sub(begin + hidden.len() + 2);
        let (name, facts) = name_and_facts(&printable(&run.name), facts(run, rate, now), left);
        let style = run_color(index, view.has_colors).add_modifier(Modifier::BOLD);
        line.push(Span::styled(format!(" {name} "), style));
        line.push(Span::from(hidden));
        line.push(Span::styled(facts, dim()));
        text.push_line(Line::from(line));
    }
    if live.runs().len() > count {
        text.push_line(other_runs(live, view, &with_line, width));
    }
    let mut notice = |notice: &str, style: Style| {
        let mut lines = wrap(notice, width);
        if lines.len() > MAX_NOTICE_LINES {
            lines.truncate(MAX_NOTICE_LINES);
            if let Some(last) = lines.last_mut() {
                last.push('…');
            }
        }
        text.extend(lines.into_iter().map(|line| Line::styled(line, style)));
    };
    if { live.runs().iter() }.any(|run| run.state() == State::Abandoned) {
        notice(
            "ABANDONED: the process has ended without ending the run; `cargo mlflow sync` ships the rest",
            dim(),
        );
    }
    if let Some(error) = live.store_error() {
        let error = printable(&error.to_string()).replace('\n', " ");
        notice(
            &format!("only journals are read: {error}"),
            warning_style(view.has_colors),
        );
    } else if !live.has_store() {
        notice(
            "only what waits in the journal is shown: its store is not the configured one, see --tracking-uri",
            dim(),
        );
    }
    text
}

/// Returns the line with the letters and names of the runs that have no line of their own, as many as fit.
fn other_runs(live: &Live, view: &View, with_line: &Range<usize>, width: usize) -> Line<'static> {
    let others = { live.runs().iter().enumerate() }.filter(|(index, _)| !with_line.contains(index));
    let mut left = others.clone().count();
    let mut line = Line::from("  ");
    for (index, run) in others {
        let name = format!("{} {}  ", letter(index), printable(&run.name));
        let rest = if left > 1 {
            more_runs(left - 1).len()
        } else {
            0
        };
        if line.width() + columns(&name) + rest > width {
            break;
        }
        line.push_span(Span::styled(name, run_color(index, view.has_colors)));
        left -= 1;
    }
    if left > 0 {
        line.push_span(Span::from(cut(&more_runs(left), width)));
    }
    line
}

fn more_runs(count: usize) -> String {
    format!("and {}", format::counted(count as u64, "more run"))
}

/// Returns the facts about a run that stand behind its name.
fn facts(run: &LiveRun, points_per_second: Option<f64>, now: i64) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact = |weight: u8, text: String| facts.push(Fact { text, weight });
    if let Some(experiment) = &run.experiment {
        fact(0, printable(experiment));
    }
    if let Some(ms) = run.duration_ms(now) {
        let duration = Duration::from_millis(ms.unsigned_abs());
        fact(2, format::duration(duration));
    }
    fact(4, format::counted(run.point_count() as u64, "point"));
    let waiting = run.waiting_points() as u64;
    if waiting > 0 {
        fact(
            5,
            format!("{} not in the store yet", format::count(waiting)),
        );
    }
    if run.state() == State::Running {
        if let Some(ms) = run.last_point_ms().map(|last| now - last)
            && ms > 60_000
        {
            fact(3, format!("last point {}", format::ago(now - ms)));
        }
        if let Some(rate) = points_per_second {
            fact(1, format!("{} points/s", format::number(rate.round())));
        }
    }
    facts
}

fn state_span(state: State, has_colors: bool) -> Span<'static> {
    let symbol = match state {
        State::Running => "●",
        State::Ended(mlflow::RunStatus::Finished) => "✔",
        State::Ended(_) | State::Abandoned => "✘",
    };
    let style = match state {
        _ if !has_colors => Style::new(),
        State::Running => Style::new().fg(Color::Cyan),
        State::Ended(mlflow::RunStatus::Finished) => Style::new().fg(Color::Green),
        State::Ended(mlflow::RunStatus::Killed) | State::Abandoned => {
            Style::new().fg(Color::Yellow)
        }
        State::Ended(_) => Style::new().fg(Color::Red),
    };
    Span::styled(format!("{symbol} {}", state.as_str()), style)
}

/// Returns the line at the foot: the pages, and what was chosen.
fn foot(view: &View, width: usize) -> Line<'static> {
    if view.is_typing_filter {
        return Line::from(format!("metrics that contain: {}▏ (Enter)", view.filter));
    }
    let mut foot = Vec::new();
    for (index, page) in Page::ALL.into_iter().enumerate() {
        let style = if page == view.page {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        foot.push(Span::styled(
            format!(" {} {} ", index + 1, page.name()),
            style,
        ));
    }
    let mut chosen = Vec::new();
    if view.axis == Axis::Time {
        chosen.push("x: seconds".to_owned());
    }
    if view.is_logarithmic {
        chosen.push("log".to_owned());
    }
    if view.smoothing() > 0.0 {
        chosen.push(format!("smooth {}", view.smoothing()));
    }
    if !view.filter.is_empty() {
        chosen.push(format!("filter `{}`", view.filter));
    }
    let mut rest: Vec<Fact> = { chosen.into_iter() }
        .map(|text| Fact { text, weight: 3 })
        .collect();
    let keys = [
        ("Enter zoom", 0),
        ("/ filter", 0),
        ("? keys", 4),
        ("q leave", 2),
    ];
    rest.extend(keys.map(|(text, weight)| Fact {
        text: text.to_owned(),
        weight,
    }));
    let pages: usize = foot.iter().map(Span::width).sum();
    let (_, rest) = name_and_facts(" ", rest, width.saturating_sub(pages));
    foot.push(Span::styled(format!(" {rest}"), dim()));
    Line::from(foot)
}

fn draw_console(frame: &mut Frame<'_>, area: Rect, live: &Live, view: &mut View) {
    let Some(run) = live.runs().get(view.run) else {
        return;
    };
    let text = run.console_tail(MAX_CONSOLE_BYTES);
    let lines: Vec<String> = text.lines().map(printable).collect();
    let title = format!(" console of {} ", printable(&run.name));
    if lines.is_empty() {
        let hint = if live.is_loading() {
            "reading the store …"
        } else {
            "no console log: it is kept with MLFLOW_CAPTURE_CONSOLE=true, or by `mlflow::layer()`"
        };
        let block = Block::bordered().title(title);
        frame.render_widget(Paragraph::new(hint).block(block).centered(), area);
        return;
    }
    draw_lines(frame, area, view, title, &lines, Anchor::End);
}

/// End of a text that is shown while nobody scrolls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Anchor {
    Beginning,
    End,
}

/// Draws as many lines as fit.
fn draw_lines(
    frame: &mut Frame<'_>,
    area: Rect,
    view: &mut View,
    title: String,
    lines: &[String],
    anchor: Anchor,
) {
    let block = Block::bordered().title(title);
    let height = usize::from(block.inner(area).height);
    view.text_lines = height;
    view.scroll = view.scroll.min(lines.len().saturating_sub(height));
    let first = match anchor {
        Anchor::Beginning => view.scroll,
        Anchor::End => lines.len().saturating_sub(height + view.scroll),
    };
    let shown: Vec<Line<'_>> = { lines.iter() }
        .skip(first)
        .take(height)
        .map(|line| Line::from(line.as_str()))
        .collect();
    let block = if lines.len() > height {
        let last = (first + height).min(lines.len());
        block.title_bottom(
            Line::from(format!(" {}–{last} of {} ", first + 1, lines.len())).right_aligned(),
        )
    } else {
        block
    };
    frame.render_widget(Paragraph::new(Text::from(shown)).block(block), area);
}

fn draw_details(frame: &mut Frame<'_>, area: Rect, live: &Live, view: &mut View) {
    let Some(run) = live.runs().get(view.run) else {
        return;
    };
    let mut lines = Vec::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("{name:<12} {}", printable(value)));
        }
    };
    field("id", run.id());
    field("experiment", run.experiment.as_deref().unwrap_or_default());
    field("user", &run.user);
    field(
        "started",
        &run.start_time_ms().map(format::time).unwrap_or_default(),
    );
    field(
        "process",
        match run.process {
            Process::Unknown => "not on this machine, or it has delivered everything",
            Process::Alive => "lives on this machine",
            Process::Gone => "has ended",
        },
    );
    let mut section = |title: &str, entries: Vec<(String, String)>| {
        if entries.is_empty() {
            return;
        }
        let width = { entries.iter() }
            .map(|(key, _)| key.chars().count())
            .max()
            .unwrap_or_default()
            .min(40);
        lines.push(String::new());
        lines.push(title.to_owned());
        for (key, value) in entries {
            let value = printable(&value).replace('\n', " ");
            lines.push(format!("  {:<width$}  {value}", printable(&key)));
        }
    };
    let pairs = |map: BTreeMap<&str, &str>| {
        map.into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    section("PARAMS", pairs(run.params()));
    let metrics = { run.series.iter() }
        .filter_map(|(key, series)| {
            let last = series.last()?;
            let extremes = series.extremes();
            let numbers = if extremes.least <= extremes.greatest {
                let [least, greatest] = [extremes.least, extremes.greatest].map(format::number);
                format!("min {least} · max {greatest} · ")
            } else {
                String::new()
            };
            let text = format!(
                "{} at step {} · {numbers}{}",
                format::number(last.value),
                last.step,
                format::counted(series.len() as u64, "point"),
            );
            Some((key.to_string(), text))
        })
        .collect();
    section("METRICS", metrics);
    section("TAGS", pairs(run.tags()));
    let title = format!(" details of {} ", printable(&run.name));
    draw_lines(frame, area, view, title, &lines, Anchor::Beginning);
}

/// Draws the keys, as much of them as fits.
fn draw_help(frame: &mut Frame<'_>, area: Rect, view: &mut View) {
    /// Columns and lines of the frame.
    const FRAME: (u16, u16) = (4, 2);
    let wanted = HELP.lines().map(columns).max().unwrap_or_default();
    let width = area
        .width
        .saturating_sub(FRAME.0)
        .min(u16::try_from(wanted).unwrap_or(u16::MAX));
    let lines: Vec<String> = { HELP.lines() }
        .flat_map(|line| {
            if columns(line) <= usize::from(width) {
                vec![line.to_owned()]
            } else {
                let words: Vec<&str> = line.split_whitespace().collect();
                wrap(&words.join(" "), usize::from(width))
            }
        })
        .collect();
    let height = area
        .height
        .saturating_sub(FRAME.1)
        .min(u16::try_from(lines.len()).unwrap_or(u16::MAX));
    view.help.most = lines.len() - usize::from(height);
    view.help.first = view.help.first.min(view.help.most);
    let place = area.centered(
        Constraint::Length(width + FRAME.0),
        Constraint::Length(height + FRAME.1),
    );
    frame.render_widget(Clear, place);
    let mut block = Block::bordered()
        .title(" keys ")
        .padding(ratatui::widgets::Padding::horizontal(1));
    if view.help.most > 0 {
        block = block.title_bottom(Line::from(" ↑ ↓ ").right_aligned());
    }
    let shown: Vec<Line<'_>> = { lines.iter() }
        .skip(view.help.first)
        .map(|line| Line::from(line.as_str()))
        .collect();
    frame.render_widget(Paragraph::new(Text::from(shown)).block(block), place);
}
