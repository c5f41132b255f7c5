//! cuDNN's convolutions: descriptors and the fastest deterministic algorithm, found once a shape.
// A C library: every call's handles are alive because their owners are, and its pointers are to
// values on this stack or to device memory that the caller vouches for.
#![allow(unsafe_code)]

use super::Precision;
use candle_core::{Error, Result};
use cudarc::cudnn::{result, sys};
use cudarc::driver::CudaStream;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::rc::Rc;
use sys::cudnnDataType_t as Element;
use sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC;
use sys::cudnnMathType_t as Math;

/// Algorithms that need more are passed over.
const MOST_WORKSPACE: usize = 1 << 30;
/// Results asked for: more than there are algorithms in any direction.
const RESULTS: usize = 16;

/// A convolution with stride 1 that keeps the size of its maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Side of the square kernel, odd.
    pub(super) kernel: usize,
}

/// A handle of this thread, and what has been found out.
pub(super) struct Cudnn {
    // Before the handle: dropped in this order.
    plans: RefCell<HashMap<Sizes, Rc<Plan>>>,
    handle: Handle,
    precision: Precision,
}

impl Cudnn {
    pub(super) fn new(stream: &CudaStream, precision: Precision) -> Result<Self> {
        stream.context().bind_to_thread().map_err(Error::wrap)?;
        let handle = Handle(result::create_handle().map_err(Error::wrap)?);
        // SAFETY: both are alive; the device, which outlives this, keeps the stream.
        unsafe { result::set_stream(handle.0, stream.cu_stream().cast()) }.map_err(Error::wrap)?;
        Ok(Self { plans: RefCell::default(), handle, precision })
    }

    /// Whether maps and weights are handed over, and come back, in bf16.
    pub(super) fn in_bf16(&self) -> bool {
        self.precision == Precision::Bf16
    }

    /// What is known of the convolutions of these sizes.
    pub(super) fn plan(&self, sizes: Sizes) -> Result<Rc<Plan>> {
        if let Some(plan) = self.plans.borrow().get(&sizes) {
            return Ok(plan.clone());
        }
        let plan = Rc::new(Plan::new(sizes, self.precision)?);
        self.plans.borrow_mut().insert(sizes, plan.clone());
        Ok(plan)
    }
}

/// Descriptors of one shape, and the way to go in each direction once it has been asked for.
pub(super) struct Plan {
    sizes: Sizes,
    x: Maps,
    y: Maps,
    weight: Filter,
    forward: OnceCell<Way<sys::cudnnConvolutionFwdAlgo_t>>,
    to_input: OnceCell<Way<sys::cudnnConvolutionBwdDataAlgo_t>>,
    to_weight: OnceCell<Way<sys::cudnnConvolutionBwdFilterAlgo_t>>,
}

/// An algorithm with the descriptor that it was measured with.
pub(super) struct Way<A> {
    algorithm: A,
    rule: Rule,
    /// Bytes it needs.
    pub(super) workspace: usize,
}

/// `1 x + 0 y`: what cuDNN multiplies result and former content with.
const ONE: f32 = 1.0;
const ZERO: f32 = 0.0;

fn scalar(value: &f32) -> *const c_void {
    std::ptr::from_ref(value).cast()
}

impl Plan {
    fn new(sizes: Sizes, precision: Precision) -> Result<Self> {
        let Sizes { batch, inputs, outputs, height, width, kernel } = sizes;
        let element = match precision {
            Precision::Bf16 => Element::CUDNN_DATA_BFLOAT16,
            Precision::Tf32 | Precision::F32 => Element::CUDNN_DATA_FLOAT,
        };
        Ok(Self {
            sizes,
            x: Maps::new(element, [batch, inputs, height, width])?,
            y: Maps::new(element, [batch, outputs, height, width])?,
            weight: Filter::new(element, [outputs, inputs, kernel, kernel])?,
            forward: OnceCell::new(),
            to_input: OnceCell::new(),
            to_weight: OnceCell::new(),
        })
    }

    /// The way to y.
    pub(super) fn forward(&self, on: &Cudnn) -> Result<&Way<sys::cudnnConvolutionFwdAlgo_t>> {
        found(&self.forward, || {
            let rule = Rule::new(self.sizes.kernel, on.precision)?;
            let results = search(|most, found, results| {
                let (x, weight, y) = (self.x.0, self.weight.0, self.y.0);
                // SAFETY: see above; `results` has room for `most`.
                unsafe {
                    sys::cudnnFindConvolutionForwardAlgorithm(
                        on.handle.0,
                        x,
                        weight,
                        rule.0,
                        y,
                        most,
                        found,
                        results,
                    )
                }
            })?;
            let usable = |r: &&sys::cudnnConvolutionFwdAlgoPerf_t| {
                usable(r.status, r.determinism, r.memory, r.mathType)
            };
            let best = results.iter().find(usable).ok_or_else(|| self.none("forward"))?;
            rule.narrow(best.mathType, on.precision)?;
            Ok(Way { algorithm: best.algo, rule, workspace: best.memory })
        })
    }

