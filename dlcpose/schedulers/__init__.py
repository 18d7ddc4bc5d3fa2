"""Learning rate schedules over the steps of a run."""
