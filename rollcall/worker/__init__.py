"""The OpenStack worker: calls the Lambda for events from a queue, and writes results to files."""
