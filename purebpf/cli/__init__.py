"""The command ``purebpf``."""
