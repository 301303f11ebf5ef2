"""Run whole flows on one machine, for the demo, `rollcall up` and the tests. Nothing here ships."""
