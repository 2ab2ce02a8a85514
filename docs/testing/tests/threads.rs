//! A fake starts no threads, and leaves none behind. This test program contains a single test, because the
//! test counts the threads of the process.

use std::fs;

use mlflow::testing::fake;
use testing_guide::train;

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn no_threads() {
    let before = threads();
    let fake = fake().strict();
    for _ in 0..100 {
        train(0.25, 2).unwrap();
    }
    assert_eq!(fake.runs().len(), 100);
    assert_eq!(threads(), before, "while it is there");
    drop(fake);
    assert_eq!(threads(), before, "and after");
}
