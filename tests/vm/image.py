"""What a guest boots: a kernel of Debian's, and an initramfs with everything that runs in it.

There is no disk.  An initramfs is a cpio archive that the kernel unpacks into memory before it starts ``/init``, and
several archives in a row count as one (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).  A
guest's is made of three:

- the root: Debian's Python, bpftool, iproute2 and basic programs with the libraries that they need, busybox for the
  rest, and the pytest that runs this;
- the kernel's configuration, and of its modules those that tests need;
- the checkout as it is now, and the job: what to run.

The first two are made once and cached.  They are stored uncompressed, and Python's modules compiled, since an emulated
processor is slow.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import lzma
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..conformance.debian import Suite, cached, download_kernel, image_version, kernel_suites, short_version

CHECKOUT = Path(__file__).parents[2]

PACKAGES = ["python3", "bpftool", "iproute2", "kmod", "bash", "coreutils", "dash", "libc-bin", "mount", "util-linux"]
UNWANTED_PACKAGES = ("debconf", "dpkg", "gcc-", "media-types", "tar")
"""What Debian installs with those, and nothing in a guest uses."""

UNWANTED_FILES = [
    "./usr/share",
    "./usr/lib/python3*/idlelib",
    "./usr/lib/python3*/lib2to3",
    "./usr/lib/python3*/ensurepip",
    "./usr/lib/python3*/pydoc_data",
    "./usr/lib/python3*/tkinter",
    "./usr/lib/python3*/turtle*",
    "./usr/lib/python3*/test",
    "./usr/lib/python3*/config-*",
    "./usr/lib/*/gconv",
    "./usr/lib/*/perl*",
    "./usr/lib/*/libsqlite3.so*",
    "./usr/lib/*/libdb-*",
]

DISTRIBUTIONS = ["pytest", "pluggy", "iniconfig", "packaging", "pygments", "pyelftools"]
"""Python packages that a guest gets from the environment that runs this.  All are pure Python."""

MODULES = [
    *("act_bpf", "act_gact", "cls_bpf", "cls_matchall", "sch_ingress"),
    *("dummy", "ifb", "tun", "veth"),
    *("drop_monitor", "nf_conntrack", "nf_defrag_ipv4", "nf_defrag_ipv6"),
    *("loop", "tcp_bbr", "tls", "vsock_loopback"),
]

OLDER_PYTHON = {"bullseye-security": "bookworm", "bookworm-security": "bookworm"}
"""Where the root comes from if not from the kernel's own suite: bullseye's Python, 3.9, is too old for us."""


@dataclass(frozen=True)
class Image:
    """A kernel, and the parts of its guest's initramfs that do not change."""

    release: str
    kernel: Path
    parts: tuple[Path, Path]

    @property
    def name(self) -> str:
        return short_version(self.release)

    def write_initramfs(self, path: Path, job: str) -> None:
        """``job``: a shell script, run in the root of the checkout."""
        with path.open("wb") as output:
            for part in self.parts:
                with part.open("rb") as archive:
                    shutil.copyfileobj(archive, output)
            cpio = Cpio(output)
            cpio.add("init", stat.S_IFREG | 0o755, (Path(__file__).parent / "init.sh").read_bytes())
            cpio.add("job", stat.S_IFREG | 0o755, job.encode())
            cpio.add("checkout", stat.S_IFDIR | 0o755)
            for name in ("purebpf", "prebuilt", "programs", "tests"):
                cpio.add_tree(CHECKOUT / name, f"checkout/{name}", without="__pycache__")
            for name in ("Makefile", "README.md", "pyproject.toml"):
                cpio.add(f"checkout/{name}", stat.S_IFREG | 0o644, (CHECKOUT / name).read_bytes())
            cpio.end()


def images() -> Iterable[Image]:
    """The image of each kernel that must work, made if it is not in the cache, which takes a minute."""
    for suite, version in kernel_suites():
        yield image(suite, version)


