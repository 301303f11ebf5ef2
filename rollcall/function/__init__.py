"""The function: an event in, an answer out. Every home of it calls the same code."""
