//! The device behind a tensor: its stream, its compiled kernels, its cuDNN; and how they are called.
//!
//! One stream does everything in the order it was asked for, so a buffer may be given back as soon
//! as its last use is queued.
// Kernels and libraries take addresses: what they point to is this file's and its callers' duty.
#![allow(unsafe_code)]

use super::cudnn::Cudnn;
use super::{DeviceError, Precision};
use candle_core::backend::BackendStorage;
use candle_core::cuda::{CudaDevice, DeviceId};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Device, Error, Layout, Result, Shape, Storage, Tensor};
use cudarc::driver::{CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DeviceRepr};
use cudarc::driver::{LaunchConfig, PushKernelArg, sys};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

const KERNELS: &str = include_str!("kernels.cu");
/// Threads a block of every kernel; as in `kernels.cu`.
pub(super) const THREADS: usize = 256;
/// Elements a block of the element-wise kernels takes; as in `kernels.cu`.
pub(super) const SPAN: usize = 1024;
/// Elements a block of the reductions takes; as in `kernels.cu`.
pub(super) const STRETCH: usize = 8192;

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    /// Where its elements are on the device; 0 for none.
    Address(u64),
    Count(u32),
    Number(f32),
}
pub(super) use Argument::{Address, Count, Number};

/// What a kernel wants, from its line in the source.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Address,
    Count,
    Number,
}

impl Argument {
    fn kind(&self) -> Kind {
        match self {
            Address(_) => Kind::Address,
            Count(_) => Kind::Count,
            Number(_) => Kind::Number,
        }
    }
}

struct Kernel {
    function: CudaFunction,
    takes: Vec<Kind>,
}

/// A device as this thread sees it.
pub(super) struct Gpu {
    pub(super) device: CudaDevice,
    pub(super) stream: Arc<CudaStream>,
    pub(super) cudnn: Cudnn,
    kernels: HashMap<String, Kernel>,
    workspace: RefCell<Option<CudaSlice<u8>>>,
    halted: CudaSlice<u32>,
}

thread_local! {
    // cuDNN's handles belong to one thread.
    static GPUS: RefCell<HashMap<DeviceId, Rc<Gpu>>> = RefCell::default();
}

/// What each device was opened with: the tape hands its operations a device and nothing else.
static PRECISIONS: Mutex<Vec<(DeviceId, Precision)>> = Mutex::new(Vec::new());

/// See [`super::open`].
pub(crate) fn device(
    ordinal: usize,
    precision: Precision,
) -> std::result::Result<Device, DeviceError> {
    let open = |source| DeviceError::Open { ordinal, source };
    // A stream of its own: the default one would be another for each thread.
    let device = Device::new_cuda_with_stream(ordinal).map_err(open)?;
    let cuda = device.as_cuda_device().map_err(open)?;
    // SAFETY: all work goes to the device's one stream, so no buffer needs events to order its uses.
    unsafe { cuda.disable_event_tracking() };
    keep_memory(cuda).map_err(open)?;
    has(cuda, precision).map_err(open)?;
    PRECISIONS.lock().unwrap_or_else(PoisonError::into_inner).push((cuda.id(), precision));
    gpu(&device).map_err(open)?;
    Ok(device)
}

/// Whether the device computes in this precision.
fn has(device: &CudaDevice, precision: Precision) -> Result<()> {
    let stream = device.cuda_stream();
    let (major, minor) = stream.context().compute_capability().map_err(Error::wrap)?;
    if precision == Precision::Bf16 && major < 8 {
        candle_core::bail!("bf16 needs compute capability 8.0, this GPU has {major}.{minor}");
    }
    Ok(())
}

/// Tells the driver's pool to keep what is given back: a step asks for the same buffers again, and
/// by default every wait for the device would hand them to the system.
fn keep_memory(device: &CudaDevice) -> Result<()> {
    let context = device.cuda_stream().context().clone();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut pool = std::ptr::null_mut();
    let mut most = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: both calls write or read exactly the values pointed to, which outlive them.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, context.cu_device())
            .result()
            .map_err(Error::wrap)?;
        let value = std::ptr::from_mut(&mut most).cast();
        sys::cuMemPoolSetAttribute(pool, attribute, value).result().map_err(Error::wrap)
    }
}

