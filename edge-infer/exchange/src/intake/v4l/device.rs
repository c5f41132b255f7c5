//! A camera behind the kernel's V4L2: set to a mode, its frames read from memory that driver and program share.
//! The requests are those of the kernel's `linux/videodev2.h`; no library is needed where this is built.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::ioctl::opcode::{read, read_write, write};
use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::frame::{Colours, Frame, Mode, Pixels};

/// Frames that the driver may fill before one is read. More than two, so that a decoder's pause costs none; few,
/// since each may be older than the next.
pub const BUFFERS: u32 = 4;
/// A camera's frame that is larger is none.
const MOST_BYTES: u32 = 256 << 20;

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
const CAPTURE: u32 = 1;
/// `V4L2_MEMORY_MMAP`.
const MMAP: u32 = 1;
/// `V4L2_CAP_VIDEO_CAPTURE` and `V4L2_CAP_STREAMING`.
const NEEDED: u32 = 0x1 | 0x0400_0000;
/// `V4L2_CAP_DEVICE_CAPS`: the device file's own capabilities are told beside the whole device's.
const OWN_CAPABILITIES: u32 = 0x8000_0000;
/// `V4L2_BUF_FLAG_ERROR`: the driver lost a part of the frame.
const DAMAGED: u32 = 0x40;
/// `V4L2_FIELD_NONE`: whole frames, not every other line.
const PROGRESSIVE: u32 = 1;

