"""Infrared receivers: programs of type BPF_PROG_TYPE_LIRC_MODE2, which decode remote controls (Linux 4.18).

They see the pulses and spaces that the receiver of /dev/lircN reports, and tell the kernel what key was pressed.
Several may be attached to one receiver.  The device holds its programs, so there is no link in the kernel's sense.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from purebpf.abi.attr import bpf_attr_prog_attach
from purebpf.abi.bpf import bpf_attach_type, bpf_prog_type
from purebpf.errors import AttachError, KernelError
from purebpf.kernel.bpf import prog_attach, prog_detach
from purebpf.kernel.fd import Fd, number_of
from purebpf.links.guarded import guarded
from purebpf.links.link import Link
from purebpf.links.refusal import explained, unless_lacking


def attach_lirc(prog_fd: Fd | int, device: str | os.PathLike[str] | int) -> Link:
    """Run a loaded program on what an infrared receiver sees: "/dev/lirc0", or a descriptor of such a device.

    Raises AttachError if there is no such device, KernelError if the kernel refuses; nothing stays behind then.
    """
    action = f"attaching a program to infrared device {device}"
    attach_type = bpf_attach_type.BPF_LIRC_MODE2
    with _opened(device) as fd, explained(_why_not, prog_fd, bpf_prog_type.BPF_PROG_TYPE_LIRC_MODE2):
        attr = bpf_attr_prog_attach(target_fd=fd.fileno(), attach_bpf_fd=number_of(prog_fd), attach_type=attach_type)
        return guarded(
            "lirc",
            str(device),
            lambda: prog_attach(attr, action=action),
            prog_detach,
            [prog_fd, fd],
            attach_type,
        )


def _why_not() -> dict[int, str]:
    """Why the kernel refused, by errno; see lirc_prog_attach() in drivers/media/rc/bpf-lirc.c."""
    return {
        errno.EINVAL: unless_lacking(
            bpf_attach_type.BPF_LIRC_MODE2,
            "This kernel has no programs for infrared receivers (CONFIG_BPF_LIRC_MODE2)",
            "The file is no infrared device, or one that reports no pulses but only whole codes",
        ),
        errno.EEXIST: "The program is attached to the device already",
        errno.E2BIG: "As many programs are attached to the device as the kernel allows (64)",
    }


def _opened(device: str | os.PathLike[str] | int) -> Fd:
    try:
        if isinstance(device, int):
            return Fd(os.dup(device), f"infrared device {device}")
        return Fd(os.open(device, os.O_RDWR | os.O_CLOEXEC), f"infrared device {device}")
    except FileNotFoundError:
        there = ", ".join(sorted(str(path) for path in Path("/dev").glob("lirc*")))
        what = f"there are {there}" if there else "there is none at all, /dev/lircN (CONFIG_LIRC)"
        raise AttachError(f"there is no infrared device {device}; {what}") from None
    except OSError as error:
        raise KernelError(error.errno or 0, f"opening infrared device {device}") from None
