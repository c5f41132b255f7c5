//! What training holds in memory: nothing that grows from step to step, and no task's pass longer
//! than its own step.

// An allocator that counts is the only witness of both.
#![allow(unsafe_code, clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use clap::ValueEnum;
use host_train::adam::AdamConfig;
use host_train::dataset::batches::{Batch, Target};
use host_train::loss::FoveaLoss;
use host_train::network::{NetworkConfig, Task, UNet};
use host_train::parallel::Alone;
use host_train::strategy::{Options, Step, StepOptions, Strategy, StrategyName, build};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const SIDE: usize = 32;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is the system allocator's; only sizes are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the block came from the system with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static MEMORY: Counting = Counting;

/// Counts are the whole process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// One thread, whose scratch memory has its full size after the first step. With several it
/// depends on who gets which part of the work.
fn on_one_thread(f: impl FnOnce() + Send) {
    let _alone = ALONE.lock().unwrap();
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(f);
}

fn net(tasks: &[Task]) -> UNet {
    let tasks = tasks.to_vec();
    let config = NetworkConfig { width: 1.0 / 32.0, tasks, ..NetworkConfig::default() };
    UNet::new(&config, 1, &Device::Cpu).unwrap()
}

/// Two grey images, on which `tasks` are labelled.
fn batch(tasks: &[Task]) -> Batch {
    let target = |task: Task| {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let values = if task.is_map() { zeros(&[2, 1, SIDE, SIDE]) } else { zeros(&[2]) };
        let weights = Tensor::full(1f32, 2, &Device::Cpu).unwrap();
        tasks.contains(&task).then_some(Target { values, weights, labelled: 2 })
    };
    Batch {
        images: Tensor::full(0.5f32, (2, 3, SIDE, SIDE), &Device::Cpu).unwrap(),
        glaucoma: target(Task::Glaucoma),
        disc: target(Task::Disc),
        cup: target(Task::Cup),
        fovea: target(Task::Fovea),
        ids: vec!["a".to_owned(), "b".to_owned()],
    }
}

fn step(strategy: &mut dyn Strategy, net: &UNet, batch: &Batch, seed: u64) {
    let options = StepOptions {
        lr: 1e-4,
        epoch: 0,
        dropout_seed: seed,
        seed,
        fovea: FoveaLoss::L1,
        freeze_encoder: false,
    };
    strategy.step(&Step::new(net, batch, options, &Alone).unwrap()).unwrap();
}

#[test]
fn two_hundred_steps_hold_no_more_than_twenty() {
    on_one_thread(|| {
        for &name in StrategyName::value_variants() {
            let tasks = match name {
                StrategyName::Single => &[Task::Disc],
                _ => &Task::ALL[..],
            };
            let (net, batch) = (net(tasks), batch(tasks));
            let mut strategy =
                build(name, &Options::default(), &net, AdamConfig::default()).unwrap();
            let mut after = |steps: std::ops::Range<u64>| {
                steps.for_each(|seed| step(strategy.as_mut(), &net, &batch, seed));
                LIVE.load(Relaxed)
            };
            let early = after(0..20);
            let late = after(20..200);
            // A single map of one channel left behind in each step would be 180 times 4 KiB; the
            // queues of the thread pool and the like may move by a sixth of that.
            assert!(late < early + 120 * 1024, "{name:?}: {early} bytes, then {late}");
        }
    });
}

/// Bytes that a step takes at its peak beyond what was there before.
fn step_peak(tasks: &[Task]) -> usize {
    let (net, batch) = (net(&Task::ALL), batch(tasks));
    let (name, options) = (StrategyName::Independent, Options::default());
    let mut strategy = build(name, &options, &net, AdamConfig::default()).unwrap();
    step(strategy.as_mut(), &net, &batch, 0);
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    step(strategy.as_mut(), &net, &batch, 1);
    PEAK.load(Relaxed) - before
}

#[test]
fn a_step_of_all_tasks_needs_no_more_than_its_dearest_task() {
    on_one_thread(|| {
        let dearest = Task::ALL.into_iter().map(|task| step_peak(&[task])).max().unwrap();
        let all = step_peak(&Task::ALL);
        // A second pass alive at the same time would need nearly twice as much.
        let gradients = net(&Task::ALL).parameter_count() * size_of::<f32>();
        assert!(all <= dearest + gradients, "{all} bytes, the dearest task {dearest}");
        assert!(gradients < dearest / 2, "{gradients} would hide a second pass of {dearest}");
    });
}
