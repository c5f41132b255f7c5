//! From tissue to file: light, blur, stray light, faults, sensor noise, tone curve, JPEG.

use super::camera::{Camera, CameraModel};
use super::degrade::Faults;
use super::draw::{Draw, Part};
use super::texture::{bell, mix, step};
use super::view::View;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;

/// The state of camera and eye at one exposure.
#[derive(Debug)]
pub struct Capture {
    /// The framing.
    pub view: View,
    /// Mild and severe faults.
    pub faults: Faults,
    /// Linear colour of a medium fundus.
    base: [f32; 3],
    falloff: f32,
    /// Centre of the light on the retina, circle's coordinates.
    light: (f32, f32),
    /// Stray light at the circle's rim: strength and colour.
    rim: (f32, [f32; 3]),
    /// Blur, Gaussian deviation in pixels.
    blur: f32,
    noise: f32,
    quality: u8,
    marker: Option<Marker>,
    /// Dust on the lens: centre, radius (circle's coordinates), strength.
    dust: Vec<(f32, f32, f32, f32)>,
    /// Grey level outside the circle, 0..255.
    black: f32,
    /// Softness of the circle's edge, pixels.
    edge: f32,
}

/// The orientation mark in the circle's upper right edge.
#[derive(Debug, Clone, Copy)]
struct Marker {
    angle: f32,
    half_width: f32,
    height: f32,
}

impl Capture {
    /// Draws a capture through `view`.
    pub fn draw(draw: &mut Draw, camera: Camera, view: View, faults: Faults) -> Self {
        let model = camera.model();
        let base = draw_base(draw, &model);
        let rim_color = [draw.between(0.1, 0.4), draw.between(0.14, 0.4), draw.between(0.15, 0.5)];
        let hazy_rim = draw.chance(0.2 + 0.5 * model.uneven);
        let rim = (if hazy_rim { draw.between(0.1, 0.7) } else { 0.0 }, rim_color);
        let blur = draw.between(model.blur.0, model.blur.1).hypot(faults.defocus) * view.scale();
        let dust =
            if draw.chance(0.5 * model.uneven + 0.05) { draw_dust(draw) } else { Vec::new() };
        let marker = draw.chance(model.marker).then(|| Marker {
            angle: -0.65 + draw.normal(0.0, 0.12),
            half_width: draw.between(0.02, 0.035),
            height: draw.between(0.02, 0.06),
        });
        Self {
            view,
            faults,
            base,
            falloff: draw.between(model.falloff.0, model.falloff.1),
            light: (draw.normal(0.0, 0.2), draw.normal(0.0, 0.16)),
            rim,
            blur,
            noise: draw.between(model.noise.0, model.noise.1),
            quality: draw.between(model.quality.0, model.quality.1) as u8,
            marker,
            dust,
            black: if draw.chance(0.3) { draw.between(1.0, 9.0) } else { draw.between(0.0, 2.0) },
            edge: view.radius * draw.between(0.002, 0.008),
        }
    }

    /// Blur of the optics in pixels (Gaussian deviation).
    #[must_use]
    pub fn blur(&self) -> f32 {
        self.blur
    }

    /// The share of a pixel that the field stop lets through.
    #[must_use]
    pub fn opening(&self, x: f32, y: f32) -> f32 {
        let view = &self.view;
        let distance = (x - view.center.0).hypot(y - view.center.1);
        let soft = self.edge.max(0.5);
        let mut radius = view.radius;
        if let Some(marker) = self.marker {
            let off = (y - view.center.1).atan2(x - view.center.0) - marker.angle;
            if off.abs() < marker.half_width {
                radius *= 1.0 + marker.height;
            }
        }
        step(radius + soft, radius - soft, distance)
    }

