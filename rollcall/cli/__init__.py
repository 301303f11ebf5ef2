"""The commands, and what they do."""
