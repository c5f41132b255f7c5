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
    page: paint(0xFFFFFF, 0x000000),
    muted: rgb(0x3C444B),
    line: rgb(0x6B747C),
    button: paint(0xE4E9EE, 0x000000),
    primary: paint(0x5B2A86, 0xFFFFFF),
    focus: rgb(0xC2185B),
    header: paint(0x10161C, 0xFFFFFF),
    suspected: paint(0xA03200, 0xFFFFFF),
    not_suspected: paint(0x004B9B, 0xFFFFFF),
    retake: paint(0xF5CE32, 0x000000),
    ungradable: paint(0x2A2A2A, 0xFFFFFF),
};

const DARK: Palette = Palette {
    page: paint(0x0B0F13, 0xF3F6F8),
    muted: rgb(0xB4C0CA),
    line: rgb(0x6E7B87),
    button: paint(0x263039, 0xFFFFFF),
    primary: paint(0xD9B8FF, 0x000000),
    focus: rgb(0xFF6FA8),
    header: paint(0x000000, 0xF3F6F8),
    suspected: paint(0xA03200, 0xFFFFFF),
    not_suspected: paint(0x004FA3, 0xFFFFFF),
    retake: paint(0xF5CE32, 0x000000),
    ungradable: paint(0xD8D8D8, 0x000000),
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
pub const DISC: Rgb888 = rgb(0x5AE4FF);
/// Outline of the cup, which is dashed.
pub const CUP: Rgb888 = rgb(0xFFFFFF);
/// Cross on the fovea.
pub const FOVEA: Rgb888 = rgb(0xFFE04A);
/// Dark edge that keeps outlines visible on a bright retina.
pub const HALO: Rgb888 = rgb(0x06121C);

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
