//! Colours, chosen to differ in brightness as well as in hue (after Okabe and Ito's palette for
//! colour-blind readers). No meaning rests on a colour alone: each has its icon, line or word.

use embedded_graphics::pixelcolor::Rgb888;

/// Behind everything.
pub const GROUND: Rgb888 = Rgb888::new(0x0B, 0x0F, 0x13);
/// Around the photograph: the black of a fundus photograph's own surround.
pub const SURROUND: Rgb888 = Rgb888::new(0, 0, 0);
/// Main text.
pub const TEXT: Rgb888 = Rgb888::new(0xF3, 0xF6, 0xF8);
/// Labels and details.
pub const MUTED: Rgb888 = Rgb888::new(0xA7, 0xB4, 0xBF);
/// Lines between groups.
pub const LINE: Rgb888 = Rgb888::new(0x33, 0x3E, 0x48);

/// Glaucoma suspected.
pub const SUSPECTED: Rgb888 = Rgb888::new(0xD5, 0x5E, 0x00);
/// No glaucoma suspected.
pub const NOT_SUSPECTED: Rgb888 = Rgb888::new(0x00, 0x5F, 0x9E);
/// Cannot be graded.
pub const UNGRADABLE: Rgb888 = Rgb888::new(0xF0, 0xC8, 0x2E);
/// Not examined.
pub const REFUSED: Rgb888 = Rgb888::new(0x5B, 0x65, 0x70);
/// Text on the bright `UNGRADABLE`.
pub const INK: Rgb888 = Rgb888::new(0x12, 0x14, 0x16);

/// Outline of the disc.
pub const DISC: Rgb888 = Rgb888::new(0x5A, 0xE4, 0xFF);
/// Outline of the cup.
pub const CUP: Rgb888 = Rgb888::new(0xFF, 0xFF, 0xFF);
/// Cross on the fovea.
pub const FOVEA: Rgb888 = Rgb888::new(0xFF, 0xE0, 0x4A);
/// Dark edge that keeps outlines visible on bright retina.
pub const HALO: Rgb888 = Rgb888::new(0x06, 0x12, 0x1C);
