"""Avatars of other programs: the face in their names, over their wire."""
