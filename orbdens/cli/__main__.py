"""``python -m orbdens.cli``, which is what ``torchrun -m orbdens.cli`` starts in every process."""

from orbdens.cli import main

if __name__ == "__main__":
    main()
