//! Tests of the whole way from a run's points to the screen, with the times that it takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mlflow::Config;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw;
use super::view::{Page, View};
use crate::live::{Live, LiveChoice, Reading};

/// Longest wait for the store.
const PATIENCE: Duration = Duration::from_secs(60);
/// Metrics of the run.
const METRICS: [&str; 4] = ["loss", "accuracy", "grad_norm", "learning_rate"];

struct Folder(PathBuf);

impl Folder {
    fn new(points: u32) -> Self {
        let name = format!("cargo-mlflow-watch-{}-{points}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn config(&self, uri: &str) -> Config {
        Config::new()
            .tracking_uri(uri)
            .journal_dir(self.0.join("journal"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Logs a run with `points` points.
fn log(config: &Config, name: &str, points: u32) {
    mlflow::configure(config.clone());
    let run = mlflow::start_run().experiment("watch").name(name).start();
    let metrics = METRICS.map(|key| run.metric(key));
    for step in 0..points / 4 {
        for (metric, factor) in metrics.iter().zip([1.0, 2.0, 3.0, 4.0]) {
            metric.log(factor * (f64::from(step) / 1000.0).sin(), step);
        }
    }
}

/// Finds and loads a run, draws it often, and prints the times.
fn measure(config: &Config, name: &str, points: u32, source: &str) -> Live {
    let started = Instant::now();
    let runs = [name.to_owned()];
    let choice = LiveChoice {
        runs: &runs,
        newest: 1,
        experiments: &[],
        reading: Reading::Points,
        takes_any_destination: false,
    };
    let mut live = choice.find(config).expect("the run");
    let deadline = Instant::now() + PATIENCE;
    while live.runs()[0].point_count() < points as usize {
        live.load(deadline).expect("the run");
        assert!(
            Instant::now() < deadline,
            "{} points",
            live.runs()[0].point_count()
        );
    }
    let loaded = started.elapsed();
    let mut view = View::new(1, true);
    let mut screen = Terminal::new(TestBackend::new(200, 50)).expect("a screen");
    let started = Instant::now();
    screen
        .draw(|frame| draw::draw(frame, &live, &mut view))
        .expect("a frame");
    let first_frame = started.elapsed();
    let started = Instant::now();
    const FRAMES: u32 = 100;
    for _ in 0..FRAMES {
        screen
            .draw(|frame| draw::draw(frame, &live, &mut view))
            .expect("a frame");
    }
    let frame = started.elapsed() / FRAMES;
    println!(
        "{source}: {points} points loaded in {loaded:.1?}, first frame {first_frame:.2?}, a frame {frame:.2?}"
    );
    let text = format!("{}", screen.backend());
    for metric in METRICS {
        assert!(text.contains(metric), "{text}");
    }
    assert!(text.contains(name), "{text}");
    for (columns, lines) in [(1, 1), (3, 2), (9, 40), (200, 3), (38, 9)] {
        let mut screen = Terminal::new(TestBackend::new(columns, lines)).expect("a screen");
        for page in Page::ALL {
            view.page = page;
            screen
                .draw(|frame| draw::draw(frame, &live, &mut view))
                .expect("a frame");
        }
    }
    live
}

fn measure_both(points: u32) {
    let folder = Folder::new(points);
    let uri = format!(
        "sqlite:///{}",
        Path::new(&folder.0).join("mlflow.db").display()
    );
    let file = folder.config(&uri);
    log(&file, "file", points);
    assert!(mlflow::flush(PATIENCE).complete);
    measure(&file, "file", points, "SQLite file");
    // Nothing is waited for any more, as this server never answers.
    let nowhere = folder.config("http://127.0.0.1:9");
    log(&nowhere, "journal", points);
    measure(&nowhere, "journal", points, "journal");
}

#[test]
fn points_are_read_and_drawn() {
    measure_both(4000);
}

/// `cargo test --release -p cargo-mlflow -- --ignored --nocapture a_million_points`
#[test]
#[ignore = "takes a while in debug builds, and prints times"]
fn a_million_points_are_read_and_drawn() {
    measure_both(1_000_000);
}
