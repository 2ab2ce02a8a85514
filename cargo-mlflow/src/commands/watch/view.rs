//! [`View`]: what the person has chosen to see, and the keys that change it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::curve::{Axis, Outlines};
use crate::goal::is_of_interest;
use crate::live::Live;

/// Weights of the past in the moving average, which one key goes through.
const SMOOTHINGS: [f64; 4] = [0.0, 0.6, 0.9, 0.98];
/// Time over which the number of points per second is measured.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Page of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Metrics,
    System,
    Console,
    Details,
}

impl Page {
    pub(super) const ALL: [Self; 4] = [Self::Metrics, Self::System, Self::Console, Self::Details];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::System => "system",
            Self::Console => "console",
            Self::Details => "details",
        }
    }
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    Draw,
    Suspend,
    Leave,
}

/// What the person has chosen to see.
pub(super) struct View {
    pub(super) page: Page,
    /// Position of the chosen chart among those of the page.
    pub(super) chart: usize,
    /// Number of charts in a row and on the screen, as they were drawn last.
    pub(super) columns: usize,
    pub(super) charts_shown: usize,
    /// True if the chosen chart fills the screen.
    pub(super) is_zoomed: bool,
    /// Position of the run whose console and details are shown.
    pub(super) run: usize,
    /// Runs whose curves are not drawn.
    pub(super) hidden: BTreeSet<usize>,
    /// Text that the names of the shown metrics contain.
    pub(super) filter: String,
    pub(super) is_typing_filter: bool,
    pub(super) is_logarithmic: bool,
    pub(super) axis: Axis,
    smoothing: usize,
    /// Number of lines that the text was scrolled back.
    pub(super) scroll: usize,
    /// Number of lines of text that are shown at once.
    pub(super) text_lines: usize,
    pub(super) shows_help: bool,
    pub(super) help: Help,
    pub(super) has_colors: bool,
    pub(super) outlines: Outlines,
    rate: Rate,
    runs: usize,
}

impl View {
    /// Creates the view of some runs.
    pub(super) fn new(runs: usize, has_colors: bool) -> Self {
        Self {
            page: Page::Metrics,
            chart: 0,
            columns: 1,
            charts_shown: 1,
            is_zoomed: false,
            run: 0,
            hidden: BTreeSet::new(),
            filter: String::new(),
            is_typing_filter: false,
            is_logarithmic: false,
            axis: Axis::Step,
            smoothing: 0,
            scroll: 0,
            text_lines: 1,
            shows_help: false,
            help: Help::default(),
            has_colors,
            outlines: Outlines::default(),
            rate: Rate::default(),
            runs,
        }
    }

    /// Takes over what the runs have logged.
    pub(super) fn update(&mut self, live: &Live) {
        let points = live.runs().iter().map(|run| run.point_count() as u64).sum();
        self.rate.add(points, live.is_loading());
        let charts = self.charts(live).len();
        self.chart = self.chart.min(charts.saturating_sub(1));
    }

    /// Returns the number of points that come in a second; `None` before it is known.
    pub(super) fn points_per_second(&self) -> Option<f64> {
        self.rate.per_second()
    }

    /// Returns the weight of the past in the moving average.
    pub(super) fn smoothing(&self) -> f64 {
        SMOOTHINGS.get(self.smoothing).copied().unwrap_or_default()
    }

    /// Returns true if the console log is needed.
    pub(super) fn shows_console(&self) -> bool {
        self.page == Page::Console
    }

    /// Returns the names of the metrics of the page, sorted.
    pub(super) fn charts(&self, live: &Live) -> Vec<Arc<str>> {
        let filter = self.filter.to_lowercase();
        let is_shown = |metric: &&Arc<str>| {
            let is_of_page = match self.page {
                Page::System => !is_of_interest(metric),
                _ => is_of_interest(metric),
            };
            is_of_page && (filter.is_empty() || metric.to_lowercase().contains(&filter))
        };
        let metrics: BTreeSet<&Arc<str>> = { live.runs().iter() }
            .flat_map(|run| run.series.keys())
            .filter(is_shown)
            .collect();
        metrics.into_iter().cloned().collect()
    }