def image(suite: Suite, version: str) -> Image:
    """The image of a suite's newest kernel whose version begins so."""
    userland = Suite("Debian", OLDER_PYTHON.get(suite.name, suite.name))
    kernel = _cached(f"vm-kernel-{suite.name}", lambda new: _make_kernel(suite, version, new))
    root = _cached(f"vm-root-{userland.name}", lambda new: _make_root(userland, new))
    release = (kernel / "release").read_text()
    return Image(release, kernel / "vmlinuz", (root / "root.cpio", kernel / "modules.cpio"))


def emulator() -> list[str | Path]:
    """The command that runs QEMU, with where it finds its firmware: Debian 13's, whatever this machine has.

    QEMU 7.2, which is Debian 12's, will not do: its CMPXCHG16B leaves nonsense in the register of flags, of which
    kernels die at the next interrupt.
    """

    def make(new: Path) -> None:
        with tempfile.TemporaryDirectory(dir=new) as packages:
            _empty_root(new / "root")
            for package in Suite("Debian", "trixie").download_with_dependencies(["qemu-system-x86"], Path(packages)):
                _unpack(package, new / "root", ["./usr/share/doc", "./usr/share/locale", "./usr/share/man"])

    root = _cached("vm-qemu", make) / "root"
    firmware = [word for name in ("qemu", "seabios") for word in ("-L", root / "usr/share" / name)]
    return [*_runner(root), root / "usr/bin/qemu-system-x86_64", *firmware]


def _runner(root: Path) -> list[str | Path]:
    """What to put before a program of a root to run it here, with the libraries of that root."""
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    return [root / "usr" / "lib64" / "ld-linux-x86-64.so.2", "--library-path", libraries]


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """What was made by this very recipe, with these versions of what is copied from here."""
    versions = [importlib.metadata.version(name) for name in DISTRIBUTIONS]
    recipe = hashlib.sha256(repr([Path(__file__).read_text(), *versions]).encode()).hexdigest()[:12]
    found = cached(f"{name}-{recipe}", make)
    for other in found.parent.glob(f"{name}-????????????"):
        if other != found:
            shutil.rmtree(other)
    return found


def _make_kernel(suite: Suite, version: str, new: Path) -> None:
    with tempfile.TemporaryDirectory(dir=new) as directory:
        root = _empty_root(Path(directory) / "root")
        for package in download_kernel(suite, version, ("binary", "base", "modules"), Path(directory)):
            _unpack(package, root, ["./usr/share"])
        (image,) = [*root.glob("boot/vmlinuz-*"), *root.glob("usr/lib/modules/*/vmlinuz")]
        release = image_version(image.read_bytes()).split()[0]
        image.rename(new / "vmlinuz")
        (new / "release").write_text(release)
        _choose_modules(root, release)
        with (new / "modules.cpio").open("wb") as output:
            cpio = Cpio(output)
            cpio.add_tree(root / "boot", "boot", without=f"System.map-{release}")
            cpio.add_tree(root / "usr" / "lib" / "modules", "usr/lib/modules")
            cpio.end()


