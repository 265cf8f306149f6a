"""BTF, the BPF Type Format: types, the lazy reader, .BTF.ext, and values of C types in Python."""
