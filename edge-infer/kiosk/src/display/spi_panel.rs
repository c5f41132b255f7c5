//! Which panel hangs on which pins, as text: `ili9486,dc=GPIO24,reset=GPIO25`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A chip that drives a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chip {
    /// 240x320.
    Ili9341,
    /// 320x480.
    Ili9486,
    /// 320x480.
    Ili9488,
    /// 240x320.
    St7789,
    /// 320x480.
    St7796,
}

const CHIPS: [(&str, Chip); 5] = [
    ("ili9341", Chip::Ili9341),
    ("ili9486", Chip::Ili9486),
    ("ili9488", Chip::Ili9488),
    ("st7789", Chip::St7789),
    ("st7796", Chip::St7796),
];

/// A panel on an SPI bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiPanel {
    /// Its chip.
    pub chip: Chip,
    /// The line that tells commands from pixels, as the kernel names it.
    pub dc: String,
    /// The line that resets the chip, where one is connected.
    pub reset: Option<String>,
    /// The bus.
    pub device: PathBuf,
    /// Megahertz of the bus.
    pub mhz: u32,
    /// Whether blue is where red is expected, as on most boards.
    pub bgr: bool,
    /// Whether light is dark, as on most panels seen from all sides (IPS).
    pub invert: bool,
}

impl FromStr for SpiPanel {
    type Err = ();

    /// The chip, then what differs from the usual, in any order.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(',');
        let chip = parts.next().unwrap_or_default();
        let (_, chip) = CHIPS.into_iter().find(|(name, _)| *name == chip).ok_or(())?;
        let mut panel = Self {
            chip,
            dc: String::new(),
            reset: None,
            device: "/dev/spidev0.0".into(),
            mhz: 16,
            bgr: false,
            invert: false,
        };
        for part in parts {
            match part.split_once('=') {
                Some((_, "")) => return Err(()),
                Some(("dc", line)) => panel.dc = line.to_owned(),
                Some(("reset", line)) => panel.reset = Some(line.to_owned()),
                Some(("device", file)) => panel.device = file.into(),
                Some(("mhz", mhz)) => panel.mhz = mhz.parse().map_err(drop)?,
                None if part == "bgr" => panel.bgr = true,
                None if part == "invert" => panel.invert = true,
                _ => return Err(()),
            }
        }
        let usable = !panel.dc.is_empty() && (1..=200).contains(&panel.mhz);
        usable.then_some(panel).ok_or(())
    }
}

impl fmt::Display for SpiPanel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chip, dc, reset, device, mhz, bgr, invert } = self;
        let name = CHIPS.iter().find(|(_, known)| known == chip).map_or("", |(name, _)| name);
        write!(f, "{name},dc={dc}")?;
        if let Some(reset) = reset {
            write!(f, ",reset={reset}")?;
        }
        write!(f, ",device={},mhz={mhz}", device.display())?;
        for (word, holds) in [("bgr", bgr), ("invert", invert)] {
            if *holds {
                write!(f, ",{word}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_is_named_by_its_chip_and_its_pins() {
        let panel: SpiPanel = "ili9486,dc=GPIO24,reset=GPIO25,bgr".parse().unwrap();
        assert_eq!((panel.chip, panel.dc.as_str(), panel.mhz), (Chip::Ili9486, "GPIO24", 16));
        assert_eq!(
            (panel.reset.as_deref(), panel.bgr, panel.invert),
            (Some("GPIO25"), true, false)
        );
        assert_eq!(panel.to_string().parse(), Ok(panel));
        let other = "st7789,mhz=40,invert,device=/dev/spidev1.2,dc=LCD_DC";
        let panel: SpiPanel = other.parse().unwrap();
        assert_eq!((panel.device.to_str(), panel.reset.as_ref()), (Some("/dev/spidev1.2"), None));
        assert_eq!(panel.to_string().parse(), Ok(panel));
    }

    #[test]
    fn a_panel_without_its_pin_or_with_a_word_too_many_is_none() {
        for text in
            ["", "ili9486", "ili9999,dc=1", "st7789,dc=", "st7789,dc=1,mhz=0", "st7789,dc=1,rgb"]
        {
            assert!(text.parse::<SpiPanel>().is_err(), "{text}");
        }
    }
}
