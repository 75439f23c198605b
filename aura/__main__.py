"""`python -m aura` and the `aura` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from aura.cli import app

    app(prog_name="aura")


if __name__ == "__main__":
    main()