    /// The way to the gradient of x.
    pub(super) fn to_input(&self, on: &Cudnn) -> Result<&Way<sys::cudnnConvolutionBwdDataAlgo_t>> {
        found(&self.to_input, || {
            let rule = Rule::new(self.sizes.kernel, on.precision)?;
            let results = search(|most, found, results| {
                let (weight, y, x) = (self.weight.0, self.y.0, self.x.0);
                // SAFETY: see above; `results` has room for `most`.
                unsafe {
                    sys::cudnnFindConvolutionBackwardDataAlgorithm(
                        on.handle.0,
                        weight,
                        y,
                        rule.0,
                        x,
                        most,
                        found,
                        results,
                    )
                }
            })?;
            let usable = |r: &&sys::cudnnConvolutionBwdDataAlgoPerf_t| {
                usable(r.status, r.determinism, r.memory, r.mathType)
            };
            let best = results.iter().find(usable).ok_or_else(|| self.none("backward data"))?;
            rule.narrow(best.mathType, on.precision)?;
            Ok(Way { algorithm: best.algo, rule, workspace: best.memory })
        })
    }

    /// The way to the gradient of the weight.
    pub(super) fn to_weight(
        &self,
        on: &Cudnn,
    ) -> Result<&Way<sys::cudnnConvolutionBwdFilterAlgo_t>> {
        found(&self.to_weight, || {
            let rule = Rule::new(self.sizes.kernel, on.precision)?;
            let results = search(|most, found, results| {
                let (x, y, weight) = (self.x.0, self.y.0, self.weight.0);
                // SAFETY: see above; `results` has room for `most`.
                unsafe {
                    sys::cudnnFindConvolutionBackwardFilterAlgorithm(
                        on.handle.0,
                        x,
                        y,
                        rule.0,
                        weight,
                        most,
                        found,
                        results,
                    )
                }
            })?;
            let usable = |r: &&sys::cudnnConvolutionBwdFilterAlgoPerf_t| {
                usable(r.status, r.determinism, r.memory, r.mathType)
            };
            let best = results.iter().find(usable).ok_or_else(|| self.none("backward filter"))?;
            rule.narrow(best.mathType, on.precision)?;
            Ok(Way { algorithm: best.algo, rule, workspace: best.memory })
        })
    }

    fn none(&self, direction: &str) -> Error {
        Error::msg(format!("cuDNN: no algorithm for {:?}, {direction}", self.sizes))
    }

    /// Queues y = x * weight.
    ///
    /// # Safety
    /// Addresses of as many elements (`f32`; bf16 where [`Cudnn::in_bf16`]) as the sizes say, and of the way's workspace.
    pub(super) unsafe fn run_forward(
        &self,
        on: &Cudnn,
        way: &Way<sys::cudnnConvolutionFwdAlgo_t>,
        [x, weight, y, workspace]: [u64; 4],
    ) -> Result<()> {
        // SAFETY: the caller's, and the descriptors' owners are alive.
        unsafe {
            result::convolution_forward(
                on.handle.0,
                scalar(&ONE),
                self.x.0,
                x as *const c_void,
                self.weight.0,
                weight as *const c_void,
                way.rule.0,
                way.algorithm,
                workspace as *mut c_void,
                way.workspace,
                scalar(&ZERO),
                self.y.0,
                y as *mut c_void,
            )
        }
        .map_err(Error::wrap)
    }

    /// Queues the gradient of x from that of y.
    ///
    /// # Safety
    /// As [`Plan::run_forward`].
    pub(super) unsafe fn run_to_input(
        &self,
        on: &Cudnn,
        way: &Way<sys::cudnnConvolutionBwdDataAlgo_t>,
        [weight, dy, dx, workspace]: [u64; 4],
    ) -> Result<()> {
        // SAFETY: as above.
        unsafe {
            result::convolution_backward_data(
                on.handle.0,
                scalar(&ONE),
                self.weight.0,
                weight as *const c_void,
                self.y.0,
                dy as *const c_void,
                way.rule.0,
                way.algorithm,
                workspace as *mut c_void,
                way.workspace,
                scalar(&ZERO),
                self.x.0,
                dx as *mut c_void,
            )
        }
        .map_err(Error::wrap)
    }

    /// Queues the gradient of the weight from x and the gradient of y.
    ///
    /// # Safety
    /// As [`Plan::run_forward`].
    pub(super) unsafe fn run_to_weight(
        &self,
        on: &Cudnn,
        way: &Way<sys::cudnnConvolutionBwdFilterAlgo_t>,
        [x, dy, dweight, workspace]: [u64; 4],
    ) -> Result<()> {
        // SAFETY: as above.
        unsafe {
            result::convolution_backward_filter(
                on.handle.0,
                scalar(&ONE),
                self.x.0,
                x as *const c_void,
                self.y.0,
                dy as *const c_void,
                way.rule.0,
                way.algorithm,
                workspace as *mut c_void,
                way.workspace,
                scalar(&ZERO),
                self.weight.0,
                dweight as *mut c_void,
            )
        }
        .map_err(Error::wrap)
    }
}

