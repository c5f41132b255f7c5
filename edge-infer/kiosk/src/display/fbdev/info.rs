//! What a framebuffer driver says of itself: two structures of the kernel's `linux/fb.h`, each read by its ioctl.
#![allow(unsafe_code)]

use std::ffi::c_ulong;
use std::fs::File;
use std::io;

use rustix::ioctl::{Getter, ioctl};

/// The number of the request for [`Variable`].
const FBIOGET_VSCREENINFO: u32 = 0x4600;
/// The number of the request for [`Fixed`].
const FBIOGET_FSCREENINFO: u32 = 0x4602;

/// `struct fb_bitfield`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Bitfield {
    pub offset: u32,
    pub length: u32,
    pub msb_right: u32,
}

/// `struct fb_var_screeninfo`: the mode. What comes after the size is timing, which nothing here reads.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Variable {
    pub width: u32,
    pub height: u32,
    pub virtual_width: u32,
    pub virtual_height: u32,
    pub x_offset: u32,
    pub y_offset: u32,
    pub bits_per_pixel: u32,
    pub grayscale: u32,
    pub red: Bitfield,
    pub green: Bitfield,
    pub blue: Bitfield,
    pub transparency: Bitfield,
    pub nonstandard: u32,
    pub activate: u32,
    pub height_mm: u32,
    pub width_mm: u32,
    pub rest: [u32; 16],
}

/// `struct fb_fix_screeninfo`: the memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed {
    pub id: [u8; 16],
    pub memory_start: c_ulong,
    pub memory_length: u32,
    pub kind: u32,
    pub kind_more: u32,
    pub visual: u32,
    pub pan_steps: [u16; 3],
    pub line_length: u32,
    pub registers_start: c_ulong,
    pub registers_length: u32,
    pub acceleration: u32,
    pub capabilities: u16,
    pub reserved: [u16; 2],
}

/// The mode of an open framebuffer device.
///
/// # Errors
/// The kernel's own: `ENOTTY` for a file that is no framebuffer.
pub fn variable(device: &File) -> io::Result<Variable> {
    // SAFETY: the kernel fills a `struct fb_var_screeninfo`, whose fields and size (a test holds it) are those of
    // `Variable`; all bit patterns are valid for its integers.
    let read = unsafe { ioctl(device, Getter::<FBIOGET_VSCREENINFO, Variable>::new()) };
    Ok(read?)
}

/// The memory of an open framebuffer device.
///
/// # Errors
/// The kernel's own: `ENOTTY` for a file that is no framebuffer.
pub fn fixed(device: &File) -> io::Result<Fixed> {
    // SAFETY: as above, with `struct fb_fix_screeninfo` and `Fixed`.
    let read = unsafe { ioctl(device, Getter::<FBIOGET_FSCREENINFO, Fixed>::new()) };
    Ok(read?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_are_as_large_as_the_kernels() {
        assert_eq!(size_of::<Variable>(), 160);
        let word = size_of::<c_ulong>();
        assert_eq!(size_of::<Fixed>(), if word == 8 { 80 } else { 68 });
        assert_eq!(std::mem::offset_of!(Fixed, line_length), 16 + word + 4 * 4 + 8);
    }
}
