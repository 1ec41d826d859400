//! TensorBoard's event files: records of length, check sum, bytes, check sum; in each a protobuf `Event` with scalars.

use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Table of CRC-32C, Castagnoli's polynomial reflected.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82F6_3B78 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// CRC-32C, turned and shifted as TFRecord wants it, so that sums of sums differ.
fn masked_crc(bytes: &[u8]) -> u32 {
    let crc =
        !bytes.iter().fold(u32::MAX, |crc, byte| CRC_TABLE[((crc ^ u32::from(*byte)) & 255) as usize] ^ (crc >> 8));
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A length-delimited field.
fn field(number: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(number << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend(bytes);
}

/// The framing around an event.
fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(event);
    out.extend(masked_crc(event).to_le_bytes());
    out
}

/// An `Event` of scalars.
fn scalars(seconds: f64, step: usize, values: &[(String, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut entry = Vec::new();
        field(1, tag.as_bytes(), &mut entry);
        entry.push(2 << 3 | 5);
        entry.extend(value.to_le_bytes());
        field(1, &entry, &mut summary);
    }
    let mut event = vec![1 << 3 | 1];
    event.extend(seconds.to_le_bytes());
    event.push(2 << 3);
    varint(step as u64, &mut event);
    field(5, &summary, &mut event);
    event
}

/// Writes scalars for TensorBoard.
#[derive(Debug)]
pub struct Events(std::fs::File);

impl Events {
    /// A new event file in `folder`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let seconds = now_s();
        let name = format!("events.out.tfevents.{:010}.{}.etude", seconds as u64, std::process::id());
        let mut file = std::fs::File::create(folder.join(name))?;
        let mut event = vec![1 << 3 | 1];
        event.extend(seconds.to_le_bytes());
        field(3, b"brain.Event:2", &mut event);
        file.write_all(&record(&event))?;
        Ok(Self(file))
    }

    /// Adds the values of a step.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn add(&mut self, step: usize, values: &[(String, f32)]) -> io::Result<()> {
        self.0.write_all(&record(&scalars(now_s(), step, values)))
    }
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_sums_are_tensorflows() {
        // RFC 3720 B.4: 32 bytes of zeros have the CRC-32C 0x8a9136aa.
        let crc = masked_crc(&[0; 32]).wrapping_sub(0xA282_EAD8).rotate_left(15);
        assert_eq!(crc, 0x8a91_36aa);
    }

    #[test]
    fn an_event_is_the_protobuf_tensorboard_reads() {
        let event = scalars(1.0, 300, &[("loss".into(), 0.5)]);
        let expected = [
            &[0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0xac, 0x02, 0x2a, 0x0d, 0x0a, 0x0b, 0x0a, 0x04][..],
            b"loss",
            &[0x15, 0, 0, 0, 0x3f],
        ];
        assert_eq!(event, expected.concat());
        assert_eq!(record(&event).len(), 16 + event.len());
    }
}
