"""Short programs to copy from: ``python -m orbdens.examples.NAME``. They run in seconds."""
