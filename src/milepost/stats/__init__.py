"""Statistics of counts and columns: intervals, pairs, sets, races."""
