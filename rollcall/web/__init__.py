"""The pages (`rollcall web`): show results, correct them, and search earlier videos."""
