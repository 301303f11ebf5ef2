"""The commands: `rollcall` and the scripts in the root of the repository."""
