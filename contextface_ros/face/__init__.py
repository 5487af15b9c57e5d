"""From the output of g_theta to a face: expression bases, blendshapes, decoding, pictures."""
