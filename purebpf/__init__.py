"""purebpf: load clang-built eBPF objects from pure Python."""

__version__ = "0.1.0"
