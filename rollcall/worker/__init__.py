"""The worker between two queues: events to Lambda calls, results to files."""
