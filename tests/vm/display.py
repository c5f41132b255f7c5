"""Drives the virtual machine of display.sh: starts the kiosk on each display, touches it, looks at the screen.

The reference is the same program writing PNG files on this machine, with the same events from a script.
"""

import os
import re
import subprocess
import sys
import tempfile
import time

from machine import Machine, started, version
from pictures import compare, read_png, write_png

*SYSTEM, ON_DISPLAY, PICTURES = sys.argv[1:]
TABLET = 32768  # steps of QEMU's tablet across and down


class Screens(Machine):
    """The machine with two displays, a keyboard, USB, and a disk to read memory from."""

    def __init__(self, system, accel, folder, patience):
        self.memory = os.path.join(folder, "memory")
        with open(self.memory, "wb") as file:
            file.truncate(8 << 20)
        super().__init__(system, accel, folder, patience, [
            "-no-reboot",
            "-device", "VGA,id=vga", "-device", "virtio-gpu-pci,id=gpu", "-device", "qemu-xhci",
            "-device", "usb-kbd", "-drive", f"file={self.memory},if=virtio,format=raw",
        ])

    def framebuffer(self, name):
        """The number of the framebuffer whose driver says this name."""
        found = self.run(f"grep -l '{name}' /sys/class/graphics/fb*/name")
        return int(re.search(r"fb(\d+)", found[0]).group(1))

    def card(self, driver):
        """The device file of the card with this driver."""
        found = self.run(f"grep -l DRIVER={driver} /sys/class/drm/card?/device/uevent")
        return "/dev/dri/" + re.search(r"card\d+", found[0]).group(0)

    def tablet(self, x, y, size):
        """A finger on QEMU's tablet at this pixel of a screen."""
        value = lambda at, whole: (2 * at + 1) * TABLET // (2 * whole)
        move = [{"type": "abs", "data": {"axis": axis, "value": value(at, whole)}}
                for axis, at, whole in (("x", x, size[0]), ("y", y, size[1]))]
        press = lambda down: {"type": "btn", "data": {"down": down, "button": "left"}}
        self.control("input-send-event", events=move)
        time.sleep(0.1)
        self.control("input-send-event", events=[press(True)])
        time.sleep(0.1)
        self.control("input-send-event", events=[press(False)])


class Kiosk:
    """The kiosk on one of the machine's displays, and what was done to it as a script."""

    def __init__(self, machine, display, turn="upright", name=""):
        self.machine, self.turn, self.name = machine, turn, f"{display} {turn} {name}".strip()
        self.script, self.checks = [], []
        machine.shell.send(f"on_display {display} evdev {turn} & KIOSK=$!")
        panel = self.until(r"panel (\d+)x(\d+) (\S+)")
        self.size, self.mm = (int(panel[1]), int(panel[2])), panel[3]
        self.shown()
        time.sleep(1.5)  # until the input devices are open

    def until(self, pattern):
        """Reads lines until one matches."""
        while True:
            line = self.machine.shell.line()
            if line.startswith("on_display: "):
                raise RuntimeError(line)
            if found := re.fullmatch(pattern, line):
                return found

    def shown(self):
        """Waits for the next picture; keeps where its buttons are."""
        self.buttons, self.picture = {}, None
        while self.picture is None:
            found = self.until(r"button (\d+) (\d+) (.*)|shown (\d+)")
            if found[4]:
                self.picture = int(found[4])
            else:
                self.buttons[found[3]] = (int(found[1]), int(found[2]))

    def touched(self, action, tap, steps=1):
        """Touches the button of an action with `tap(x, y)`, which may be off by so many pixels."""
        at = self.buttons[action]
        tap(*at)
        seen = self.until(r"Touch\(Point \{ x: (\d+), y: (\d+) \}\)")
        off = max(abs(int(seen[axis + 1]) - at[axis]) for axis in (0, 1))
        if off > steps:
            raise AssertionError(f"{self.name}: touched {at}, read {seen[0]}")
        self.script.append(f"touch {seen[1]} {seen[2]}")
        self.shown()

    def tablet(self, action):
        self.touched(action, lambda x, y: self.machine.tablet(x, y, self.size))

    def button(self, key, name):
        self.machine.keys(key)
        self.until(rf"Button\({name.title()}\)")
        self.script.append(f"button {name}")
        self.shown()

    def look(self, picture, as_shown=None):
        """Keeps what is on the display for the comparison; `as_shown` does to the drawn one what the display did."""
        self.checks.append((self.picture, picture, as_shown or (lambda drawn: turned(drawn, self.turn))))

    def end(self):
        """Ends the program and compares all that was seen with the PNG files of the same events."""
        self.machine.run("kill $KIOSK; wait $KIOSK; true")
        with tempfile.TemporaryDirectory() as folder:
            script = os.path.join(folder, "script")
            with open(script, "w") as file:
                file.write("\n".join(self.script) + "\n")
            subprocess.run(
                [ON_DISPLAY, f"png:{folder}/png", f"script:{script}", "upright", "{}x{}".format(*self.size), self.mm],
                check=True, stdout=subprocess.DEVNULL)
            for number, seen, as_shown in self.checks:
                drawn = as_shown(read_png(f"{folder}/png/{number:04}.png"))
                compare(f"{self.name}, picture {number}", seen, drawn, PICTURES)
            if number != len(os.listdir(f"{folder}/png")):
                raise AssertionError(f"{self.name}: the last picture was not looked at")


