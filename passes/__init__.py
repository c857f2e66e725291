"""Passes: steps that turn artifacts into artifacts, and the store that keeps them."""
