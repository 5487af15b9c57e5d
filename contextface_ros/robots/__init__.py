"""A robot's own face: its servos or lights, and how they follow the 52 face units."""
