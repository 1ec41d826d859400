#!/usr/bin/env python3
"""Build the display meshes of the SO-100 arm (binary STL, metres, URDF link frames).

Developer's tool; the build does not need it. To run:

    python3 -m venv venv && venv/bin/pip install numpy manifold3d
    venv/bin/python assets/so100/generate.py [output folder, default: this one]

Every part is built from a few solids in millimetres, in the frame of its link, and checked before it is written:
one closed surface with outward normals, no degenerate triangle, outer bounds within 1 mm of the printed part. The
solids are ours; the outer bounds, servo places and pad faces are measurements of the SO-100 by TheRobotStudio.
"""

import math
import struct
import sys
from pathlib import Path

import manifold3d as m3
import numpy as np

# STS3215 body and horns, mm. Half lengths along the shaft; short side; distances from shaft to ends.
SERVO_HALF_BODY, SERVO_HALF_HORNS = 17.5, 19.8
SERVO_NEAR, SERVO_FAR, SERVO_HALF_WIDTH = 10.2, 35.2, 12.4
HORN_RADIUS = 9.6
# Clearance between a printed pocket and the servo body, so that no two faces coincide.
CLEARANCE = 0.15
# Horn screws sit on a 14 mm circle, on the diagonals.
SCREW_OFFSET = 5.0

# Outer bounds of the printed parts, (min, max), mm.
PRINTED_BOUNDS = {
    "base": ((-55.5, -71.0, 0.0), (55.5, 24.9, 83.5)),
    "shoulder": ((-26.3, 0.0, -12.0), (26.1, 86.3, 50.8)),
    "upper_arm": ((-35.1, -11.9, -12.0), (34.9, 130.2, 16.0)),
    "lower_arm": ((-35.1, -15.0, -12.0), (26.1, 21.9, 118.7)),
    "wrist": ((-35.2, -62.4, -16.0), (28.1, 12.0, 16.0)),
    "gripper": ((-30.0, -106.4, -24.0), (35.2, 0.0, 24.0)),
    "jaw": ((-12.3, -82.0, -23.9), (10.0, 10.0, 24.1)),
}

# Per link: shaft centre, shaft direction, direction from the shaft to the far short end of the body.
SERVOS = {
    "base": ((0, -45.2, 46.5), "z", (0, 1, 0)),
    "shoulder": ((0, 102.5, 30.6), "x", (0, -1, 0)),
    "upper_arm": ((0, 112.6, 28.0), "x", (0, 0, -1)),
    "lower_arm": ((0, 5.2, 134.9), "x", (0, 0, -1)),
    "wrist": ((0, -42.8, 0), "y", (-1, 0, 0)),
    "gripper": ((-20.2, -24.4, 0.5), "z", (1, 0, 0)),
}


# ---- solids -------------------------------------------------------------------------------------------------------


def solid(vertices, triangles):
    """Manifold from vertices (n, 3) in mm and triangles (m, 3); turned inside out if needed."""
    vertices, triangles = np.asarray(vertices, float), np.asarray(triangles, int)
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    if np.einsum("ij,ij->i", a, np.cross(b, c)).sum() < 0:
        triangles = triangles[:, ::-1]
    result = m3.Manifold(m3.Mesh64(vertices, triangles.astype(np.uint64)))
    if result.status() != m3.Error.NoError or result.volume() <= 0:
        raise ValueError(f"not a solid: {result.status()}, volume {result.volume():.3f} mm3")
    return result


def signed_area(loop):
    x, y = np.asarray(loop, float).T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def rounded(points, step_deg=30.0):
    """Closed outline from (u, v) or (u, v, fillet radius) points; arcs are cut every `step_deg` or finer."""
    corners = [(np.array(p[:2], float), p[2] if len(p) > 2 else 0.0) for p in points]
    outline = []
    for k, (corner, radius) in enumerate(corners):
        before, after = corners[k - 1][0], corners[(k + 1) % len(corners)][0]
        to_before = (before - corner) / np.linalg.norm(before - corner)
        to_after = (after - corner) / np.linalg.norm(after - corner)
        turn = math.pi - math.acos(np.clip(to_before @ to_after, -1, 1))
        if radius <= 0 or turn < 1e-3:
            outline.append(corner)
            continue
        setback = radius * math.tan(turn / 2)
        bisector = (to_before + to_after) / np.linalg.norm(to_before + to_after)
        centre = corner + bisector * radius / math.cos(turn / 2)
        start = corner + to_before * setback - centre
        end = corner + to_after * setback - centre
        side = np.sign(start[0] * end[1] - start[1] * end[0])
        count = max(1, math.ceil(math.degrees(turn) / step_deg))
        for i in range(count + 1):
            angle = side * turn * i / count
            cos, sin = math.cos(angle), math.sin(angle)
            outline.append(centre + np.array([cos * start[0] - sin * start[1], sin * start[0] + cos * start[1]]))
    return np.array(outline)


