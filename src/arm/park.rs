//! The way of an arm to the pose in which it is parked: straight where that keeps its hand above the table, else joint after
//! joint in the order that keeps it highest.

use super::floor::Floor;

/// Length of the steps in which a way is looked at, rad.
const STEP_RAD: f64 = 0.1;
/// Closer than this a joint is where it should be, rad.
const THERE_RAD: f64 = 1e-3;
/// A way may touch the height the hand has at its beginning, m.
const TOUCH_M: f64 = 1e-6;
/// Orders in which the three joints that raise and lower a hand can go.
const ORDERS: [[usize; 3]; 6] = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];

/// A way to a pose, in stages in which some of the joints go there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParkWay {
    to_rad: Vec<f64>,
    /// Joints of each stage.
    stages: Vec<Vec<usize>>,
    length_rad: f64,
}

impl ParkWay {
    /// The way from `from_rad` to `to_rad`. An arm whose model has it inside the table to begin with, as one that is wrongly
    /// calibrated, may find no way above it; it then takes the one that goes least deep, for it has to come out somehow.
    pub fn new(floor: Option<&Floor>, from_rad: &[f64], to_rad: &[f64]) -> Self {
        let count = from_rad.len().min(to_rad.len());
        let straight = Self::of(vec![(0..count).collect()], from_rad, to_rad);
        let Some(floor) = floor.filter(|_| count > 3) else { return straight };
        let bound_m = floor.bound_m(from_rad) - TOUCH_M;
        let mut best = (straight.lowest_m(floor, from_rad), straight);
        for order in ORDERS {
            if best.0 >= bound_m {
                break;
            }
            // What turns the arm goes with the first of them, what only turns the hand with the last.
            let [first, second, third] = order;
            let stages = vec![vec![0, first], vec![second], std::iter::once(third).chain(4..count).collect()];
            let way = Self::of(stages, from_rad, to_rad);
            let lowest_m = way.lowest_m(floor, from_rad);
            if lowest_m > best.0 {
                best = (lowest_m, way);
            }
        }
        best.1
    }

    fn of(stages: Vec<Vec<usize>>, from_rad: &[f64], to_rad: &[f64]) -> Self {
        let far = |joints: &Vec<usize>| {
            joints.iter().map(|joint| (to_rad[*joint] - from_rad[*joint]).abs()).fold(0.0, f64::max)
        };
        Self { length_rad: stages.iter().map(far).sum(), to_rad: to_rad.to_vec(), stages }
    }

    /// How far the joint that has furthest to go goes, summed over the stages, rad.
    pub fn length_rad(&self) -> f64 {
        self.length_rad
    }

    /// Where the joints end, rad.
    pub fn end_rad(&self) -> &[f64] {
        &self.to_rad
    }

    /// Where each joint of an arm that has come to `at_rad` shall go now, rad: to the end of the way, or nowhere yet.
    pub fn next(&self, at_rad: &[f64]) -> Vec<f64> {
        let mut wanted = at_rad.to_vec();
        let due = |joint: &usize| (at_rad[*joint] - self.to_rad[*joint]).abs() > THERE_RAD;
        if let Some(stage) = self.stages.iter().find(|stage| stage.iter().any(due)) {
            stage.iter().for_each(|joint| wanted[*joint] = self.to_rad[*joint]);
        }
        wanted
    }

    /// Whether an arm at `at_rad` is at its end.
    pub fn is_done(&self, at_rad: &[f64]) -> bool {
        at_rad.iter().zip(&self.to_rad).all(|(at, to)| (at - to).abs() <= THERE_RAD)
    }

    /// Height of the lowest point the hand has on the way, m.
    fn lowest_m(&self, floor: &Floor, from_rad: &[f64]) -> f64 {
        let mut q = from_rad.to_vec();
        let mut lowest = floor.height_m(&q);
        for stage in &self.stages {
            loop {
                let mut moved = false;
                for joint in stage {
                    let left = self.to_rad[*joint] - q[*joint];
                    q[*joint] += left.clamp(-STEP_RAD, STEP_RAD);
                    moved |= left.abs() > 0.0;
                }
                if !moved {
                    break;
                }
                lowest = lowest.min(floor.height_m(&q));
            }
        }
        lowest
    }
}

#[cfg(test)]
mod tests {
    use super::super::load_urdf;
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::Arc;

    const PARK: [f64; 6] = [0.0, -1.70, 1.50, 1.15, 0.0, 0.0];

    fn floor() -> Floor {
        let model = load_urdf(&Path::new(env!("CARGO_MANIFEST_DIR")).join("urdf/so100.urdf")).unwrap();
        Floor::new(&Arc::new(model))
    }

    /// Follows a way in steps of a driver's size; how low the hand came, m.
    fn walk(floor: &Floor, way: &ParkWay, from: &[f64]) -> f64 {
        let (mut q, mut lowest) = (from.to_vec(), f64::INFINITY);
        for _ in 0..4000 {
            lowest = lowest.min(floor.height_m(&q));
            if way.is_done(&q) {
                return lowest;
            }
            let wanted = way.next(&q);
            q.iter_mut().zip(wanted).for_each(|(q, wanted)| *q += (wanted - *q).clamp(-0.006, 0.006));
        }
        panic!("it never arrived: {q:?}");
    }

    #[test]
    fn a_free_arm_goes_straight_and_one_that_bows_comes_up_first() {
        let floor = floor();
        let free = [0.5, -1.0, 1.0, 0.5, 0.3, 0.8];
        let straight = ParkWay::new(Some(&floor), &free, &PARK);
        assert_eq!(straight.stages.len(), 1);
        assert!((straight.length_rad() - 0.8).abs() < 1e-9, "the gripper has furthest to go");
        assert_eq!(straight, ParkWay::new(None, &free, &PARK));
        // Bowed over the table, fingers out: on the straight way the hand would sweep through the table.
        let bowed = [0.0, 0.5, 0.3, 0.6, 0.0, 0.0];
        let way = ParkWay::new(Some(&floor), &bowed, &PARK);
        assert!(walk(&floor, &way, &bowed) >= floor.bound_m(&bowed) - 0.004);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_way_arrives_and_takes_no_hand_lower_than_a_straight_one_would(from in prop::array::uniform6(0.0f64..1.0)) {
            let floor = floor();
            let model = load_urdf(&Path::new(env!("CARGO_MANIFEST_DIR")).join("urdf/so100.urdf")).unwrap();
            let from: Vec<f64> = from.iter().zip(&model.joints).map(|(u, j)| j.lower + u * (j.upper - j.lower)).collect();
            let way = ParkWay::new(Some(&floor), &from, &PARK);
            let straight = ParkWay::new(None, &from, &PARK);
            let (came, would) = (walk(&floor, &way, &from), walk(&floor, &straight, &from));
            prop_assert!(came >= would.min(floor.bound_m(&from)) - 0.004, "{came} {would}");
        }
    }
}
