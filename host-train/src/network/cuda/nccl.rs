//! NCCL: sums over the GPUs of several processes, from one GPU's memory to the other's.
//!
//! The library is looked for when several processes ask for it, and not before: a program that trains
//! alone starts without it. Only the five functions that are called are named here.
// A C library: functions are taken by their names in `nccl.h` (NCCL 2), and called with a
// communicator that this file alone makes and ends.
#![allow(unsafe_code)]

use super::gpu::gpu;
use candle_core::{Device, Error, Result, Tensor};
use libloading::Library;
use std::error::Error as _;
use std::ffi::{CStr, c_char, c_int, c_void};

/// What Linux calls it: with the version of its interface, or as its developers' package does.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];
/// `ncclSuccess`.
const SUCCESS: c_int = 0;
/// `ncclFloat32`.
const FLOAT: c_int = 7;
/// `ncclSum`.
const SUM: c_int = 0;

/// What the processes of one training find each other by; drawn by the first.
pub(crate) type Id = [u8; 128];

/// `ncclUniqueId`, which is handed over by value.
#[repr(C)]
struct UniqueId(Id);

type Communicator = *mut c_void;
type Stream = *mut c_void;
type Reduce = unsafe extern "C" fn(
    *const c_void,
    *mut c_void,
    usize,
    c_int,
    c_int,
    Communicator,
    Stream,
) -> c_int;

/// The library, found.
#[derive(Debug)]
pub(crate) struct Nccl {
    get_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    join: unsafe extern "C" fn(*mut Communicator, c_int, UniqueId, c_int) -> c_int,
    all_reduce: Reduce,
    abort: unsafe extern "C" fn(Communicator) -> c_int,
    describe: unsafe extern "C" fn(c_int) -> *const c_char,
    // The functions above are in it.
    _library: Library,
}

impl Nccl {
    /// Looks for the library.
    ///
    /// # Errors
    /// It is not there, or is another one.
    pub(crate) fn load() -> Result<Self> {
        let mut reasons = Vec::new();
        for name in NAMES {
            // SAFETY: what NCCL does when it is loaded asks for nothing of its caller.
            match unsafe { Library::new(name) } {
                Ok(library) => return Self::named(library).map_err(Error::wrap),
                // The loader's own words are below the error's.
                Err(error) => reasons.push(match error.source() {
                    Some(source) => source.to_string(),
                    None => format!("{name}: {error}"),
                }),
            }
        }
        let reasons = reasons.join("; ");
        Err(Error::msg(format!("several processes with GPUs need NVIDIA's NCCL 2: {reasons}")))
    }

    fn named(library: Library) -> std::result::Result<Self, libloading::Error> {
        // SAFETY: the types are those of `nccl.h`, unchanged since NCCL 2.2.
        unsafe {
            Ok(Self {
                get_id: *library.get("ncclGetUniqueId")?,
                join: *library.get("ncclCommInitRank")?,
                all_reduce: *library.get("ncclAllReduce")?,
                abort: *library.get("ncclCommAbort")?,
                describe: *library.get("ncclGetErrorString")?,
                _library: library,
            })
        }
    }

    /// A new name to meet by. The process that draws it must live until all have joined.
    ///
    /// # Errors
    /// NCCL finds no network.
    pub(crate) fn draw(&self) -> Result<Id> {
        let mut id = UniqueId([0; 128]);
        // SAFETY: it writes the value pointed to.
        self.result("ncclGetUniqueId", unsafe { (self.get_id)(&mut id) })?;
        Ok(id.0)
    }

    /// Joins the other processes, each with a GPU of its own; waits for all.
    ///
    /// # Errors
    /// The others are not to be reached, or two have the same GPU.
    pub(crate) fn join(
        self,
        device: &Device,
        id: Id,
        rank: usize,
        count: usize,
    ) -> Result<Together> {
        let stream = gpu(device)?.stream.clone();
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        let [count, rank] =
            [count, rank].map(|number| c_int::try_from(number).map_err(Error::wrap));
        let mut communicator = std::ptr::null_mut();
        // SAFETY: it writes the value pointed to, for the GPU that was made this thread's.
        let status = unsafe { (self.join)(&mut communicator, count?, UniqueId(id), rank?) };
        self.result("ncclCommInitRank", status)?;
        Ok(Together { nccl: self, communicator, device: device.clone() })
    }

    fn result(&self, call: &str, status: c_int) -> Result<()> {
        if status == SUCCESS {
            return Ok(());
        }
        // SAFETY: NCCL has a text for every number, which is never given back.
        let what = unsafe { CStr::from_ptr((self.describe)(status)) }.to_string_lossy();
        candle_core::bail!("{call}: {what}")
    }
}

/// The GPUs of several processes, joined. Stays on the thread that joined.
#[derive(Debug)]
pub(crate) struct Together {
    nccl: Nccl,
    communicator: Communicator,
    device: Device,
}

impl Together {
    /// Replaces the elements of `own` by their sums over the processes, the same bits in each. Every
    /// process must ask with as many; nothing waits on the host. `own` must share its memory with no
    /// other tensor that is still needed.
    ///
    /// # Errors
    /// Not a contiguous `f32` tensor on this device; NCCL's failures that are known at once.
    pub(crate) fn sum(&self, own: &Tensor) -> Result<()> {
        let gpu = gpu(&self.device)?;
        let at = gpu.of(own)?;
        let stream = gpu.stream.cu_stream().cast();
        let (from, to) = (at as *const c_void, at as *mut c_void);
        let count = own.elem_count();
        // SAFETY: `of` has looked that so many `f32` are there; the stream keeps the order.
        let status = unsafe {
            (self.nccl.all_reduce)(from, to, count, FLOAT, SUM, self.communicator, stream)
        };
        self.nccl.result("ncclAllReduce", status)
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        // Does not wait for processes that may be gone. Where none is, all sums are complete: each has
        // compared its weights with the others' since.
        // SAFETY: made by `join`, ended here alone. Nothing could follow a failure.
        let _ = unsafe { (self.nccl.abort)(self.communicator) };
    }
}