def circle(centre, radius, segments, phase_deg=0.0):
    angles = np.radians(phase_deg) + np.arange(segments) * 2 * math.pi / segments
    return np.asarray(centre, float) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def inset(loop, distance):
    """Mitred offset to the left of each edge (into the material for outlines ccw and holes cw), same vertex count."""
    loop = np.asarray(loop, float)
    edge_in, edge_out = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    normal_in, normal_out = (
        np.stack([-e[:, 1], e[:, 0]], 1) / np.linalg.norm(e, axis=1)[:, None] for e in (edge_in, edge_out)
    )
    mitre = normal_in + normal_out
    return loop + distance * mitre * 2 / np.einsum("ij,ij->i", mitre, mitre)[:, None]


def inside(outline, point, margin):
    """Whether `point` lies within `outline`, at least `margin` from its edges."""
    edge, following = np.asarray(outline), np.roll(outline, -1, axis=0)
    along = following - edge
    t = np.clip(np.einsum("ij,ij->i", point - edge, along) / np.einsum("ij,ij->i", along, along), 0, 1)
    clearance = np.linalg.norm(edge + t[:, None] * along - point, axis=1).min()
    bearing = np.unwrap(np.arctan2(*(np.vstack([edge, edge[:1]]) - point).T[::-1]))
    return bool(clearance > margin and abs(bearing[-1] - bearing[0]) > 1)


def place(axis, u, v, w):
    """(u, v) of an outline and height w to x, y, z: outlines are (y, z), (x, z) or (x, y) for axis x, y or z."""
    return {"x": (w, u, v), "y": (u, w, v), "z": (u, v, w)}[axis]


def prism(axis, outline, low, high, chamfer=0.0, holes=(), chamfer_low=None):
    """Extrude `outline` with `holes` along `axis` from `low` to `high`, with 45 degree chamfers at both ends."""
    loops = [np.asarray(outline, float)] + [np.asarray(h, float) for h in holes]
    loops = [loop if (signed_area(loop) > 0) == (k == 0) else loop[::-1] for k, loop in enumerate(loops)]
    chamfer_low = chamfer if chamfer_low is None else chamfer_low
    levels = [(low, chamfer_low)] + [(low + chamfer_low, 0.0)] * (chamfer_low > 0)
    levels += [(high - chamfer, 0.0)] * (chamfer > 0) + [(high, chamfer)]
    count = sum(len(loop) for loop in loops)
    vertices, triangles = [], []
    for height, distance in levels:
        for loop in loops:
            vertices += [place(axis, u, v, height) for u, v in (inset(loop, distance) if distance > 0 else loop)]
    first = 0
    for loop in loops:
        n = len(loop)
        for level in range(len(levels) - 1):
            for k in range(n):
                a, b = level * count + first + k, level * count + first + (k + 1) % n
                triangles += [(a, b, b + count), (a, b + count, a + count)]
        first += n
    for level, flip in ((0, True), (len(levels) - 1, False)):
        caps = m3.triangulate([inset(loop, levels[level][1]) if levels[level][1] > 0 else loop for loop in loops])
        triangles += [tuple(t[::-1] if flip else t) for t in (np.asarray(caps) + level * count)]
    return solid(vertices, triangles)


def box(low, high):
    return m3.Manifold.cube(tuple(b - a for a, b in zip(low, high, strict=True))).translate(low)


def loft(sections):
    """Closed solid through convex loops (k, n, 3) of equal vertex count."""
    sections = np.asarray(sections, float)
    levels, n, _ = sections.shape
    triangles = []
    for level in range(levels - 1):
        for k in range(n):
            a, b = level * n + k, level * n + (k + 1) % n
            triangles += [(a, b, b + n), (a, b + n, a + n)]
    last = (levels - 1) * n
    triangles += [(0, k + 1, k) for k in range(1, n - 1)] + [(last, last + k, last + k + 1) for k in range(1, n - 1)]
    return solid(sections.reshape(-1, 3), triangles)


