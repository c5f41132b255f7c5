"""Drives the virtual machine of camera.sh: what the camera sees, what is photographed, and the camera pulled out;
first the intake alone, then the whole kiosk on a display, worked by its keys.

The reference is a frame that v4l2-ctl took of the same picture, its colours worked out here.
"""

import io
import os
import re
import sys
import tarfile
import tempfile
import time

from machine import Machine, started, version
from pictures import compare, read_png, write_png

*SYSTEM, MODEL, PICTURES = sys.argv[1:]
SIZE = (640, 480)
# Where vivid's vertical bars are in the middle of the picture, and their colours: 75 % of red, green and blue.
BARS = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)]
BARS_75, SQUARES = 0, 4  # of vivid's control `test_pattern`
CONFIG = """
[camp]
sites = ["Huye"]
threshold = 0.5
[display]
device = "drm"
[journal]
folder = "/tmp/journal"
device_secret = "/tmp/secret"
output = "/tmp"
[intake]
inbox = "/tmp/inbox"
offline_after_s = 3
[intake.v4l]
device = "/dev/video0"
format = "yuyv"
width = 640
height = 480
fps = 10
"""


class Bench(Machine):
    """The machine with a camera, and a disk through which files leave it."""

    def __init__(self, system, accel, folder, patience):
        self.heard = 0  # lines of what the program says
        self.disk = os.path.join(folder, "disk")
        with tarfile.open(self.disk, "w") as files:
            files.add(MODEL, "model.onnx")
            config = tarfile.TarInfo("camp.toml")
            config.size = len(CONFIG)
            files.addfile(config, io.BytesIO(CONFIG.encode()))
        os.truncate(self.disk, 64 << 20)
        super().__init__(system, accel, folder, patience, [
            "-no-reboot", "-device", "VGA,id=vga", "-device", "qemu-xhci", "-device", "usb-kbd",
            "-drive", f"file={self.disk},if=virtio,format=raw",
        ])

    def files(self, folder):
        """A copy of the machine's folder: where it is on this one."""
        self.run(f"tar -cf - -C {folder} . | dd of=/dev/vda bs=64k conv=fsync 2> /dev/null")
        here = tempfile.mkdtemp(dir=self.folder)
        with tarfile.open(self.disk, "r:") as files:
            files.extractall(here)
        return here

    def slowly(self, *names):
        """Presses buttons, each after the screen has followed the one before."""
        for name in names:
            self.keys(name)
            time.sleep(0.7)

    def seen(self, name, holds, patience=200):
        """Waits until the screen is as it should be, and keeps a picture of it."""
        until = time.monotonic() + patience
        while not holds(screen := self.screen("vga")):
            if time.monotonic() > until:
                write_png(f"{PICTURES}/camera-not-{name}.png", screen)
                raise TimeoutError(f"{name}: see camera-not-{name}.png; {self.run('tail -n 5 /tmp/kiosk.log')}")
            time.sleep(0.5)
        write_png(f"{PICTURES}/camera-{name}.png", screen)
        print(f"on the screen: {name}", flush=True)
        return screen

    def until(self, pattern, patience=60):
        """What the program says next that matches; lines before it are passed over."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            lines = self.run("cat /tmp/said")
            for number, line in enumerate(lines[self.heard:], self.heard + 1):
                print("   ", line, flush=True)
                self.heard = number
                if found := re.match(pattern, line):
                    return found
            time.sleep(0.3)
        raise TimeoutError(pattern)


def picture(machine, pattern):
    """Has the camera see a picture without words on it, which would change from frame to frame."""
    machine.run(f"v4l2-ctl -c osd_text_mode=2,test_pattern={pattern},show_border=1,show_square=1")


def reference(machine):
    """The frame that another program gets, as RGB."""
    width, height = SIZE
    machine.run("mkdir -p /tmp/reference")
    machine.run(f"v4l2-ctl --set-fmt-video=width={width},height={height},pixelformat=YUYV "
                "--stream-mmap --stream-skip=2 --stream-count=1 --stream-to=/tmp/reference/frame > /dev/null 2>&1")
    with open(machine.files("/tmp/reference") + "/frame", "rb") as file:
        frame = file.read()
    if len(frame) != 2 * width * height:
        raise AssertionError(f"a frame of {len(frame)} bytes")
    return width, height, rgb(frame)


def rgb(frame):
    """ITU-R BT.601, limited range, as vivid codes its web camera's picture."""
    known, pixels = {}, bytearray()
    for at in range(0, len(frame), 4):
        first, blue, second, red = frame[at:at + 4]
        for luma in (first, second):
            key = (luma, blue, red)
            if key not in known:
                y, b, r = 255 / 219 * (luma - 16), 255 / 224 * (blue - 128), 255 / 224 * (red - 128)
                colours = (y + 1.402 * r, y - 0.114 * 1.772 / 0.587 * b - 0.299 * 1.402 / 0.587 * r, y + 1.772 * b)
                known[key] = bytes(min(255, max(0, int(value + 0.5))) for value in colours)
            pixels += known[key]
    return bytes(pixels)