    /// Light as it falls on the sensor, linear, from the tissue's colour at a pixel.
    #[must_use]
    pub fn expose(&self, tissue: [f32; 3], x: f32, y: f32) -> [f32; 3] {
        let view = &self.view;
        let (u, v) = ((x - view.center.0) / view.radius, (y - view.center.1) / view.radius);
        let squared = (u - self.light.0).powi(2) + (v - self.light.1).powi(2);
        let mut light = 1.0 - self.falloff * (squared / 1.25).min(1.2);
        for patch in &self.faults.shade {
            let near = (u - patch.x).powi(2) + (v - patch.y).powi(2);
            light *= 1.0 - patch.strength * bell(near, patch.size);
        }
        let passes = self.faults.lid.map_or(1.0, |lid| lid.passes(u, v));
        let stray = self.rim.0 * step(0.8, 1.04, u.hypot(v));
        let haze = self.faults.haze;
        let grey = 0.6 * self.base[0] + 0.4 * self.base[1];
        let mut color: [f32; 3] = std::array::from_fn(|channel| {
            let own = self.base[channel] * tissue[channel] * light.max(0.02);
            let veil = mix(self.base[channel], grey, 0.45) * (1.0 - 0.3 * (u * u + v * v)) * 0.9;
            let hazed = mix(own, veil, haze);
            mix(hazed, self.rim.1[channel], 0.5 * stray)
        });
        for &(dust_x, dust_y, radius, strength) in &self.dust {
            let distance = (u - dust_x).hypot(v - dust_y);
            if distance < 1.3 * radius {
                let cover = strength * step(1.1 * radius, 0.85 * radius, distance);
                for (channel, value) in color.iter_mut().enumerate() {
                    *value += cover * [0.06, 0.06, 0.05][channel];
                }
            }
        }
        for patch in &self.faults.glare {
            let near = (u - patch.x).powi(2) + (v - patch.y).powi(2);
            let glow = patch.strength * bell(near, patch.size);
            for (value, tint) in color.iter_mut().zip(patch.color) {
                *value += glow * tint;
            }
        }
        let exposure = if self.faults.exposure > 0.0 { self.faults.exposure } else { 1.0 };
        color.map(|value| value * exposure * (0.03 + 0.97 * passes))
    }

    /// Sensor and file: noise, tone curve, 8 bits, one JPEG round trip.
    ///
    /// `light` holds linear R, G, B for every pixel, row after row.
    #[must_use]
    pub fn develop(&self, light: &[[f32; 3]], seed: u64, index: u64) -> RgbImage {
        let mut draw = Draw::new(seed, index, Part::Sensor);
        let view = &self.view;
        let mut image = RgbImage::new(view.width, view.height);
        // Short exposures are amplified: noise rises.
        let noise = self.noise * if self.faults.exposure < 0.3 { 2.0 } else { 1.0 };
        for (at, pixel) in image.pixels_mut().enumerate() {
            let (x, y) = (at as u32 % view.width, at as u32 / view.width);
            let opening = self.opening(x as f32, y as f32);
            let bits = draw.bits();
            for (channel, (value, light)) in pixel.0.iter_mut().zip(light[at]).enumerate() {
                let level = mix(self.black, 255.0 * tone(light), opening);
                let grain = triangular(bits >> (20 * channel)) * noise * (0.25 + 0.75 * opening);
                *value = (level + grain + 0.5).clamp(0.0, 255.0) as u8;
            }
        }
        jpeg_round_trip(&image, self.quality).unwrap_or(image)
    }
}

/// Sum of two uniform numbers, from 20 bits; deviation 1.
fn triangular(bits: u64) -> f32 {
    let (a, b) = (bits & 0x3FF, (bits >> 10) & 0x3FF);
    ((a + b) as f32 / 1023.0 - 1.0) * 2.45
}

/// A shoulder towards white, then the sRGB exponent.
fn tone(light: f32) -> f32 {
    let knee = 0.75;
    let bent = if light > knee {
        knee + (1.0 - knee) * (1.0 - (-(light - knee) / (1.0 - knee)).exp())
    } else {
        light.max(0.0)
    };
    bent.powf(1.0 / 2.2)
}

/// The colour of this eye's fundus in this camera, linear.
fn draw_base(draw: &mut Draw, model: &CameraModel) -> [f32; 3] {
    let exposure = draw.normal(0.0, model.exposure_spread).clamp(-1.2, 0.7).exp();
    let spreads = [0.06, 0.16, 0.3];
    std::array::from_fn(|channel| {
        let own = draw.normal(0.0, spreads[channel]).clamp(-0.6, 0.6).exp();
        (model.fundus[channel] / 255.0).powf(2.2) * exposure * own
    })
}

fn draw_dust(draw: &mut Draw) -> Vec<(f32, f32, f32, f32)> {
    let middle = (draw.normal(0.0, 0.5), draw.normal(0.2, 0.5));
    (0..1 + draw.below(14))
        .map(|_| {
            (
                draw.normal(middle.0, 0.3),
                draw.normal(middle.1, 0.3),
                draw.between(0.008, 0.028),
                draw.between(0.2, 1.0),
            )
        })
        .collect()
}

