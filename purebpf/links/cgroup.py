"""Control groups: programs on what the processes of a cgroup do with sockets, devices and sysctls.

They run for the cgroup and all that are below it.  A program is attached by a bpf link since Linux 5.7.  Without a
link, flags say what becomes of it where a cgroup below has programs of its own: they run too (BPF_F_ALLOW_MULTI, which
is also what a link does), they run instead (BPF_F_ALLOW_OVERRIDE), or there may be none (no flags).  All programs of
one kind in one cgroup have the same flags.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from purebpf.abi.attr import bpf_attr_link_create, bpf_attr_prog_attach, bpf_prog_info
from purebpf.abi.bpf import bpf_attach_flags, bpf_attach_type, bpf_prog_type
from purebpf.errors import AttachError, KernelError
from purebpf.kernel.bpf import link_create, obj_get_info_by_fd, prog_attach, prog_detach_from_cgroup
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.features import Features, running
from purebpf.kernel.security import require_bpf
from purebpf.links import order
from purebpf.links.guarded import guarded
from purebpf.links.link import Link
from purebpf.links.order import Attached, Neighbour
from purebpf.links.refusal import explained, unless_lacking
from purebpf.load.features import Feature
from purebpf.load.nearest import nearest
from purebpf.obj.sections import SECTIONS

Cgroup = str | os.PathLike[str] | int
"""The directory of a cgroup, in a file system of type cgroup2: its path, or a descriptor of it."""


def attach_cgroup(
    prog_fd: Fd | int,
    cgroup: Cgroup,
    attach_type: bpf_attach_type,
    *,
    flags: int | None = None,
    before: Neighbour | None = None,
    after: Neighbour | None = None,
    replace: Fd | int | None = None,
    expected_revision: int = 0,
    features: Features | None = None,
) -> Link:
    """Run a loaded program on what the processes of a cgroup do.

    By default it runs after those already there.  ``flags`` is for a program without a link: BPF_F_ALLOW_OVERRIDE,
    BPF_F_ALLOW_MULTI, or 0.  ``replace`` is the program whose place it takes, at once, if that was attached without a
    link, with BPF_F_ALLOW_MULTI; so is this one then.

    Raises AttachError if there is no such cgroup, KernelError if the kernel refuses; nothing stays behind then.
    """
    place = order.order(before, after)
    action = f"attaching a program to cgroup {cgroup} ({attach_type.name})"
    if attach_type == bpf_attach_type.BPF_LSM_CGROUP:
        require_bpf(action)
    with _opened(cgroup) as fd, explained(lambda: _why_not(fd, attach_type), prog_fd, *_types(attach_type)):
        if flags is None and replace is None and (features or running()).has(Feature.CGROUP_LINK):
            attr = bpf_attr_link_create(
                prog_fd=number_of(prog_fd), target_fd=fd.fileno(), attach_type=attach_type, flags=place.flags
            )
            attr.cgroup.relative_fd = place.relative
            attr.cgroup.expected_revision = expected_revision
            link = link_create(attr, f"link to cgroup {cgroup}", action=action)
            return Link("cgroup", str(cgroup), link, bpf_link=link)

        without_link = bpf_attr_prog_attach(
            target_fd=fd.fileno(),
            attach_bpf_fd=number_of(prog_fd),
            attach_type=attach_type,
            attach_flags=place.flags | (bpf_attach_flags.BPF_F_ALLOW_MULTI if flags is None else flags),
            relative_fd=place.relative,
            expected_revision=expected_revision,
        )
        if replace is not None:
            without_link.attach_flags |= bpf_attach_flags.BPF_F_REPLACE
            without_link.replace_bpf_fd = number_of(replace)
        return guarded(
            "cgroup",
            str(cgroup),
            lambda: prog_attach(without_link, action=action),
            prog_detach_from_cgroup,
            [prog_fd, fd],
            attach_type,
            obj_get_info_by_fd(prog_fd, bpf_prog_info).id,
        )


def attached(cgroup: Cgroup, attach_type: bpf_attach_type) -> Attached:
    """The programs of one kind in a cgroup, in their order, and the revision of that order (0 before Linux 6.17).

    Raises AttachError if there is no such cgroup, and KernelError.
    """
    with _opened(cgroup) as fd, explained(lambda: _why_not(fd, attach_type)):
        action = f"asking for the programs of cgroup {cgroup} ({attach_type.name})"
        return order.attached(fd.fileno(), attach_type, action=action)


def _opened(cgroup: Cgroup) -> Fd:
    try:
        if isinstance(cgroup, int):
            return Fd(os.dup(cgroup), f"cgroup {cgroup}")
        return Fd(os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), f"cgroup {cgroup}")
    except FileNotFoundError:
        path = Path(str(cgroup))
        beside = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
        near = [str(path.parent / name) for name in nearest(path.name, beside)]
        meant = f"did you mean {' or '.join(near)}?" if near else _where_they_are()
        raise AttachError(f"there is no cgroup {cgroup}; {meant}") from None
    except NotADirectoryError:
        raise AttachError(f"{cgroup} is no cgroup, as it is no directory; {_where_they_are()}") from None
    except OSError as error:
        raise KernelError(error.errno or 0, f"opening cgroup {cgroup}") from None


def _where_they_are() -> str:
    mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    points = [line.split()[4] for line in mounts if " - cgroup2 " in line]
    if points:
        return f"cgroups are the directories below {' and '.join(points)}"
    return "no file system of type cgroup2 is mounted. Mount it with  mount -t cgroup2 cgroup2 /sys/fs/cgroup"


def _types(attach_type: bpf_attach_type) -> set[bpf_prog_type]:
    """The types of programs for a hook of control groups."""
    if attach_type == bpf_attach_type.BPF_CGROUP_INET_INGRESS:  # number 0, which is also that of none
        return {bpf_prog_type.BPF_PROG_TYPE_CGROUP_SKB}
    return {row.type for row in SECTIONS if row.attach_type == attach_type}


def _why_not(cgroup: Fd, attach_type: bpf_attach_type) -> dict[int, str]:
    """Why the kernel refused, by errno; see __cgroup_bpf_attach() in kernel/bpf/cgroup.c."""
    return {
        **order.NOT_IN_ORDER,
        errno.EBADF: (
            f"{cgroup.what} is no directory of a file system of type cgroup2, version 1 having no programs;"
            f" {_where_they_are()}"
        ),
        errno.EPERM: (
            "Programs of this kind are attached with other flags in this cgroup, or in one above it without"
            " BPF_F_ALLOW_MULTI or BPF_F_ALLOW_OVERRIDE, and there can be none beside or below them"
        ),
        errno.EINVAL: unless_lacking(
            attach_type,
            f"This kernel has no programs for {attach_type.name}; any in cgroups take CONFIG_CGROUP_BPF",
            f"The program was loaded for something else than {attach_type.name}, or it is attached there already, or"
            " flags were given that contradict each other, or an order, which takes Linux 6.17; there, a link goes"
            " before or after links only, and a program without a link before or after such programs",
        ),
    }