def _choose_modules(root: Path, release: str) -> None:
    """Leave the modules that tests need and those which these need, decompressed."""
    directory = root / "usr" / "lib" / "modules" / release
    for path in directory.rglob("*.ko.xz"):
        path.with_suffix("").write_bytes(lzma.decompress(path.read_bytes()))
        path.unlink()
    depmod = ["busybox", "depmod", "-b", root, release]
    subprocess.run(depmod, check=True)
    needs = {}
    for line in (directory / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = [module, *others.split()]
    wanted = {path for module, paths in needs.items() if Path(module).stem in MODULES for path in paths}
    for module in needs.keys() - wanted:
        (directory / module).unlink()
    subprocess.run(depmod, check=True)


def _make_root(suite: Suite, new: Path) -> None:
    with tempfile.TemporaryDirectory(dir=new) as directory:
        root = _empty_root(Path(directory) / "root")
        packages = Path(directory) / "packages"
        packages.mkdir()
        for package in suite.download_with_dependencies(PACKAGES, packages):
            if not package.name.startswith(UNWANTED_PACKAGES):
                _unpack(package, root, UNWANTED_FILES)
        _add_busybox(root)
        site = root / "usr" / "lib" / "python3" / "dist-packages"
        _copy_distributions(site)
        (site / "checkout.pth").write_text("/checkout\n")
        _compile(root)
        (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
        (root / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
        (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        subprocess.run([root / "usr" / "sbin" / "ldconfig", "-r", root], check=True)
        with (new / "root.cpio").open("wb") as output:
            cpio = Cpio(output)
            cpio.add_tree(root, "")
            cpio.end()


def _empty_root(root: Path) -> Path:
    """A root directory with what Debian's base-files brings: packages count on the links into /usr."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("boot", "dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp"):
        (root / name).mkdir()
    return root


def _unpack(package: Path, root: Path, without: list[str]) -> None:
    """Unpack a .deb package, which ``dpkg-deb --extract`` would let replace the links into /usr."""
    excluded = [f"--exclude={pattern}" for pattern in [*without, *(p.replace("./usr/", "./") for p in without)]]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as archive:
        tar = ["tar", "-x", "-C", root, "--keep-directory-symlink", "--no-same-owner", *excluded]
        subprocess.run(tar, stdin=archive.stdout, check=True)


def _add_busybox(root: Path) -> None:
    """Add this machine's busybox, under all of its names except those of programs that are there.

    Not as the shell: it would prefer its own commands to those in PATH.
    """
    if not (root / "usr" / "bin" / "sh").exists():
        (root / "usr" / "bin" / "sh").symlink_to("dash")
    busybox = root / "usr" / "bin" / "busybox"
    shutil.copy(shutil.which("busybox") or "busybox", busybox)
    for name in subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split():
        if not any((root / "usr" / place / name).exists() for place in ("bin", "sbin")):
            (root / "usr" / "bin" / name).symlink_to("busybox")


def _copy_distributions(site: Path) -> None:
    for name in DISTRIBUTIONS:
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or []:
            if ".." not in file.parts and file.suffix != ".pyc":
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(distribution.locate_file(file), site / file)


def _compile(root: Path) -> None:
    """Compile all Python modules, by the guest's Python, with the guest's libraries."""
    command = [*_runner(root), root / "usr" / "bin" / "python3", "-m", "compileall", "-q"]
    command += ["-s", root, "-p", "/", "--invalidation-mode", "unchecked-hash"]
    places = [path for path in (root / "usr" / "lib").glob("python3*") if path.is_dir()]
    subprocess.run([*command, *places], check=True, env={**os.environ, "PYTHONHOME": str(root / "usr")})


class Cpio:
    """Writes a cpio archive in the kernel's format, where everything belongs to root."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._inode = 0

    def add(self, name: str, mode: int, content: bytes = b"", mtime: int = 0) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = [self._inode, mode, 0, 0, 1, mtime, len(content), 0, 0, 0, 0, len(encoded), 0]
        self._write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self._write(content)

    def add_tree(self, directory: Path, name: str, without: str = "") -> None:
        """Add a directory, under this name, and what is below it, but no file or directory called ``without``."""
        for path in [directory, *sorted(directory.rglob("*"))]:
            status = path.lstat()
            target = str(Path(name) / path.relative_to(directory))
            if target == "." or without in path.parts:
                continue
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path).encode()
            else:
                content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            self.add(target, status.st_mode, content, int(status.st_mtime))

    def end(self) -> None:
        self.add("TRAILER!!!", 0)

    def _write(self, data: bytes) -> None:
        """Write and pad to a multiple of four bytes, as headers and contents are."""
        self._output.write(data + bytes(-len(data) % 4))
