"""The function, which answers events in the same way on OpenFaaS and on Lambda."""
