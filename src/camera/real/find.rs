//! Cameras of this computer and their stable names, read from Linux's sysfs and /dev/v4l/by-id.

use super::error::CameraError;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A camera of this computer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundCamera {
    /// What it goes by, whatever socket it is in: the name of its link in /dev/v4l/by-id, else that in /dev/v4l/by-path, else
    /// its device file.
    pub id: String,
    /// Device file now.
    pub device: PathBuf,
    /// Number of that file, as drivers count.
    pub index: u32,
    /// What it calls itself.
    pub name: String,
    /// Serial number of its USB device; many webcams have none, or all the same.
    pub serial_number: Option<String>,
    /// USB vendor and product, hexadecimal, such as `046d:082d`.
    pub usb_id: Option<String>,
}

impl FoundCamera {
    /// Whether `id` means this camera: its stable name, serial number or device file.
    pub fn is(&self, id: &str) -> bool {
        self.id == id || self.serial_number.as_deref() == Some(id) || self.device == Path::new(id)
    }
}

/// The cameras of this computer, by device number.
pub fn find_cameras() -> Vec<FoundCamera> {
    if cfg!(target_os = "linux") {
        return find_cameras_in(Path::new("/sys"), Path::new("/dev"));
    }
    // Elsewhere the driver library knows their names and nothing more.
    let Ok(cameras) = nokhwa::query(nokhwa::utils::ApiBackend::Auto) else { return Vec::new() };
    let found = |(place, camera): (usize, nokhwa::utils::CameraInfo)| {
        let index = camera.index().as_index().unwrap_or(place as u32);
        let misc = camera.misc();
        let id = if misc.is_empty() { format!("{} {index}", camera.human_name()) } else { misc };
        let name = camera.human_name();
        FoundCamera { id, device: PathBuf::from(index.to_string()), index, name, serial_number: None, usb_id: None }
    };
    cameras.into_iter().enumerate().map(found).collect()
}

/// The same from other folders than /sys and /dev.
pub fn find_cameras_in(sys: &Path, dev: &Path) -> Vec<FoundCamera> {
    let class = sys.join("class/video4linux");
    let Ok(entries) = std::fs::read_dir(&class) else { return Vec::new() };
    let links: Vec<(PathBuf, String)> =
        ["by-id", "by-path"].iter().flat_map(|kind| links(&dev.join("v4l").join(kind))).collect();
    let mut found: Vec<FoundCamera> = entries
        .filter_map(|entry| {
            let file = entry.ok()?.file_name().to_string_lossy().into_owned();
            let index: u32 = file.strip_prefix("video")?.parse().ok()?;
            let node = class.join(&file);
            // Webcams have a second node for data about the pictures; it is not a camera.
            if read(&node.join("index")).is_some_and(|part| part != "0") {
                return None;
            }
            let device = dev.join(&file);
            let link = links.iter().find(|(target, _)| *target == device);
            let usb = usb_device(&node);
            let of_usb = |key: &str| read(&usb.as_ref()?.join(key));
            Some(FoundCamera {
                id: link.map_or_else(|| device.display().to_string(), |(_, name)| name.clone()),
                index,
                name: read(&node.join("name")).or_else(|| of_usb("product")).unwrap_or_else(|| file.clone()),
                serial_number: of_usb("serial"),
                usb_id: of_usb("idVendor")
                    .zip(of_usb("idProduct"))
                    .map(|(vendor, product)| format!("{vendor}:{product}")),
                device,
            })
        })
        .collect();
    found.sort_by_key(|camera| camera.index);
    found
}

/// The camera `id` means.
///
/// # Errors
/// [`CameraError::Unknown`] with what there is.
pub fn find_camera(id: &str) -> Result<FoundCamera, CameraError> {
    let found = find_cameras();
    if let Some(camera) = found.iter().find(|camera| camera.is(id)) {
        return Ok(camera.clone());
    }
    let known: Vec<&str> = found.iter().map(|camera| camera.id.as_str()).collect();
    let known = if known.is_empty() { "no camera".to_string() } else { known.join(", ") };
    Err(CameraError::Unknown { id: id.to_string(), known })
}

