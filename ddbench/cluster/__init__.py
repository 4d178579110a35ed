"""Runs on a cluster: what is queued, what happens to it, why it failed. Needs no torch."""
