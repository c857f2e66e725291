"""Replays: the planner and plain searches on recorded tables, in simulated time.

    python -m bench.search --table FILE --limit m_latency_ms=8 --gap 0.5% --seeds 20 --json OUT

The planner is the real one and is driven through its own protocol; only the step
runner is replaced, by one that looks outcomes and costs up in the table.
"""