/// The links of a folder: what they lead to, and their names.
fn links(folder: &Path) -> Vec<(PathBuf, String)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut links: Vec<(PathBuf, String)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = std::fs::read_link(&path).ok()?;
            let target = normal(&folder.join(target));
            Some((target, path.file_name()?.to_string_lossy().into_owned()))
        })
        .collect();
    links.sort();
    links
}

/// Without `..`, though the file need not exist.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// The folder of the USB device a node belongs to: the nearest one above it that tells its vendor.
fn usb_device(node: &Path) -> Option<PathBuf> {
    let device = std::fs::canonicalize(node.join("device")).ok()?;
    device.ancestors().take(6).find(|folder| folder.join("idVendor").exists()).map(Path::to_path_buf)
}

fn read(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.trim().to_string()).filter(|text| !text.is_empty())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(file: PathBuf, text: &str) {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// Two equal webcams, of which one has a serial number, each with its second node, and a capture card.
    fn computer(root: &Path) {
        let bus = root.join("sys/devices/pci0/usb1");
        for (port, first, serial) in [("1-1", 0, Some("ABC123")), ("1-2", 2, None)] {
            let device = bus.join(port);
            write(device.join("idVendor"), "046d\n");
            write(device.join("idProduct"), "082d\n");
            write(device.join("product"), "HD Pro Webcam C920\n");
            if let Some(serial) = serial {
                write(device.join("serial"), &format!("{serial}\n"));
            }
            for part in 0..2 {
                let node = device.join(format!("{port}:1.0/video4linux/video{}", first + part));
                write(node.join("name"), "HD Pro Webcam C920\n");
                write(node.join("index"), &format!("{part}\n"));
                symlink("../..", node.join("device")).unwrap();
                let class = root.join("sys/class/video4linux");
                std::fs::create_dir_all(&class).unwrap();
                symlink(&node, class.join(format!("video{}", first + part))).unwrap();
            }
        }
        write(root.join("sys/class/video4linux/video10/name"), "card\n");
        let by_id = root.join("dev/v4l/by-id");
        let by_path = root.join("dev/v4l/by-path");
        std::fs::create_dir_all(&by_id).unwrap();
        std::fs::create_dir_all(&by_path).unwrap();
        symlink("../../video0", by_id.join("usb-046d_C920_ABC123-video-index0")).unwrap();
        symlink("../../video1", by_id.join("usb-046d_C920_ABC123-video-index1")).unwrap();
        symlink("../../video0", by_path.join("pci-0-usb-0:1:1.0-video-index0")).unwrap();
        symlink("../../video2", by_path.join("pci-0-usb-0:2:1.0-video-index0")).unwrap();
    }

    #[test]
    fn cameras_go_by_names_that_stay() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        computer(root);
        let found = find_cameras_in(&root.join("sys"), &root.join("dev"));
        let ids: Vec<&str> = found.iter().map(|camera| camera.id.as_str()).collect();
        let card = root.join("dev/video10").display().to_string();
        assert_eq!(ids, ["usb-046d_C920_ABC123-video-index0", "pci-0-usb-0:2:1.0-video-index0", &card]);
        assert_eq!(found[0].serial_number.as_deref(), Some("ABC123"));
        assert_eq!(found[0].usb_id.as_deref(), Some("046d:082d"));
        assert_eq!((found[1].index, found[1].serial_number.as_deref()), (2, None));
        assert_eq!((found[2].name.as_str(), found[2].usb_id.as_deref()), ("card", None));
        assert!(found[0].is("ABC123") && found[0].is(&root.join("dev/video0").display().to_string()));
        assert!(!found[1].is("ABC123"));
    }

    #[test]
    fn no_sysfs_means_no_camera() {
        let folder = tempfile::tempdir().unwrap();
        assert!(find_cameras_in(&folder.path().join("sys"), &folder.path().join("dev")).is_empty());
    }
}