def cylinder(axis, centre, radius, low, high, segments=16):
    return prism(axis, circle(centre, radius, segments, 180 / segments), low, high)


def pits(axis, centres, surface, inward, radius=1.8, depth=2.2, sides=6):
    """Countersunk screw holes from `surface` towards `inward` (+1 or -1 along `axis`), one solid to subtract.

    Cones instead of cylinders: half the triangles, and their flanks turn dark in every light.
    """
    phase = 0.0 if sides == 4 else 180 / sides
    cones = []
    for c in centres:
        rim = [place(axis, u, v, surface) for u, v in circle(c, radius, sides, phase)]
        lip = [place(axis, u, v, surface - inward) for u, v in circle(c, radius, sides, phase)]
        cones.append(m3.Manifold.hull_points(np.array(rim + lip + [place(axis, *c, surface + inward * depth)])))
    return m3.Manifold.compose(cones)


def horn_pits(axis, centre, surface, inward):
    """The four horn screws around a shaft."""
    u, v = centre
    signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return pits(axis, [(u + a * SCREW_OFFSET, v + b * SCREW_OFFSET) for a, b in signs], surface, inward, 1.9)


def diamonds(axis, centre, surface, inward, step_u=8.5, step_v=10.0, radius=1.9):
    """The 4 x 2 diamond holes on the servo holders."""
    u, v = centre
    spots = [(u + step_u * i, v + step_v * j) for i in (-1.5, -0.5, 0.5, 1.5) for j in (-0.5, 0.5)]
    return pits(axis, spots, surface, inward, radius, 2.2, 4)


def join(*solids):
    return m3.Manifold.batch_boolean(list(solids), m3.OpType.Add)


def cut(body, *solids):
    return m3.Manifold.batch_boolean([body, *solids], m3.OpType.Subtract)


# ---- servo --------------------------------------------------------------------------------------------------------


def servo(link):
    """STS3215 with horn and idler disc, in the frame of `link`."""
    h, n, f = SERVO_HALF_WIDTH, SERVO_NEAR, SERVO_FAR
    outline = rounded([(-n, -h, 3), (f, -h), (f, h), (-n, h, 3)], 90)
    body = [
        prism("z", outline, low, high, 0.6)
        for low, high in ((-SERVO_HALF_BODY, -8.4), (-8.4, 9.6), (9.6, SERVO_HALF_BODY))
    ]
    discs = [
        cylinder("z", (0, 0), HORN_RADIUS, low, high, 10)
        for low, high in ((SERVO_HALF_BODY - 1, SERVO_HALF_HORNS), (-SERVO_HALF_HORNS, 1 - SERVO_HALF_BODY))
    ]
    centre, axis, far = SERVOS[link]
    e_far = np.array(far, float)
    e_shaft = np.eye(3)["xyz".index(axis)]
    frame = np.stack([e_far, np.cross(e_shaft, e_far), e_shaft], axis=1)
    return join(*body, *discs).transform(np.hstack([frame, np.array(centre, float)[:, None]]))


# ---- printed parts ------------------------------------------------------------------------------------------------


