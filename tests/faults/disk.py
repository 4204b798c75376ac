"""A disk of our own whose power can be cut: ext4 in a file, mounted where nobody else sees it.

The cut is an ioctl of the kernel's (FS_IOC_SHUTDOWN): from that moment on nothing reaches the disk any more, and what
was not flushed is not there when it is mounted again. It models an honest disk: sectors are not torn, and what was
flushed is kept.

Root only. The mounts are in a mount namespace of this process, so that they vanish with it, however it ends.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import threading
from functools import cache
from pathlib import Path

_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE = 1 << 14, 1 << 18
_FS_IOC_SHUTDOWN = 0x8004587D
_LOG_FLUSHED, _LOG_LOST = 1, 2


@cache
def enter_private_mounts() -> str | None:
    """Give this process mounts of its own; return why that cannot be, or None.

    Threads and processes that exist already keep what they see, so call it before any is started.
    """
    if os.geteuid() != 0:
        return "only root can mount a disk"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None):
        return f"no mounts of our own here: {os.strerror(ctypes.get_errno())}"
    return None


@cache
def why_no_disk() -> str | None:
    """Return why there can be no disk whose power is cut; None: there can be."""
    if reason := enter_private_mounts():
        return reason
    missing = [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not found"
    if not Path("/dev/loop-control").exists():
        return "no loop devices"
    return None


class Disk:
    """A small ext4 file system.

    Args:
        folder: Where its image is, and the folder that it is mounted on.
        inodes: How many files it can have; None: enough.
    """

    def __init__(self, folder: Path, *, megabytes: int = 64, inodes: int | None = None) -> None:
        enter_private_mounts()
        self.image, self.path = folder / "disk.img", folder / "disk"
        self.ballast = self.path / "ballast"
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate(megabytes << 20)
        few = [] if inodes is None else ["-N", str(inodes)]
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", *few, str(self.image))
        self.mount()

    def mount(self) -> None:
        """Make it available, as after the computer has started."""
        _run("mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.path))

    def cut(self, *, log_flushed: bool = False) -> None:
        """Cut the power: writing and flushing fail from now on.

        Args:
            log_flushed: The file system's journal got to the disk just before, the data did not.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            how = _LOG_FLUSHED if log_flushed else _LOG_LOST
            fcntl.ioctl(descriptor, _FS_IOC_SHUTDOWN, struct.pack("I", how))
        finally:
            os.close(descriptor)

    def fail(self) -> None:
        """Let the kernel find an error, upon which it makes the file system read-only."""
        device = next(
            line.split()[0]
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if line.split()[1] == str(self.path)
        )
        (Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error").write_text("1")

    def fill(self, *, leaving: int) -> None:
        """Leave only so many bytes free, until the `ballast` is removed."""
        space = os.statvfs(self.path)
        size = max(1, space.f_bavail * space.f_frsize - leaving)
        with self.ballast.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:  # somebody else was quicker: it is full all the same
                if error.errno != errno.ENOSPC:
                    raise

    def unmount(self) -> None:
        """Take it away. Whoever used it must have ended, and its last files be closed, which may take a moment."""
        moment = threading.Event()
        for _ in range(200):
            done = subprocess.run(["umount", str(self.path)], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
            moment.wait(0.01)
        raise OSError(done.stderr)

    def restart(self) -> None:
        """Take it away and mount it again: what was not on the disk is gone."""
        self.unmount()
        self.mount()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr}")