def turned(picture, turn):
    """The picture as it lies on a display that is mounted so."""
    width, height, pixels = picture
    if turn == "upright":
        return picture
    assert turn == "right"
    pixel = lambda x, y: pixels[3 * (y * width + x):3 * (y * width + x) + 3]
    # The picture's left column, from the bottom up, is the display's first row.
    rows = (b"".join(pixel(x, y) for y in reversed(range(height))) for x in range(width))
    return height, width, b"".join(rows)


def mode_setting(machine):
    """A whole walk on a display behind mode setting: devices that come and go, touch, keys, scanner."""
    machine.load("bochs")
    card = machine.card("bochs-drm")
    machine.run("until grep -q 'QEMU USB Keyboard' /proc/bus/input/devices; do sleep 0.1; done; sleep 1")
    if (seen := console_sees(machine, lambda: machine.keys("a", "b", "ret"))) != ["ab"]:
        raise AssertionError(f"the console does not see keys before the kiosk holds them: {seen}")
    kiosk = Kiosk(machine, f"drm:{card}", name="bochs")
    kiosk.look(machine.screen("vga"))
    machine.control("device_add", driver="usb-tablet", id="tablet")
    time.sleep(6)
    kiosk.tablet("EnterPin")
    kiosk.look(machine.screen("vga"))
    # Pulled out, and back again.
    machine.control("device_del", id="tablet")
    kiosk.until(r"/dev/input/event\d+: cannot read the device: .*")
    machine.control("device_add", driver="usb-tablet", id="tablet")
    time.sleep(6)
    kiosk.tablet("Digit('7')")
    kiosk.tablet("SendPin")
    kiosk.button("down", "down")
    kiosk.button("up", "up")
    kiosk.look(machine.screen("vga"))
    kiosk.tablet("NewPerson")

    def scan():
        machine.keys("r", "w", "minus", "7", "7", "ret")
        kiosk.until(r'Scanned\("rw-77"\)')
        kiosk.script.append("scan rw-77")
        kiosk.shown()

    if seen := console_sees(machine, scan):
        raise AssertionError(f"the console sees what is scanned: {seen}")
    screen = machine.screen("vga")
    kiosk.look(screen)
    kiosk.end()
    return screen


def console_sees(machine, typing):
    """What a reader of the machine's console gets while something is typed."""
    machine.run("cat /dev/tty1 > /tmp/typed & CONSOLE=$!")
    typing()
    time.sleep(1)
    return machine.run("kill $CONSOLE; cat /tmp/typed; rm /tmp/typed")


