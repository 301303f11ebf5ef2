"""`python -m rollcall`."""

from rollcall.cli.missing_packages import explain_missing_packages

with explain_missing_packages():
    from rollcall.cli.main import main

if __name__ == "__main__":
    main(prog_name="rollcall")