def base():
    half = [(14.5, -58), (19, -61), (25, -71), (34, -71), (55.5, -29), (55.5, -15), (48, -3), (48, 9), (39, 18.5)]
    outline = half + [(-x, y) for x, y in reversed(half)]
    plate = prism("z", outline, 0, 15.5, 1.2)
    rows = [(y, 20 if k % 2 else 25) for k, y in enumerate(np.arange(-64, 14, 8.5))]
    grid = [(x, y) for y, first in rows for x in range(first, 55, 10) if x > (17 if y < -28 else 26)]
    grid = [spot for spot in grid if inside(outline, spot, 4)]
    spots = grid + [(-x, y) for x, y in grid]
    plate = cut(plate, pits("z", spots, 15.5, -1, 2.6, 3.0, 4), pits("y", [(-8.5, 7), (8.5, 7)], -58, 1, 1.6))

    column = prism("x", [(-21, 14), (16, 14), (16, 44), (-8.5, 44), (-8.5, 27), (-13, 22)], -19, 19, 2)
    block = prism("x", [(-12, 42), (18, 42), (20.5, 44.5), (20.5, 70), (-3, 71.5), (-12, 60)], -23, 23, 2)
    arms = prism("z", [(19.5, -3), (19.5, -54), (16, -58), (-16, -58), (-19.5, -54), (-19.5, -3)], 42, 59.5, 1.2)
    roof = prism("z", [(19.5, 20), (19.5, 1), (11, -8.5), (-11, -8.5), (-19.5, 1), (-19.5, 20)], 64.5, 75, 1.2)
    board = prism("y", rounded([(-27, 41, 5), (27, 41, 5), (27, 83.5, 5), (-27, 83.5, 5)]), 19.6, 24.9, 1)
    k = CLEARANCE
    pocket = box((-12.4 - k, -80, 28.8), (12.4 + k, -10 + k, 64 + k))
    cable = pits("z", [(0, 6)], 75, -1, 7.5, 9, 12)
    duct = prism("y", rounded([(-9, 13), (9, 13), (9, 40, 4), (-9, 40, 4)]), 2, 40)
    screws = join(
        pits("y", [(a * 21.5, z) for a in (-1, 1) for z in (47, 77.5)], 24.9, -1),
        pits("y", [(-21.5, 77.5), (21.5, 77.5)], 19.6, 1),
    )
    block = cut(join(column, block, roof), duct)
    return cut(
        join(plate, cut(join(block, board), cable), arms),
        pocket,
        screws,
        pits("x", [(6, 50)], 23, -1),
        pits("x", [(6, 50)], -23, 1),
    )


def shoulder():
    side = [(0, 35.5), (9, 49.5), (69, 49.5), (69, 15), (60, 15), (56, 20), (45, 28.5), (20, 28.5), (14, 33), (0, 33)]
    plan = rounded([(-13, 14), (13, 14), (19.2, 34, 3), (19.2, 48.5, 2.5), (-19.2, 48.5, 2.5), (-19.2, 34, 3)], 45)
    column = prism("y", plan, 0, 69) ^ prism("x", rounded(side, 45), -30, 30)
    tongue = np.concatenate([circle((0, 0), 12, 16)[8:], circle((0, 0), 12, 16)[:1], [(12, 34), (-12, 34)]])
    low, high = prism("y", tongue, 0, 12, 1), prism("y", tongue, 50.6, 62, 1)
    rim = rounded([(-26.3, 14, 2), (26.1, 14, 2), (26.1, 50.8, 5), (-26.3, 50.8, 5)])
    holder = prism("y", rim, 60, 86.3, 1.2)
    k = CLEARANCE
    servo_pocket = box((-17.5 - k, 67.1, 18.2 - k), (17.5 + k, 90, 43 + k))
    body = cut(
        join(column, low, high, holder),
        servo_pocket,
        pits("y", [(0, 0)], 62, -1, 4, 4, 8),
        diamonds("z", (0, 72), 50.8, -1, 8.5, 10.0),
    )
    for surface, inward in ((-26.3, 1), (26.1, -1)):
        body = cut(body, pits("x", [(73, 21), (73, 40)], surface, inward))
    return body


def capsule_side(radius, end):
    """Side profile of a leg: round about the origin, straight to `end`; (length, thickness)."""
    arc = circle((0, 0), radius, 16)[4:13]
    return np.concatenate([[(end, radius)], arc, [(end, -radius)]])


def upper_arm():
    outline = rounded(
        [
            (-35.1, -8), (-31, -11.9), (-18, -11.9), (-18, 24), (-9.2, 50.5, 8.5), (9.2, 50.5, 8.5), (18, 24),
            (18, -11.9), (31, -11.9), (34.9, -8), (34.9, 40), (25.6, 94), (25.6, 130.2), (-27, 130.2), (-27, 94),
            (-35.1, 40),
        ],
        35,
    )
    window = rounded([(-10.4, 75, 10.3), (10.4, 75, 10.3), (10.4, 93.5), (-10.4, 93.5)])
    body = prism("z", outline, -12, 12, 2, [window])
    ends = prism("x", capsule_side(11.95, 140), -40, 40)
    shelf = prism("x", rounded([(94, -10), (94, 13, 2), (96.5, 16), (99.95, 16), (99.95, -10)], 45), -15, 15, 1)
    k = CLEARANCE
    pocket = box((-17.5 - k, 100.2 - k, -7.2 - k), (17.5 + k, 125 + k, 60))
    slot = box((-8.7, 120, -7.2 - k), (8.7, 140, 60))
    body = cut(join(body ^ ends, shelf), pocket, slot, diamonds("z", (0, 112), -12, 1))
    for surface, inward, top in ((-35.1, 1, -27), (34.9, -1, 25.6)):
        body = cut(body, horn_pits("x", (0, 0), surface, inward), pits("x", [(103, -4), (122, -4)], top, inward))
    return body