def turned_panel(machine):
    """A panel mounted a quarter to the right, and fingers of a touch screen with slots."""
    kiosk = Kiosk(machine, "drm:" + machine.card("bochs-drm"), "right", "bochs")
    machine.run("mkfifo /tmp/taps")
    machine.shell.send("finger < /tmp/taps & exec 7> /tmp/taps")
    kiosk.until("a finger is there")
    time.sleep(4)
    height = kiosk.size[1]

    def tap(x, y):
        # On the display the frame's x runs down and its y runs from right to left.
        across, down = (height - 1 - y) * 1000 // height, x * 1000 // kiosk.size[0]
        machine.shell.send(f"echo {across} {down} >&7")

    kiosk.touched("NextSite", tap, 2)
    kiosk.touched("EnterPin", tap, 2)
    kiosk.look(machine.screen("vga"))
    kiosk.end()
    machine.run("exec 7>&-; rm /tmp/taps")


def told_what_changed(machine):
    """A driver that shows nothing until it is told what has changed."""
    machine.load("virtio_pci")
    machine.load("virtio-gpu")
    kiosk = Kiosk(machine, "drm:" + machine.card("virtio"), name="virtio-gpu")
    kiosk.look(machine.screen("gpu"))
    kiosk.tablet("EnterPin")
    kiosk.look(machine.screen("gpu"))
    kiosk.tablet("Digit('5')")
    kiosk.look(machine.screen("gpu"))
    kiosk.end()


def framebuffers(machine):
    """Framebuffers: one that is looked at, and one of each depth whose memory is read."""
    for name, device in (("bochs-drm", "vga"), ("virtio_gpu", "gpu")):
        kiosk = Kiosk(machine, f"fbdev:/dev/fb{machine.framebuffer(name)}", name=name)
        kiosk.look(machine.screen(device))
        kiosk.tablet("EnterPin")
        kiosk.look(machine.screen(device))
        kiosk.end()
    machine.load("virtio_blk")
    for bits in (16, 24, 32):
        machine.load("vfb", "vfb_enable=1", "videomemorysize=4194304", f"mode_option=800x480-{bits}@60")
        number = machine.framebuffer("Virtual FB")
        if machine.run(f"cat /sys/class/graphics/fb{number}/bits_per_pixel") != [str(bits)]:
            raise AssertionError(f"vfb has not {bits} bits a pixel")
        kiosk = Kiosk(machine, f"fbdev:/dev/fb{number}", name=f"{bits} bits")
        kiosk.tablet("EnterPin")
        pitch = int(machine.run(f"cat /sys/class/graphics/fb{number}/stride")[0])
        machine.run(f"dd if=/dev/fb{number} of=/dev/vda bs=4096 2> /dev/null; sync")
        with open(machine.memory, "rb") as file:
            memory = file.read(pitch * kiosk.size[1])
        kiosk.look((*kiosk.size, unpacked(memory, kiosk.size, pitch, bits)), lambda drawn: reduced(drawn, bits))
        kiosk.end()
        machine.run("rmmod vfb")


def unpacked(memory, size, pitch, bits):
    """The pixels of a `vfb` as RGB: red is lowest there (drivers/video/fbdev/vfb.c)."""
    width, height = size
    pixels = bytearray()
    for row in range(height):
        for at in range(row * pitch, row * pitch + width * bits // 8, bits // 8):
            if bits == 16:
                value = memory[at] | memory[at + 1] << 8
                pixels += bytes(((value & 31) << 3, (value >> 5 & 63) << 2, (value >> 11) << 3))
            else:
                pixels += memory[at:at + 3]
    return bytes(pixels)


def reduced(picture, bits):
    """A picture with the bits that a pixel of so many has room for."""
    if bits != 16:
        return picture
    masks = bytes((0xF8, 0xFC, 0xF8))
    return *picture[:2], bytes(value & masks[at % 3] for at, value in enumerate(picture[2]))


def main():
    with tempfile.TemporaryDirectory() as folder:
        machine = started(Screens, SYSTEM, folder)
        try:
            for driver in ("evdev", "uinput", "usbhid", "hid-generic", "xhci-pci"):
                machine.load(driver)
            screen = mode_setting(machine)
            write_png(f"{PICTURES}/screen.png", screen)
            turned_panel(machine)
            told_what_changed(machine)
            framebuffers(machine)
        except BaseException:
            print(open(machine.log, errors="replace").read()[-2000:])
            raise
        finally:
            machine.kill()
    print("all is as drawn:", version(SYSTEM[0]))


main()
