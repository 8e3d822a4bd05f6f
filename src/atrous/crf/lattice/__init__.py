"""The permutohedral lattice: compiled kernels with hand-written vectors, and the same in torch operations.

What stands in modules with a leading underscore stays in this room.
"""
