"""What the suite compares on, from Debian's archive: kernels' types, a newer libbpf, and the programs of libbpf-tools.

The archive is the one that this machine's apt is set up for.  apt does the fetching, tries again what fails, and checks
signatures and checksums: of a suite's index against its signed release, of a package against the index.  Each suite
has an apt root of its own in the cache directory; the machine's own package lists are not touched.  A package is looked
up in the suite's index first and then asked for by exact name and version, since apt takes a name that it does not know
for a pattern.

Everything is kept in ``$PUREBPF_CACHE`` (``~/.cache/purebpf``).  To get newer versions, delete that directory.
"""

from __future__ import annotations

import functools
import io
import lzma
import os
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

CACHE = Path(os.environ.get("PUREBPF_CACHE") or Path.home() / ".cache" / "purebpf")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
EM_BPF = 247


@dataclass(frozen=True)
class Kernel:
    """A kernel that need not run here: what ``uname -r`` and ``-v`` print there, its types and its configuration."""

    release: str
    build: str
    btf: Path
    config: Path

    @property
    def last_btf_kind(self) -> int:
        """The last kind of BTF type (BTF_KIND_... in include/uapi/linux/btf.h) that this kernel knows."""
        version = tuple(_numbers(self.release)[:2])
        datasec = 15
        float_, decl_tag, type_tag, enum64 = (5, 13), (5, 16), (5, 17), (6, 0)
        return datasec + sum(version >= since for since in (float_, decl_tag, type_tag, enum64))


def kernels() -> dict[str, Kernel]:
    """The kernels of Debian that must work, by their version."""
    found = [_kernel(suite, version) for suite, version in kernel_suites()]
    return {short_version(kernel.release): kernel for kernel in found}


def kernel_suites() -> list[tuple[Suite, str]]:
    """Where those kernels come from, and how their versions begin.  Of the unstable suite whatever is newest."""
    return [
        (Suite("Debian-Security", "bullseye-security"), r"5\.10\."),
        (Suite("Debian-Security", "bookworm-security"), r"6\.1\."),
        (Suite("Debian", "trixie"), r"6\.12\."),
        (Suite("Debian", "sid"), r"\d+\."),
    ]


def short_version(release: str) -> str:
    """What people call a kernel: 6.12 for ``6.12.107+deb13-cloud-amd64``."""
    return ".".join(release.split(".")[:2]).split("+")[0]


def libbpf() -> Path:
    """The directory of the newest libbpf, built from Debian's source package: ``libbpf.a``, and headers in ``bpf/``."""

    def make(new: Path) -> None:
        Suite("Debian", "sid", "deb-src").download_source("libbpf", new)
        (tarball,) = new.glob("libbpf_*.orig.tar.*")
        _run(["tar", "-xf", tarball], new)
        (source,) = (path.parent for path in new.glob("*/src/Makefile"))
        _run(["make", "-s", "-j2", "-C", source, "BUILD_STATIC_ONLY=1", f"OBJDIR={new / 'build'}"])
        shutil.copy(new / "build" / "libbpf.a", new)
        shutil.copytree(source, new / "bpf")

    return cached("libbpf", make)


def tool_objects() -> list[Path]:
    """The BPF objects inside the programs of Debian's libbpf-tools, each named after its program."""

    def make(new: Path) -> None:
        suite = Suite("Debian", "trixie")
        package = suite.download("libbpf-tools", suite.versions()["libbpf-tools"], new)
        for name, content in _files(package):
            for found in embedded_objects(content):
                (new / f"{Path(name).name}.bpf.o").write_bytes(found)
        package.unlink()

    return sorted(cached("libbpf-tools", make).glob("*.bpf.o"))


def embedded_objects(program: bytes) -> Iterator[bytes]:
    """Cut BPF objects out of an executable, where bpftool's skeletons keep them as data."""
    position = program.find(b"\x7fELF", 1)
    while position >= 0:
        header = program[position : position + 64]
        if len(header) == 64 and header[4:6] == b"\x02\x01" and struct.unpack_from("<H", header, 18)[0] == EM_BPF:
            (sections,) = struct.unpack_from("<Q", header, 40)
            entry_size, count = struct.unpack_from("<HH", header, 58)
            # The section headers stand last in what compilers and linkers write.
            yield program[position : position + sections + entry_size * count]
        position = program.find(b"\x7fELF", position + 1)


