"""Free places for the names of points in a picture, so that no name covers anything else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

_DIRECTIONS = (
    (1.0, 0.0),
    (-1.0, 0.0),
    (1.0, 0.7),
    (-1.0, 0.7),
    (1.0, -0.7),
    (-1.0, -0.7),
    (0.0, 1.0),
    (0.0, -1.0),
    (0.5, 1.0),
    (-0.5, 1.0),
    (0.5, -1.0),
    (-0.5, -1.0),
)
_DISTANCES = (13.0, 20.0, 30.0, 44.0, 60.0, 80.0, 105.0, 135.0)


def curve_boxes(axes: Axes, frame: Bbox) -> list[Bbox]:
    """Small boxes along every curve, in pixels."""
    boxes: list[Bbox] = []
    for line in axes.get_lines():
        x = np.asarray(line.get_xdata(), dtype=np.float64)
        y = np.asarray(line.get_ydata(), dtype=np.float64)
        if line.get_linestyle() != "-" or len(x) < 2:
            continue
        xy = axes.transData.transform(np.column_stack([x, y]))
        for start, end in pairwise(xy):
            steps = max(2, int(np.hypot(*(end - start)) / 5) + 1)
            for t in np.linspace(0.0, 1.0, steps):
                cx, cy = (float(v) for v in start + t * (end - start))
                if frame.x0 <= cx <= frame.x1 and frame.y0 <= cy <= frame.y1:
                    boxes.append(Bbox.from_extents(cx - 4, cy - 4, cx + 4, cy + 4))
    return boxes


def free_place(
    at: tuple[float, float], width: float, height: float, frame: Bbox, taken: Sequence[Bbox]
) -> tuple[Bbox, bool]:
    """The nearest place for a text of this size (pixels), and whether it needs a leader line."""
    best_clash, best = float("inf"), (Bbox.from_bounds(*at, width, height), False)
    for distance in _DISTANCES:
        for dx, dy in _DIRECTIONS:
            cx = at[0] + dx * (distance + width / 2)
            cy = at[1] + dy * (distance + height / 2)
            box = Bbox.from_bounds(cx - width / 2, cy - height / 2, width, height)
            roomy = Bbox.from_extents(box.x0 - 3, box.y0 - 3, box.x1 + 3, box.y1 + 3)
            outside = width * height - overlap(box, frame)
            clash = sum(overlap(roomy, other) for other in taken) + 10 * outside
            if clash < best_clash - 1e-9:
                best_clash, best = clash, (box, distance > _DISTANCES[0])
            if best_clash <= 0:
                return best
    return best


def overlap(a: Bbox, b: Bbox) -> float:
    """Common area of two boxes, square pixels."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(max(0.0, width) * max(0.0, height))
