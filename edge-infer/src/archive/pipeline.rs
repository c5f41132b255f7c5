//! Many photographs at once: some threads read, decode, judge and prepare ahead, others run the
//! network, and results come out in the order the photographs went in.
//!
//! ```text
//! search ─► queue ─► preparing threads ─► queue ─► network threads ─► results, in order
//! ```
//!
//! Every queue is bounded, so a slow stage holds up the ones before it. A preparing thread holds
//! one photograph's bytes and pixels; behind it there are network inputs and results alone.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use glaucoma_common::photo::{Limits, sha256_hex};

use crate::bundle::Bundle;
use crate::exam::{Begun, ExamResult, begin};
use crate::source::{Found, Photograph, Problem};

/// How many threads work at each stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// Read, decode, judge and prepare photographs.
    pub preparing: usize,
    /// Run the network, one photograph each.
    pub network: usize,
}

impl Threads {
    /// As many of each kind as the process may use cores: whichever stage is the slower one then
    /// has them all. `preparing` overrides their number.
    pub fn choose(preparing: Option<NonZero<usize>>) -> Self {
        let cores = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        Self { preparing: preparing.unwrap_or(cores).get(), network: cores.get() }
    }

    /// How many photographs are between the search and the results at most: enough for the others
    /// to go on while one takes eight times as long.
    fn window(self) -> usize {
        8 * (self.preparing + self.network)
    }
}

/// What comes out of the pipeline.
#[derive(Debug)]
pub enum Event<T> {
    /// Photographs could not be found.
    Problem(Problem),
    /// A photograph that need not be examined.
    Skipped,
    /// A photograph was examined.
    Examined(T),
}

/// A photograph on its way to the preparing threads, and where its result is waited for.
struct Job<T> {
    photograph: Photograph,
    reply: SyncSender<Event<T>>,
}

/// A photograph on its way to the network.
struct Prepared<T> {
    job: Job<T>,
    stamp: Option<String>,
    exam: Result<Begun, ExamResult>,
}