/// Encodes and decodes; `None` where either fails.
fn jpeg_round_trip(image: &RgbImage, quality: u8) -> Option<RgbImage> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(image).ok()?;
    let decoded = image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).ok()?;
    Some(decoded.to_rgb8())
}

/// Blurs linear light by a Gaussian of `deviation` pixels, edges repeated.
pub fn blur(light: &mut [[f32; 3]], width: usize, height: usize, deviation: f32) {
    if deviation < 0.3 || width == 0 || height == 0 {
        return;
    }
    if deviation > 3.0 {
        // Three box filters come close to a Gaussian at a cost that does not grow with its width.
        let half = ((deviation * deviation * 4.0 + 1.0).sqrt() * 0.5) as usize;
        for _ in 0..3 {
            filter(light, width, height, |line, out| box_line(line, out, half));
        }
    } else {
        let reach = (3.0 * deviation).ceil() as usize;
        let weights: Vec<f32> = (0..=reach).map(|i| bell((i * i) as f32, deviation)).collect();
        let total = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
        let weights: Vec<f32> = weights.iter().map(|w| w / total).collect();
        filter(light, width, height, |line, out| gauss_line(line, out, &weights));
    }
}

/// Applies a filter of lines to all rows, then to all columns.
fn filter(
    light: &mut [[f32; 3]],
    width: usize,
    height: usize,
    line_filter: impl Fn(&[[f32; 3]], &mut [[f32; 3]]),
) {
    let longest = width.max(height);
    let (mut line, mut out) = (vec![[0.0; 3]; longest], vec![[0.0; 3]; longest]);
    for row in light.chunks_exact_mut(width) {
        line_filter(row, &mut out[..width]);
        row.copy_from_slice(&out[..width]);
    }
    for x in 0..width {
        for y in 0..height {
            line[y] = light[y * width + x];
        }
        line_filter(&line[..height], &mut out[..height]);
        for y in 0..height {
            light[y * width + x] = out[y];
        }
    }
}

fn gauss_line(line: &[[f32; 3]], out: &mut [[f32; 3]], weights: &[f32]) {
    let last = line.len() - 1;
    for (at, value) in out.iter_mut().enumerate() {
        let mut sum = line[at].map(|v| v * weights[0]);
        for (off, weight) in weights.iter().enumerate().skip(1) {
            let (a, b) = (line[at.saturating_sub(off)], line[(at + off).min(last)]);
            for channel in 0..3 {
                sum[channel] += weight * (a[channel] + b[channel]);
            }
        }
        *value = sum;
    }
}

fn box_line(line: &[[f32; 3]], out: &mut [[f32; 3]], half: usize) {
    let last = line.len() - 1;
    let share = 1.0 / (2 * half + 1) as f32;
    let mut sum = [0.0f32; 3];
    for off in 0..=2 * half {
        let entry = line[off.saturating_sub(half).min(last)];
        for channel in 0..3 {
            sum[channel] += entry[channel];
        }
    }
    for (at, value) in out.iter_mut().enumerate() {
        *value = sum.map(|v| v * share);
        let (enter, leave) = (line[(at + half + 1).min(last)], line[at.saturating_sub(half)]);
        for channel in 0..3 {
            sum[channel] += enter[channel] - leave[channel];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blur_keeps_the_light_and_has_its_width() {
        for deviation in [1.5f32, 5.0] {
            let (width, height) = (81, 81);
            let mut light = vec![[0.0f32; 3]; width * height];
            light[40 * width + 40] = [1.0; 3];
            blur(&mut light, width, height, deviation);
            let sum: f32 = light.iter().map(|v| v[0]).sum();
            let spread: f32 = light
                .iter()
                .enumerate()
                .map(|(at, v)| v[1] * ((at % width) as f32 - 40.0).powi(2))
                .sum();
            assert!((sum - 1.0).abs() < 1e-3, "{sum}");
            assert!((spread.sqrt() / deviation - 1.0).abs() < 0.12, "{}", spread.sqrt());
        }
    }

    #[test]
    fn the_tone_curve_rises_and_stays_in_range() {
        let mut last = -1.0;
        for i in 0..500 {
            let value = tone(i as f32 * 0.02);
            assert!(value >= last && value <= 1.0);
            last = value;
        }
    }
}
