//! One example, changed at random as another capture of the same eye might differ.
//!
//! [`augment`] is a pure function of the master example and the random numbers. Picture, masks, fovea
//! and disc centre move by one transform ([`super::warp`]). Without it (the paper's way) an example
//! is used exactly as the device would see it.

use super::DatasetError;
use super::example::Example;
use super::framing::{DiscCrop, random_crop};
use super::photometric::{Curves, Tone, blur, noise, recompress};
use super::warp::{Circle, Warp, blacken};
use glaucoma_common::preprocess::NetworkPoint;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How much examples are changed. The default is for photographs of several cameras;
/// [`Augment::none`] changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Probability of mirroring left and right: a left eye is a mirrored right eye.
    pub flip: f64,
    /// Rotation by at most this many degrees either way.
    pub rotation_degrees: f64,
    /// Zoom by a factor between 1 / (1 + zoom) and 1 + zoom.
    pub zoom: f64,
    /// Shift by at most this share of the side, in each direction.
    pub shift: f64,
    /// Gain of all channels together and of each one apart: at most a factor 1 + gain either way.
    pub gain: f64,
    /// Exponent between 1 / (1 + gamma) and 1 + gamma.
    pub gamma: f64,
    /// Contrast factor between 1 / (1 + contrast) and 1 + contrast.
    pub contrast: f64,
    /// Brightness added, at most this share of full scale either way.
    pub brightness: f64,
    /// Probability of an under-exposed picture.
    pub dark: f64,
    /// Exposure of the darkest under-exposed picture, as a factor.
    pub darkest: f64,
    /// Probability of blur.
    pub blur: f64,
    /// Largest standard deviation of the blur in pixels of a picture 256 wide; scaled with the side.
    pub blur_sigma: f64,
    /// Probability of noise.
    pub noise: f64,
    /// Largest standard deviation of the noise in grey levels.
    pub noise_sigma: f64,
    /// Probability of compressing the picture as JPEG once more.
    pub jpeg: f64,
    /// Lowest JPEG quality, 1..=100.
    pub jpeg_quality: u8,
    /// Probability of a smaller round field of view.
    pub border: f64,
    /// Radius of the smallest field of view as a share of half the side.
    pub border_radius: f64,
    /// Views near the disc for class-labelled examples; see [`super::framing`].
    pub disc_crop: Option<DiscCrop>,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            flip: 0.5,
            rotation_degrees: 20.0,
            zoom: 0.2,
            shift: 0.06,
            gain: 0.12,
            gamma: 0.3,
            contrast: 0.15,
            brightness: 0.05,
            dark: 0.15,
            darkest: 0.3,
            blur: 0.3,
            blur_sigma: 1.2,
            noise: 0.4,
            noise_sigma: 5.0,
            jpeg: 0.25,
            jpeg_quality: 40,
            border: 0.2,
            border_radius: 0.85,
            disc_crop: None,
        }
    }
}

impl Augment {
    /// Changes nothing; for building upon.
    pub fn none() -> Self {
        Self {
            flip: 0.0,
            rotation_degrees: 0.0,
            zoom: 0.0,
            shift: 0.0,
            gain: 0.0,
            gamma: 0.0,
            contrast: 0.0,
            brightness: 0.0,
            dark: 0.0,
            darkest: 1.0,
            blur: 0.0,
            blur_sigma: 0.0,
            noise: 0.0,
            noise_sigma: 0.0,
            jpeg: 0.0,
            jpeg_quality: 90,
            border: 0.0,
            border_radius: 1.0,
            disc_crop: None,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`DatasetError::Options`] naming the field.
    pub fn validate(&self) -> Result<(), DatasetError> {
        let shares = [
            ("flip", self.flip),
            ("dark", self.dark),
            ("blur", self.blur),
            ("noise", self.noise),
            ("jpeg", self.jpeg),
            ("border", self.border),
            ("shift", self.shift),
            ("brightness", self.brightness),
        ];
        let positive = [("darkest", self.darkest), ("border_radius", self.border_radius)];
        let sizes = [
            ("rotation_degrees", self.rotation_degrees, 180.0),
            ("zoom", self.zoom, 1.0),
            ("gain", self.gain, 1.0),
            ("gamma", self.gamma, 2.0),
            ("contrast", self.contrast, 1.0),
            ("blur_sigma", self.blur_sigma, 10.0),
            ("noise_sigma", self.noise_sigma, 64.0),
        ];
        let fail = |name: &str, rule: String| {
            Err(DatasetError::Options(format!("augment.{name} must be {rule}")))
        };
        if let Some((name, _)) = shares.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return fail(name, "within 0..=1".into());
        }
        if let Some((name, _)) = positive.iter().find(|(_, value)| !(*value > 0.0 && *value <= 1.0))
        {
            return fail(name, "above 0 and at most 1".into());
        }
        if let Some((name, _, most)) =
            sizes.iter().find(|(_, value, most)| !(*value >= 0.0 && value <= most))
        {
            return fail(name, format!("within 0..={most}"));
        }
        if !(1..=100).contains(&self.jpeg_quality) {
            return fail("jpeg_quality", "within 1..=100".into());
        }
        self.disc_crop.as_ref().map_or(Ok(()), DiscCrop::validate)
    }
}

