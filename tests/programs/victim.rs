//! Program that logs numbered values from four threads as fast as it can, and may be killed at any moment:
//! `victim LIFE ROUNDS VALUES MARKS`. VALUES is the number of values in a round, MARKS the path of the file
//! of marks. The module `plan.rs` describes the values and the marks.

#[path = "support/plan.rs"]
mod plan;
#[path = "support/report.rs"]
mod report;

use std::env;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::thread;

use mlflow::{Run, tracked};
use plan::{LIFE, Mark, THREADS};

/// File of marks. Each mark is written by one system call, which costs less than a microsecond, and the mark
/// outlives the process.
struct Marks {
    file: File,
    turn: Mutex<u64>,
}

impl Marks {
    /// Sets the run's tag to the next number. The lock orders the calls of all threads.
    fn take_turn(&self, run: &Run) {
        let mut turn = self.turn.lock().expect("nobody panics");
        *turn += 1;
        run.set_tag(plan::TAG, *turn);
        self.set(Mark::Values, LIFE, *turn);
    }

    fn set(&self, mark: Mark, thread: u64, count: u64) {
        self.file
            .write_all_at(&count.to_le_bytes(), plan::offset(mark, thread))
            .expect("the file of marks");
    }
}

#[tracked(
    experiment = "kills",
    run_name = "life-{life}",
    skip(marks),
    skip_return
)]
fn live(life: u64, rounds: u64, values: u64, marks: &Marks) {
    marks.set(Mark::Started, LIFE, 1);
    let run = Run::current().expect("the life's run");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let run = &run;
            scope.spawn(move || {
                run.scope(|| {
                    for number in 0..rounds {
                        round(life, thread, number, values, run, marks);
                        marks.set(Mark::Ended, thread, number + 1);
                    }
                });
            });
        }
    });
}

#[tracked(
    experiment = "kills",
    run_name = "life-{life}-thread-{thread}-round-{round}",
    skip(values, whole, marks),
    skip_return
)]
fn round(life: u64, thread: u64, round: u64, values: u64, whole: &Run, marks: &Marks) {
    if let Some(notes) = plan::notes(life, thread, round) {
        mlflow::log_text(&notes, "notes.txt");
    }
    marks.set(Mark::Started, thread, round + 1);
    let shared = plan::shared_key(thread);
    for number in round * values..(round + 1) * values {
        let value = plan::value(life, thread, number);
        if plan::is_shared(number) {
            whole.log_metric_at(&shared, value, number.cast_signed());
        } else {
            mlflow::metric!("value", value, step = number);
        }
        marks.set(Mark::Values, thread, number + 1);
        if number.is_multiple_of(100) {
            marks.take_turn(whole);
        }
    }
}

fn main() {
    report::to_stderr();
    let arguments: Vec<String> = env::args().collect();
    let number = |at: usize| -> u64 { arguments[at].parse().expect("a number") };
    let marks = Marks {
        file: File::create(&arguments[4]).expect("the file of marks"),
        turn: Mutex::new(0),
    };
    live(number(1), number(2), number(3), &marks);
    marks.set(Mark::Ended, LIFE, 1);
}
