"""ContextFace for robots: what is said, and the face that belongs to it."""