/// A changed copy of `master`, `side` pixels wide.
///
/// The master may be larger than `side` (then zooming in loses no detail). What falls outside the
/// picture or under its black border is gone from the masks; a fovea there becomes unknown. A class
/// label is withdrawn when the known disc is less than half visible, and, with
/// [`Augment::disc_crop`], from every example that is not shown as a view of its disc.
pub fn augment(master: &Example, side: u32, options: &Augment, rng: &mut impl Rng) -> Example {
    let turn = symmetric(options.rotation_degrees, rng).to_radians();
    let mirror = rng.random_bool(options.flip);
    let (mut example, mut visible) = match disc_view(master, side, options, turn, mirror, rng) {
        View::Disc(warp, visible) => (warp.example(master, &visible), visible),
        View::Whole { keep_class } => {
            let (warp, visible) = whole_view(master, side, options, turn, mirror, rng);
            let mut example = warp.example(master, &visible);
            example.glaucoma = example.glaucoma.filter(|_| keep_class);
            (example, visible)
        }
    };
    if !disc_is_seen(master, &example) {
        example.glaucoma = None;
    }
    visible.extend(
        example.field.map(|field| Circle { center: field.center, radius: field.radius + 1.5 }),
    );
    expose(&mut example, options, rng);
    degrade(&mut example, &visible, options, rng);
    example
}

enum View {
    Disc(Warp, Vec<Circle>),
    Whole { keep_class: bool },
}

fn disc_view(
    master: &Example,
    side: u32,
    options: &Augment,
    turn: f64,
    mirror: bool,
    rng: &mut impl Rng,
) -> View {
    let Some(crop) = options.disc_crop.as_ref().filter(|_| master.glaucoma.is_some()) else {
        return View::Whole { keep_class: true };
    };
    if !rng.random_bool(crop.share) {
        return View::Whole { keep_class: false };
    }
    match random_crop(master, side, crop, turn, mirror, rng) {
        Some((warp, visible)) => View::Disc(warp, visible),
        None => View::Whole { keep_class: false },
    }
}

fn whole_view(
    master: &Example,
    side: u32,
    options: &Augment,
    turn: f64,
    mirror: bool,
    rng: &mut impl Rng,
) -> (Warp, Vec<Circle>) {
    let master_side = f64::from(master.side());
    let middle = (master_side - 1.0) / 2.0;
    let zoom = ratio(options.zoom, rng);
    let middle = NetworkPoint {
        x: middle + symmetric(options.shift, rng) * master_side,
        y: middle + symmetric(options.shift, rng) * master_side,
    };
    let warp = Warp::new(side, middle, master_side / f64::from(side) / zoom, turn, mirror);
    let mut visible = Vec::new();
    if rng.random_bool(options.border) {
        let share = rng.random_range(options.border_radius..=1.0);
        let center = (f64::from(side) - 1.0) / 2.0;
        visible.push(Circle {
            center: NetworkPoint { x: center, y: center },
            radius: share * f64::from(side) / 2.0,
        });
    }
    (warp, visible)
}

