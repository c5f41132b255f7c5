//! What a camera and its operator do to the colours of a photograph: exposure, tint, blur, noise, JPEG.

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use rand::{Rng, RngExt};

/// One tone curve a channel, as a table of 256 levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves([[u8; 256]; 3]);

/// What a tone curve is made of; the identity is gain 1, gamma 1, contrast 1, brightness 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    /// Factor of each channel (red, green, blue): exposure and colour cast.
    pub gain: [f64; 3],
    /// Exponent of the level as a share of full scale.
    pub gamma: f64,
    /// Slope round the middle of the scale.
    pub contrast: f64,
    /// Share of full scale that is added.
    pub brightness: f64,
}

impl Curves {
    /// The curves of `tone`. Black stays black: a camera's border is not lit by haze or exposure.
    pub fn new(tone: &Tone) -> Self {
        let mut curves = [[0u8; 256]; 3];
        for (curve, gain) in curves.iter_mut().zip(tone.gain) {
            for (level, value) in curve.iter_mut().enumerate() {
                let level = level as f64 / 255.0;
                // What is added fades in over the darkest sixteenth of the scale.
                let lit = (level * 16.0).min(1.0);
                let toned =
                    0.5 + tone.contrast * (gain * level.powf(tone.gamma) - 0.5) + tone.brightness;
                let plain = gain * level.powf(tone.gamma);
                *value =
                    (255.0 * (lit * toned + (1.0 - lit) * plain)).round().clamp(0.0, 255.0) as u8;
            }
            curve[0] = 0;
        }
        Self(curves)
    }

    /// Applies the curves in place.
    pub fn apply(&self, pixels: &mut RgbImage) {
        for pixel in pixels.pixels_mut() {
            for (value, curve) in pixel.0.iter_mut().zip(&self.0) {
                *value = curve[usize::from(*value)];
            }
        }
    }
}

/// Gaussian blur of standard deviation `sigma` pixels, in place; nothing below 0.2 pixels.
pub fn blur(pixels: &mut RgbImage, sigma: f64) {
    if sigma < 0.2 {
        return;
    }
    let reach = (2.5 * sigma).ceil().max(1.0) as usize;
    let weight = |i: usize| (-((i as f64 - reach as f64) / sigma).powi(2) / 2.0).exp();
    let kernel: Vec<f64> = (0..=2 * reach).map(weight).collect();
    let total: f64 = kernel.iter().sum();
    let kernel: Vec<f32> = kernel.iter().map(|w| (w / total) as f32).collect();
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let source: Vec<f32> = pixels.as_raw().iter().map(|&value| f32::from(value)).collect();
    let across = convolve_rows(&source, width * 3, 3, &kernel);
    let down = convolve_columns(&across, width * 3, height, &kernel);
    for (value, blurred) in pixels.iter_mut().zip(down) {
        *value = (blurred + 0.5) as u8;
    }
}

/// Rows of `stride` values, neighbours `step` apart, edges repeated.
fn convolve_rows(source: &[f32], stride: usize, step: usize, kernel: &[f32]) -> Vec<f32> {
    let reach = kernel.len() / 2;
    let mut padded = vec![0.0; stride + 2 * reach * step];
    let mut out = Vec::with_capacity(source.len());
    for row in source.chunks_exact(stride) {
        for i in 0..reach {
            padded[i * step..(i + 1) * step].copy_from_slice(&row[..step]);
            let end = padded.len() - i * step;
            padded[end - step..end].copy_from_slice(&row[stride - step..]);
        }
        padded[reach * step..reach * step + stride].copy_from_slice(row);
        let start = out.len();
        out.resize(start + stride, 0.0);
        for (tap, weight) in kernel.iter().enumerate() {
            for (value, neighbour) in out[start..].iter_mut().zip(&padded[tap * step..]) {
                *value += weight * neighbour;
            }
        }
    }
    out
}

fn convolve_columns(source: &[f32], stride: usize, height: usize, kernel: &[f32]) -> Vec<f32> {
    let reach = kernel.len() / 2;
    let mut out = vec![0.0; source.len()];
    for (row, line) in out.chunks_exact_mut(stride).enumerate() {
        for (tap, weight) in kernel.iter().enumerate() {
            let from = (row + tap).saturating_sub(reach).min(height - 1);
            for (value, neighbour) in
                line.iter_mut().zip(&source[from * stride..(from + 1) * stride])
            {
                *value += weight * neighbour;
            }
        }
    }
    out
}

/// Adds noise of standard deviation about `sigma` levels; less in the dark, as shot noise is.
pub fn noise(pixels: &mut RgbImage, sigma: f64, rng: &mut impl Rng) {
    // The sum of four random bytes is nearly normal, with variance 4 (256^2 - 1) / 12.
    let scale = sigma as f32 / (4.0f32 * 65535.0 / 12.0).sqrt();
    for value in pixels.iter_mut() {
        let bytes = rng.random::<u32>().to_le_bytes();
        let sum: i32 = bytes.iter().map(|&byte| i32::from(byte)).sum::<i32>() - 510;
        let level = f32::from(*value);
        let dimmed = 0.3 + 0.7 * (level / 64.0).min(1.0);
        *value = (level + scale * dimmed * sum as f32 + 0.5).clamp(0.0, 255.0) as u8;
    }
}

/// Compresses and decompresses the picture as JPEG of `quality` 1..=100; on any failure of the codec
/// the picture stays as it is.
pub fn recompress(pixels: &mut RgbImage, quality: u8) {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    let encoded = pixels.write_with_encoder(encoder);
    let decoded = encoded
        .and_then(|()| image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg));
    if let Ok(decoded) = decoded {
        *pixels = decoded.into_rgb8();
    }
}
