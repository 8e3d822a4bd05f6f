"""Labelling tools' formats, and the shapes they draw: polygons, run lengths, and what they paint."""
