"""Benchmarks: scripts that take minutes and print figures; no tests."""
