"""The pages (`rollcall web`): look at results, correct them, and search the past."""