    /// Changes the view as a key wants it.
    pub(super) fn react(&mut self, key: KeyEvent, live: &Live) -> Reaction {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Reaction::Leave,
                KeyCode::Char('z') => Reaction::Suspend,
                _ => Reaction::Draw,
            };
        }
        if self.is_typing_filter {
            self.type_filter(key.code);
            return Reaction::Draw;
        }
        if self.shows_help {
            self.shows_help = self.help.scroll(key.code);
            return Reaction::Draw;
        }
        match key.code {
            KeyCode::Char('q') => return Reaction::Leave,
            KeyCode::Esc if self.is_zoomed => self.is_zoomed = false,
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc => return Reaction::Leave,
            KeyCode::Char('?') => (self.shows_help, self.help) = (true, Help::default()),
            KeyCode::Tab => self.turn_page(1),
            KeyCode::BackTab => self.turn_page(Page::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='4') => {
                let number = digit.to_digit(10).map_or(0, |digit| digit as usize);
                if let Some(page) = Page::ALL.get(number.saturating_sub(1)) {
                    self.show_page(*page);
                }
            }
            KeyCode::Char('/') => self.is_typing_filter = true,
            KeyCode::Char('g') => self.is_logarithmic = !self.is_logarithmic,
            KeyCode::Char('x') => {
                self.axis = match self.axis {
                    Axis::Step => Axis::Time,
                    Axis::Time => Axis::Step,
                };
            }
            KeyCode::Char('s') => self.smoothing = (self.smoothing + 1) % SMOOTHINGS.len(),
            KeyCode::Char('[') => self.run = (self.run + self.runs - 1) % self.runs.max(1),
            KeyCode::Char(']') => self.run = (self.run + 1) % self.runs.max(1),
            KeyCode::Char(' ') => {
                if !self.hidden.remove(&self.run) {
                    self.hidden.insert(self.run);
                }
            }
            code => self.move_to(code, live),
        }
        Reaction::Draw
    }

    fn turn_page(&mut self, by: usize) {
        let at = { Page::ALL.iter() }.position(|page| *page == self.page);
        let next = (at.unwrap_or_default() + by) % Page::ALL.len();
        self.show_page(Page::ALL.get(next).copied().unwrap_or(Page::Metrics));
    }

    fn show_page(&mut self, page: Page) {
        self.page = page;
        self.scroll = 0;
        self.chart = 0;
        self.is_zoomed = false;
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing_filter = false,
            KeyCode::Esc => {
                self.is_typing_filter = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
        self.chart = 0;
    }

    /// Moves to another chart, or scrolls the text.
    fn move_to(&mut self, code: KeyCode, live: &Live) {
        let code = match code {
            KeyCode::Char('h') => KeyCode::Left,
            KeyCode::Char('j') => KeyCode::Down,
            KeyCode::Char('k') => KeyCode::Up,
            KeyCode::Char('l') => KeyCode::Right,
            code => code,
        };
        if matches!(self.page, Page::Console | Page::Details) {
            let page = self.text_lines.saturating_sub(1).max(1);
            // The console is shown from its end, the details from their beginning.
            let (back, forth) = match self.page {
                Page::Console => (KeyCode::Up, KeyCode::Down),
                _ => (KeyCode::Down, KeyCode::Up),
            };
            let (page_back, page_forth) = match self.page {
                Page::Console => (KeyCode::PageUp, KeyCode::PageDown),
                _ => (KeyCode::PageDown, KeyCode::PageUp),
            };
            let (most, none) = match self.page {
                Page::Console => (KeyCode::Home, KeyCode::End),
                _ => (KeyCode::End, KeyCode::Home),
            };
            self.scroll = match code {
                code if code == back => self.scroll + 1,
                code if code == forth => self.scroll.saturating_sub(1),
                code if code == page_back => self.scroll + page,
                code if code == page_forth => self.scroll.saturating_sub(page),
                // Drawing limits the value to the length of the text.
                code if code == most => usize::MAX / 2,
                code if code == none => 0,
                _ => self.scroll,
            };
            return;
        }
        let last = self.charts(live).len().saturating_sub(1);
        let chart = match code {
            KeyCode::Left => self.chart.saturating_sub(1),
            KeyCode::Right => self.chart + 1,
            KeyCode::Up => self.chart.checked_sub(self.columns).unwrap_or(self.chart),
            KeyCode::Down => self.chart + self.columns,
            KeyCode::PageUp => self.chart.saturating_sub(self.charts_shown),
            KeyCode::PageDown => self.chart + self.charts_shown,
            KeyCode::Home => 0,
            KeyCode::End => last,
            KeyCode::Enter => {
                self.is_zoomed = !self.is_zoomed;
                self.chart
            }
            _ => self.chart,
        };
        self.chart = chart.min(last);
    }
}

/// Place in the text about the keys.
#[derive(Default)]
pub(super) struct Help {
    /// Number of lines that were scrolled past.
    pub(super) first: usize,
    /// Number of lines for which there was no place when the text was drawn last.
    pub(super) most: usize,
}

impl Help {
    /// Scrolls, and returns false for a key that does not, or if there is nothing to scroll.
    fn scroll(&mut self, code: KeyCode) -> bool {
        let first = match code {
            KeyCode::Up | KeyCode::Char('k') => self.first.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.first + 1,
            KeyCode::PageUp | KeyCode::Home => 0,
            KeyCode::PageDown | KeyCode::End => self.most,
            _ => return false,
        };
        self.first = first.min(self.most);
        self.most > 0
    }
}

/// Number of points that come in a second.
#[derive(Default)]
struct Rate {
    /// Numbers of points, and when there were so many, over the last seconds.
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Adds the present number of points. What is read while the store is read the first time was logged before.
    fn add(&mut self, points: u64, is_loading: bool) {
        let now = Instant::now();
        if is_loading {
            self.samples.clear();
        }
        self.samples.push_back((now, points));
        while self
            .samples
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW)
        {
            self.samples.pop_front();
        }
    }

    fn per_second(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let seconds = last.0.duration_since(first.0).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let points = last.1.saturating_sub(first.1) as f64;
        (seconds >= 1.0).then(|| points / seconds)
    }
}