/// What the cell holds, or what `find` fills it with.
fn found<T>(cell: &OnceCell<T>, find: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(known) = cell.get() {
        return Ok(known);
    }
    let new = find()?;
    Ok(cell.get_or_init(|| new))
}

/// Has cuDNN time its algorithms; the fastest first.
fn search<R: Copy>(
    find: impl FnOnce(c_int, *mut c_int, *mut R) -> sys::cudnnStatus_t,
) -> Result<Vec<R>> {
    let mut results = Vec::with_capacity(RESULTS);
    let mut count = 0;
    find(RESULTS as c_int, &mut count, results.as_mut_ptr()).result().map_err(Error::wrap)?;
    // SAFETY: cuDNN has written so many entries, and never more than were asked for.
    unsafe { results.set_len(usize::try_from(count).unwrap_or(0).min(RESULTS)) };
    Ok(results)
}

fn usable(
    status: sys::cudnnStatus_t,
    determinism: sys::cudnnDeterminism_t,
    memory: usize,
    math: Math,
) -> bool {
    status.result().is_ok()
        && determinism == CUDNN_DETERMINISTIC
        && memory <= MOST_WORKSPACE
        // Would round to half precision.
        && math != Math::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION
}

struct Handle(sys::cudnnHandle_t);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made by `create_handle`, destroyed here alone. Nothing could follow a failure.
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}

/// Describes contiguous maps (B, C, H, W).
struct Maps(sys::cudnnTensorDescriptor_t);

impl Maps {
    fn new(element: Element, sizes: [usize; 4]) -> Result<Self> {
        let made = Self(result::create_tensor_descriptor().map_err(Error::wrap)?);
        let order = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        // SAFETY: the descriptor has just been made.
        unsafe { result::set_tensor4d_descriptor(made.0, order, element, integers(sizes)?) }
            .map_err(Error::wrap)?;
        Ok(made)
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed here alone.
        let _ = unsafe { result::destroy_tensor_descriptor(self.0) };
    }
}

/// Describes a contiguous weight (O, I, K, K).
struct Filter(sys::cudnnFilterDescriptor_t);

impl Filter {
    fn new(element: Element, sizes: [usize; 4]) -> Result<Self> {
        let made = Self(result::create_filter_descriptor().map_err(Error::wrap)?);
        let order = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        // SAFETY: the descriptor has just been made.
        unsafe { result::set_filter4d_descriptor(made.0, element, order, integers(sizes)?) }
            .map_err(Error::wrap)?;
        Ok(made)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed here alone.
        let _ = unsafe { result::destroy_filter_descriptor(self.0) };
    }
}

/// Describes how to convolve: the padding that keeps the size, and how to multiply.
struct Rule(sys::cudnnConvolutionDescriptor_t);

impl Rule {
    fn new(kernel: usize, precision: Precision) -> Result<Self> {
        let made = Self(result::create_convolution_descriptor().map_err(Error::wrap)?);
        let [pad, ..] = integers([kernel / 2, 0, 0, 0])?;
        // What deep learning calls a convolution does not turn the kernel.
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        // Sums are `f32` in every precision.
        let element = Element::CUDNN_DATA_FLOAT;
        // SAFETY: the descriptor has just been made.
        unsafe {
            result::set_convolution2d_descriptor(made.0, pad, pad, 1, 1, 1, 1, mode, element)
        }
        .map_err(Error::wrap)?;
        made.multiply(match precision {
            // TF32 where there is any, else f32.
            Precision::Tf32 => Math::CUDNN_DEFAULT_MATH,
            Precision::F32 => Math::CUDNN_FMA_MATH,
            Precision::Bf16 => Math::CUDNN_TENSOR_OP_MATH,
        })?;
        Ok(made)
    }

    /// Takes over the kind of multiplication that an algorithm was timed with.
    fn narrow(&self, math: Math, precision: Precision) -> Result<()> {
        match precision {
            Precision::Tf32 | Precision::Bf16 => self.multiply(math),
            Precision::F32 => Ok(()),
        }
    }

    fn multiply(&self, math: Math) -> Result<()> {
        // SAFETY: the descriptor is alive.
        unsafe { result::set_convolution_math_type(self.0, math) }.map_err(Error::wrap)
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed here alone.
        let _ = unsafe { result::destroy_convolution_descriptor(self.0) };
    }
}

fn integers(sizes: [usize; 4]) -> Result<[c_int; 4]> {
    let mut integers = [0; 4];
    for (to, from) in integers.iter_mut().zip(sizes) {
        *to = c_int::try_from(from).map_err(Error::wrap)?;
    }
    Ok(integers)
}
