"""The GPU backend: Triton."""
