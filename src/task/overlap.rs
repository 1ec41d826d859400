//! Exact overlap of polygons.

use crate::config::TeeSize;

/// A pose on the table: x (m), y (m), yaw (rad).
pub type PlanarPose = (f64, f64, f64);

/// Share of a T's area that lies inside its outline, 0 to 1. Exact: bar and stem are convex and do not overlap, so the
/// common area of two Ts is the sum over the four pairs of their parts.
pub fn tee_coverage(tee: &TeeSize, block: PlanarPose, outline: PlanarPose) -> f64 {
    let mut common = 0.0;
    for own in tee.boxes_m() {
        let own = rectangle(own, block);
        for other in tee.boxes_m() {
            common += convex_overlap_m2(&own, &rectangle(other, outline));
        }
    }
    (common / tee.area_m2()).min(1.0)
}

fn rectangle((cx, cy, hx, hy): (f64, f64, f64, f64), (x, y, yaw): PlanarPose) -> [(f64, f64); 4] {
    let (sin, cos) = yaw.sin_cos();
    [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(|(i, j)| {
        let (px, py) = (cx + i * hx, cy + j * hy);
        (x + cos * px - sin * py, y + sin * px + cos * py)
    })
}

/// Common area of two convex polygons with counter-clockwise corners, m², by clipping one against the other's edges.
pub fn convex_overlap_m2(subject: &[(f64, f64)], clip: &[(f64, f64)]) -> f64 {
    let mut corners = subject.to_vec();
    let mut kept = Vec::with_capacity(subject.len() + clip.len());
    for (index, a) in clip.iter().enumerate() {
        let b = clip[(index + 1) % clip.len()];
        let left_of = |p: &(f64, f64)| (b.0 - a.0) * (p.1 - a.1) - (b.1 - a.1) * (p.0 - a.0);
        kept.clear();
        for (index, from) in corners.iter().enumerate() {
            let to = &corners[(index + 1) % corners.len()];
            let (side, next_side) = (left_of(from), left_of(to));
            if side >= 0.0 {
                kept.push(*from);
            }
            if (side >= 0.0) != (next_side >= 0.0) {
                let along = side / (side - next_side);
                kept.push((from.0 + along * (to.0 - from.0), from.1 + along * (to.1 - from.1)));
            }
        }
        std::mem::swap(&mut corners, &mut kept);
        if corners.is_empty() {
            return 0.0;
        }
    }
    let twice: f64 = (0..corners.len())
        .map(|index| {
            let (from, to) = (corners[index], corners[(index + 1) % corners.len()]);
            from.0 * to.1 - from.1 * to.0
        })
        .sum();
    0.5 * twice.abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEE: TeeSize = TeeSize { stroke_m: 0.025, height_m: 0.02 };

    #[test]
    fn known_overlaps() {
        let square = |x: f64| [(x, 0.0), (x + 1.0, 0.0), (x + 1.0, 1.0), (x, 1.0)];
        assert!((convex_overlap_m2(&square(0.0), &square(0.25)) - 0.75).abs() < 1e-12);
        assert_eq!(convex_overlap_m2(&square(0.0), &square(2.0)), 0.0);
        assert!((tee_coverage(&TEE, (0.1, -0.2, 0.3), (0.1, -0.2, 0.3)) - 1.0).abs() < 1e-9);
        // A shift along the bar by one stroke leaves three of its four squares and none of the stem's three.
        assert!((tee_coverage(&TEE, (0.025, 0.0, 0.0), (0.0, 0.0, 0.0)) - 3.0 / 7.0).abs() < 1e-9);
        assert_eq!(tee_coverage(&TEE, (0.5, 0.0, 0.0), (0.0, 0.0, 0.0)), 0.0);
    }

    proptest! {
        /// Counting grid points inside both Ts agrees with the exact area.
        #[test]
        fn coverage_agrees_with_counting(x in -0.06f64..0.06, y in -0.06f64..0.06, yaw in -3.2f64..3.2) {
            let inside = |px: f64, py: f64, (x, y, yaw): PlanarPose| {
                let (sin, cos) = yaw.sin_cos();
                let (lx, ly) = (cos * (px - x) + sin * (py - y), -sin * (px - x) + cos * (py - y));
                TEE.boxes_m().iter().any(|(cx, cy, hx, hy)| (lx - cx).abs() <= *hx && (ly - cy).abs() <= *hy)
            };
            let step = 0.0005;
            let (mut own, mut both) = (0u32, 0u32);
            for i in 0..400 {
                for j in 0..400 {
                    let (px, py) = (x + (f64::from(i) - 199.5) * step, y + (f64::from(j) - 199.5) * step);
                    if inside(px, py, (x, y, yaw)) {
                        own += 1;
                        both += u32::from(inside(px, py, (0.0, 0.0, 0.0)));
                    }
                }
            }
            let counted = f64::from(both) / f64::from(own);
            prop_assert!((tee_coverage(&TEE, (x, y, yaw), (0.0, 0.0, 0.0)) - counted).abs() < 0.01);
        }

        /// Coverage is symmetric: moving the block onto the outline is moving the outline onto the block.
        #[test]
        fn coverage_is_symmetric(a in (-0.1f64..0.1, -0.1f64..0.1, -3.2f64..3.2), b in (-0.1f64..0.1, -0.1f64..0.1, -3.2f64..3.2)) {
            prop_assert!((tee_coverage(&TEE, a, b) - tee_coverage(&TEE, b, a)).abs() < 1e-9);
        }
    }
}
