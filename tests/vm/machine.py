"""A virtual machine of machine.sh: a shell on its serial line, QEMU's own control beside it."""

import json
import os
import socket
import subprocess
import time

from pictures import read_ppm

PATIENCE = 120  # seconds for one answer; software emulation is slow


class Socket:
    """Lines from and to a socket that another process opens."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        until = time.monotonic() + 30
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        self.unread = b""

    def line(self, patience=PATIENCE):
        """The next line; a `TimeoutError` loses nothing."""
        self.socket.settimeout(patience)
        while b"\n" not in self.unread:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError("the machine is gone")
            self.unread += more
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")

    def send(self, text):
        self.socket.sendall(text.encode() + b"\n")


class Machine:
    """The machine, with QEMU's `arguments` for its devices; the kernel's own words go into `log`."""

    def __init__(self, system, accel, folder, patience, arguments):
        path = lambda name: os.path.join(folder, name)
        qemu, root, kernel, files = system
        self.folder, self.accel, self.log = folder, accel, path("console.log")
        self.qemu = subprocess.Popen([
            qemu, "-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios",
            "-accel", accel, "-m", "768", "-nodefaults", "-display", "none",
            "-kernel", kernel, "-initrd", files,
            "-append", "console=ttyS1 quiet panic=-1 no_timer_check vt.global_cursor_default=0",
            "-serial", f"unix:{path('shell')},server=on,wait=off", "-serial", f"file:{self.log}",
            "-qmp", f"unix:{path('qmp')},server=on,wait=off", *arguments,
        ])
        try:
            self.qmp = Socket(path("qmp"))
            self.qmp.line()
            self.control("qmp_capabilities")
            self.shell = Socket(path("shell"))
            while self.shell.line(patience) != "ready":
                pass
        except BaseException:
            self.kill()
            raise

    def kill(self):
        self.qemu.kill()
        self.qemu.wait()

    def control(self, command, **arguments):
        self.qmp.send(json.dumps({"execute": command, "arguments": arguments}))
        while True:
            answer = json.loads(self.qmp.line())
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def run(self, command):
        """Runs a command to its end; its output comes back."""
        self.shell.send(f"{command}; echo 'do''ne' $?")
        output = []
        while not (line := self.shell.line()).startswith("done "):
            output.append(line)
        if line != "done 0":
            raise RuntimeError(f"{command}: {line}: {output}")
        return output

    def load(self, driver, *parameters):
        # Drivers that are loaded already, or built in, are no trouble.
        last = self.run(f"cat /modules/{driver}")
        for number, line in enumerate(last):
            more = " ".join(parameters) if number == len(last) - 1 else ""
            self.run(f"{line} {more} 2>/dev/null || true")

    def screen(self, device):
        """What is on a screen now: width, height and RGB bytes."""
        path = os.path.join(self.folder, "screen.ppm")
        self.control("screendump", filename=path, device=device)
        return read_ppm(path)

    def keys(self, *names):
        """Presses keys one after the other, as fast as a scanner does."""
        for name in names:
            for down in (True, False):
                key = {"type": "qcode", "data": name}
                self.control("input-send-event", events=[{"type": "key", "data": {"down": down, "key": key}}])
                time.sleep(0.02)


def started(kind, system, folder, *more):
    """A machine, `kind(system, accel, folder, patience, *more)`: on the processor itself where that works, else
    emulated."""
    for accel in os.environ.get("VM_ACCEL", "kvm tcg").split():
        if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            continue
        begin = time.monotonic()
        own = os.path.join(folder, accel)
        os.mkdir(own)
        try:
            machine = kind(system, accel, own, 30 if accel == "kvm" else PATIENCE, *more)
        except (TimeoutError, OSError, EOFError) as error:
            print(f"{accel}: {error}")
            continue
        print(f"{accel}: a shell after {time.monotonic() - begin:.1f} s; {machine.run('uname -r')[0]}", flush=True)
        return machine
    raise SystemExit("the machine does not start")


def version(qemu):
    """QEMU's name and version."""
    said = subprocess.run([qemu, "--version"], check=True, capture_output=True)
    return said.stdout.decode().splitlines()[0]
