"""Benchmarks: one script per row of docs/performance.md. Never part of the tests."""