def lower_arm():
    outline = rounded(
        [
            (-35.1, -8), (-31, -12), (-18, -12), (-18, 24), (-9.2, 49.5, 8.5), (9.2, 49.5, 8.5), (18, 24), (18, -12),
            (26.1, -12), (26.1, 96), (-26.6, 96), (-26.6, 91), (-35.1, 40),
        ],
        35,
    )
    window = rounded([(-10, 74, 9.9), (10, 74, 9.9), (10, 92), (-10, 92)])
    body = prism("y", outline, -12, 12, 2, [window])
    ends = prism("x", capsule_side(12, 140)[:, ::-1], -40, 40)
    rim = rounded([(-26.8, -15, 4), (26.1, -15, 4), (26.1, 21.9, 5), (-26.8, 21.9, 5)])
    holder = prism("z", rim, 91, 118.7, 1.2)
    k = CLEARANCE
    pocket = box((-17.5 - k, -7.2 - k, 99.6), (17.5 + k, 17.6 + k, 150))
    body = cut(join(body ^ ends, holder), pocket, diamonds("y", (0, 106), 21.9, -1))
    for surface, inward, top in ((-35.1, 1, -26.8), (26.1, -1, 26.1)):
        body = cut(body, horn_pits("x", (0, 0), surface, inward), pits("x", [(-6, 108), (13, 108)], top, inward))
    return body


def wrist():
    plan = rounded(
        [
            (-35.2, -62.4), (-13, -61.2), (8, -56.5), (28.1, -38, 22), (28.1, 14), (18.2, 14), (18.2, -22.7, 12),
            (-18.2, -22.7, 6), (-18.2, 14), (-26, 14), (-26, -14, 6), (-35.2, -27),
        ],
        34,
    )
    eye = [tuple(p) for p in circle((0, 0), 12, 16)]
    fish = rounded(
        [
            *eye[:7], (-18.5, 5, 10), (-36, 16.3, 24), (-70, 17.5), (-70, -17.5), (-36, -16.3, 24), (-18.5, -5, 10),
            *eye[10:],
        ],
        30,
    )
    # The plates over the servo keep their full height; only the legs and the flank narrow to a fish.
    plates = prism("y", [(-36, -20), (10.5, -20), (25, -8), (25, 8), (10.5, 20), (-36, 20)], -70, -24)
    body = prism("z", plan, -16, 16, 1) ^ join(prism("x", fish, -40, 40), plates)
    k = CLEARANCE
    pocket = box((-60, -60.3 - k, -12.4 - k), (10.2 + k, -25.3 + k, 12.4 + k))
    mouth = box((-13, -80, -12.4 - k), (10.2 + k, -50, 12.4 + k))
    gill = prism("x", [(-80, 11.2), (-52, 11.2), (-36, 0), (-52, -11.2), (-80, -11.2)], 9, 60)
    slots = [
        prism("z", [(-28, -31 + d), (-24, -31 + d), (-14, -40 + d), (-18, -43.5 + d), (-28, -35 + d)], z0, z1)
        for d in (0, -13)
        for z0, z1 in ((12, 20), (-20, -12))
    ]
    disc = join(
        cylinder("x", (0, 0), 11, -35.2, -32.2),
        loft([[(x, *p) for p in circle((0, 0), r, 10, 18)] for x, r in ((-33, 4.5), (-29, 5.5), (-25, 10.5))]),
    )
    body = cut(
        join(body, disc),
        pocket,
        mouth,
        gill,
        *slots,
        horn_pits("x", (0, 0), 28.1, -1),
        horn_pits("x", (0, 0), -35.2, 1),
        pits("y", [(-24, -14.3), (-24, 14.3)], -62.4, 1, 1.2),
    )
    return body


def finger_sections(stations, inner_x):
    """Cross sections (x, y, z) of a finger: flat towards the other finger (`inner_x`), rounded on the back.

    `stations` are (y, back x, half width, back rounding); the back lies at greater x than the inner face.
    """
    sections = []
    for y, back, half, rounding in stations:
        r = min(rounding, half * 0.8, abs(back - inner_x) * 0.6)
        steps = [(inner_x, half - 0.01), (back - r, half), (back - r * 0.35, half - r * 0.35), (back, half - r)]
        right = [(x, y, z) for x, z in steps]
        sections.append(right + [(x, y, -z) for x, _, z in reversed(right)])
    return sections