const QUERYCAP: Opcode = read::<Capability>(b'V', 0);
const S_FMT: Opcode = read_write::<Format>(b'V', 5);
const REQBUFS: Opcode = read_write::<Request>(b'V', 8);
const QUERYBUF: Opcode = read_write::<Buffer>(b'V', 9);
const QBUF: Opcode = read_write::<Buffer>(b'V', 15);
const DQBUF: Opcode = read_write::<Buffer>(b'V', 17);
const STREAMON: Opcode = write::<c_int>(b'V', 18);
const S_PARM: Opcode = read_write::<Rate>(b'V', 22);

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    bus: [u8; 32],
    version: u32,
    capabilities: u32,
    own: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_format` with a `struct v4l2_pix_format`; the kernel's union is aligned as a pointer.
#[repr(C)]
#[derive(Clone, Copy)]
struct Format {
    kind: u32,
    align: [c_ulong; 0],
    width: u32,
    height: u32,
    pixels: u32,
    field: u32,
    pitch: u32,
    bytes: u32,
    colour_space: u32,
    private: u32,
    flags: u32,
    coding: u32,
    range: u32,
    transfer: u32,
    rest: [u32; 38],
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Request {
    count: u32,
    kind: u32,
    memory: u32,
    reserved: [u32; 2],
}

/// `struct v4l2_buffer`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Buffer {
    index: u32,
    kind: u32,
    used: u32,
    flags: u32,
    field: u32,
    time: [c_long; 2],
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    /// A union as large as a pointer; of mapped memory its first four bytes count.
    offset: Offset,
    length: u32,
    reserved: [u32; 2],
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Offset {
    align: [c_ulong; 0],
    offset: u32,
}

/// `struct v4l2_streamparm` with a `struct v4l2_captureparm`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Rate {
    kind: u32,
    capability: u32,
    capture_mode: u32,
    /// Seconds a frame: numerator and denominator.
    interval: [u32; 2],
    rest: [u32; 46],
}

/// What a camera is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// How frames are coded.
    pub pixels: Pixels,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames a second; the camera takes the nearest that it can.
    pub fps: u32,
}

/// Why there are no frames.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The device is not there (any more), or refuses.
    #[error("{}: cannot {step}: {source}", path.display())]
    Device {
        /// The device file.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The device file belongs to no camera: a UVC camera has a second one for its metadata.
    #[error("{}: this is no camera that streams", path.display())]
    NoCamera {
        /// The device file.
        path: PathBuf,
    },
    /// The camera does not have the mode.
    #[error("{}: the camera has no {wanted:?}; nearest is {offered}", path.display())]
    Mode {
        /// The device file.
        path: PathBuf,
        /// What was asked for.
        wanted: Wanted,
        /// What it would do instead.
        offered: String,
    },
    /// It has sent nothing for so long that it is started again.
    #[error("no frame for {0:?}")]
    Silent(Duration),
}

/// A camera that sends frames.
pub struct Camera {
    file: File,
    path: PathBuf,
    mode: Mode,
    buffers: Vec<Mapped>,
    /// The buffer whose frame is being read.
    held: Option<u32>,
}

impl Camera {
    /// Opens the device file and has it send frames.
    ///
    /// # Errors
    /// [`CameraError`].
    pub fn open(path: &Path, wanted: Wanted) -> Result<Self, CameraError> {
        let failed =
            |step| move |source| CameraError::Device { path: path.to_owned(), step, source };
        // The driver must not hold a thread that is to end: waiting is `poll`'s.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let file = file.map_err(failed("open the camera"))?;
        if !streams(&file).map_err(failed("ask what it is"))? {
            return Err(CameraError::NoCamera { path: path.to_owned() });
        }
        let format = set_format(&file, wanted).map_err(failed("set its mode"))?;
        let mode = mode(&format).filter(|mode| {
            (mode.pixels, mode.width, mode.height) == (wanted.pixels, wanted.width, wanted.height)
        });
        let Some(mode) = mode else {
            let offered = offered(&format);
            return Err(CameraError::Mode { path: path.to_owned(), wanted, offered });
        };
        set_rate(&file, wanted.fps);
        let buffers = map_all(&file).map_err(failed("share memory with it"))?;
        let camera = Self { file, path: path.to_owned(), mode, buffers, held: None };
        for index in 0..camera.buffers.len() {
            camera.queue(index as u32)?;
        }
        // SAFETY: the kernel reads one `int`.
        let on = unsafe { ioctl(&camera.file, Setter::<STREAMON, c_int>::new(CAPTURE as c_int)) };
        on.map_err(io::Error::from).map_err(failed("start it"))?;
        Ok(camera)
    }

    /// How its frames are.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The next frame, oldest first; `None` where none comes in time.
    ///
    /// # Errors
    /// [`CameraError::Device`]: it was pulled out, as a rule.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Frame<'_>>, CameraError> {
        if let Some(index) = self.held.take() {
            self.queue(index)?;
        }
        if !self.ready(wait)? {
            return Ok(None);
        }
        let mut buffer = empty_buffer(0);
        // SAFETY: the kernel fills a `struct v4l2_buffer`, whose size a test holds.
        match unsafe { ioctl(&self.file, Updater::<DQBUF, Buffer>::new(&mut buffer)) } {
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            done => done.map_err(|error| self.failed("take a frame")(error.into()))?,
        }
        let Some(mapped) = self.buffers.get(buffer.index as usize) else {
            let error = io::Error::other(format!("its frame {} is unknown", buffer.index));
            return Err(self.failed("take a frame")(error));
        };
        self.held = Some(buffer.index);
        let used = (buffer.used as usize).min(mapped.length);
        let bytes = &mapped.bytes()[..used];
        Ok(Some(Frame { bytes, damaged: buffer.flags & DAMAGED != 0 }))
    }

    /// Whether a frame is ready within the time.
    fn ready(&self, wait: Duration) -> Result<bool, CameraError> {
        let mut asked = [PollFd::new(&self.file, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        match poll(&mut asked, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
            Ok(_) if asked[0].revents().contains(PollFlags::IN) => Ok(true),
            Ok(_) => Err(self.failed("wait for a frame")(rustix::io::Errno::NODEV.into())),
            Err(error) => Err(self.failed("wait for a frame")(error.into())),
        }
    }

    /// Gives a buffer to the driver.
    fn queue(&self, index: u32) -> Result<(), CameraError> {
        let mut buffer = empty_buffer(index);
        // SAFETY: as in `next`; no slice of this buffer is left, since `next` borrows the camera for it.
        let queued = unsafe { ioctl(&self.file, Updater::<QBUF, Buffer>::new(&mut buffer)) };
        queued.map_err(|error| self.failed("ask for a frame")(error.into()))
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(io::Error) -> CameraError + use<> {
        let path = self.path.clone();
        move |source| CameraError::Device { path, step, source }
    }
}

/// Whether this device file gives frames by shared memory.
fn streams(file: &File) -> io::Result<bool> {
    // SAFETY: the kernel fills a `struct v4l2_capability`, whose size a test holds; any bits are valid integers.
    let can = unsafe { ioctl(file, Getter::<QUERYCAP, Capability>::new()) }?;
    let own = if can.capabilities & OWN_CAPABILITIES != 0 { can.own } else { can.capabilities };
    Ok(own & NEEDED == NEEDED)
}

/// What the driver makes of the wish: it takes what is nearest, and says so.
fn set_format(file: &File, wanted: Wanted) -> io::Result<Format> {
    let mut format = Format {
        kind: CAPTURE,
        align: [],
        width: wanted.width,
        height: wanted.height,
        pixels: wanted.pixels.code(),
        field: PROGRESSIVE,
        pitch: 0,
        bytes: 0,
        colour_space: 0,
        private: 0,
        flags: 0,
        coding: 0,
        range: 0,
        transfer: 0,
        rest: [0; 38],
    };
    // SAFETY: the kernel reads and fills a `struct v4l2_format`, whose size and places a test holds.
    unsafe { ioctl(file, Updater::<S_FMT, Format>::new(&mut format)) }?;
    Ok(format)
}

/// The mode as the driver has set it; `None` for one that is not understood here.
fn mode(format: &Format) -> Option<Mode> {
    let pixels = Pixels::of(format.pixels)?;
    let colours = match pixels {
        Pixels::Mjpeg => Colours::JPEG,
        Pixels::Yuyv => Colours::of(format.colour_space, format.coding, format.range)?,
    };
    let whole = format.field == PROGRESSIVE;
    let pitch = format.pitch as usize;
    whole.then_some(Mode { pixels, width: format.width, height: format.height, pitch, colours })
}

fn offered(format: &Format) -> String {
    let name = String::from_utf8_lossy(&format.pixels.to_le_bytes()).into_owned();
    let Format { width, height, field, colour_space, coding, range, .. } = format;
    format!("{name} of {width}x{height} (field {field}, colours {colour_space}, {coding}, {range})")
}

/// A wish: cameras that have one rate only refuse to be asked.
fn set_rate(file: &File, fps: u32) {
    let mut rate =
        Rate { kind: CAPTURE, capability: 0, capture_mode: 0, interval: [1, fps], rest: [0; 46] };
    // SAFETY: the kernel reads and fills a `struct v4l2_streamparm`, whose size a test holds.
    if let Err(error) = unsafe { ioctl(file, Updater::<S_PARM, Rate>::new(&mut rate)) } {
        tracing::debug!(%error, "the camera keeps its own rate");
    }
}

/// Has the driver make buffers and maps them.
fn map_all(file: &File) -> io::Result<Vec<Mapped>> {
    let mut request = Request { count: BUFFERS, kind: CAPTURE, memory: MMAP, reserved: [0; 2] };
    // SAFETY: the kernel reads and fills a `struct v4l2_requestbuffers`, whose size a test holds.
    unsafe { ioctl(file, Updater::<REQBUFS, Request>::new(&mut request)) }?;
    (0..request.count)
        .map(|index| {
            let mut buffer = empty_buffer(index);
            // SAFETY: as in `Camera::next`.
            unsafe { ioctl(file, Updater::<QUERYBUF, Buffer>::new(&mut buffer)) }?;
            Mapped::new(file, buffer.offset.offset, buffer.length)
        })
        .collect()
}

fn empty_buffer(index: u32) -> Buffer {
    Buffer { index, kind: CAPTURE, memory: MMAP, ..Buffer::default() }
}

/// Memory of a buffer, shared with the driver.
struct Mapped {
    start: *mut c_void,
    length: usize,
}

// SAFETY: memory of the whole process, which nobody else here knows of.
unsafe impl Send for Mapped {}

impl Mapped {
    fn new(file: &File, offset: u32, length: u32) -> io::Result<Self> {
        if !(1..=MOST_BYTES).contains(&length) {
            return Err(io::Error::other(format!("its frames have {length} bytes")));
        }
        let length = length as usize;
        let (protection, flags) = (ProtFlags::READ, MapFlags::SHARED);
        // SAFETY: a new mapping at a place of the kernel's choice; nothing else lies there.
        let start = unsafe {
            mmap(std::ptr::null_mut(), length, protection, flags, file, u64::from(offset))
        }?;
        Ok(Self { start, length })
    }

    /// To be read only while the program, not the driver, has the buffer.
    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is that long and lives as long as `self`. `Camera` hands the slice out between
        // DQBUF and QBUF alone, during which the driver leaves the memory alone.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, with this length, and unmapped once. The stream ends when the file is closed.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes and places by a C compiler from the kernel's `linux/videodev2.h`.
    #[test]
    fn the_structures_are_as_large_as_the_kernels() {
        let wide = size_of::<c_long>() == 8;
        assert_eq!(size_of::<Capability>(), 104);
        assert_eq!(size_of::<Format>(), if wide { 208 } else { 204 });
        assert_eq!(std::mem::offset_of!(Format, width), if wide { 8 } else { 4 });
        assert_eq!(size_of::<Request>(), 20);
        assert_eq!(size_of::<Rate>(), 204);
        assert_eq!(size_of::<Buffer>(), if wide { 88 } else { 68 });
        if wide {
            assert_eq!(std::mem::offset_of!(Buffer, offset), 64);
            assert_eq!(std::mem::offset_of!(Buffer, length), 72);
            // What strace shows of these requests on x86-64 and aarch64.
            assert_eq!([QUERYCAP, S_FMT, DQBUF], [0x8068_5600, 0xc0d0_5605, 0xc058_5611]);
        }
    }

    #[test]
    fn a_file_that_is_no_camera_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let wanted = Wanted { pixels: Pixels::Yuyv, width: 640, height: 480, fps: 30 };
        let error = Camera::open(file.path(), wanted).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("cannot ask what it is")));
        let error = Camera::open(Path::new("/dev/video99"), wanted).err();
        assert!(error.is_some_and(|error| error.to_string().contains("cannot open the camera")));
    }
}
