"""Cuts the power of the virtual machine of power.sh, again and again, and looks what is left on its disk.

What a power cut takes:
- what the machine had not written to its disk: its memory, with the kernel's page cache, goes with the reset;
- what the disk had in its own cache: the machine sees a disk with a volatile write cache ("write back"), and of
  what was written after the last flush some sectors are kept and others lost. QEMU's own cache modes do not do
  this, whichever is chosen: what reached QEMU is in a file of this machine, which keeps its power. So each boot
  runs on a copy of the disk, `blklogwrites` writes down every write and flush, and afterwards the disk gets what
  a real one would have kept.
"""

import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

from machine import PATIENCE, Machine, started, version

*SYSTEM, PROGRAM, CUTS, SEED = sys.argv[1:]
RANDOM = random.Random(int(SEED))
DISK_BYTES = 256 << 20
LATEST_S = 8.0  # the latest cut after recording was asked for: opening the journal, then some dozens of exams
# As slow as a memory card: on a fast disk most cuts would come while nothing is being written.
BYTES_A_SECOND, WRITES_A_SECOND = 1 << 20, 100
SECTOR = 512
FLUSH, FUA, DISCARD = 1, 2, 4  # as Documentation/admin-guide/device-mapper/log-writes.rst of the kernel


class Recorder(Machine):
    """The machine with a disk, on which the journal is."""

    def __init__(self, system, accel, folder, patience, disk):
        self.writes = os.path.join(folder, "writes")
        copy = os.path.join(folder, "disk")
        subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
        open(self.writes, "w").close()
        super().__init__(system, accel, folder, patience, [
            "-blockdev", f"driver=blklogwrites,node-name=logged,log-sector-size={SECTOR},"
            f"file.driver=file,file.filename={copy},log.driver=file,log.filename={self.writes}",
            "-object", f"throttle-group,id=card,x-bps-write={BYTES_A_SECOND},x-iops-write={WRITES_A_SECOND}",
            "-blockdev", "driver=throttle,node-name=disk,throttle-group=card,file=logged",
            "-device", "virtio-blk-pci,drive=disk",
        ])
        for driver in ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4"):
            self.load(driver)
        if self.run("cat /sys/block/vda/queue/write_cache") != ["write back"]:
            raise AssertionError("the machine does not see a disk with a cache of its own")
        self.run("mkdir /disk; mount -t ext4 /dev/vda /disk")
        self.run("echo 8 > /proc/sys/kernel/printk; echo on > /proc/sys/kernel/printk_devkmsg")

    def command(self, task):
        return (f"MACHINE_FOLDER=/disk MACHINE_TASK='{task}' {PROGRAM} machine::in_a_machine "
                "--exact --nocapture --test-threads=1")

    def check(self):
        """The exams that are there, and the first visit that is not."""
        lines = self.run(self.command("check"))
        if "whole" not in lines:
            raise AssertionError(f"nothing was checked: {lines}")
        return numbers("found", lines), max(numbers("visit", lines), default=-1) + 1

    def record(self, visit):
        """What records from this visit on, and says so by the kernel's console: a line to a terminal may wait in
        the kernel until after the cut, one to the kernel's log is out when the next exam begins."""
        return f"{self.command(f'record {visit}')} > /dev/kmsg 2>&1"

    def reset_after(self, seconds, visit):
        """Records until a second process resets the machine; the exams that were acknowledged."""
        self.shell.send(f"(sleep {seconds:.3f}; echo b > /proc/sysrq-trigger) & {self.record(visit)}")
        while '"RESET"' not in self.qmp.line():
            pass
        # Not a moment longer: QEMU would flush if it ended by itself.
        return self.killed(by_itself=True)

    def kill_after(self, seconds, visit):
        """Records until QEMU is killed; the exams that were acknowledged."""
        self.shell.send(self.record(visit))
        time.sleep(seconds)
        return self.killed(by_itself=False)

    def killed(self, by_itself):
        self.kill()
        with open(self.log, errors="replace") as file:
            said = file.read()
        if ("sysrq: Resetting" in said) != by_itself or "panic" in said or "FAILED" in said:
            raise AssertionError("the machine did not record until it was cut")
        # Whole lines only.
        return {int(exam) for exam in re.findall(r"recorded (\d+)\n", said)}


def numbers(word, lines):
    return {int(line.split()[1]) for line in lines if line.startswith(word + " ")}


