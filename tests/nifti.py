"""NIfTI files written from the description of their header, with the place of their voxels in the patient."""

import struct

import numpy as np

RAS = [[2, 0, 0, -9], [0, 2, 0, 4], [0, 0, 5, 1]]
LPS = [[-2, 0, 0, 9], [0, -2, 0, 4], [0, 0, 5, 1]]


def placed(volume, *, sform=None, qform=None, wide=False, order="<"):
    """A NIfTI file of a (Z, Y, X) uint8 volume; qform is (b, c, d, x, y, z, sizes of voxels with their sign first)."""
    head = bytearray(544 if wide else 352)
    real, whole = ("d", "i") if wide else ("f", "h")
    if wide:
        struct.pack_into(f"{order}i", head, 0, 540)
        head[4:12] = b"n+2\0\r\n\x1a\n"
        struct.pack_into(f"{order}2h", head, 12, 2, 8)
        struct.pack_into(f"{order}8q", head, 16, 3, *volume.shape[::-1], 1, 1, 1, 1)
        struct.pack_into(f"{order}q", head, 168, 544)
    else:
        struct.pack_into(f"{order}i", head, 0, 348)
        struct.pack_into(f"{order}8h", head, 40, 3, *volume.shape[::-1], 1, 1, 1, 1)
        struct.pack_into(f"{order}2h", head, 70, 2, 8)
        struct.pack_into(f"{order}f", head, 108, 352)
        head[344:348] = b"n+1\0"
    codes, quaternion, rows, sizes = (344, 352, 400, 104) if wide else (252, 256, 280, 76)
    struct.pack_into(f"{order}2{whole}", head, codes, int(qform is not None), int(sform is not None))
    if qform is not None:
        struct.pack_into(f"{order}6{real}", head, quaternion, *qform[:6])
        struct.pack_into(f"{order}4{real}", head, sizes, *qform[6:])
    if sform is not None:
        struct.pack_into(f"{order}12{real}", head, rows, *np.ravel(sform))
    return bytes(head) + volume.astype(np.uint8).tobytes()
