"""Many kernel functions at once: a bpf link to a list of functions (Linux 5.18, CONFIG_FPROBE).

It is made in one call, and costs far less than so many kprobes.  With a session (Linux 6.10) the program runs twice,
when the function is entered and when it returns, and what it returns at first decides about the second time.

A pattern fits those functions that can be traced at their beginning, which tracefs lists: with their addresses since
Linux 6.5 (``available_filter_functions_addrs``), before that only with their names.
"""

from __future__ import annotations

import ctypes
import errno
import re
from collections.abc import Sequence

from purebpf.abi.attr import bpf_attr_link_create
from purebpf.abi.bpf import bpf_attach_type, bpf_cmd, bpf_kprobe_multi_flags
from purebpf.errors import AttachError, KernelError
from purebpf.kernel import diagnose
from purebpf.kernel.bpf import address, bpf
from purebpf.kernel.config import built_without
from purebpf.kernel.fd import Fd, number_of
from purebpf.kernel.kallsyms import read_kallsyms
from purebpf.kernel.tracefs import Tracefs
from purebpf.links.glob import is_pattern, matcher
from purebpf.links.link import Link
from purebpf.load.nearest import suggestion


def attach_kprobe_multi(
    prog_fd: Fd | int,
    functions: str | Sequence[str] | Sequence[int],
    *,
    retprobe: bool = False,
    session: bool = False,
    cookies: Sequence[int] = (),
) -> Link:
    """Run a loaded program whenever one of many kernel functions is entered, or when it returns.

    ``functions`` is a name, a pattern (``*``, ``?``), a list of names, or a list of addresses.  ``cookies`` are what
    bpf_get_attach_cookie() returns in the program, one for each entry of a list.

    The program must have been loaded with the attach type BPF_TRACE_KPROBE_MULTI, or BPF_TRACE_KPROBE_SESSION for a
    session.  Raises AttachError if there is no such function, with the nearest names; KernelError.
    """
    kind = "kprobe.session" if session else "kretprobe.multi" if retprobe else "kprobe.multi"
    target = functions if isinstance(functions, str) else f"{len(functions)} functions"
    action = f"attaching to {kind} {target}"
    names, addresses = _resolve(functions, action)
    count = len(names) + len(addresses)
    if cookies and (len(cookies) != count or (isinstance(functions, str) and is_pattern(functions))):
        raise ValueError(f"{action}: {len(cookies)} cookies; there must be one for each entry of a list of functions")

    strings = [name.encode() for name in names]
    syms = (ctypes.c_uint64 * len(names))(*map(address, strings))
    addrs = (ctypes.c_uint64 * len(addresses))(*addresses)
    values = (ctypes.c_uint64 * len(cookies))(*cookies)
    attach_type = bpf_attach_type.BPF_TRACE_KPROBE_SESSION if session else bpf_attach_type.BPF_TRACE_KPROBE_MULTI
    attr = bpf_attr_link_create(prog_fd=number_of(prog_fd), attach_type=attach_type)
    attr.kprobe_multi.flags = bpf_kprobe_multi_flags.BPF_F_KPROBE_MULTI_RETURN if retprobe else 0
    attr.kprobe_multi.cnt = count
    attr.kprobe_multi.syms = ctypes.addressof(syms) if names else 0
    attr.kprobe_multi.addrs = ctypes.addressof(addrs) if addresses else 0
    attr.kprobe_multi.cookies = ctypes.addressof(values) if cookies else 0
    try:
        link = Fd(bpf(bpf_cmd.BPF_LINK_CREATE, attr, action=action), f"link to {kind} {target}")
    except KernelError as error:
        raise error if error.hint else _explained(error, names, session) from None
    return Link(kind, target, link, bpf_link=link)


def parse(target: str) -> str:
    """The pattern, from what follows ``kprobe.multi/`` in a section's name.  Raises AttachError."""
    if not re.fullmatch(r"[\w.*?]+", target, re.ASCII):
        raise AttachError(
            f"{target!r} is no name or pattern of kernel functions; the section should read kprobe.multi/tcp_*"
        )
    return target


