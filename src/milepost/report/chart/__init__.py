"""Charts as plain data, and a drawing for each medium: a figure knows no medium, and a medium knows no figure."""
