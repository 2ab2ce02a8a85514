//! Terminal of a person: a pseudo-terminal in which a program runs, with what its screen shows.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::program::Folder;

/// Longest wait for something on the screen before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Program that runs in a pseudo-terminal.
pub(crate) struct Terminal {
    process: Child,
    keyboard: File,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Starts a program in a terminal of some columns and lines.
    pub(crate) fn start(
        folder: &Folder,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        (columns, lines): (u16, u16),
    ) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("access");
        unlockpt(&master).expect("access");
        set_size(&master, columns, lines);
        let path = ptsname(&master, Vec::new()).expect("a path");
        let slave = File::options()
            .read(true)
            .write(true)
            .open(path.to_str().expect("UTF-8"))
            .expect("the program's side of the terminal");
        let side = || slave.try_clone().expect("a file descriptor");
        let process = folder
            .command(program)
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(environment.iter().copied())
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("the program");
        drop(slave);
        let keyboard = File::from(master);
        let mut output = keyboard.try_clone().expect("a file descriptor");
        let screen = Arc::new((
            Mutex::new(vt100::Parser::new(lines, columns, 0)),
            Condvar::new(),
        ));
        let shown = Arc::clone(&screen);
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            let mut pending = Vec::new();
            // Once no program holds the terminal, reading fails.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                pending.extend_from_slice(&bytes[..count]);
                let complete = complete_length(&pending);
                shown.0.lock().unwrap().process(&pending[..complete]);
                pending.drain(..complete);
                shown.1.notify_all();
            }
            shown.0.lock().unwrap().process(&pending);
            shown.1.notify_all();
        });
        Self {
            process,
            keyboard,
            screen,
            reader,
        }
    }

    /// Waits until the screen is as wanted, and returns its text.
    #[track_caller]
    pub(crate) fn wait_until(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        let (parser, changed) = &*self.screen;
        let deadline = Instant::now() + PATIENCE;
        let mut parser = parser.lock().unwrap();
        loop {
            let text = parser.screen().contents();
            if is_wanted(&text) {
                return text;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "after {PATIENCE:?}, the screen is\n{text}");
            parser = changed.wait_timeout(parser, left).unwrap().0;
        }
    }

    /// Waits until the screen shows a text, and returns all of the screen's text.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(|screen| screen.contains(text))
    }

    /// Waits until the screen shows several texts, and returns all of the screen's text. A screen is drawn in parts, so
    /// what stands on one screen is waited for together.
    #[track_caller]
    pub(crate) fn wait_for_all(&self, texts: &[&str]) -> String {
        self.wait_until(|screen| texts.iter().all(|text| screen.contains(text)))
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the size.
    pub(crate) fn resize(&self, columns: u16, lines: u16) {
        let mut parser = self.screen.0.lock().unwrap();
        parser.screen_mut().set_size(lines, columns);
        set_size(&self.keyboard, columns, lines);
        // The kernel tells only the processes of the terminal's session.
        self.signal(Signal::WINCH);
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits until the terminal is as the program found it: with its usual screen, a visible cursor, and lines that the
    /// terminal echoes and edits.
    #[track_caller]
    pub(crate) fn wait_until_left(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_left = {
                let parser = self.screen.0.lock().unwrap();
                !parser.screen().alternate_screen() && !parser.screen().hide_cursor()
            };
            let modes = tcgetattr(&self.keyboard).expect("a terminal").local_modes;
            if is_left && modes.contains(LocalModes::ICANON | LocalModes::ECHO) {
                return;
            }
            assert!(Instant::now() < deadline, "the terminal is not left");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the program is stopped.
    #[track_caller]
    pub(crate) fn wait_until_stopped(&self) {
        let deadline = Instant::now() + PATIENCE;
        let path = format!("/proc/{}/stat", self.process.id());
        while !std::fs::read_to_string(&path).unwrap().contains(") T ") {
            assert!(Instant::now() < deadline, "the program is not stopped");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns true if a character of the screen has a colour.
    pub(crate) fn has_colors(&self) -> bool {
        let parser = self.screen.0.lock().unwrap();
        let screen = parser.screen();
        let (lines, columns) = screen.size();
        (0..lines).any(|line| {
            (0..columns).any(|column| {
                let cell = screen.cell(line, column);
                cell.is_some_and(|cell| cell.fgcolor() != vt100::Color::Default)
            })
        })
    }

    /// Waits until the program ends. The terminal has to be as the program found it: with its usual screen, and a
    /// visible cursor. Returns the exit and what the usual screen shows.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            if Instant::now() >= deadline {
                self.process.kill().unwrap();
                let shown = self.screen.0.lock().unwrap().screen().contents();
                panic!("after {PATIENCE:?}, the program has not ended; the screen is\n{shown}");
            }
            thread::sleep(Duration::from_millis(10));
        };
        self.reader.join().unwrap();
        let parser = self.screen.0.lock().unwrap();
        let screen = parser.screen();
        assert!(!screen.alternate_screen(), "the full screen was left");
        assert!(!screen.hide_cursor(), "the cursor is visible");
        (status, screen.contents())
    }
}

/// Returns the length of the output that the terminal shows: a synchronized update is shown when it is complete.
fn complete_length(output: &[u8]) -> usize {
    const BEGIN: &[u8] = b"\x1b[?2026h";
    const END: &[u8] = b"\x1b[?2026l";
    let last = |mark: &[u8]| output.windows(mark.len()).rposition(|part| part == mark);
    match (last(BEGIN), last(END)) {
        (Some(begin), end) if end.is_none_or(|end| end < begin) => begin,
        _ => output.len(),
    }
}

fn set_size(terminal: &impl AsFd, columns: u16, lines: u16) {
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("a terminal");
}
