//! What happens to a process that Python knows of: signals, exits and forks.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::lifecycle::Lifecycle;

/// How long the end of the interpreter waits for threads to leave.
const LEAVE: Duration = Duration::from_secs(5);

/// How long the main thread waits before it looks for signals.
const SIGNAL_SLICE: Duration = Duration::from_millis(200);

/// Threads that may be without the GIL inside this module. The interpreter kills those at its end,
/// in a way that Rust does not survive.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Whether the interpreter is ending: nobody gives up the GIL here any more.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// How many forks lie between the first process and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// What is to be closed before the interpreter ends. Locked only by who holds the GIL.
static LIVE: Mutex<Vec<Weak<Lifecycle>>> = Mutex::new(Vec::new());

/// Have forks counted. Once for each process tree.
pub(crate) fn watch_forks() {
    extern "C" fn in_child() {
        FORKS.fetch_add(1, Ordering::Relaxed);
        INSIDE.store(0, Ordering::Relaxed); // those threads are the parent's
    }
    // SAFETY: the handler touches atomics alone, which is allowed after a fork.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

/// Which process this is, among those that came of each other by forks.
pub(crate) fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Have `lifecycle` closed before the interpreter ends.
pub(crate) fn close_at_exit(py: Python<'_>, lifecycle: &Arc<Lifecycle>) -> PyResult<()> {
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
    if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
        let close = wrap_pyfunction!(close_all, py)?;
        py.import("atexit")?.call_method1("register", (close,))?;
    }
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    live.retain(|other| other.strong_count() > 0);
    live.push(Arc::downgrade(lifecycle));
    Ok(())
}

/// Close every transport and wait until no thread is left where the GIL is given up.
#[pyfunction]
fn close_all(py: Python<'_>) {
    IS_ENDING.store(true, Ordering::Relaxed);
    let live = std::mem::take(&mut *LIVE.lock().unwrap_or_else(PoisonError::into_inner));
    let live = live.iter().filter_map(Weak::upgrade);
    let (ours, others): (Vec<_>, Vec<_>) = live.partition(|live| live.is_ours());
    std::mem::forget(others);
    py.detach(|| ours.iter().for_each(|lifecycle| lifecycle.close_now()));
    let until = Instant::now() + LEAVE;
    while INSIDE.load(Ordering::Relaxed) > 0 && Instant::now() < until {
        py.detach(|| sleep(Duration::from_millis(1)));
    }
}

/// A thread in a place where the GIL is given up. Made and dropped with the GIL held.
struct Inside;

impl Inside {
    fn enter() -> Self {
        INSIDE.fetch_add(1, Ordering::Relaxed);
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Run `work` without the GIL; with it, if the interpreter is ending.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    if IS_ENDING.load(Ordering::Relaxed) {
        return work();
    }
    let _inside = Inside::enter();
    py.detach(work)
}

/// Wait without the GIL for what `attempt` gives at a moment or before, until `is_news` says that
/// it is worth returning, or `until` has come (None = for ever). Signals interrupt the main thread.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    until: Option<Instant>,
    attempt: impl Fn(Option<Instant>) -> T + Sync,
    is_news: impl Fn(&T) -> bool,
) -> PyResult<T> {
    let sees_signals = is_main_thread();
    loop {
        let slice = Instant::now() + SIGNAL_SLICE;
        let pause = match sees_signals {
            true => Some(until.map_or(slice, |until| until.min(slice))),
            false => until,
        };
        let result = detached(py, || attempt(pause));
        if is_news(&result) || until.is_some_and(|until| until <= Instant::now()) {
            return Ok(result);
        }
        py.check_signals()?;
    }
}

fn is_main_thread() -> bool {
    // SAFETY: both only return numbers.
    unsafe { libc::gettid() == libc::getpid() }
}