def are_bars(seen):
    """The colours that the picture is known to have."""
    width, height, pixels = seen
    for number, bar in enumerate(BARS):
        at = 3 * ((height - 60) * width + (2 * number + 1) * width // (2 * len(BARS)))
        expected = [191 * share for share in bar]
        if any(abs(a - b) > 3 for a, b in zip(pixels[at:at + 3], expected)):
            raise AssertionError(f"bar {number}: {tuple(pixels[at:at + 3])} instead of {expected}")
    print("the eight bars have the colours they are known to have", flush=True)


def photograph(machine):
    """Releases the camera; the photograph and the live picture before it come back."""
    machine.shell.send("echo >&7")
    machine.until(r"\d+ live pictures")
    sha256 = machine.until(r"photograph (\S+) of")[1]
    folder = machine.files("/tmp/camera")
    return read_png(f"{folder}/inbox/{sha256}.photo"), read_png(f"{folder}/live.png")


def camera(machine):
    """The camera's program begins before there is a camera, and stays until the end."""
    machine.run("mkfifo /tmp/presses && mkdir /tmp/camera")
    machine.shell.send(f"camera /dev/video0 yuyv {SIZE[0]} {SIZE[1]} 30 /tmp/camera < /tmp/presses > /tmp/said & "
                       "CAMERA=$!; exec 7> /tmp/presses")
    machine.until("Offline")


def main():
    with tempfile.TemporaryDirectory() as folder:
        machine = started(Bench, SYSTEM, folder)
        try:
            for driver in ("virtio_pci", "virtio_blk"):
                machine.load(driver)
            machine.run("tar -xf /dev/vda -C /tmp")
            machine.load("vivid", "n_devs=1", "node_types=0x1", "num_inputs=1", "input_types=0")
            machine.run(f"export LD_LIBRARY_PATH={os.environ['LD_LIBRARY_PATH']}")  # where v4l2-ctl's lie
            picture(machine, BARS_75)
            bars = reference(machine)
            are_bars(bars)
            machine.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind")
            camera(machine)
            come(machine, BARS_75)
            seen, live = photograph(machine)
            compare("photograph", seen, bars, PICTURES)
            compare("live picture", live, bars, PICTURES)
            machine.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind")
            machine.until("Offline")
            machine.shell.send("echo >&7")
            come(machine, SQUARES)
            seen, live = photograph(machine)
            squares = stopped(machine)
            compare("photograph after it came back", seen, squares, PICTURES)
            compare("live picture after it came back", live, squares, PICTURES)
            if seen == bars:
                raise AssertionError("the picture did not change")
            on_screen(machine)
        except BaseException:
            print(open(machine.log, errors="replace").read()[-2000:])
            raise
        finally:
            machine.kill()
    print("all is as the camera saw it:", version(SYSTEM[0]))


def on_screen(machine):
    """The kiosk from its start to a photograph in the journal, with the camera pulled out in between."""
    for driver in ("evdev", "usbhid", "hid-generic", "xhci-pci", "bochs"):
        machine.load(driver)
    machine.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind")
    key = machine.run("edge-infer journal --config /tmp/camp.toml recovery-key --private /tmp/private.key")[-1].strip()
    machine.run("echo 222222 | edge-infer journal --config /tmp/camp.toml found --operator Asha "
                f"--recovery-key {key} --recovery-box /tmp/recovery.box")
    before = machine.screen("vga")
    machine.shell.send("edge-infer kiosk --config /tmp/camp.toml --model /tmp/model.onnx > /tmp/kiosk.log 2>&1 & "
                       "KIOSK=$!")
    start = machine.seen("start", lambda screen: screen[:2] == (1280, 800) and screen != before
                         and sum(screen[2][:30000]) > 0)
    time.sleep(3)  # until the input devices are open
    machine.slowly("ret")
    pin = machine.seen("pin", lambda screen: title(screen) != title(start))
    machine.slowly(*["down"] * 3, *["ret"] * 6, *["up"] * 3, "ret")
    home = machine.seen("home", lambda screen: title(screen) != title(pin))
    machine.slowly("ret")
    register = machine.seen("register", lambda screen: title(screen) != title(home))
    machine.keys("r", "w", "minus", "7", "ret")
    time.sleep(2)
    machine.slowly("ret")
    machine.seen("offline", lambda screen: title(screen) != title(register) and not live(screen))
    plug(machine, BARS_75)
    machine.seen("live", live)
    machine.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind")
    machine.seen("pulled-out", lambda screen: not live(screen), 20)
    time.sleep(4)
    machine.seen("offline-again", lambda screen: not live(screen))
    plug(machine, BARS_75)
    photograph_screen = machine.seen("live-again", live)
    machine.slowly("ret")
    # The bars are on the next screen too: they are the photograph.
    is_result = lambda screen: title(screen) != title(photograph_screen)
    machine.seen("result", is_result)
    for _ in range(30):
        summary = "".join(machine.run("edge-infer journal --config /tmp/camp.toml summary"))
        if re.search(r'"photographs": *1\b', summary):
            break
        time.sleep(1)
    else:
        raise AssertionError(summary)
    time.sleep(2)  # until it is drawn
    machine.seen("result", is_result)
    print("the photograph is in the journal", flush=True)
    machine.run("kill $KIOSK; wait $KIOSK; true")


def title(screen):
    """The upper left of the screen, where its title is."""
    width, _, pixels = screen
    return [pixels[3 * width * row:3 * width * row + 3 * 400] for row in range(30)]


def live(screen):
    """Whether the camera's bars are on the screen: magenta and cyan, which no button has."""
    pixels = screen[2]
    near = lambda at, colour: all(abs(pixels[at + i] - colour[i]) < 12 for i in range(3))
    places = range(0, len(pixels), 3 * 7)
    return all(sum(near(at, colour) for at in places) > 500 for colour in ((191, 0, 191), (0, 191, 191)))


def plug(machine, pattern):
    """Plugs the camera in."""
    machine.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/bind")
    picture(machine, pattern)


def come(machine, pattern):
    """Plugs the camera in, and waits until the program says so."""
    plug(machine, pattern)
    machine.until("Online")
    time.sleep(3)  # for a live picture


def stopped(machine):
    """Ends the program, whose memory and inbox are told, and takes the reference with the camera it frees."""
    machine.shell.send("exec 7>&-")
    machine.until("VmHWM")
    taken = machine.run("wait $CAMERA; ls /tmp/camera/inbox/*.photo | wc -l")[-1]
    if taken != "2":
        raise AssertionError(f"{taken} photographs: one was asked for while the camera was away")
    return reference(machine)


main()
