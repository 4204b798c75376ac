"""`waystation`, and `python -m waystation.cli`."""

from .app import build


def main() -> None:
    """Do what the command line says, and exit with its status."""
    build()(prog_name="waystation")


if __name__ == "__main__":
    main()