def written(log):
    """The writes and flushes of a boot in their order: flags, first byte, bytes."""
    with open(log, "rb") as file:
        file.seek(SECTOR)
        while len(entry := file.read(SECTOR)) == SECTOR:
            sector, count, flags, _ = struct.unpack_from("<4Q", entry)
            if not (flags or count):
                return  # not written yet when QEMU was killed
            if flags & DISCARD:
                raise AssertionError("the file system discards what it was not asked to")
            data = file.read(count * SECTOR)
            if len(data) == count * SECTOR:
                yield flags, sector * SECTOR, data


def keep(disk, log):
    """Brings to the disk what it keeps of a boot: all up to the last flush, and of each write after it all,
    none, or some sectors. How many sectors were lost of how many that might have been."""
    entries = list(written(log))
    last_flush = max((at for at, (flags, _, _) in enumerate(entries) if flags & FLUSH), default=-1)
    lost = unsafe = 0
    with open(disk, "r+b") as file:
        for at, (flags, begin, data) in enumerate(entries):
            safe = at < last_flush or flags & FUA
            chance = 1 if safe else RANDOM.choice((0, 0.5, 1))
            for offset in range(0, len(data), SECTOR):
                unsafe += not safe
                if RANDOM.random() < chance:
                    file.seek(begin + offset)
                    file.write(data[offset:offset + SECTOR])
                else:
                    lost += 1
    return lost, unsafe


class Power:
    """A disk, and the machine that runs on it until its power is cut."""

    def __init__(self, folder):
        self.folder, self.disk = folder, os.path.join(folder, "disk")
        with open(self.disk, "wb") as file:
            file.truncate(DISK_BYTES)
        whole = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", whole, self.disk], check=True)
        self.machine = started(Recorder, SYSTEM, folder, self.disk)
        self.machine.run(self.machine.command("found"))

    def boot_again(self):
        self.machine.kill()
        shutil.rmtree(self.machine.folder)
        own = tempfile.mkdtemp(dir=self.folder)
        self.machine = Recorder(SYSTEM, self.machine.accel, own, PATIENCE, self.disk)

    def cut_again_and_again(self):
        """All cuts; after each one every exam that was there or acknowledged must be there."""
        there, acknowledged, unanswered, visit, kills, all_lost = set(), set(), 0, 0, 0, 0
        for cut in range(1, int(CUTS) + 1):
            seconds = RANDOM.uniform(0, LATEST_S)
            outside = cut % 4 == 0
            new = (self.machine.kill_after if outside else self.machine.reset_after)(seconds, visit)
            lost, unsafe = keep(self.disk, self.machine.writes)
            self.boot_again()
            found, visit = self.machine.check()
            if missing := (there | new) - found:
                raise AssertionError(f"cut {cut}: acknowledged and not there: {sorted(missing)}")
            # One exam may have been recorded and not yet acknowledged.
            if len(more := found - there - new) > 1:
                raise AssertionError(f"cut {cut}: there and never acknowledged: {sorted(more)}")
            there, unanswered, acknowledged = found, unanswered + len(more), acknowledged | new
            kills, all_lost = kills + outside, all_lost + lost
            print(f"cut {cut}: {'killed' if outside else 'reset'} after {seconds:.3f} s, {len(new)} exams "
                  f"acknowledged, {len(more)} more there; of {unsafe} sectors that were not flushed {lost} lost", flush=True)
        print(f"{int(CUTS) - kills} resets, {kills} kills, {all_lost} sectors lost: {len(acknowledged)} exams "
              f"acknowledged, {len(acknowledged & there)} of them there and whole, {unanswered} more recorded and not "
              "yet acknowledged, none half", flush=True)

    def forget_a_boot(self):
        """Shows that a loss would be seen: the disk lies about flushing and keeps nothing of a boot."""
        before, visit = self.machine.check()
        new = self.machine.kill_after(LATEST_S, visit)
        self.boot_again()
        found, _ = self.machine.check()
        if not new or found != before:
            raise AssertionError(f"the disk forgot nothing: {sorted(new)}")
        print(f"a disk that lies about flushing: {len(new)} exams acknowledged, {len(new & found)} of them there")


def main():
    print(f"seed {SEED}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        power = Power(folder)
        try:
            power.cut_again_and_again()
            power.forget_a_boot()
        except BaseException:
            print(open(power.machine.log, errors="replace").read()[-2000:])
            raise
        finally:
            power.machine.kill()
    print(version(SYSTEM[0]))


main()
