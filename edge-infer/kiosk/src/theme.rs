//! Colours. Two themes: daylight for a bright sun, dark for a darkened room. No meaning rests on a colour
//! alone: each has its sign and its word; and the colours of meaning differ in brightness as well as in hue.

use embedded_graphics::pixelcolor::Rgb888;

/// A choice of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Black on white.
    Daylight,
    /// White on black.
    Dark,
}

/// A colour to fill with and the ink to write on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    /// The ground.
    pub ground: Rgb888,
    /// Text and signs on it.
    pub ink: Rgb888,
}

/// The colours of a theme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    /// Behind everything; main text.
    pub page: Paint,
    /// Labels and details, on the page's ground.
    pub muted: Rgb888,
    /// Lines and edges.
    pub line: Rgb888,
    /// A button.
    pub button: Paint,
    /// The button that leads on.
    pub primary: Paint,
    /// The ring round the focused button, with the page's ground on both sides of it.
    pub focus: Rgb888,
    /// The bar at the top.
    pub header: Paint,
    /// Glaucoma suspected; refer.
    pub suspected: Paint,
    /// Not suspected.
    pub not_suspected: Paint,
    /// Photograph again.
    pub retake: Paint,
    /// Cannot be graded.
    pub ungradable: Paint,
}

const fn rgb(hex: u32) -> Rgb888 {
    Rgb888::new((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

const fn paint(ground: u32, ink: u32) -> Paint {
    Paint { ground: rgb(ground), ink: rgb(ink) }
}

const DAYLIGHT: Palette = Palette {
    page: paint(0xFF_FF_FF, 0x00_00_00),
    muted: rgb(0x3C_44_4B),
    line: rgb(0x6B_74_7C),
    button: paint(0xE4_E9_EE, 0x00_00_00),
    primary: paint(0x5B_2A_86, 0xFF_FF_FF),
    focus: rgb(0xC2_18_5B),
    header: paint(0x10_16_1C, 0xFF_FF_FF),
    suspected: paint(0xA8_36_00, 0xFF_FF_FF),
    not_suspected: paint(0x00_4B_9B, 0xFF_FF_FF),
    retake: paint(0xF5_CE_32, 0x00_00_00),
    ungradable: paint(0x2A_2A_2A, 0xFF_FF_FF),
};

const DARK: Palette = Palette {
    page: paint(0x0B_0F_13, 0xF3_F6_F8),
    muted: rgb(0xB4_C0_CA),
    line: rgb(0x6E_7B_87),
    button: paint(0x26_30_39, 0xFF_FF_FF),
    primary: paint(0xD9_B8_FF, 0x00_00_00),
    focus: rgb(0xFF_6F_A8),
    header: paint(0x00_00_00, 0xF3_F6_F8),
    suspected: paint(0xA8_36_00, 0xFF_FF_FF),
    not_suspected: paint(0x00_4F_A3, 0xFF_FF_FF),
    retake: paint(0xF5_CE_32, 0x00_00_00),
    ungradable: paint(0xD8_D8_D8, 0x00_00_00),
};

impl Theme {
    /// Its colours.
    #[must_use]
    pub const fn palette(self) -> &'static Palette {
        match self {
            Self::Daylight => &DAYLIGHT,
            Self::Dark => &DARK,
        }
    }
}

/// Outline of the disc on the photograph.
pub const DISC: Rgb888 = rgb(0x5A_E4_FF);
/// Outline of the cup, which is dashed.
pub const CUP: Rgb888 = rgb(0xFF_FF_FF);
/// Cross on the fovea.
pub const FOVEA: Rgb888 = rgb(0xFF_E0_4A);
/// Dark edge that keeps outlines visible on a bright retina.
pub const HALO: Rgb888 = rgb(0x06_12_1C);

/// `over` laid on `under` with the given coverage from 0 to 1.
#[must_use]
pub fn blend(under: Rgb888, over: Rgb888, coverage: f32) -> Rgb888 {
    use embedded_graphics::pixelcolor::RgbColor;
    let mix = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * coverage).round();
    Rgb888::new(
        mix(under.r(), over.r()) as u8,
        mix(under.g(), over.g()) as u8,
        mix(under.b(), over.b()) as u8,
    )
}
