"""Reports: the run record rendered for people, and the deploy folder."""
