"""Drives the virtual machine of card.sh: plugs media in and pulls them out, and looks at what the system, the kiosk and
`edge-infer status` make of it."""

import hashlib
import sys
import tempfile
import time

from machine import Machine, started, version

*SYSTEM, MEDIA, PHOTOGRAPH = sys.argv[1:]
CONFIG = "/etc/edge-infer/camp.toml"
CARD, STICK = "/run/edge-infer/card", "/run/edge-infer/export"


class Debian(Machine):
    """A Debian system on a disk, with a display, a keyboard and a place for USB media."""

    def __init__(self, system, accel, folder, patience):
        super().__init__(system, accel, folder, 4 * patience, [
            # Of what is said twice, QEMU takes the last.
            "-append", "root=/dev/vda rw console=ttyS1 quiet", "-m", "2048", "-smp", "2",
            "-drive", f"file={MEDIA}/root,if=virtio,format=raw",
            "-device", "VGA", "-device", "qemu-xhci,id=usb", "-device", "usb-kbd",
        ])

    def plug(self, medium, name, removable=True):
        file = {"driver": "file", "filename": f"{MEDIA}/{medium}"}
        self.control("blockdev-add", **{"node-name": name, "driver": "raw", "file": file})
        self.control("device_add", driver="usb-storage", id=f"{name}-usb", bus="usb.0", drive=name,
                     removable=removable)

    def pull(self, name):
        self.control("device_del", id=f"{name}-usb")

    def until(self, what, command, patience=90):
        """Waits until a command succeeds."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            answer = self.run(f"if {command} > /dev/null 2>&1; then echo yes; else echo no; fi")
            if answer[-1] == "yes":
                print(what, flush=True)
                return
            time.sleep(1)
        raise AssertionError(f"not seen: {what}")


def found(machine):
    """Makes the journal, and starts the kiosk as the service."""
    as_service = "setpriv --reuid edge-infer --regid edge-infer --clear-groups edge-infer"
    key = machine.run(f"edge-infer journal --config {CONFIG} recovery-key --private /root/private.key")[-1].strip()
    machine.run(f"echo 222222 | {as_service} journal --config {CONFIG} found --operator Asha "
                f"--recovery-key {key} --recovery-box /var/lib/edge-infer/recovery.box")
    machine.run("systemctl start edge-infer")
    machine.until("the kiosk is at work", "systemctl is-active edge-infer")


def main():
    with open(PHOTOGRAPH, "rb") as file:
        sha256 = hashlib.sha256(file.read()).hexdigest()
    inside = "nsenter --mount --target $(systemctl show --property MainPID --value edge-infer) " \
        "setpriv --reuid edge-infer --regid edge-infer --clear-groups"
    status = f"edge-infer status --config {CONFIG}"
    with tempfile.TemporaryDirectory() as folder:
        machine = started(Debian, SYSTEM, folder)
        try:
            found(machine)
            machine.plug("card", "card")
            machine.until("the card is mounted, only to be read", f"findmnt --options ro {CARD}")
            machine.until("the service cannot write there", f"! {inside} touch {CARD}/x")
            machine.until("its photograph is in the inbox", f"test -s /var/lib/edge-infer/inbox/{sha256}.photo")
            machine.until("status: there", f"{status} | grep '{CARD}: there'")
            machine.pull("card")
            machine.until("the card's folder is gone with it", f"test ! -e {CARD}")
            machine.until("status: not there", f"{status} | grep '{CARD}: not there'")
            machine.plug("stick", "stick")
            machine.until("the stick is mounted", f"findmnt --options rw {STICK}")
            machine.until("the service can write there", f"{inside} sh -c 'echo day > {STICK}/x && sync'")
            machine.pull("stick")
            machine.until("the stick's folder is gone with it", f"test ! -e {STICK}")
            machine.plug("stick", "disk", removable=False)
            machine.until("a disk that is not removable is there", "test -b /dev/sda || test -b /dev/sdb")
            time.sleep(10)
            machine.until("and left alone", f"test ! -e {STICK} && test ! -e {CARD}")
        finally:
            machine.kill()
    print("all held:", version(SYSTEM[0]))


main()