/// Examines what the search finds, but for what `skip` says has been examined. `conclude` makes a
/// value of each photograph, its stamp and its exam, on the network's threads; `take` gets the
/// events in the order of the search.
///
/// A panic while a photograph is examined is that photograph's refusal.
///
/// # Errors
/// What `take` returns; nothing more is examined then.
pub fn examine_all<T: Send, E>(
    search: impl Iterator<Item = Found> + Send,
    bundle: &Bundle,
    threads: Threads,
    skip: impl Fn(&Photograph) -> bool + Sync,
    conclude: impl Fn(&Photograph, Option<String>, ExamResult) -> T + Sync,
    mut take: impl FnMut(Event<T>) -> Result<(), E>,
) -> Result<(), E> {
    let (to_prepare, jobs) = sync_channel::<Job<T>>(threads.preparing);
    let (to_network, prepared) = sync_channel::<Prepared<T>>(threads.network);
    let (in_order, replies) = sync_channel::<Receiver<Event<T>>>(threads.window());
    let (jobs, prepared) = (Mutex::new(jobs), Mutex::new(prepared));
    let (jobs, prepared, skip, conclude) = (&jobs, &prepared, &skip, &conclude);
    thread::scope(|scope| {
        scope.spawn(move || feed(search, &in_order, &to_prepare));
        for _ in 0..threads.preparing {
            let to_network = to_network.clone();
            scope.spawn(move || {
                while let Some(job) = next(jobs) {
                    if skip(&job.photograph) {
                        answer(&job.reply, Event::Skipped);
                    } else if to_network.send(prepare(job, bundle)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(to_network);
        for _ in 0..threads.network {
            scope.spawn(move || {
                while let Some(Prepared { job, stamp, exam }) = next(prepared) {
                    let exam = finish(exam, bundle);
                    let value = conclude(&job.photograph, stamp, exam);
                    answer(&job.reply, Event::Examined(value));
                }
            });
        }
        // When this ends early, the queue of replies closes and with it, one after another, the
        // search and the stages behind it.
        replies.into_iter().flatten().try_for_each(&mut take)
    })
}

/// Sends every photograph on its way; ends when the search does or nobody waits for results.
fn feed<T>(
    search: impl Iterator<Item = Found>,
    in_order: &SyncSender<Receiver<Event<T>>>,
    to_prepare: &SyncSender<Job<T>>,
) {
    for found in search {
        let (reply, result) = sync_channel(1);
        if in_order.send(result).is_err() {
            return;
        }
        match found {
            Err(problem) => answer(&reply, Event::Problem(problem)),
            Ok(photograph) => {
                if to_prepare.send(Job { photograph, reply }).is_err() {
                    return;
                }
            }
        }
    }
}

/// The next item of a queue that several threads take from; `None` when there will be no more.
fn next<T>(queue: &Mutex<Receiver<T>>) -> Option<T> {
    // Nothing can panic between lock and unlock, so a poisoned lock is as good as any.
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Hands over a result. Nobody waits for it any more when the run is being given up.
fn answer<T>(reply: &SyncSender<Event<T>>, event: Event<T>) {
    let _ = reply.send(event);
}

/// Reads a photograph and does everything before the network.
fn prepare<T>(job: Job<T>, bundle: &Bundle) -> Prepared<T> {
    let limits = Limits::default();
    let fetched = match job.photograph.read(limits.max_bytes) {
        Ok(fetched) => fetched,
        Err(message) => {
            return Prepared { job, stamp: None, exam: Err(ExamResult::unavailable(message)) };
        }
    };
    let begun = guarded(|| begin(&fetched.bytes, &bundle.manifest, &limits));
    let exam = match begun {
        Ok(mut begun) => {
            begun.drop_pixels();
            Ok(begun)
        }
        Err(message) => Err(ExamResult {
            sha256: Some(sha256_hex(&fetched.bytes)),
            ..ExamResult::unavailable(message)
        }),
    };
    Prepared { job, stamp: Some(fetched.stamp), exam }
}

/// Runs the network where there is something to run it on.
fn finish(exam: Result<Begun, ExamResult>, bundle: &Bundle) -> ExamResult {
    exam.map_or_else(
        |ended| ended,
        |begun| {
            let sha256 = Some(begun.sha256().to_string());
            guarded(|| begun.finish(bundle))
                .unwrap_or_else(|message| ExamResult { sha256, ..ExamResult::unavailable(message) })
        },
    )
}

/// Runs a stage; a panic, which the panic hook has told of, becomes a sentence.
fn guarded<T>(stage: impl FnOnce() -> T) -> Result<T, String> {
    // What the stage was building is dropped with the unwinding and never looked at again.
    catch_unwind(AssertUnwindSafe(stage))
        .map_err(|_| "the program failed on this photograph; please report it".to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::exam::Outcome;
    use crate::source::Sources;

    const THREADS: Threads = Threads { preparing: 3, network: 2 };

    fn bundle() -> Bundle {
        let fixture = "tests/fixtures/colour_rules.onnx";
        Bundle::open(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture),
            &glaucoma_engine::Options::default(),
        )
        .unwrap()
    }

    /// `count` names, every seventh of them a photograph, the others files that are not there: the
    /// slow ones must not be overtaken by the quick ones.
    fn names(count: usize) -> Sources {
        let name = |number| match number % 7 {
            0 => glaucoma_tests::retina(),
            _ => PathBuf::from(format!("gone-{number}.jpg")),
        };
        Sources { paths: (0..count).map(name).collect(), ..Sources::default() }
    }

    #[test]
    fn results_come_in_the_order_of_the_search() {
        let sources = names(29);
        let mut seen = Vec::new();
        let done: Result<(), ()> = examine_all(
            sources.photographs(),
            &bundle(),
            THREADS,
            |photograph| photograph.name() == "gone-3.jpg",
            |photograph, stamp, exam| {
                let graded = matches!(exam.outcome, Outcome::Graded(_));
                assert_eq!((stamp.is_some(), exam.sha256.is_some()), (graded, graded));
                assert!(exam.photo.is_none(), "pixels are not held");
                (photograph.name(), graded)
            },
            |event| {
                seen.push(event);
                Ok(())
            },
        );
        assert_eq!(done, Ok(()));
        assert_eq!(seen.len(), sources.paths.len());
        for (index, (event, path)) in seen.iter().zip(&sources.paths).enumerate() {
            match event {
                Event::Examined((name, graded)) => {
                    assert_eq!(name, path.to_str().unwrap());
                    assert_eq!(*graded, index % 7 == 0);
                }
                Event::Skipped => assert_eq!(index, 3),
                Event::Problem(problem) => panic!("{problem:?}"),
            }
        }
    }

    #[test]
    fn an_error_of_the_taker_ends_the_run_soon() {
        let examined = AtomicUsize::new(0);
        let sources = Sources {
            paths: (0..10_000).map(|number| PathBuf::from(format!("{number}.jpg"))).collect(),
            ..Sources::default()
        };
        let done = examine_all(
            sources.photographs(),
            &bundle(),
            THREADS,
            |_| false,
            |_, _, _| examined.fetch_add(1, Ordering::Relaxed),
            |_| Err("full"),
        );
        assert_eq!(done, Err("full"));
        let bound = THREADS.window() + THREADS.preparing + THREADS.network + 20;
        assert!(examined.into_inner() <= bound);
    }
}
