"""Search: what to try next; knows candidates, costs and outcomes only."""
