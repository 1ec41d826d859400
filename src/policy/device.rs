//! Where networks compute.

use super::PolicyError;
use burn::tensor::Device;

/// Devices by name: `flex`, the CPU, is in every build; the others are cargo features of their names.
pub const DEVICES: [&str; 4] = ["flex", "wgpu", "vulkan", "cuda"];

/// The device with a name.
///
/// # Errors
/// [`PolicyError::Device`] for a name that is none, or one this build has not.
pub fn device(name: &str) -> Result<Device, PolicyError> {
    match name {
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::default())),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(burn::tensor::DeviceKind::default())),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0usize)),
        name if DEVICES.contains(&name) => Err(PolicyError::Device {
            name: name.into(),
            problem: "is not in this build".into(),
            remedy: format!("build with `cargo build --release --features {name}`, or use flex"),
        }),
        name => Err(PolicyError::Device {
            name: name.into(),
            problem: "is not known".into(),
            remedy: format!("give one of {}", DEVICES.join(", ")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_devices_are_refused_in_words() {
        assert_eq!(device("flex").unwrap(), Device::flex());
        let error = device("tpu").unwrap_err().to_string();
        assert_eq!(error, "device tpu: is not known; give one of flex, wgpu, vulkan, cuda");
        #[cfg(not(feature = "cuda"))]
        assert!(device("cuda").unwrap_err().to_string().contains("--features cuda"));
    }
}
