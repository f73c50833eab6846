//! Threads that share out the tasks of one operation and wait for the next.
//!
//! A product of one row takes 50 microseconds, so waking a sleeping thread for it would cost as much as it saves:
//! workers look for work a little while before they sleep. There is one level of parallelism: a task that asks the
//! pool for help, or a second caller, does its tasks alone.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::JoinHandle;

/// Looks at the board before a worker sleeps: about 100 microseconds.
const SPINS: usize = 4000;

/// A fixed number of threads, the caller being one of them.
pub struct Pool {
    board: Arc<Board>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the caller whose tasks are on the board.
    caller: Mutex<()>,
}

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// What the threads share. `job` is written by the caller while no worker looks: between its last `busy` of one
/// operation and the new `epoch` of the next.
struct Board {
    job: UnsafeCell<Option<*const Task<'static>>>,
    tasks: AtomicUsize,
    claimed: AtomicUsize,
    epoch: AtomicUsize,
    busy: AtomicUsize,
    failed: AtomicBool,
    stop: AtomicBool,
}

// SAFETY: `job` is handed over through `epoch` (release, acquire) and back through `busy`; it points to a `Sync` closure.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

impl Pool {
    /// # Panics
    /// When the system has no more threads to give.
    pub fn new(threads: usize) -> Self {
        let board = Arc::new(Board {
            job: UnsafeCell::new(None),
            tasks: AtomicUsize::new(0),
            claimed: AtomicUsize::new(0),
            epoch: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let spawn = |number| {
            let board = Arc::clone(&board);
            let builder = std::thread::Builder::new().name(format!("kernel {number}"));
            builder.spawn(move || board.work()).expect("the system gives a thread")
        };
        let workers = (1..threads.max(1)).map(spawn).collect();
        Self { board, workers, caller: Mutex::new(()) }
    }

    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f` once for every number below `tasks`, on all threads, and returns when all calls have. Which thread
    /// takes which number is open. A panic in `f` goes on here.
    pub fn run(&self, tasks: usize, f: impl Fn(usize) + Sync) {
        let alone = self.workers.is_empty() || tasks < 2;
        let free = || match self.caller.try_lock() {
            Ok(caller) => Some(caller),
            // What a panic left behind is in order: nobody is at work.
            Err(TryLockError::Poisoned(caller)) => Some(caller.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let caller = if alone { None } else { free() };
        if caller.is_none() {
            return (0..tasks).for_each(f);
        }
        let board = &*self.board;
        let job: &Task<'_> = &f;
        // SAFETY: no worker reads `job` now (see `Board`), and none does after this function returns, so the closure
        // outlives every use of it.
        unsafe { *board.job.get() = Some(std::mem::transmute::<&Task<'_>, *const Task<'static>>(job)) };
        board.tasks.store(tasks, Ordering::Relaxed);
        board.claimed.store(0, Ordering::Relaxed);
        board.busy.store(self.workers.len(), Ordering::Relaxed);
        board.epoch.fetch_add(1, Ordering::Release);
        self.workers.iter().for_each(|worker| worker.thread().unpark());
        let own = catch_unwind(AssertUnwindSafe(|| board.take_tasks(job)));
        let mut spins = 0usize;
        while board.busy.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        if let Err(panic) = own {
            board.failed.store(false, Ordering::Relaxed);
            resume_unwind(panic);
        }
        assert!(!board.failed.swap(false, Ordering::Relaxed), "a kernel's task panicked on another thread");
    }
}

impl Board {
    fn take_tasks(&self, job: &Task<'_>) {
        let tasks = self.tasks.load(Ordering::Relaxed);
        loop {
            let task = self.claimed.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return;
            }
            job(task);
        }
    }

    fn work(&self) {
        let (mut seen, mut spins) = (0, 0);
        while !self.stop.load(Ordering::Relaxed) {
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch != seen {
                (seen, spins) = (epoch, 0);
                // SAFETY: the caller wrote `job` before this epoch and waits for `busy`.
                if let Some(job) = unsafe { *self.job.get() } {
                    // SAFETY: as above.
                    let job = unsafe { &*job };
                    if catch_unwind(AssertUnwindSafe(|| self.take_tasks(job))).is_err() {
                        self.failed.store(true, Ordering::Relaxed);
                    }
                }
                self.busy.fetch_sub(1, Ordering::Release);
            } else if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                std::thread::park();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.board.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker's panic was reported by the operation that it belonged to.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

/// A buffer of which tasks write disjoint parts.
pub(super) struct Output<T>(*mut T, usize);

// SAFETY: every use promises disjoint parts, see `part`.
unsafe impl<T: Send> Send for Output<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Output<T> {}

impl<T> Output<T> {
    pub fn new(values: &mut [T]) -> Self {
        Self(values.as_mut_ptr(), values.len())
    }

    /// # Safety
    /// The buffer lives, and no two parts that are alive at once overlap.
    #[expect(clippy::mut_from_ref, reason = "disjoint parts of one buffer, by the caller's promise")]
    pub unsafe fn part(&self, from: usize, length: usize) -> &mut [T] {
        assert!(from + length <= self.1, "a part lies within its buffer");
        // SAFETY: in bounds; disjointness is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(from), length) }
    }

    pub fn pointer(&self, from: usize) -> *mut T {
        self.0.wrapping_add(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_and_panics_come_through() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |task| {
                    counts[task].fetch_add(1, Ordering::Relaxed);
                    // One level: this runs here and now.
                    pool.run(2, |_| ());
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{threads} threads");
            }
            let failed = catch_unwind(AssertUnwindSafe(|| pool.run(50, |task| assert!(task != 33, "planted"))));
            assert!(failed.is_err());
            // All threads take part afterwards: each waits a while for the others.
            let (here, start) = (AtomicUsize::new(0), std::time::Instant::now());
            pool.run(threads, |_| {
                here.fetch_add(1, Ordering::Relaxed);
                while here.load(Ordering::Relaxed) < threads {
                    assert!(start.elapsed().as_secs() < 20, "{threads} threads");
                    std::thread::yield_now();
                }
            });
        }
    }
}
