"""What Rollcall knows, free of I/O: standard library and numpy only."""