def gripper():
    # Side view (x, y) of the housing; the notch clears the moving jaw's horn disc about (-20.2, -24.4).
    side = rounded(
        [
            (-30, -5, 2.5), (-30, -12.4, 2.5), (-15.5, -12.4, 3), (-8.8, -20.5, 5), (-3.8, -38), (-1, -40.4),
            (35.2, -40.4), (35.2, -7.5, 2), (25, -7.5, 5), (19, -5, 5),
        ],
        45,
    )
    front = rounded(
        [
            (-40, -23, 0), (-29.9, -23), (-20, -24), (18, -24, 3), (26, -17, 4), (35.2, -16.5, 3), (35.2, 16.5, 3),
            (26, 17, 4), (18, 24, 3), (-20, 24), (-29.9, 23), (-40, 23),
        ],
        60,
    )
    housing = prism("z", side, -24, 24, 1.5) ^ prism("y", front, -60, 0)
    k = CLEARANCE
    pocket = box((-60, -60, -17 - k), (15 + k, -12 + k, 18 + k))
    boss = cylinder("y", (0, 0), 11, -6, 0)
    stations = [
        (-106.4, 10.6, 4.6, 1.6), (-104.6, 13.0, 5.6, 3), (-84, 21.0, 7.6, 4), (-66, 28.0, 9.2, 4.5),
        (-48.5, 34.9, 11.0, 5), (-42, 35.1, 13.5, 5), (-38, 35.1, 16.5, 5), (-30, 35.1, 16.5, 5),
    ]
    finger = loft(finger_sections(stations, 5.0))
    steps = [
        (60, -110), (8.5, -110), (7.9, -105.8), (7.9, -96.4), (9.9, -96.4), (9.9, -86.4), (11.6, -86.4),
        (11.6, -66.8), (13.3, -66.8), (13.3, -47.2), (15 + CLEARANCE, -47.2), (15 + CLEARANCE, -20), (60, -20),
    ]
    body = join(cut(housing, pocket), boss, finger ^ prism("z", steps, -60, 60))
    for surface, inward in ((24, -1), (-24, 1)):
        body = cut(body, pits("z", [(5, -36), (5, -15), (-9, -14)], surface, inward))
    return body


def jaw():
    ear = np.concatenate([circle((0, 0), 10, 16)[:9], [(-10, -20), (10, -20)]])
    ears = [prism("z", ear, 17.6, 24.1, chamfer=1, chamfer_low=0), prism("z", ear, -23.9, -18.4, chamfer_low=1)]
    yoke = np.array(
        [(-10, -22.9), (-9, -23.9), (9, -23.9), (10, -22.9), (10, 23.1), (9, 24.1), (-9, 24.1), (-10, 23.1)]
    )
    middle = np.array([0, 0.1])
    bridge = loft(
        [
            [(u, y, w) for u, w in (yoke - middle) * scale + middle]
            for y, scale in ((-16.6, (1, 1)), (-22.5, (1, 1)), (-27, (0.8, 0.72)))
        ]
    )
    stations = [
        (-16.8, 9.9, 14, 3), (-23, 9.2, 12.5, 5), (-28, 7.7, 10.8, 6), (-56, 7.7, 9.2, 6), (-60, 6, 8.8, 6),
        (-78.5, -5.2, 7.0, 4.5), (-81.2, -7.6, 5.4, 3), (-82, -9.0, 4.4, 1.6),
    ]
    finger = loft(finger_sections(stations[::-1], -15.0))
    steps = [
        (60, -90), (-11.8, -90), (-12.3, -81.4), (-12.3, -72), (-10.3, -72), (-10.3, -62), (-8.3, -62), (-8.3, -22.5),
        (-10, -22.5), (-10, -10), (60, -10),
    ]
    body = join(*ears, bridge, finger ^ prism("z", steps, -60, 60))
    return cut(body, horn_pits("z", (0, 0), 24.1, -1), horn_pits("z", (0, 0), -23.9, 1))


PRINTED = {
    "base": base,
    "shoulder": shoulder,
    "upper_arm": upper_arm,
    "lower_arm": lower_arm,
    "wrist": wrist,
    "gripper": gripper,
    "jaw": jaw,
}


