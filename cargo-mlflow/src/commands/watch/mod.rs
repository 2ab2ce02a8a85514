//! `watch`: runs on the full screen while they are trained.
//!
//! Invariants: the terminal is as it was when the program ends or stops, also by a signal or a panic. Nothing is drawn while
//! nothing changes, but for the clock once a second.
//!
//! The [`Live`] runs come from journals and stores. [`View`] holds what the person has chosen and turns keys into
//! changes of it; [`draw`] draws the runs as the view wants them.

mod curve;
mod draw;
mod fit;
mod grid;
mod signals;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::time::{Duration, Instant};

use mlflow::Config;
use mlflow::blocking::Client;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    enable_raw_mode,
};
use ratatui::crossterm::{execute, queue};
use ratatui::layout::Rect;

use crate::arguments::Watch;
use crate::failure::Failure;
use crate::live::{Live, LiveChoice, Reading};
use crate::output::Output;
use crate::output::waiting::Waiting;
use signals::{Signals, end_by};
use view::{Reaction, View};

/// Pause between two looks at the journals. A key is heard at once.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// Time after which the screen is drawn again although nothing has changed, for the times on it.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for the store before the screen is drawn. The rest comes while it is shown.
const LOAD_TIMEOUT: Duration = Duration::from_millis(500);

/// Watches runs until the person leaves.
pub(crate) fn run(
    config: &Config,
    is_store_named: bool,
    output: Output,
    options: &Watch,
) -> Result<(), Failure> {
    if output.json || !output.is_terminal {
        return Err(Failure::Usage(
            "`watch` needs a terminal; for programs there is `cargo mlflow inspect --follow`"
                .to_owned(),
        ));
    }
    let choice = LiveChoice {
        runs: &options.runs,
        newest: options.newest,
        experiments: &options.experiment,
        reading: Reading::Points,
        takes_any_destination: !is_store_named,
    };
    let waiting = Waiting::watch(output, Client::with_config(config.clone()).uri());
    let mut live = choice.find(config)?;
    drop(waiting);
    live.load(Instant::now() + LOAD_TIMEOUT)?;
    let signals = Signals::listen()
        .map_err(|error| Failure::Io("cannot listen for signals".to_owned(), error))?;
    let view = View::new(live.runs().len(), has_colors());
    let screen = ratatui::try_init()
        .map_err(|error| Failure::Io("cannot switch to the full screen".to_owned(), error))?;
    let ended = show(screen, &mut live, view, &signals);
    ratatui::restore();
    if let Some(signal) = signals.fatal() {
        return end_by(signal)
            .map_err(|error| Failure::Io("cannot end by the signal".to_owned(), error));
    }
    ended.map_err(|error| Failure::Io("cannot draw the screen".to_owned(), error))
}

/// Returns true unless the person or the terminal wants no colours.
fn has_colors() -> bool {
    anstream::stdout().current_choice() != anstream::ColorChoice::Never
}

/// Draws and reacts to keys until the person leaves, or a signal ends the program.
fn show(
    mut screen: ratatui::DefaultTerminal,
    live: &mut Live,
    mut view: View,
    signals: &Signals,
) -> io::Result<()> {
    let mut drawn: Option<Instant> = None;
    loop {
        let has_changed = live.poll();
        view.update(live);
        if has_changed || drawn.is_none_or(|at| at.elapsed() >= CLOCK_INTERVAL) {
            // The terminal shows the whole change at once, if it knows these control sequences.
            queue!(screen.backend_mut(), BeginSynchronizedUpdate)?;
            screen.draw(|frame| draw::draw(frame, live, &mut view))?;
            execute!(screen.backend_mut(), EndSynchronizedUpdate)?;
            drawn = Some(Instant::now());
        }
        let mut pause = POLL_PAUSE;
        while event::poll(pause)? {
            pause = Duration::ZERO;
            drawn = None;
            let key = match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => key,
                Event::Resize(columns, lines) => {
                    // Everything is drawn anew: a terminal that was made smaller and larger again has lost a part.
                    screen.resize(Rect::new(0, 0, columns, lines))?;
                    continue;
                }
                _ => continue,
            };
            match view.react(key, live) {
                Reaction::Draw => {}
                Reaction::Suspend => suspend(&mut screen, signals)?,
                Reaction::Leave => return Ok(()),
            }
        }
        if signals.fatal().is_some() {
            return Ok(());
        }
        if signals.take_stop() {
            suspend(&mut screen, signals)?;
            drawn = None;
        }
        if signals.take_continuation() {
            // The program was stopped by a signal that cannot be handled, and the shell has used the terminal.
            enter(&mut screen)?;
            drawn = None;
        }
        live.set_wants_console(view.shows_console());
    }
}

/// Stops the program as Ctrl-Z does, until the shell continues it.
fn suspend(screen: &mut ratatui::DefaultTerminal, signals: &Signals) -> io::Result<()> {
    screen.show_cursor()?;
    ratatui::restore();
    signals.stop()?;
    enter(screen)
}

/// Switches to the full screen again.
fn enter(screen: &mut ratatui::DefaultTerminal) -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All))?;
    // A new one draws everything. Its hook for panics was set when the program began.
    *screen = Terminal::new(CrosstermBackend::new(io::stdout()))?;
    Ok(())
}
