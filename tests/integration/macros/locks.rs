//! Locks in arguments and returned values: a capture never waits for one.

use std::cell::{OnceCell, RefCell};
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, RwLock, TryLockError, mpsc};
use std::thread;
use std::time::Duration;

use mlflow::tracked;

use super::recorder::{RecordedRun, block_on, fake, last_metrics, only_run, params};

/// Longest time for work that must not wait for a lock.
const BOUND: Duration = Duration::from_secs(30);

/// Runs `work` on a thread of its own; returns the run that `work` tracks. Panics if `work` does not end in
/// time.
fn run_of(work: impl FnOnce() + Send + 'static) -> RecordedRun {
    let (done, result) = mpsc::channel();
    thread::spawn(move || {
        let fake = fake();
        work();
        let _ = done.send(only_run(&fake));
    });
    result.recv_timeout(BOUND).expect("it waits for the lock")
}

#[test]
fn an_argument_whose_lock_the_caller_holds_is_logged_as_locked() {
    #[tracked]
    fn train(shared: Arc<Mutex<f64>>, borrowed: &Mutex<f64>, maybe: Option<Arc<RwLock<u8>>>) {
        let _ = (shared, borrowed, maybe);
    }
    let run = run_of(|| {
        let shared = Arc::new(Mutex::new(0.5));
        let maybe = Arc::new(RwLock::new(1));
        let _held = (shared.lock(), maybe.write());
        train(Arc::clone(&shared), &shared, Some(Arc::clone(&maybe)));
    });
    let expected = [
        ("borrowed", "<locked>"),
        ("maybe", "<locked>"),
        ("shared", "<locked>"),
    ];
    assert_eq!(params(&run), expected);
}

/// The caller holds a read lock, and another thread waits for the write lock. A second reader would wait
/// behind the writer.
#[test]
fn an_argument_that_somebody_waits_to_write_is_logged_as_locked() {
    #[tracked]
    fn eval(model: &RwLock<Vec<f64>>) {
        let _ = model;
    }
    let run = run_of(|| {
        let model = RwLock::new(vec![0.5]);
        thread::scope(|scope| {
            let read = model.read();
            scope.spawn(|| drop(model.write()));
            // The loop ends as soon as the writer waits.
            while !matches!(model.try_read(), Err(TryLockError::WouldBlock)) {
                thread::yield_now();
            }
            eval(&model);
            drop(read);
        });
    });
    assert_eq!(params(&run), [("model", "<locked>")]);
}

#[test]
fn making_a_future_does_not_wait_for_a_lock() {
    #[tracked]
    async fn handler(state: Arc<Mutex<u32>>) -> u32 {
        state.lock().map_or(0, |state| *state)
    }
    let run = run_of(|| {
        let state = Arc::new(Mutex::new(7));
        let guard = state.lock();
        let future = handler(Arc::clone(&state));
        drop(guard);
        assert_eq!(block_on(future), 7);
    });
    assert_eq!(params(&run), [("state", "<locked>")]);
    assert_eq!(last_metrics(&run), [("handler", 7.0)]);
}

#[test]
fn an_argument_whose_lock_is_free_is_logged_by_its_content() {
    #[derive(serde::Serialize)]
    struct Config {
        lr: f64,
        epochs: u32,
    }
    #[tracked]
    fn train(
        config: &Arc<RwLock<Config>>,
        best: &Mutex<f64>,
        poisoned: &Mutex<u8>,
        none: Option<Box<Mutex<u8>>>,
    ) -> Mutex<f64> {
        let _ = (config, best, poisoned, none);
        Mutex::new(0.25)
    }
    let run = run_of(|| {
        let config = Config { lr: 0.1, epochs: 3 };
        let poisoned = Arc::new(Mutex::new(9));
        let poisons = Arc::clone(&poisoned);
        let panicked = thread::spawn(move || {
            let _held = poisons.lock();
            panic!("while it holds the lock");
        });
        assert!(panicked.join().is_err());
        train(
            &Arc::new(RwLock::new(config)),
            &Mutex::new(0.5),
            &poisoned,
            None,
        );
    });
    let expected = [
        ("best", "0.5"),
        ("config.epochs", "3"),
        ("config.lr", "0.1"),
        ("none", "None"),
        ("poisoned", "9"),
    ];
    assert_eq!(params(&run), expected);
    assert_eq!(last_metrics(&run), [("train", 0.25)]);
}

#[test]
fn an_argument_in_a_cell_is_logged_by_its_content_where_there_is_one() {
    #[tracked]
    fn train(
        set: &OnceLock<f64>,
        unset: Rc<OnceCell<f64>>,
        free: &RefCell<Vec<u8>>,
        borrowed: Rc<RefCell<f64>>,
    ) {
        let _ = (set, unset, free, borrowed);
    }
    let run = run_of(|| {
        let borrowed = Rc::new(RefCell::new(0.5));
        let _held = borrowed.borrow_mut();
        train(
            &OnceLock::from(0.5),
            Rc::default(),
            &RefCell::new(vec![1, 2]),
            Rc::clone(&borrowed),
        );
    });
    let expected = [
        ("borrowed", "<locked>"),
        ("free", "[1, 2]"),
        ("set", "0.5"),
        ("unset", "None"),
    ];
    assert_eq!(params(&run), expected);
}