@dataclass(frozen=True)
class Suite:
    """One suite of the archive, in an apt root of its own.  ``label`` says which archive: that of security updates?"""

    label: str
    name: str
    kind: str = "deb"

    @functools.cached_property
    def _options(self) -> list[str]:
        root = CACHE / "apt" / f"{self.name}-{self.kind}"
        options = [
            f"Dir::State={root}/state",
            f"Dir::State::status={root}/status",
            f"Dir::Cache={root}/cache",
            f"Dir::Etc::SourceList={root}/sources.list",
            "Dir::Etc::SourceParts=-",
            "APT::Architecture=amd64",
            "APT::Architectures::=amd64",
            "APT::Sandbox::User=root",
            "APT::Update::Error-Mode=any",  # without its index, a suite would look empty
            "Acquire::Retries=5",
        ]
        return [word for option in options for word in ("-o", option)]

    @functools.cached_property
    def _updated(self) -> list[str]:
        """apt's options for this suite, after its index has been fetched."""
        root = CACHE / "apt" / f"{self.name}-{self.kind}"
        for directory in ("state/lists/partial", "cache/archives/partial"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        line = f"{self.kind} [signed-by={KEYRING}] {_mirrors()[self.label]} {self.name} main\n"
        (root / "sources.list").write_text(line)
        _run(["apt-get", *self._options, "update", "-qq"])
        return self._options

    def versions(self) -> dict[str, str]:
        """Every package of the suite, with its version."""
        listing = _run(["apt-cache", *self._updated, "dumpavail"])
        return dict(re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", listing, re.MULTILINE))

    def download(self, package: str, version: str, directory: Path) -> Path:
        """Fetch one package; name and version must be those of ``versions()``."""
        _run(["apt-get", *self._updated, "download", "-qq", f"{package}={version}"], directory)
        (path,) = directory.glob(f"{package}_*.deb")
        return path

    def download_with_dependencies(self, packages: list[str], directory: Path) -> list[Path]:
        """Fetch packages and all that they depend on, but not what Debian takes for granted (Essential)."""
        (directory / "partial").mkdir()
        options = ["-o", f"Dir::Cache::archives={directory}", "--no-install-recommends", "--download-only"]
        _run(["apt-get", *self._updated, *options, "install", "-qq", "--yes", *packages])
        return sorted(directory.glob("*.deb"))

    def download_source(self, package: str, directory: Path) -> None:
        """Fetch the files of a source package."""
        _run(["apt-get", *self._updated, "source", "-qq", "--download-only", "--only-source", package], directory)


def _kernel(suite: Suite, version: str) -> Kernel:
    """The newest kernel of a suite whose version matches, from the variant for virtual machines: that is small."""

    def make(new: Path) -> None:
        for file in download_kernel(suite, version, ("binary", "base"), new):
            for path, content in _files(file):
                if re.fullmatch(r"(boot|usr/lib/modules)/.*\bconfig(-.*)?", path):
                    (new / "config").write_bytes(content)
                elif re.fullmatch(r"(boot|usr/lib/modules)/.*\bvmlinuz(-.*)?", path):
                    (new / "version").write_text(image_version(content))
                    (new / "btf").write_bytes(kernel_types(content))
            file.unlink()

    directory = cached(f"kernel-{suite.name}", make)
    release, _, build = (directory / "version").read_text().partition(" ")
    return Kernel(release, build[build.index("#") :], directory / "btf", directory / "config")


def download_kernel(suite: Suite, version: str, parts: tuple[str, ...], directory: Path) -> list[Path]:
    """Fetch the packages of a suite's newest kernel.

    Newer kernels come in parts, of which those asked for are fetched: ``binary`` has the image, ``base`` the
    configuration, and ``modules`` the modules.  Of older kernels one package has all.
    """
    packages = suite.versions()
    releases = [re.fullmatch(rf"linux-image-({version}.*-cloud-amd64)", package) for package in packages]
    release = max((found[1] for found in releases if found), key=_numbers)
    names = [f"linux-{part}-{release}" for part in parts]
    if names[0] not in packages:
        names = [f"linux-image-{release}"]
    return [suite.download(name, packages[name], directory) for name in names]


def modules() -> Path:
    """A directory with the types of Debian's kernel 6.12, ``btf``, and some of its modules, ``NAME.ko``."""

    def make(new: Path) -> None:
        (kernel,) = (each for each in kernel_suites() if each[0].name == "trixie")
        for file in download_kernel(*kernel, ("binary", "modules"), new):
            for path, content in _files(file):
                module = re.fullmatch(r".*/((?:drop_monitor|nf_conntrack|veth)\.ko)\.xz", path)
                if module:
                    (new / module[1]).write_bytes(lzma.decompress(content))
                elif re.fullmatch(r"(boot|usr/lib/modules)/.*\bvmlinuz(-.*)?", path):
                    (new / "btf").write_bytes(kernel_types(content))
            file.unlink()

    return cached("modules", make)


def image_version(image: bytes) -> str:
    """``RELEASE (BUILDER) #1 SMP ...``: from the x86 boot header (the kernel's Documentation/arch/x86/boot.rst)."""
    start = struct.unpack_from("<H", image, 0x20E)[0] + 0x200
    return image[start : image.index(b"\0", start)].decode()


def kernel_types(image: bytes) -> bytes:
    """The section ``.BTF`` of the kernel inside a bzImage; for the layout see ``image_version``."""
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    kernel = _decompress(image[start : start + length])
    section = ELFFile(io.BytesIO(kernel)).get_section_by_name(".BTF")
    data: bytes = section.data()
    return data


def _decompress(data: bytes) -> bytes:
    """Decompress what the kernel's build compressed, and followed by the length in four bytes."""
    if data.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(data)
    tools = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4"}
    for beginning, tool in tools.items():
        if data.startswith(beginning):
            return subprocess.run([tool, "-dcq"], input=data[:-4], check=True, stdout=subprocess.PIPE).stdout
    raise ValueError(f"a kernel image compressed in a way that is not known, beginning with {data[:6].hex(' ')}")


def _files(package: Path) -> Iterator[tuple[str, bytes]]:
    """The regular files of a .deb package."""
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name.removeprefix("./"), content.read()


def _mirrors() -> dict[str, str]:
    """Where this machine gets Debian's packages, by the archive's label."""
    lines = _run(["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"]).splitlines()
    return dict(line.split() for line in lines if line.startswith("Debian"))


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """A directory of the cache; ``make`` fills it if it is not there."""
    final = CACHE / name
    if not final.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=CACHE, prefix="new-"))
        try:
            make(new)
        except BaseException:
            shutil.rmtree(new)
            raise
        try:
            new.rename(final)
        except OSError:
            shutil.rmtree(new)
            if not final.exists():  # else another process was faster
                raise
    return final


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _run(command: list[str | Path], directory: Path | None = None) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout
