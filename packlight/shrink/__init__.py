"""The lossy half: fewer bits per weight, the same answers."""