#[test]
fn a_lock_inside_of_a_value_is_passed_over() {
    #[derive(serde::Serialize)]
    struct State {
        lr: f64,
        step: Mutex<u32>,
        history: Vec<RwLock<f64>>,
    }
    #[tracked]
    fn train(state: &State, any: impl serde::Serialize) {
        let _ = (state, any);
    }
    let run = run_of(|| {
        let state = State {
            lr: 0.1,
            step: Mutex::new(1),
            history: vec![RwLock::new(0.5)],
        };
        let any = Arc::new(Mutex::new(1));
        let _held = (state.step.lock(), state.history[0].write(), any.lock());
        train(&state, &*any);
    });
    let (any, state) = params(&run)
        .into_iter()
        .partition::<Vec<_>, _>(|(key, _)| *key == "any");
    assert!(any[0].1.contains("Mutex"), "{any:?}");
    let expected = [
        ("state.history", "[<RwLock>]"),
        ("state.lr", "0.1"),
        ("state.step", "<Mutex>"),
    ];
    assert_eq!(state, expected);
}

/// Stand-in for another library's lock, whose `Serialize` waits.
mod another {
    pub(super) struct Mutex<T>(pub(super) T);

    impl<T> serde::Serialize for Mutex<T> {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("it waits");
        }
    }
}

#[test]
fn a_lock_of_another_library_is_logged_by_its_name() {
    #[tracked(hash(hashed))]
    fn train(state: &another::Mutex<u8>, hashed: &another::Mutex<u8>) -> another::Mutex<u8> {
        another::Mutex(state.0 + hashed.0)
    }
    let run = run_of(|| {
        let _ = train(&another::Mutex(1), &another::Mutex(2));
    });
    assert_eq!(params(&run), [("state", "<Mutex>")]);
    assert!(run.metrics.is_empty());
}

#[test]
fn a_lock_of_another_library_that_can_debug_shows_what_that_does() {
    use std::fmt;

    struct Mutex<T>(T);
    impl<T> serde::Serialize for Mutex<T> {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("it waits");
        }
    }
    impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Mutex").field("data", &self.0).finish()
        }
    }
    struct DashMap<T>(T);
    impl<T> fmt::Debug for DashMap<T> {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("it waits");
        }
    }
    #[tracked]
    fn train(state: &Mutex<u8>, cache: &DashMap<u8>) {
        let _ = (state, cache.0);
    }
    let run = run_of(|| train(&Mutex(1), &DashMap(2)));
    let [(_, cache), (_, state)] = params(&run)[..] else {
        panic!("{run:?}");
    };
    assert_eq!(state, "Mutex { data: 1 }");
    assert!(cache.ends_with("DashMap<u8>>"), "{cache}");
}

#[test]
fn the_hash_of_what_is_locked_says_so() {
    #[tracked(hash(weights))]
    fn train(weights: &Mutex<Vec<f64>>) {
        let _ = weights;
    }
    let run = run_of(|| {
        let weights = Mutex::new(vec![0.5]);
        let _held = weights.lock();
        train(&weights);
    });
    assert_eq!(params(&run), [("weights_hash", "<locked>")]);
}

#[test]
fn what_is_shared_is_logged_without_serdes_feature_rc() {
    #[derive(serde::Serialize)]
    struct Config {
        lr: f64,
    }
    #[tracked(hash(hashed))]
    fn train(
        config: Arc<Config>,
        maybe: Option<Rc<Config>>,
        none: Option<Rc<Config>>,
        hashed: &Rc<Config>,
    ) -> Rc<f64> {
        let _ = (config, maybe, none);
        Rc::new(hashed.lr)
    }
    let run = run_of(|| {
        let shared = Rc::new(Config { lr: 0.2 });
        let config = Arc::new(Config { lr: 0.1 });
        train(config, Some(Rc::clone(&shared)), None, &shared);
    });
    let params = params(&run);
    let values = params.iter().filter(|(key, _)| *key != "hashed_hash");
    let values: Vec<_> = values.copied().collect();
    let expected = [("config.lr", "0.1"), ("maybe.lr", "0.2"), ("none", "None")];
    assert_eq!(values, expected);
    assert_eq!(params.len(), values.len() + 1);
    assert_eq!(last_metrics(&run), [("train", 0.2)]);
}

/// A feature of serde that a dependency enables is also enabled in the user's own crates. Other members of this workspace
/// may enable the feature, so cargo is asked what the library alone enables.
#[test]
fn serdes_feature_rc_is_not_switched_on() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "mlflow-runtime",
            "--all-features",
        ])
        .args(["--edges", "normal,features", "--invert", "serde"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(tree.contains("serde feature \"std\""), "{tree}");
    assert!(!tree.contains("serde feature \"rc\""), "{tree}");
}
