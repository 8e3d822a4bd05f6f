"""Tables of results: classes, objects, boundaries, membranes."""
