//! Exposure, focus and white balance held still, so that every episode is lit the same.

/// A setting of a camera. The numbers are V4L2's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// 1 is manual, all else some kind of automatic.
    ExposureAuto,
    /// Exposure time, 100 us.
    Exposure,
    /// Whether the frame rate may fall in the dark: 0 or 1.
    ExposureSlows,
    /// 0 or 1.
    FocusAuto,
    /// Driver's own scale.
    Focus,
    /// 0 or 1.
    WhiteBalanceAuto,
    /// Colour temperature, K.
    WhiteBalance,
}

impl Control {
    /// V4L2's number.
    pub fn id(self) -> u32 {
        match self {
            Self::ExposureAuto => 0x009a_0901,
            Self::Exposure => 0x009a_0902,
            Self::ExposureSlows => 0x009a_0903,
            Self::Focus => 0x009a_090a,
            Self::FocusAuto => 0x009a_090c,
            Self::WhiteBalanceAuto => 0x0098_090c,
            Self::WhiteBalance => 0x0098_091a,
        }
    }

    /// Whether the driver counts it as a switch and not as a number.
    pub fn is_switch(self) -> bool {
        matches!(self, Self::ExposureSlows | Self::FocusAuto | Self::WhiteBalanceAuto)
    }
}

/// A camera's settings.
pub trait Controls {
    /// The present value; `None` if there is no such setting.
    fn get(&self, control: Control) -> Option<i64>;
    /// Sets it; whether the driver took it.
    fn set(&mut self, control: Control, value: i64) -> bool;
}

/// Switches the automatics off and keeps the values they had found, which some drivers would forget. Returns what is held
/// still now and what the camera goes on changing by itself, in words.
pub fn lock_settings(camera: &mut impl Controls) -> (Vec<&'static str>, Vec<&'static str>) {
    let (mut held, mut free) = (Vec::new(), Vec::new());
    camera.set(Control::ExposureSlows, 0);
    for (name, switch, manual, value) in [
        ("exposure", Control::ExposureAuto, 1, Control::Exposure),
        ("focus", Control::FocusAuto, 0, Control::Focus),
        ("white balance", Control::WhiteBalanceAuto, 0, Control::WhiteBalance),
    ] {
        let found = camera.get(value);
        match camera.get(switch) {
            // Without an automatic there is nothing to hold.
            None => {}
            Some(now) if now == manual || camera.set(switch, manual) => {
                if let Some(found) = found {
                    camera.set(value, found);
                }
                held.push(name);
            }
            Some(_) => free.push(name),
        }
    }
    (held, free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A camera that forgets the exposure when told to do without its automatic, and does not give up its white balance.
    struct Forgetful(BTreeMap<Control, i64>);

    impl Controls for Forgetful {
        fn get(&self, control: Control) -> Option<i64> {
            self.0.get(&control).copied()
        }

        fn set(&mut self, control: Control, value: i64) -> bool {
            if control == Control::WhiteBalanceAuto || !self.0.contains_key(&control) {
                return false;
            }
            if control == Control::ExposureAuto {
                self.0.insert(Control::Exposure, 3);
            }
            self.0.insert(control, value);
            true
        }
    }

    #[test]
    fn found_values_are_kept_and_refusals_told() {
        let mut camera = Forgetful(BTreeMap::from([
            (Control::ExposureAuto, 3),
            (Control::Exposure, 157),
            (Control::ExposureSlows, 1),
            (Control::WhiteBalanceAuto, 1),
            (Control::WhiteBalance, 4600),
        ]));
        assert_eq!(lock_settings(&mut camera), (vec!["exposure"], vec!["white balance"]));
        assert_eq!(camera.get(Control::Exposure), Some(157));
        assert_eq!(camera.get(Control::ExposureAuto), Some(1));
        assert_eq!(camera.get(Control::ExposureSlows), Some(0));
    }
}
