"""Drives the kiosk's window for window.sh, through the X server's own test extension."""

import ctypes
import os
import re
import struct
import subprocess
import sys
import tempfile
import time

from pictures import compare, read_png

ON_DISPLAY, PICTURES = sys.argv[1:]
SIZE = (800, 480)
SCREEN = (1700, 1000)  # room for twice the size, and a rest


class ClientMessage(ctypes.Structure):
    """`XClientMessageEvent`, as large as any `XEvent`."""

    _fields_ = [("type", ctypes.c_int), ("serial", ctypes.c_ulong), ("send_event", ctypes.c_int),
                ("display", ctypes.c_void_p), ("window", ctypes.c_ulong), ("message_type", ctypes.c_ulong),
                ("format", ctypes.c_int), ("data", ctypes.c_long * 5), ("rest", ctypes.c_long * 12)]


class Desktop:
    """An X server without a screen, and a person in front of it."""

    def __init__(self, folder):
        self.folder = folder
        read, write = os.pipe()
        self.server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "{}x{}x24".format(*SCREEN), "-fbdir", folder],
            pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        self.name = ":" + os.fdopen(read).readline().strip()
        self.x, self.test = ctypes.CDLL("libX11.so.6"), ctypes.CDLL("libXtst.so.6")
        self.x.XOpenDisplay.restype = ctypes.c_void_p
        self.x.XDefaultRootWindow.restype = self.x.XInternAtom.restype = ctypes.c_ulong
        self.display = ctypes.c_void_p(self.x.XOpenDisplay(self.name.encode()))
        self.root = ctypes.c_ulong(self.x.XDefaultRootWindow(self.display))

    def window(self):
        """The only window; it gets the keys, which a window manager would see to."""
        root, parent, count = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_uint()
        children = ctypes.POINTER(ctypes.c_ulong)()
        self.x.XQueryTree(self.display, self.root, *map(ctypes.byref, (root, parent, children, count)))
        window = ctypes.c_ulong(children[count.value - 1])
        self.x.XSetInputFocus(self.display, window, 1, ctypes.c_ulong(0))
        self.done()
        return window

    def click(self, x, y):
        self.test.XTestFakeMotionEvent(self.display, 0, x, y, ctypes.c_ulong(0))
        for down in (1, 0):
            self.test.XTestFakeButtonEvent(self.display, 1, down, ctypes.c_ulong(0))
        self.done()

    def key(self, symbol):
        code = self.x.XKeysymToKeycode(self.display, ctypes.c_ulong(symbol))
        for down in (1, 0):
            self.test.XTestFakeKeyEvent(self.display, code, down, ctypes.c_ulong(0))
        self.done()

    def resize(self, window, width, height):
        self.x.XResizeWindow(self.display, window, width, height)
        self.done()

    def close(self, window):
        """What a window manager sends when its cross is clicked on."""
        atom = lambda name: self.x.XInternAtom(self.display, name, 0)
        data = (ctypes.c_long * 5)(atom(b"WM_DELETE_WINDOW"))
        event = ClientMessage(type=33, window=window, message_type=atom(b"WM_PROTOCOLS"), format=32, data=data)
        self.x.XSendEvent(self.display, window, 0, ctypes.c_long(0), ctypes.byref(event))
        self.done()

    def done(self):
        self.x.XSync(self.display, 0)
        time.sleep(0.5)

    def screen(self, width, height):
        """The screen's upper left corner, from the server's own file (XWD, version 7)."""
        with open(os.path.join(self.folder, "Xvfb_screen0"), "rb") as file:
            data = file.read()
        header = struct.unpack(">25I", data[:100])
        begin, pitch = header[0] + 12 * header[19], header[12]
        assert header[1] == 7 and header[7] == 0 and header[11] == 32, "version, byte order, bits a pixel"
        pixels = bytearray()
        for row in range(height):
            line = data[begin + row * pitch:begin + row * pitch + 4 * width]
            rgb = bytearray(3 * width)
            rgb[0::3], rgb[1::3], rgb[2::3] = line[2::4], line[1::4], line[0::4]
            pixels += rgb
        return width, height, bytes(pixels)


def shown(kiosk):
    """Waits for the next picture; where its buttons are."""
    buttons = {}
    for line in kiosk.stdout:
        if line.startswith("shown "):
            time.sleep(1)
            return buttons
        if found := re.fullmatch(r"button (\d+) (\d+) (.*)\n", line):
            buttons[found[3]] = (int(found[1]), int(found[2]))
    raise EOFError("the program has ended")


def walk(desktop):
    """A few steps in the window; what was on the screen, and the same steps as a script."""
    environment = dict(os.environ, DISPLAY=desktop.name)
    kiosk = subprocess.Popen([ON_DISPLAY, "window", "none"], env=environment, stdout=subprocess.PIPE, text=True)
    buttons = shown(kiosk)
    window = desktop.window()
    seen = [desktop.screen(*SIZE)]
    x, y = buttons["EnterPin"]
    desktop.click(x, y)
    buttons = shown(kiosk)
    seen.append(desktop.screen(*SIZE))
    desktop.key(0xFF54)  # down
    shown(kiosk)
    seen.append(desktop.screen(*SIZE))
    # Twice as large, with a rest round it: 1650x990 has 25 and 15 pixels on each side.
    desktop.resize(window, 1650, 990)
    time.sleep(1)
    digit_x, digit_y = buttons["Digit('5')"]
    desktop.click(25 + 2 * digit_x, 15 + 2 * digit_y)
    shown(kiosk)
    large = desktop.screen(1650, 990)
    desktop.close(window)
    if kiosk.wait(10) != 0:
        raise AssertionError("closing the window is no error")
    return seen, large, f"touch {x} {y}\nbutton down\ntouch {digit_x} {digit_y}\n"


def enlarged(picture):
    """A picture twice as large on black, 25 and 15 pixels from the corner."""
    width, height, pixels = picture
    black, rows = bytes(3 * 1650), []
    for row in range(height):
        line = pixels[3 * width * row:3 * width * (row + 1)]
        twice = bytearray(6 * width)
        for channel in range(3):
            twice[channel::6] = twice[channel + 3::6] = line[channel::3]
        rows += [bytes(75) + bytes(twice) + bytes(75)] * 2
    return 1650, 990, b"".join([black] * 15 + rows + [black] * 15)


def main():
    with tempfile.TemporaryDirectory() as folder:
        desktop = Desktop(folder)
        try:
            seen, large, script = walk(desktop)
        finally:
            desktop.server.kill()
        path = os.path.join(folder, "script")
        with open(path, "w") as file:
            file.write(script)
        subprocess.run([ON_DISPLAY, f"png:{folder}/png", f"script:{path}"], check=True, stdout=subprocess.DEVNULL)
        drawn = [read_png(f"{folder}/png/{number:04}.png") for number in range(1, 5)]
        for number, (on_screen, picture) in enumerate(zip(seen, drawn), 1):
            compare(f"window, picture {number}", on_screen, picture, PICTURES)
        compare("window, picture 4 twice as large", large, enlarged(drawn[3]), PICTURES)
    print("all is as drawn")


main()