/// The device that `device` is, ready to be called from this thread.
pub(super) fn gpu(device: &Device) -> Result<Rc<Gpu>> {
    let cuda = device.as_cuda_device()?;
    GPUS.with_borrow_mut(|gpus| {
        if let Some(gpu) = gpus.get(&cuda.id()) {
            return Ok(gpu.clone());
        }
        let gpu = Rc::new(Gpu::new(cuda)?);
        gpus.insert(cuda.id(), gpu.clone());
        Ok(gpu)
    })
}

impl Gpu {
    fn new(device: &CudaDevice) -> Result<Self> {
        let precisions = PRECISIONS.lock().unwrap_or_else(PoisonError::into_inner);
        let precision = precisions.iter().find(|(id, _)| *id == device.id());
        let precision = precision.map_or_else(Precision::default, |(_, precision)| *precision);
        drop(precisions);
        let stream = device.cuda_stream();
        let module = compile(&stream)?;
        let mut kernels = HashMap::new();
        for (name, takes) in signatures(KERNELS) {
            let function = module.load_function(name).map_err(Error::wrap)?;
            kernels.insert(name.to_owned(), Kernel { function, takes });
        }
        Ok(Self {
            device: device.clone(),
            cudnn: Cudnn::new(&stream, precision)?,
            kernels,
            workspace: RefCell::new(None),
            halted: stream.alloc_zeros(1).map_err(Error::wrap)?,
            stream,
        })
    }

    /// Room for `count` elements, whatever is in it.
    pub(super) fn room<T: DeviceRepr>(&self, count: usize) -> Result<CudaSlice<T>> {
        // SAFETY: every caller has a kernel write all of it before anything reads it.
        unsafe { self.stream.alloc(count) }.map_err(Error::wrap)
    }

    /// Queues a kernel over `grid` blocks.
    pub(super) fn run(
        &self,
        name: &str,
        grid: (usize, usize),
        arguments: &[Argument],
    ) -> Result<()> {
        let Some(kernel) = self.kernels.get(name) else { candle_core::bail!("no kernel {name}") };
        if !arguments.iter().map(Argument::kind).eq(kernel.takes.iter().copied()) {
            candle_core::bail!("{name}: takes {:?}, got {arguments:?}", kernel.takes);
        }
        let (Ok(x), Ok(y @ ..65_536)) = (u32::try_from(grid.0), u32::try_from(grid.1)) else {
            candle_core::bail!("{name}: a grid of {grid:?} is too large");
        };
        let mut launch = self.stream.launch_builder(&kernel.function);
        for argument in arguments {
            match argument {
                Address(address) => launch.arg(address),
                Count(count) => launch.arg(count),
                Number(number) => launch.arg(number),
            };
        }
        let block_dim = (THREADS as u32, 1, 1);
        let config = LaunchConfig { grid_dim: (x, y, 1), block_dim, shared_mem_bytes: 0 };
        // SAFETY: number and kinds of the arguments are the kernel's own, as compared above; that
        // the addresses hold as many elements as the counts say is the callers' duty, who derive
        // both from the tensors' shapes.
        unsafe { launch.launch(config) }.map_err(Error::wrap)?;
        Ok(())
    }

    /// Calls `f` with the address of `bytes` of memory that anything before may have used.
    pub(super) fn with_workspace<R>(&self, bytes: usize, f: impl FnOnce(u64) -> R) -> Result<R> {
        let mut workspace = self.workspace.borrow_mut();
        if workspace.as_ref().is_none_or(|held| held.len() < bytes) {
            // The smaller one goes first, so that both need not fit.
            drop(workspace.take());
            *workspace = Some(self.room(bytes)?);
        }
        Ok(f(workspace.as_ref().map_or(0, |held| self.address(held))))
    }

    /// Where a buffer is.
    pub(super) fn address<T>(&self, slice: &CudaSlice<T>) -> u64 {
        slice.device_ptr(&self.stream).0
    }

