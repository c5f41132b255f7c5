//! Energy, where the machine meters it: counters of joules (RAPL, through `powercap`) and sensors of
//! power (INA chips of Jetson boards and add-on boards, through `hwmon`).

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::{number, numbered, text};

/// Energy that one meter measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Energy {
    /// The meter's name: `package-0` is a processor, others are a board's supply rails.
    pub meter: String,
    /// How it was measured: `counter`, or `samples` of power averaged and multiplied by the time.
    pub from: &'static str,
    /// Joules, of everything that the meter supplies.
    pub joules: f64,
}

/// All meters of the machine, and what they have shown since the start.
#[derive(Debug)]
pub struct Meters {
    started: Instant,
    counters: Vec<Counter>,
    sensors: Vec<Sensor>,
}

/// A counter of microjoules that begins again at zero beyond `range`.
#[derive(Debug)]
struct Counter {
    name: String,
    file: PathBuf,
    range: u64,
    first: u64,
}

/// A sensor of power and the watts it showed.
#[derive(Debug)]
struct Sensor {
    name: String,
    power: Power,
    watts: Vec<f64>,
}

/// Files that tell the power.
#[derive(Debug)]
enum Power {
    /// Microwatts.
    Direct(PathBuf),
    /// Millivolts and milliamperes.
    Product(PathBuf, PathBuf),
}

impl Meters {
    /// Finds the meters below `root` and notes what the counters show.
    #[must_use]
    pub fn start(root: &Path) -> Self {
        Self { started: Instant::now(), counters: counters(root), sensors: sensors(root) }
    }

    /// Reads the sensors of power once.
    pub fn sample(&mut self) {
        for sensor in &mut self.sensors {
            sensor.watts.extend(sensor.power.watts());
        }
    }

    /// What was used since the start; empty where nothing is metered.
    #[must_use]
    pub fn used(&self) -> Vec<Energy> {
        let seconds = self.started.elapsed().as_secs_f64();
        let counted = self.counters.iter().filter_map(|counter| {
            let joules = counter.used(number(&counter.file)?) as f64 / 1e6;
            Some(Energy { meter: counter.name.clone(), from: "counter", joules })
        });
        let sampled = self.sensors.iter().filter(|sensor| !sensor.watts.is_empty()).map(|sensor| {
            let mean = sensor.watts.iter().sum::<f64>() / sensor.watts.len() as f64;
            Energy { meter: sensor.name.clone(), from: "samples", joules: mean * seconds }
        });
        counted.chain(sampled).collect()
    }
}

impl Counter {
    /// Microjoules between the first reading and `now`.
    fn used(&self, now: u64) -> u64 {
        if now >= self.first { now - self.first } else { self.range - self.first + now }
    }
}

impl Power {
    fn watts(&self) -> Option<f64> {
        match self {
            Self::Direct(file) => number(file).map(|microwatts| microwatts as f64 / 1e6),
            Self::Product(volts, amperes) => {
                Some(number(volts)? as f64 * number(amperes)? as f64 / 1e6)
            }
        }
    }
}

/// RAPL's counters of whole processors; their parts would be counted twice.
fn counters(root: &Path) -> Vec<Counter> {
    let zones = numbered(&root.join("sys/class/powercap"), "intel-rapl:");
    let counter = |zone: PathBuf| {
        let file = zone.join("energy_uj");
        let (first, range) = (number(&file)?, number(&zone.join("max_energy_range_uj"))?);
        let whole = first <= range;
        whole.then_some(Counter { name: text(&zone.join("name"))?, file, range, first })
    };
    zones.into_iter().filter_map(counter).collect()
}

/// The channels of all INA chips.
fn sensors(root: &Path) -> Vec<Sensor> {
    let chips = numbered(&root.join("sys/class/hwmon"), "hwmon").into_iter();
    let chips = chips.filter_map(|chip| Some((text(&chip.join("name"))?, chip)));
    chips
        .filter(|(name, _)| name.starts_with("ina"))
        .flat_map(|(name, chip)| (1..=3).filter_map(move |at| channel(&name, &chip, at)))
        .collect()
}

/// One channel: one with a power of its own, or one with voltage and current.
fn channel(chip_name: &str, chip: &Path, at: u32) -> Option<Sensor> {
    let file = |name: String| Some(chip.join(name)).filter(|path| path.is_file());
    let power = match file(format!("power{at}_input")) {
        Some(direct) => Power::Direct(direct),
        None => Power::Product(file(format!("in{at}_input"))?, file(format!("curr{at}_input"))?),
    };
    let label = text(&chip.join(format!("in{at}_label")));
    let name = label.unwrap_or_else(|| format!("{chip_name} channel {at}"));
    Some(Sensor { name, power, watts: Vec::new() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn a_counter_is_read_across_its_end() {
        let zone = "sys/class/powercap/intel-rapl:0";
        let counter = format!("{zone}/energy_uj");
        let root = tree(&[
            (&format!("{zone}/name"), "package-0\n"),
            (&format!("{zone}/max_energy_range_uj"), "10000000\n"),
            (&counter, "9000000\n"),
            // A part of the package.
            ("sys/class/powercap/intel-rapl:0:0/name", "core\n"),
            ("sys/class/powercap/intel-rapl:0:0/energy_uj", "1\n"),
            ("sys/class/powercap/intel-rapl:0:0/max_energy_range_uj", "10\n"),
        ]);
        let meters = Meters::start(root.path());
        for (shown, joules) in [("9500000", 0.5), ("1500000", 2.5)] {
            std::fs::write(root.path().join(&counter), shown).unwrap();
            let expected = Energy { meter: "package-0".into(), from: "counter", joules };
            assert_eq!(meters.used(), [expected]);
        }
    }

    #[test]
    fn sensors_are_averaged() {
        let root = tree(&[
            ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("sys/class/hwmon/hwmon0/power1_input", "77\n"),
            ("sys/class/hwmon/hwmon1/name", "ina3221\n"),
            ("sys/class/hwmon/hwmon1/in1_label", "VDD_IN\n"),
            ("sys/class/hwmon/hwmon1/in1_input", "5000\n"),
            ("sys/class/hwmon/hwmon1/curr1_input", "1000\n"),
            ("sys/class/hwmon/hwmon2/name", "ina219\n"),
            ("sys/class/hwmon/hwmon2/power1_input", "2500000\n"),
        ]);
        let mut meters = Meters::start(root.path());
        meters.sample();
        std::fs::write(root.path().join("sys/class/hwmon/hwmon1/curr1_input"), "3000").unwrap();
        meters.sample();
        let names: Vec<_> = meters.sensors.iter().map(|sensor| sensor.name.as_str()).collect();
        assert_eq!(names, ["VDD_IN", "ina219 channel 1"]);
        assert_eq!(meters.sensors[0].watts, [5.0, 15.0]);
        assert_eq!(meters.sensors[1].watts, [2.5, 2.5]);
        let used = meters.used();
        // Both over the same time: ten watts against two and a half.
        assert!((used[0].joules / used[1].joules - 4.0).abs() < 1e-9, "{used:?}");
    }

    #[test]
    fn no_meter_no_energy() {
        let mut meters = Meters::start(tree(&[]).path());
        meters.sample();
        assert_eq!(meters.used(), []);
    }
}
