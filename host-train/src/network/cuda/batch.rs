//! Batches made on the device from 8-bit examples, of which it keeps as many as it may.
// Lines of addresses are handed to the device as plain bytes; see below.
#![allow(unsafe_code)]

use super::gpu::{Address, Number, SPAN, count, gpu};
use super::{Key, Packed, Shown};
use candle_core::{Device, Error, Result, Tensor};
use cudarc::driver::{CudaSlice, DeviceRepr};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Examples that lie on the device, so that nothing of them is copied again.
pub(crate) struct Kept {
    device: Device,
    /// Bytes that they may take.
    most: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    examples: HashMap<Key, CudaSlice<u8>>,
    bytes: usize,
}

/// An example in the kernel's table; as in `kernels.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Line {
    pixels: u64,
    disc: u64,
    cup: u64,
    fovea_x: f64,
    fovea_y: f64,
}

// SAFETY: plain numbers of 8 bytes without gaps, laid out as the kernel's own struct.
unsafe impl DeviceRepr for Line {}

impl Kept {
    /// Keeps nothing yet, and never more than `most` bytes of examples.
    pub(crate) fn new(device: &Device, most: usize) -> Result<Self> {
        Ok(Self { device: device.clone(), most, held: Mutex::default() })
    }

    /// Whether the example's bytes are there: then they stay.
    pub(crate) fn holds(&self, key: Key) -> bool {
        self.held().examples.contains_key(&key)
    }

    /// The images and maps of `examples`, which are `side` pixels wide; what has a key is kept while
    /// there is room.
    ///
    /// # Errors
    /// An example without its bytes that is not kept, or with another number of them; no memory.
    pub(crate) fn show(&self, examples: &[Packed], side: usize, scale: f32) -> Result<Shown> {
        let gpu = gpu(&self.device)?;
        let plane = side * side;
        let (mut table, mut passing) = (Vec::with_capacity(examples.len()), Vec::new());
        let mut held = self.held();
        for example in examples {
            let kept = example.key.and_then(|key| held.examples.get(&key));
            let at = match (kept, &example.bytes) {
                (Some(kept), _) if kept.len() == example.len(plane) => gpu.address(kept),
                (None, Some(bytes)) if bytes.len() == example.len(plane) => {
                    let slice = gpu.stream.clone_htod(bytes).map_err(Error::wrap)?;
                    let at = gpu.address(&slice);
                    match example.key {
                        Some(key) if held.bytes + bytes.len() <= self.most => {
                            held.bytes += bytes.len();
                            held.examples.insert(key, slice);
                        }
                        _ => passing.push(slice),
                    }
                    at
                }
                _ => candle_core::bail!("batch: not the bytes of {side}x{side} pixels"),
            };
            table.push(line(example, at, plane));
        }
        let table = gpu.stream.clone_htod(&table).map_err(Error::wrap)?;
        let batch = examples.len();
        let images = gpu.room::<f32>(batch * 3 * plane)?;
        let map = |has: fn(&Packed) -> bool| {
            examples.iter().any(has).then(|| gpu.room::<f32>(batch * plane)).transpose()
        };
        let maps = [map(|e| e.disc)?, map(|e| e.cup)?, map(|e| e.fovea.is_some())?];
        let mut arguments = vec![Address(gpu.address(&images))];
        arguments
            .extend(maps.iter().map(|map| Address(map.as_ref().map_or(0, |m| gpu.address(m)))));
        arguments.extend([Address(gpu.address(&table)), count(side)?, Number(scale)]);
        gpu.run("show", (batch, plane.div_ceil(SPAN)), &arguments)?;
        let tensor = |map: Option<CudaSlice<f32>>| -> Option<Tensor> {
            map.map(|map| gpu.tensor(map, (batch, 1, side, side)))
        };
        let [disc, cup, fovea] = maps.map(tensor);
        Ok(Shown { images: gpu.tensor(images, (batch, 3, side, side)), disc, cup, fovea })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Packed {
    /// Bytes of an example whose planes have so many pixels.
    fn len(&self, plane: usize) -> usize {
        (3 + usize::from(self.disc) + usize::from(self.cup)) * plane
    }
}

/// The example whose bytes are at an address.
fn line(example: &Packed, pixels: u64, plane: usize) -> Line {
    let plane = plane as u64;
    let disc = pixels + 3 * plane;
    let cup = disc + u64::from(example.disc) * plane;
    let [fovea_x, fovea_y] = example.fovea.unwrap_or([f64::NAN; 2]);
    let disc = if example.disc { disc } else { 0 };
    Line { pixels, disc, cup: if example.cup { cup } else { 0 }, fovea_x, fovea_y }
}
