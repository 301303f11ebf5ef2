"""The values and rules of Rollcall, without I/O. They use only the standard library and numpy."""