    /// The flag that a loss which is not finite sets.
    pub(super) fn halted(&self) -> u64 {
        self.address(&self.halted)
    }

    /// Where the elements of a contiguous `f32` tensor are.
    pub(super) fn elements(&self, storage: &CudaStorage, layout: &Layout) -> Result<u64> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a contiguous tensor is needed, not {:?}", layout.shape());
        };
        let slice = storage.as_cuda_slice::<f32>()?;
        if storage.device().id() != self.device.id() || end > slice.len() {
            candle_core::bail!("a tensor of {end} elements is not on this device");
        }
        Ok(self.address(slice) + (start * size_of::<f32>()) as u64)
    }

    /// As [`Gpu::elements`], of a tensor.
    pub(super) fn of(&self, tensor: &Tensor) -> Result<u64> {
        let (storage, layout) = tensor.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => self.elements(storage, layout),
            _ => candle_core::bail!("a tensor on the GPU is needed"),
        }
    }

    /// The buffer as the result of an operation.
    pub(super) fn storage(&self, slice: CudaSlice<f32>) -> CudaStorage {
        CudaStorage::wrap_cuda_slice(slice, self.device.clone())
    }

    /// The buffer as a tensor that is on no tape.
    pub(super) fn tensor(&self, slice: CudaSlice<f32>, shape: impl Into<Shape>) -> Tensor {
        let storage = Storage::Cuda(self.storage(slice));
        Tensor::from_storage(storage, shape, BackpropOp::none(), false)
    }
}

/// The device a storage is on, ready to be called from this thread.
pub(super) fn gpu_of(storage: &CudaStorage) -> Result<Rc<Gpu>> {
    gpu(&Device::Cuda(storage.device().clone()))
}

/// A number of elements, images or channels as the kernels count them.
pub(super) fn count(number: usize) -> Result<Argument> {
    match u32::try_from(number) {
        // Sums of two such numbers still fit.
        Ok(number) if number < u32::MAX / 2 => Ok(Count(number)),
        _ => candle_core::bail!("{number} elements are more than the kernels can count"),
    }
}

/// The error of an operation that was sent to the CPU by mistake.
pub(super) fn not_here<T>(name: &str) -> Result<T> {
    candle_core::bail!("{name}: has a GPU form only")
}

fn compile(stream: &Arc<CudaStream>) -> Result<Arc<CudaModule>> {
    let context = stream.context();
    let (major, minor) = context.compute_capability().map_err(Error::wrap)?;
    let options = vec![format!("--gpu-architecture=compute_{major}{minor}")];
    let options = CompileOptions { options, name: Some("kernels.cu".into()), ..Default::default() };
    let ptx = compile_ptx_with_opts(KERNELS, options).map_err(Error::wrap)?;
    context.load_module(ptx).map_err(Error::wrap)
}

/// Names and parameters of the kernels in a source.
fn signatures(source: &str) -> Vec<(&str, Vec<Kind>)> {
    let kernels = source.split("extern \"C\" __global__ void ").skip(1);
    kernels
        .filter_map(|text| {
            let (name, rest) = text.split_once('(')?;
            let (parameters, _) = rest.split_once(')')?;
            let kind = |parameter: &str| match parameter.trim() {
                pointer if pointer.contains('*') => Kind::Address,
                number if number.starts_with("float ") => Kind::Number,
                _ => Kind::Count,
            };
            Some((name, parameters.split(',').map(kind).collect()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn signatures_are_read_from_the_source() {
        let found = signatures(KERNELS);
        assert_eq!(found.len(), KERNELS.matches("__global__ void").count());
        let adam = found.iter().find(|(name, _)| *name == "adam").unwrap();
        let wanted = [[Kind::Address; 4].as_slice(), &[Kind::Count], &[Kind::Number; 4]].concat();
        assert_eq!(adam.1, wanted);
    }

    #[test]
    fn sizes_are_those_of_the_source() {
        for (name, value) in [("THREADS", THREADS), ("SPAN", SPAN), ("STRETCH", STRETCH)] {
            assert!(KERNELS.contains(&format!("#define {name} {value}\n")), "{name}");
        }
    }
}
