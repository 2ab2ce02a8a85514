//! Scenarios that run in the other process, which ends by itself, so that no output of the test harness
//! follows.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};
use rustix::stdio::{dup2_stdout, stderr, stdout};

use super::super::{Redirect, is_same_file};
use crate::os::hooks::close_in_child;

pub(super) const SCENARIO: &str = "MLFLOW_TEST_CONSOLE_SCENARIO";
pub(super) const FILE: &str = "MLFLOW_TEST_CONSOLE_FILE";
/// Marker on both streams: all output after it belongs to the scenario.
pub(super) const BEGIN: &[u8] = b"\n-- begin --\n";

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "is the other process of the tests"]
fn child() {
    let Ok(scenario) = env::var(SCENARIO) else {
        return;
    };
    let _ = io::stdout().flush();
    put(stdout(), BEGIN);
    put(stderr(), BEGIN);
    match scenario.as_str() {
        "bytes" => copied(|| put(stdout(), &awkward())),
        "order" => copied(order),
        "kill" => end_by(|| kill_process(getpid(), Signal::KILL).unwrap()),
        "abort" => end_by(|| process::abort()),
        "killed helper" => killed_helper(),
        "killed helper of a subprocess" => killed_helper_of_a_subprocess(),
        "signals" => signals(),
        "nobody reads" => nobody_reads(),
        "subprocess" => copied(subprocess),
        "stop" => stop(),
        "daemon" => daemon(),
        "locked" => locked(),
        "replaced" => replaced(),
        "cannot start" => cannot_start(),
        "closed" => closed(),
        "broken" => broken(),
        "watched" => watched(),
        "twice" => twice(),
        other => panic!("no scenario: {other}"),
    }
    process::exit(0);
}

fn file() -> PathBuf {
    env::var_os(FILE).unwrap().into()
}

fn start() -> Redirect {
    Redirect::start(&file(), |_| true).unwrap()
}

fn patience() -> Instant {
    Instant::now() + PATIENCE
}

/// Writes all bytes directly to the descriptor, without a buffer.
fn put(to: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = rustix::io::write(to, bytes).unwrap();
        bytes = &bytes[written..];
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let until = patience();
    while !condition() {
        assert!(Instant::now() < until, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a redirection, and waits until its helpers run and are idle.
fn started() -> Redirect {
    let redirect = start();
    put(stdout(), b"first\n");
    wait_for("the first line in the file", || {
        fs::read(file()).is_ok_and(|content| content == b"first\n")
    });
    redirect
}

fn helper(redirect: &Redirect) -> Pid {
    Pid::from_raw(redirect.tees[0].try_into().unwrap()).unwrap()
}

/// Stops the idle helper, so that it holds no bytes that are lost when it is killed.
fn freeze(helper: Pid) {
    kill_process(helper, Signal::STOP).unwrap();
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(helper), stopped).unwrap();
}

fn copied(work: impl FnOnce()) {
    let redirect = start();
    assert!(redirect.is_on());
    work();
    redirect.stop(patience());
    assert!(!redirect.is_on());
    redirect.stop(patience());
}

/// Returns ten megabytes in one line.
pub(super) fn large() -> Vec<u8> {
    let mut bytes: Vec<u8> = (b'a'..=b'z').cycle().take(10 << 20).collect();
    bytes.push(b'\n');
    bytes
}

/// Returns bytes that are not text, a NUL, a large line, and a line without an end.
pub(super) fn awkward() -> Vec<u8> {
    let parts: [&[u8]; 3] = [b"\xff\xfe\0\r\x1b[0m\n", &large(), b"no end"];
    parts.concat()
}

fn order() {
    for line in 0..1000 {
        put(stdout(), format!("out {line}\n").as_bytes());
        put(stderr(), format!("err {line}\n").as_bytes());
    }
}

fn end_by(end: impl FnOnce()) {
    let _redirect = start();
    put(stdout(), b"last words\n");
    put(stderr(), b"of both\n");
    end();
}

/// Kills the helper in the worst case: the pipe is full, and the thread that waits for it holds the lock of
/// stdout, to which the program's log is written.
fn killed_helper() {
    tracing_subscriber::fmt().with_ansi(false).init();
    let redirect = started();
    let helper = helper(&redirect);
    freeze(helper);
    let writes = thread::spawn(|| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&large()).unwrap();
        stdout.flush().unwrap();
    });
    wait_for("a full pipe", || {
        rustix::io::ioctl_fionread(stdout()).unwrap() > 0
    });
    kill_process(helper, Signal::KILL).unwrap();
    writes.join().unwrap();
    wait_for("the end of the copy", || !redirect.is_on());
    put(stdout(), b"afterwards\n");
    redirect.stop(patience());
}