/// Whether at least half of the disc's mask (or, without one, its centre) is still in the picture.
fn disc_is_seen(master: &Example, example: &Example) -> bool {
    if let (Some(before), Some(after)) = (&master.disc, &example.disc) {
        let step = f64::from(after.width()) / f64::from(before.width());
        let whole = example_disc_area(example).unwrap_or(before.area() as f64 * step * step);
        // A disc that was never in the picture (and is known not to be) keeps what its maker said.
        return before.is_empty() || after.area() as f64 >= 0.5 * whole;
    }
    master.disc_center.is_none() || example.disc_center.is_some()
}

/// Area of the whole disc in the example's pixels, had nothing been cut off.
fn example_disc_area(example: &Example) -> Option<f64> {
    let diameter = example.disc_position?.diameter?;
    Some(std::f64::consts::PI / 4.0 * diameter * diameter)
}

/// Tone: exposure, tint, gamma, contrast, brightness, under-exposure.
fn expose(example: &mut Example, options: &Augment, rng: &mut impl Rng) {
    let all = ratio(options.gain, rng);
    let gain = [(); 3].map(|()| all * ratio(options.gain, rng));
    let mut tone = Tone {
        gain,
        gamma: ratio(options.gamma, rng),
        contrast: ratio(options.contrast, rng),
        brightness: symmetric(options.brightness, rng),
    };
    if rng.random_bool(options.dark) {
        let exposure = rng.random_range(options.darkest..=1.0);
        tone.gain = tone.gain.map(|gain| gain * exposure);
        // Contrast turns round the middle of the scale and would black a dark picture out.
        (tone.contrast, tone.brightness) = (1.0, 0.0);
    }
    Curves::new(&tone).apply(&mut example.pixels);
}

/// Blur, noise and compression, each now and then; outside `visible` the picture is black again
/// before compression.
fn degrade(example: &mut Example, visible: &[Circle], options: &Augment, rng: &mut impl Rng) {
    let pixels = &mut example.pixels;
    let mut disturbed = false;
    if rng.random_bool(options.blur) {
        blur(pixels, options.blur_sigma * rng.random::<f64>() * f64::from(pixels.width()) / 256.0);
        disturbed = true;
    }
    if rng.random_bool(options.noise) {
        noise(pixels, options.noise_sigma * rng.random::<f64>(), rng);
        disturbed = true;
    }
    if disturbed && !visible.is_empty() {
        blacken(pixels, visible);
    }
    if rng.random_bool(options.jpeg) {
        recompress(pixels, rng.random_range(options.jpeg_quality..=95u8.max(options.jpeg_quality)));
    }
}

fn symmetric(most: f64, rng: &mut impl Rng) -> f64 {
    most * (2.0 * rng.random::<f64>() - 1.0)
}