def _resolve(functions: str | Sequence[str] | Sequence[int], action: str) -> tuple[list[str], list[int]]:
    """Names or addresses, as the kernel takes them: one of the two."""
    if not isinstance(functions, str):
        names = [each for each in functions if isinstance(each, str)]
        addresses = [each for each in functions if isinstance(each, int)]
        if bool(names) == bool(addresses):
            raise ValueError(f"{action}: give a list of names, or of addresses")
        return names, addresses
    if not is_pattern(functions):
        return [functions], []
    with Tracefs.open() as tracefs:
        addresses = traceable(tracefs, functions, action)
    if not addresses:
        raise AttachError(f"{action}: no function that can be traced fits the pattern")
    return [], addresses


def traceable(tracefs: Tracefs, pattern: str, action: str) -> list[int]:
    """The addresses of the functions that fit the pattern and can be traced.

    Raises AttachError where the kernel does not list them, or hides addresses.
    """
    fits = matcher(pattern)
    try:
        text = tracefs.read("available_filter_functions_addrs")
    except FileNotFoundError:
        return _by_name(tracefs, pattern, action)
    except OSError as error:
        raise _unreadable(error, action) from None
    return [int(start, 16) for start, name in re.findall(r"^(\S+) (\S+)", text, re.MULTILINE) if fits(name)]


def _by_name(tracefs: Tracefs, pattern: str, action: str) -> list[int]:
    """Before Linux 6.5: the names of those that can be traced, with the addresses that symbols of these names have."""
    fits = matcher(pattern)
    try:
        text = tracefs.read("available_filter_functions")
    except FileNotFoundError:
        lacking = built_without("CONFIG_FPROBE", "CONFIG_DYNAMIC_FTRACE")
        raise AttachError(f"{action}: the kernel does not list its functions. {lacking}".rstrip()) from None
    except OSError as error:
        raise _unreadable(error, action) from None
    names = {name for name in re.findall(r"^\S+", text, re.MULTILINE) if fits(name)}
    found = read_kallsyms().addresses_of_functions(names)
    if found and not any(found):
        raise AttachError(f"{action}: this process may not know the addresses in /proc/kallsyms (kernel.kptr_restrict)")
    return found


def _unreadable(error: OSError, action: str) -> KernelError:
    code = error.errno or 0
    why = diagnose.hint(code, "tracefs", {"CAP_SYS_ADMIN"}) or built_without("CONFIG_FPROBE", "CONFIG_DYNAMIC_FTRACE")
    return KernelError(code, f"{action}: reading the list of functions that can be traced", why)


def _explained(error: KernelError, names: list[str], session: bool) -> AttachError | KernelError:
    """Why the kernel would not set probes on these functions; ``names`` are none if addresses were given."""
    code = error.errno or 0
    needed = f"Linux {'6.10' if session else '5.18'} with CONFIG_FPROBE"
    if code in (errno.EINVAL, errno.EOPNOTSUPP) and not read_kallsyms().addresses("register_fprobe"):
        return KernelError(code, error.action, f"It takes {needed}, which this kernel is not")
    if code == errno.ESRCH:  # ftrace_lookup_symbols() in kernel/trace/ftrace.c
        symbols = read_kallsyms()
        unknown = next((name for name in names if not symbols.addresses(name)), None)
        if unknown is not None:
            near = suggestion(symbols.near_function(unknown))
            return AttachError(f"{error.action}: this kernel has no function {unknown}{near}")
    reasons = {
        errno.ESRCH: "Not every one of these functions can be traced",
        errno.ENOENT: "Not every one of these addresses is where a function begins that can be traced",
        errno.EINVAL: f"It takes {needed}, a program that was loaded for this kind of attachment, and addresses where"
        " functions begin that can be traced",
    }
    return KernelError(code, error.action, reasons.get(code, ""))
