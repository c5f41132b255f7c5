//! What the machine is fed from: mains, batteries, and whether its supply holds the voltage.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::thermal::supply_is_low;
use super::{number, numbered, text};

/// What the machine is fed from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Power {
    /// Whether a supply from outside (mains adapter, USB) is connected; `None` where none is known of.
    pub mains: Option<bool>,
    /// The machine's batteries, by name.
    pub batteries: Vec<Battery>,
    /// Whether a Raspberry Pi finds its supply's voltage too low now; `None` where nothing tells.
    pub under_voltage: Option<bool>,
}

/// One battery, or an uninterruptible supply's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Battery {
    /// The driver's name for it.
    pub name: String,
    /// Charge, 0 to 100.
    pub percent: Option<u8>,
    /// Whether it feeds the machine now.
    pub discharging: Option<bool>,
}

impl Power {
    /// What the files below `root` say. Batteries of mice and the like do not count.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let supplies = supplies(&root.join("sys/class/power_supply"));
        let online = |(_, kind, folder): &(String, String, PathBuf)| {
            let feeds = matches!(kind.as_str(), "Mains" | "USB" | "Wireless");
            feeds.then(|| number(&folder.join("online"))).flatten()
        };
        let mains = supplies.iter().filter_map(online).map(|online| online > 0);
        let batteries = supplies.iter().filter_map(|(name, kind, folder)| {
            matches!(kind.as_str(), "Battery" | "UPS").then(|| battery(name, folder)).flatten()
        });
        Self {
            mains: mains.reduce(|any, online| any || online),
            batteries: batteries.collect(),
            under_voltage: under_voltage(root),
        }
    }

    /// What somebody should be told: a supply that is too weak, a battery that runs out. A sentence each.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let weak = (self.under_voltage == Some(true))
            .then(|| "the supply voltage is too low: use the board's own supply".to_string());
        let low = |battery: &&Battery| {
            battery.discharging == Some(true)
                && battery.percent.is_some_and(|percent| percent <= LOW_PERCENT)
        };
        let low = self.batteries.iter().filter(low).map(|battery| {
            let percent = battery.percent.unwrap_or_default();
            format!("{}: {percent} % left, charge it", battery.name)
        });
        weak.into_iter().chain(low).collect()
    }
}

/// A discharging battery at or below this charge is told of, early enough to end the visit and find a charger.
const LOW_PERCENT: u8 = 15;

/// Name, kind and folder of every supply of the machine itself, by name.
fn supplies(class: &Path) -> Vec<(String, String, PathBuf)> {
    let entries = std::fs::read_dir(class).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let folder = entry.path();
            let name = entry.file_name().into_string().ok()?;
            // `System` or `Unknown` otherwise; many drivers have no such file.
            let of_a_device = text(&folder.join("scope")).is_some_and(|scope| scope == "Device");
            (!of_a_device).then(|| Some((name, text(&folder.join("type"))?, folder)))?
        })
        .collect();
    found.sort();
    found
}

fn battery(name: &str, folder: &Path) -> Option<Battery> {
    if number(&folder.join("present")) == Some(0) {
        return None;
    }
    let discharging = text(&folder.join("status")).and_then(|status| match status.as_str() {
        "Discharging" => Some(true),
        "Charging" | "Full" | "Not charging" => Some(false),
        _ => None,
    });
    let percent = number(&folder.join("capacity")).and_then(|percent| percent.try_into().ok());
    let percent = percent.map(|percent: u8| percent.min(100));
    Some(Battery { name: name.to_string(), percent, discharging })
}

/// A Raspberry Pi's sensor of its supply (`rpi_volt`), or the firmware's flag.
fn under_voltage(root: &Path) -> Option<bool> {
    let sensors = numbered(&root.join("sys/class/hwmon"), "hwmon");
    let sensor = sensors
        .iter()
        .find(|sensor| text(&sensor.join("name")).is_some_and(|name| name == "rpi_volt"));
    let alarm = sensor.and_then(|sensor| number(&sensor.join("in0_lcrit_alarm")));
    alarm.map(|alarm| alarm > 0).or_else(|| supply_is_low(root))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::tree;
    use super::*;

    const CLASS: &str = "sys/class/power_supply";

    #[test]
    fn a_battery_and_its_adapter_are_read() {
        let at = |file: &str| format!("{CLASS}/{file}");
        let root = tree(&[
            (&at("AC/type"), "Mains\n"),
            (&at("AC/online"), "0\n"),
            (&at("BAT0/type"), "Battery\n"),
            (&at("BAT0/present"), "1\n"),
            (&at("BAT0/status"), "Discharging\n"),
            (&at("BAT0/capacity"), "14\n"),
            (&at("BAT1/type"), "Battery\n"),
            (&at("BAT1/present"), "0\n"),
            (&at("hid-mouse/type"), "Battery\n"),
            (&at("hid-mouse/scope"), "Device\n"),
            (&at("hid-mouse/capacity"), "3\n"),
        ]);
        let power = Power::read(root.path());
        let battery = Battery { name: "BAT0".into(), percent: Some(14), discharging: Some(true) };
        let expected = Power { mains: Some(false), batteries: vec![battery], under_voltage: None };
        assert_eq!(power, expected);
        assert_eq!(power.troubles(), ["BAT0: 14 % left, charge it"]);
        std::fs::write(root.path().join(at("BAT0/status")), "Charging\n").unwrap();
        assert_eq!(Power::read(root.path()).troubles(), [""; 0]);
    }

    #[test]
    fn one_supply_of_several_is_enough() {
        let at = |file: &str| format!("{CLASS}/{file}");
        let root = tree(&[
            (&at("a/type"), "Mains\n"),
            (&at("a/online"), "0\n"),
            (&at("b/type"), "USB\n"),
            (&at("b/online"), "1\n"),
        ]);
        assert_eq!(Power::read(root.path()).mains, Some(true));
    }

    #[test]
    fn a_raspberry_pi_says_that_its_supply_is_weak() {
        let alarm = "sys/class/hwmon/hwmon1/in0_lcrit_alarm";
        let root = tree(&[
            ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
            (alarm, "1\n"),
        ]);
        let power = Power::read(root.path());
        assert_eq!(power.under_voltage, Some(true));
        assert_eq!(power.troubles().len(), 1);
        std::fs::write(root.path().join(alarm), "0\n").unwrap();
        assert_eq!(Power::read(root.path()).under_voltage, Some(false));
        // Without the sensor, the firmware's flag.
        let firmware = tree(&[("sys/devices/platform/soc/soc:firmware/get_throttled", "1\n")]);
        assert_eq!(Power::read(firmware.path()).under_voltage, Some(true));
    }

    #[test]
    fn what_is_not_exposed_is_not_guessed() {
        assert_eq!(Power::read(tree(&[]).path()), Power::default());
        let at = |file: &str| format!("{CLASS}/{file}");
        let odd = tree(&[
            (&at("BAT0/type"), "Battery\n"),
            (&at("BAT0/status"), "Unknown\n"),
            (&at("BAT0/capacity"), "much\n"),
            (&at("AC/type"), "Mains\n"),
        ]);
        let battery = Battery { name: "BAT0".into(), percent: None, discharging: None };
        let expected = Power { batteries: vec![battery], ..Power::default() };
        assert_eq!(Power::read(odd.path()), expected);
        assert_eq!(expected.troubles(), [""; 0]);
    }
}