/// A factor between 1 / (1 + most) and 1 + most, as likely above 1 as below.
fn ratio(most: f64, rng: &mut impl Rng) -> f64 {
    (symmetric(1.0, rng) * most.ln_1p()).exp()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dataset::warp::tests::{assert_labels_match, painted};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn geometry() -> Augment {
        Augment {
            flip: 0.5,
            rotation_degrees: 20.0,
            zoom: 0.3,
            shift: 0.1,
            border: 0.3,
            border_radius: 0.7,
            ..Augment::none()
        }
    }

    #[test]
    fn labels_stay_on_what_is_painted() {
        let master = painted();
        for seed in 0..60 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let example = augment(&master, 200, &geometry(), &mut rng);
            assert_labels_match(&example, &format!("whole, seed {seed}"));
            let mut class = master.clone();
            class.glaucoma = Some(true);
            let options = Augment { disc_crop: Some(DiscCrop::default()), ..geometry() };
            let example = augment(&class, 200, &options, &mut rng);
            assert_labels_match(&example, &format!("crop, seed {seed}"));
            assert_eq!(example.glaucoma, Some(true), "crop, seed {seed}");
        }
    }

    #[test]
    fn none_is_the_plain_picture_and_the_seed_decides() {
        let master = painted();
        let run = |options: &Augment, seed| {
            augment(&master, 256, options, &mut ChaCha8Rng::seed_from_u64(seed))
        };
        assert_eq!(run(&Augment::none(), 1), master);
        let options = Augment::default();
        assert_eq!(run(&options, 5), run(&options, 5));
        assert_ne!(run(&options, 5).pixels, run(&options, 6).pixels);
    }

    #[test]
    fn the_class_goes_when_the_disc_does() {
        let mut master = painted();
        master.glaucoma = Some(false);
        let options = Augment { border: 1.0, border_radius: 0.25, ..Augment::none() };
        let (mut kept, mut withdrawn) = (0, 0);
        for seed in 0..60 {
            let example = augment(&master, 128, &options, &mut ChaCha8Rng::seed_from_u64(seed));
            let seen = example.disc.as_ref().unwrap().area() as f64
                / (master.disc.as_ref().unwrap().area() as f64 / 4.0);
            assert!(example.glaucoma.is_some() || seen < 0.55, "{seen}");
            assert!(example.glaucoma.is_none() || seen > 0.45, "{seen}");
            if example.glaucoma.is_some() { kept += 1 } else { withdrawn += 1 }
        }
        assert!(kept > 0 && withdrawn > 0, "{kept} {withdrawn}");
    }

    #[test]
    fn without_a_disc_position_a_crop_gives_no_class() {
        let mut master = painted();
        master.glaucoma = Some(true);
        master.disc_position = None;
        let options = Augment { disc_crop: Some(DiscCrop::default()), ..geometry() };
        let example = augment(&master, 128, &options, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(example.glaucoma, None);
        assert!(example.disc.is_some());
        // A phantom or a photograph without a class is shown whole.
        master.glaucoma = None;
        master.disc_position = painted().disc_position;
        let example = augment(&master, 128, &options, &mut ChaCha8Rng::seed_from_u64(1));
        assert!(example.fovea.is_some());
    }

    #[test]
    fn bad_options_are_named() {
        let bad = |options: Augment| options.validate().unwrap_err().to_string();
        assert!(bad(Augment { flip: 1.5, ..Augment::none() }).contains("augment.flip"));
        assert!(bad(Augment { jpeg_quality: 0, ..Augment::none() }).contains("jpeg_quality"));
        assert!(bad(Augment { darkest: 0.0, ..Augment::none() }).contains("darkest"));
        assert!(bad(Augment { zoom: f64::NAN, ..Augment::none() }).contains("zoom"));
        let crop = DiscCrop { radius_to: 1.0, ..DiscCrop::default() };
        assert!(bad(Augment { disc_crop: Some(crop), ..Augment::none() }).contains("radius_to"));
        assert!(Augment::default().validate().is_ok() && Augment::none().validate().is_ok());
        assert!(toml::from_str::<Augment>("flip = 0.1\nflop = 2").is_err());
        assert_eq!(toml::from_str::<Augment>("").unwrap(), Augment::default());
    }

    /// Milliseconds that this thread has been on a core: wall time says nothing on a shared machine.
    fn own_milliseconds() -> Option<f64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok().map(|nanoseconds| nanoseconds / 1e6)
    }

    /// One example must take under 8 ms of one core, so that preparing eight hides behind a step.
    #[test]
    fn is_fast_enough_for_background_threads() {
        let master = Warp::whole(256, 512).example(&painted(), &[]);
        let options = Augment::default();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        if own_milliseconds().is_none() || cfg!(debug_assertions) {
            eprintln!("SKIPPED: no clock of this thread's own time, or not an optimised build");
            return;
        }
        let mut times: Vec<f64> = (0..60)
            .map(|_| {
                let start = own_milliseconds();
                augment(&master, 256, &options, &mut rng);
                own_milliseconds().zip(start).map_or(0.0, |(end, start)| end - start)
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        eprintln!("one 256 px example: mean {mean:.2} ms, slowest {:.2} ms", times[59]);
        // Twice the aim: a busy sibling core slows this one.
        assert!(mean < 16.0, "mean {mean} ms");
    }
}
