"""Evaluators: accuracy, latency, memory and size, measured on the built model."""
