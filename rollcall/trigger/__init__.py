"""The trigger: stores bucket notifications in a work queue, and calls the function for each."""
