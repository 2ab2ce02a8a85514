//! Memory orderings between threads that share no lock. They are separate from the memory to which they
//! apply, so that loom can try all interleavings of the same code (see the tests below).
//!
//! Invariants: a thread that sees the length of a frame sees the whole frame. Either a thread that appends
//! sees that the sleeper sleeps, or the sleeper sees what was appended. Either a thread that appends sees that its
//! segment is closed, or the thread that has closed the segment sees what was appended, a moment later: see
//! [`STORE_DELAY`](super::segment::STORE_DELAY).

use std::sync::atomic::{AtomicU32, Ordering, compiler_fence, fence};

/// Atomic number: the standard library's, or loom's.
pub(super) trait AtomicWord {
    fn load(&self, ordering: Ordering) -> u32;
    fn store(&self, value: u32, ordering: Ordering);
    fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32;
    fn fence(ordering: Ordering);
}

impl AtomicWord for AtomicU32 {
    #[inline]
    fn load(&self, ordering: Ordering) -> u32 {
        self.load(ordering)
    }

    #[inline]
    fn store(&self, value: u32, ordering: Ordering) {
        self.store(value, ordering);
    }

    #[inline]
    fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32 {
        self.fetch_or(bits, ordering)
    }

    #[inline]
    fn fence(ordering: Ordering) {
        fence(ordering);
    }
}

/// Stores a length, which publishes everything that the calling thread has written before.
#[inline]
pub(super) fn publish(length: &impl AtomicWord, value: u32) {
    length.store(value, Ordering::Release);
}

/// Returns the published length; zero if nothing was published. All bytes of the published frame may be read.
#[inline]
pub(super) fn load_published(length: &impl AtomicWord) -> u32 {
    length.load(Ordering::Acquire)
}

/// Returns the flags of the sleepers, without a fence: a flag set a moment ago may be missing.
#[inline]
pub(super) fn load_sleepers(sleepers: &impl AtomicWord) -> u32 {
    sleepers.load(Ordering::Relaxed)
}

/// Returns the flags of the sleepers, with a fence: a sleeper whose flag is missing will see what the calling
/// thread has published.
pub(super) fn load_sleepers_fenced<W: AtomicWord>(sleepers: &W) -> u32 {
    W::fence(Ordering::SeqCst);
    sleepers.load(Ordering::Relaxed)
}

/// Sets the flag of a sleeper. The sleeper then has to look once more at what was published.
pub(super) fn announce_sleeper<W: AtomicWord>(sleepers: &W, who: u32) {
    sleepers.fetch_or(who, Ordering::Relaxed);
    W::fence(Ordering::SeqCst);
}

/// Sets a flag in the state of a segment, so that its writer stops. What the writer has published may not be seen yet: the
/// writer has no fence between its store and its look at the state.
pub(super) fn announce_close<W: AtomicWord>(state: &W, flag: u32) {
    state.fetch_or(flag, Ordering::Relaxed);
    W::fence(Ordering::SeqCst);
}

/// Returns the state of a segment, for a writer that has published a frame before. Costs one relaxed load. The processor may
/// load the state before other threads see the frame.
#[inline]
pub(super) fn load_state(state: &impl AtomicWord) -> u32 {
    compiler_fence(Ordering::SeqCst);
    state.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use loom::sync::atomic::{self, Ordering};
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    use super::{
        AtomicWord, announce_close, announce_sleeper, load_published, load_sleepers_fenced,
        load_state, publish,
    };

    impl AtomicWord for atomic::AtomicU32 {
        fn load(&self, ordering: Ordering) -> u32 {
            self.load(ordering)
        }

        fn store(&self, value: u32, ordering: Ordering) {
            self.store(value, ordering);
        }

        fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32 {
            self.fetch_or(bits, ordering)
        }

        fn fence(ordering: Ordering) {
            atomic::fence(ordering);
        }
    }

    /// Frame: a length, and a body that only the ordering of the length makes visible.
    #[derive(Default)]
    struct Frame {
        body: atomic::AtomicU32,
        length: atomic::AtomicU32,
    }

    #[test]
    fn whoever_sees_a_length_sees_the_frame() {
        loom::model(|| {
            let frames: Arc<[Frame; 2]> = Arc::default();
            let appended = Arc::clone(&frames);
            let writer = thread::spawn(move || {
                for (number, frame) in (1..).zip(appended.iter()) {
                    frame.body.store(number, Ordering::Relaxed);
                    publish(&frame.length, 4);
                }
            });
            for (number, frame) in (1..).zip(frames.iter()) {
                if load_published(&frame.length) == 0 {
                    break;
                }
                assert_eq!(frame.body.load(Ordering::Relaxed), number);
            }
            writer.join().expect("no panic");
        });
    }

    #[test]
    fn nothing_is_missed_by_one_who_falls_asleep() {
        loom::model(|| {
            let frame: Arc<(atomic::AtomicU32, atomic::AtomicU32)> = Arc::default();
            let appended = Arc::clone(&frame);
            let writer = thread::spawn(move || {
                let (length, sleepers) = &*appended;
                publish(length, 4);
                load_sleepers_fenced(sleepers) != 0
            });
            let (length, sleepers) = &*frame;
            announce_sleeper(sleepers, 1);
            let seen = load_published(length) != 0;
            let woken = writer.join().expect("no panic");
            assert!(seen || woken, "asleep for ever");
        });
    }

    /// A writer that appends while another thread seals its segment: the value is found in the segment, or the writer appends it
    /// elsewhere. The writer's fence stands for the time that the sealing thread waits.
    #[test]
    fn a_value_appended_while_its_segment_is_sealed_is_in_it_or_elsewhere() {
        const CLOSED: u32 = 1;
        #[derive(Default)]
        struct Segment {
            length: atomic::AtomicU32,
            state: atomic::AtomicU32,
            /// Published length that whoever asks first has found.
            decided: Mutex<Option<u32>>,
        }
        impl Segment {
            fn decide(&self) -> u32 {
                let mut decided = self.decided.lock().expect("no panic");
                *decided.get_or_insert_with(|| load_published(&self.length))
            }
        }
        loom::model(|| {
            let segment: Arc<Segment> = Arc::default();
            let written = Arc::clone(&segment);
            let writer = thread::spawn(move || {
                publish(&written.length, 4);
                atomic::fence(Ordering::SeqCst);
                load_state(&written.state) == 0 || written.decide() == 4
            });
            announce_close(&segment.state, CLOSED);
            let is_found = segment.decide() == 4;
            let is_kept = writer.join().expect("no panic");
            assert_eq!(is_found, is_kept, "lost, or kept twice");
        });
    }
}
