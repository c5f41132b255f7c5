//! How a display keeps its pixels in memory.

use embedded_graphics::prelude::Size;

/// The bits of one colour in a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// The place of the lowest one.
    pub offset: u32,
    /// How many.
    pub length: u32,
}

impl Channel {
    /// All its bits set.
    #[must_use]
    pub const fn mask(self) -> u32 {
        if self.length == 0 {
            return 0;
        }
        // A shift by 32 or more has no meaning; such a channel lies outside the pixel.
        (u32::MAX >> (32 - if self.length < 32 { self.length } else { 32 }))
            .wrapping_shl(self.offset)
    }

    /// A value of 8 bits at its place: the highest bits where there is no room for all.
    const fn place(self, value: u8) -> u32 {
        let full = (value as u32) << 24;
        if self.length == 0 { 0 } else { (full >> (32 - self.length)) << self.offset }
    }
}

/// A display's memory: rows of pixels in the byte order of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Pixels across and down.
    pub size: Size,
    /// The first pixel's byte.
    pub start: usize,
    /// Bytes from one row to the next.
    pub pitch: usize,
    /// Bytes of a pixel, 1 to 4.
    pub bytes: usize,
    /// Where red, green and blue lie in a pixel.
    pub channels: [Channel; 3],
    /// Bits that are set in every pixel: where the display has an alpha channel, it is opaque.
    pub set: u32,
}

impl Layout {
    /// 4 bytes a pixel, blue lowest and the highest byte unused.
    #[must_use]
    pub const fn xrgb(size: Size, pitch: usize) -> Self {
        let channels = [
            Channel { offset: 16, length: 8 },
            Channel { offset: 8, length: 8 },
            Channel { offset: 0, length: 8 },
        ];
        Self { size, start: 0, pitch, bytes: 4, channels, set: 0 }
    }

    /// The bytes of a colour (XRGB); the first [`Layout::bytes`] count.
    #[must_use]
    pub fn pixel(&self, color: u32) -> [u8; 4] {
        let [_, red, green, blue] = color.to_be_bytes();
        let [in_red, in_green, in_blue] = self.channels;
        let value = in_red.place(red) | in_green.place(green) | in_blue.place(blue) | self.set;
        // A value of 3 bytes begins with the lowest one: the machines this runs on are little-endian.
        value.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bytes: usize, [red, green, blue]: [(u32, u32); 3]) -> Layout {
        let channel = |(offset, length)| Channel { offset, length };
        let channels = [channel(red), channel(green), channel(blue)];
        Layout { bytes, channels, ..Layout::xrgb(Size::new(1, 1), 4) }
    }

    #[test]
    fn a_colour_takes_the_form_of_the_display() {
        let color = 0x00_FF_81_3C;
        let rgb565 = layout(2, [(11, 5), (5, 6), (0, 5)]);
        let bgr565 = layout(2, [(0, 5), (5, 6), (11, 5)]);
        let bgr888 = layout(3, [(0, 8), (8, 8), (16, 8)]);
        let argb = Layout { set: 0xFF00_0000, ..Layout::xrgb(Size::new(1, 1), 4) };
        // Worked by hand: 255 is 31 of 5 bits, 0x81 is 32 of 6, 0x3C is 7 of 5.
        let word = |value: u16| value.to_le_bytes();
        assert_eq!(rgb565.pixel(color)[..2], word(31 << 11 | 32 << 5 | 7));
        assert_eq!(bgr565.pixel(color)[..2], word(7 << 11 | 32 << 5 | 31));
        assert_eq!(bgr888.pixel(color)[..3], [0xFF, 0x81, 0x3C]);
        assert_eq!(argb.pixel(color), [0x3C, 0x81, 0xFF, 0xFF]);
        let deep = layout(4, [(20, 10), (10, 10), (0, 10)]);
        assert_eq!(deep.pixel(color), (0x3FC << 20 | 0x204 << 10 | 0xF0u32).to_le_bytes());
    }

    #[test]
    fn a_mask_has_all_bits_of_its_channel() {
        assert_eq!(Channel { offset: 24, length: 8 }.mask(), 0xFF00_0000);
        assert_eq!(Channel { offset: 5, length: 6 }.mask(), 0x07E0);
        assert_eq!(Channel { offset: 0, length: 0 }.mask(), 0);
        assert_eq!(Channel { offset: 0, length: 32 }.mask(), u32::MAX);
    }
}