# Grasping pads: link, face x (the other finger is at smaller x), y range, half width; mm. Physics has boxes there.
PADS = [
    ("gripper", 7.9, -106.4, -96.4, 4), ("gripper", 9.9, -96.4, -86.4, 6), ("gripper", 11.6, -86.4, -66.8, 7),
    ("gripper", 13.3, -66.8, -47.2, 8), ("jaw", -12.3, -82.0, -72.0, 4), ("jaw", -10.3, -72.0, -62.0, 6),
    ("jaw", -8.3, -62.0, -45.0, 6), ("jaw", -8.3, -45.0, -25.0, 8),
]


def check_pads(bodies):
    """Raise unless the fingers are solid behind every pad face and free in front of it, within 0.25 mm."""
    for link, face, y0, y1, half in PADS:
        for low, high, wanted in ((face + 0.25, face + 1.0, 1.0), (face - 1.5, face - 0.25, 0.0)):
            probe = box((low, y0 + 0.2, -half), (high, y1 - 0.2, half))
            share = (bodies[link] ^ probe).volume() / probe.volume()
            if abs(share - wanted) > 0.01:
                raise ValueError(f"{link}: pad at x {face}, y {y0}..{y1}: {share:.2f} solid at x {low}..{high}")


# ---- output -------------------------------------------------------------------------------------------------------


def vertices_and_faces(body):
    """Vertices (n, 3) in mm, rounded to 1 um, and triangles (m, 3); edges shorter than 10 um are collapsed."""
    mesh = body.simplify(0.01).to_mesh64()
    points = np.round(np.asarray(mesh.vert_properties)[:, :3], 3)
    index = np.asarray(mesh.tri_verts).astype(int)
    return points, index


def check(name, points, index):
    """Corners (m, 3, 3) in metres as float32 and the volume in m3.

    Raises unless the surface, as stored, is closed, oriented outwards and without degenerate triangles.
    """
    unique, inverse = np.unique((points * 1e-3).astype(np.float32), axis=0, return_inverse=True)
    faces = inverse.reshape(-1)[index]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed, counts = np.unique(edges, axis=0, return_counts=True)
    back = set(map(tuple, directed[:, ::-1].tolist()))
    open_edges = sum(tuple(e) not in back for e in directed.tolist())
    a, b, c = (unique[faces[:, k]].astype(float) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    longest = np.max([np.linalg.norm(p - q, axis=1) for p, q in ((a, b), (b, c), (c, a))], axis=0)
    thin = (2 * area / longest) < 2e-6
    if open_edges or (counts > 1).any() or thin.any() or volume <= 0:
        raise ValueError(
            f"{name}: {open_edges} open edges, {(counts > 1).sum()} doubled, {thin.sum()} slivers, volume {volume}"
        )
    return unique[faces], volume


def write_stl(path, corners):
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    record = np.zeros(len(corners), dtype=[("normal", "<3f4"), ("corners", "<9f4"), ("attribute", "<u2")])
    record["normal"], record["corners"] = normals, corners.reshape(-1, 9)
    path.write_bytes(
        b"SO-100 display mesh, metres, link frame".ljust(80, b" ") + struct.pack("<I", len(corners)) + record.tobytes()
    )


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    bodies = {name: build() for name, build in PRINTED.items()} | {f"servo_{link}": servo(link) for link in SERVOS}
    check_pads(bodies)
    total = 0
    for name, body in bodies.items():
        corners, volume = check(name, *vertices_and_faces(body))
        low, high = corners.min(axis=(0, 1)) * 1e3, corners.max(axis=(0, 1)) * 1e3
        if name in PRINTED_BOUNDS:
            off = np.abs(np.stack([low, high]) - np.array(PRINTED_BOUNDS[name])).max()
            if off > 1.0:
                raise ValueError(f"{name}: bounds {low} {high} are {off:.2f} mm from the printed part")
        pieces = len(body.decompose())
        size = f"{len(corners):5} triangles  {volume * 1e6:6.1f} cm3  {pieces} piece(s)"
        print(f"{name:16} {size}  {low.round(1)} .. {high.round(1)} mm")
        write_stl(folder / f"{name}.stl", corners)
        total += len(corners)
    print(f"{'total':16} {total:5} triangles")


if __name__ == "__main__":
    main()
