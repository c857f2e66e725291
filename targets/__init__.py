"""Targets: what a machine is and can run, and where steps are executed."""
