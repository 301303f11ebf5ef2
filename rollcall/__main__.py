"""`python -m rollcall`."""

from rollcall.start import explain_missing_packages

with explain_missing_packages():
    from rollcall.tools.cli import main

if __name__ == "__main__":
    main(prog_name="rollcall")