fn killed_helper_of_a_subprocess() {
    let redirect = started();
    let mut below = Command::new("sh")
        .args(["-c", "read line; echo from below"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    kill_process(helper(&redirect), Signal::KILL).unwrap();
    wait_for("the end of the copy", || !redirect.is_on());
    redirect.stop(Instant::now());
    below.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(below.wait().unwrap().success());
    redirect.stop(patience());
}

fn signals() {
    let redirect = started();
    for signal in [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::USR1,
        Signal::USR2,
        Signal::TSTP,
        Signal::TTOU,
    ] {
        kill_process(helper(&redirect), signal).unwrap();
    }
    put(stdout(), b"second\n");
    redirect.stop(patience());
}

fn nobody_reads() {
    let _redirect = start();
    wait_for("a broken pipe", || {
        match rustix::io::write(stdout(), b"line\n") {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error, Errno::PIPE);
                true
            }
        }
    });
}

fn subprocess() {
    let status = Command::new("sh")
        .args(["-c", "echo from below"])
        .status()
        .unwrap();
    assert!(status.success());
}

fn stop() {
    let redirect = start();
    put(stdout(), b"during\n");
    print!("half a line");
    redirect.stop(patience());
    put(stdout(), b"after\n");
}

fn daemon() {
    let redirect = start();
    let mut daemon = Command::new("sh")
        .args(["-c", "read line; echo late"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    redirect.stop(Instant::now() + Duration::from_millis(50));
    assert!(daemon.try_wait().unwrap().is_none());
    put(stdout(), b"after the stop\n");
    daemon.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(daemon.wait().unwrap().success());
    redirect.stop(patience());
}

fn locked() {
    let redirect = start();
    put(stdout(), b"during\n");
    let (locked, is_locked) = mpsc::channel();
    let (_never, released) = mpsc::channel::<()>();
    thread::spawn(move || {
        let _lock = io::stdout().lock();
        locked.send(()).unwrap();
        let _ = released.recv();
    });
    is_locked.recv().unwrap();
    redirect.stop(patience());
    put(stdout(), b"after\n");
}

fn replaced() {
    let redirect = start();
    put(stdout(), b"during\n");
    dup2_stdout(&redirect.shared.originals[1]).unwrap();
    redirect.stop(patience());
    put(stdout(), b"elsewhere\n");
}

fn cannot_start() {
    let stats = || [stdout(), stderr()].map(|stream| rustix::fs::fstat(stream).unwrap());
    let before = stats();
    assert!(Redirect::start(&file(), |_| true).is_err());
    for (before, after) in before.iter().zip(&stats()) {
        assert!(is_same_file(before, after));
    }
    // The failed start does not block a later one.
    let again = Redirect::start(&file(), |_| true).err().unwrap();
    assert_ne!(again.kind(), io::ErrorKind::AlreadyExists);
    put(stderr(), b"unchanged\n");
}

fn closed() {
    close_in_child(1);
    assert!(Redirect::start(&file(), |_| true).is_err());
    assert!(matches!(rustix::fs::fstat(stdout()), Err(Errno::BADF)));
    put(stderr(), b"unchanged\n");
}

fn broken() {
    let redirect = Redirect::start(&file(), |_| true);
    put(stdout(), b"line\n");
    if let Ok(redirect) = redirect {
        wait_for("the end of the copy", || !redirect.is_on());
        redirect.stop(patience());
    }
}

fn watched() {
    let (tell, told) = mpsc::channel();
    let redirect = Redirect::start(&file(), move |length| {
        tell.send(length).unwrap();
        false
    })
    .unwrap();
    put(stdout(), b"during\n");
    assert_eq!(told.recv_timeout(PATIENCE), Ok(7));
    wait_for("the end of the copy", || !redirect.is_on());
    put(stdout(), b"after\n");
    redirect.stop(patience());
}

fn twice() {
    let redirect = start();
    let second = Redirect::start(&file(), |_| true).err().unwrap();
    assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
    put(stdout(), b"once\n");
    drop(redirect);
    copied(|| put(stdout(), b"twice\n"));
}
