//! Packets of the Feetech bus: instruction packets from the host, status packets from the servos, and an incremental
//! parser that finds its way back after noise.
//!
//! Instruction: `FF FF ID LEN INST PARAMS.. CHK`; status: `FF FF ID LEN ERR PARAMS.. CHK`; LEN = parameters + 2; CHK is the
//! complement of the sum from ID on.
//!
//! rustypot encodes and reads the same packets and does all our single transactions (see [`super::port`]); its packet
//! types are private to it, though, and its reader gives up at the first damaged byte, so the cyclic traffic and the
//! emulated servos use these.

use super::error::BusError;

/// The id every servo listens to.
pub const BROADCAST: u8 = 0xFE;

/// Highest id a servo can have.
pub const MAX_ID: u8 = 0xFC;

/// Most bytes a packet may have (`protocol_packet_handler.py`).
pub const MAX_PACKET: usize = 250;

/// Most parameters a packet may have.
pub const MAX_PARAMS: usize = MAX_PACKET - 6;

/// Instruction codes.
pub mod instruction {
    /// Are you there?
    pub const PING: u8 = 0x01;
    /// Read bytes of the control table.
    pub const READ: u8 = 0x02;
    /// Write bytes of the control table.
    pub const WRITE: u8 = 0x03;
    /// Write at the next [`ACTION`].
    pub const REG_WRITE: u8 = 0x04;
    /// Carry out all [`REG_WRITE`]s.
    pub const ACTION: u8 = 0x05;
    /// Read the same bytes of several servos.
    pub const SYNC_READ: u8 = 0x82;
    /// Write the same registers of several servos; never answered.
    pub const SYNC_WRITE: u8 = 0x83;
}

/// Status bits of a servo, in the error byte of every answer and in register 65.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StatusBits(pub u8);

impl StatusBits {
    /// Supply voltage outside the limits.
    pub const VOLTAGE: StatusBits = StatusBits(0x01);
    /// The angle sensor fails.
    pub const SENSOR: StatusBits = StatusBits(0x02);
    /// Too hot.
    pub const OVERHEAT: StatusBits = StatusBits(0x04);
    /// Too much current.
    pub const OVERCURRENT: StatusBits = StatusBits(0x08);
    /// Too much load for too long.
    pub const OVERLOAD: StatusBits = StatusBits(0x20);

    /// Whether no bit is set.
    pub fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Whether every bit of `other` is set here.
    pub fn contains(self, other: StatusBits) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits in words, in bit order.
    pub fn words(self) -> Vec<&'static str> {
        let table = [
            (Self::VOLTAGE, "voltage"),
            (Self::SENSOR, "angle sensor"),
            (Self::OVERHEAT, "overheating"),
            (Self::OVERCURRENT, "over-current"),
            (Self::OVERLOAD, "overload"),
        ];
        let mut words: Vec<_> =
            table.into_iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, word)| word).collect();
        if self.0 & !0x2F != 0 {
            words.push("unknown bit");
        }
        words
    }
}

impl std::ops::BitOr for StatusBits {
    type Output = StatusBits;

    fn bitor(self, other: StatusBits) -> StatusBits {
        StatusBits(self.0 | other.0)
    }
}

/// One packet without its framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Servo id ([`BROADCAST`] in some instructions).
    pub id: u8,
    /// Instruction code, or the status bits of an answer.
    pub code: u8,
    /// Parameters.
    pub params: Vec<u8>,
}

impl Packet {
    /// Append the bytes of this packet to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        frame(out, self.id, self.code, |out| out.extend_from_slice(&self.params));
    }

    /// The bytes of this packet.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.params.len() + 6);
        self.write_to(&mut out);
        out
    }
}

/// The checksum of the bytes from ID to the last parameter.
pub fn checksum(bytes: &[u8]) -> u8 {
    !bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))
}

fn frame(out: &mut Vec<u8>, id: u8, code: u8, params: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0xFF, 0xFF, id, 0, code]);
    params(out);
    let length = out.len() - start - 3;
    out[start + 3] = length as u8;
    let sum = checksum(&out[start + 2..]);
    out.push(sum);
}

/// Append a sync read of `len` bytes from `address` of the servos `ids` to `out`.
///
/// # Errors
/// [`BusError::Settings`] if there are no ids or too many for one packet.
pub fn write_sync_read(out: &mut Vec<u8>, address: u8, len: u8, ids: &[u8]) -> Result<(), BusError> {
    check_count("ids of a sync read", ids.len(), MAX_PARAMS - 2)?;
    frame(out, BROADCAST, instruction::SYNC_READ, |out| {
        out.extend_from_slice(&[address, len]);
        out.extend_from_slice(ids);
    });
    Ok(())
}

/// Append a sync write of `size` (1 or 2) bytes per servo at `address` to `out`.
///
/// # Errors
/// [`BusError::Settings`] if there are no values or too many for one packet.
pub fn write_sync_write(out: &mut Vec<u8>, address: u8, size: u8, values: &[(u8, [u8; 2])]) -> Result<(), BusError> {
    let size = size.clamp(1, 2);
    check_count("values of a sync write", values.len(), (MAX_PARAMS - 2) / (usize::from(size) + 1))?;
    frame(out, BROADCAST, instruction::SYNC_WRITE, |out| {
        out.extend_from_slice(&[address, size]);
        for (id, bytes) in values {
            out.push(*id);
            out.extend_from_slice(&bytes[..usize::from(size)]);
        }
    });
    Ok(())
}

fn check_count(field: &str, count: usize, most: usize) -> Result<(), BusError> {
    if (1..=most).contains(&count) {
        return Ok(());
    }
    Err(BusError::Settings { field: field.to_owned(), reason: format!("{count} given, 1..={most} fit into a packet") })
}

/// What a parser listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Answers of servos: ids up to [`MAX_ID`], codes up to 0x7F (more is noise, as the vendor's SDK has it).
    ToServos,
    /// Instructions of a host: any id up to [`BROADCAST`].
    ToHost,
}

/// Finds packets in a stream of bytes.
///
/// A packet with a wrong checksum costs only its first byte: the search goes on right behind it, so a whole packet is
/// found after any noise, even noise that looks like a header.
#[derive(Debug)]
pub struct Parser {
    listen: Listen,
    buffer: Vec<u8>,
    start: usize,
    skipped: u64,
}

enum Found {
    Packet(Packet, usize),
    Incomplete,
    Noise,
}

impl Parser {
    /// An empty parser.
    pub fn new(listen: Listen) -> Self {
        Parser { listen, buffer: Vec::with_capacity(512), start: 0, skipped: 0 }
    }

    /// Add received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole packet, if there is one. Call until `None` after each [`push`](Self::push).
    pub fn next_packet(&mut self) -> Option<Packet> {
        self.search(false)
    }

    /// The next whole packet when nothing more will come: an unfinished one in front of it is noise after all.
    pub fn next_at_end(&mut self) -> Option<Packet> {
        self.search(true)
    }

    /// Forget what was received.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.start = 0;
    }

    /// Bytes passed over as noise since the parser was made.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn search(&mut self, at_end: bool) -> Option<Packet> {
        while self.start < self.buffer.len() {
            match self.look(&self.buffer[self.start..]) {
                Found::Packet(packet, len) => {
                    self.start += len;
                    return Some(packet);
                }
                Found::Incomplete if !at_end => return None,
                Found::Incomplete | Found::Noise => {
                    self.start += 1;
                    self.skipped += 1;
                }
            }
        }
        self.clear();
        None
    }

    fn look(&self, bytes: &[u8]) -> Found {
        if bytes.iter().take(2).any(|byte| *byte != 0xFF) {
            return Found::Noise;
        }
        let Some(&id) = bytes.get(2) else { return Found::Incomplete };
        let highest = if self.listen == Listen::ToServos { MAX_ID } else { BROADCAST };
        if id > highest {
            return Found::Noise;
        }
        let Some(&length) = bytes.get(3) else { return Found::Incomplete };
        let length = usize::from(length);
        if !(2..=MAX_PARAMS + 2).contains(&length) {
            return Found::Noise;
        }
        let Some(&code) = bytes.get(4) else { return Found::Incomplete };
        if self.listen == Listen::ToServos && code > 0x7F {
            return Found::Noise;
        }
        let Some(packet) = bytes.get(..length + 4) else { return Found::Incomplete };
        if checksum(&packet[2..length + 3]) != packet[length + 3] {
            return Found::Noise;
        }
        Found::Packet(Packet { id, code, params: packet[5..length + 3].to_vec() }, length + 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn instruction_packet(id: u8, code: u8, params: &[u8]) -> Vec<u8> {
        Packet { id, code, params: params.to_vec() }.to_bytes()
    }

    // Bytes the vendor's Python SDK (feetech-servo-sdk 1.0.0) wrote to a fake port.
    #[test]
    fn instructions_are_the_vendor_sdks_bytes() {
        assert_eq!(instruction_packet(1, instruction::PING, &[]), bytes("FF FF 01 02 01 FB"));
        assert_eq!(instruction_packet(BROADCAST, instruction::PING, &[]), bytes("FF FF FE 02 01 FE"));
        assert_eq!(instruction_packet(1, instruction::READ, &[56, 2]), bytes("FF FF 01 04 02 38 02 BE"));
        assert_eq!(instruction_packet(1, instruction::WRITE, &[40, 1]), bytes("FF FF 01 04 03 28 01 CE"));
        assert_eq!(instruction_packet(1, instruction::WRITE, &[31, 5, 8]), bytes("FF FF 01 05 03 1F 05 08 CA"));
        let mut out = Vec::new();
        write_sync_read(&mut out, 56, 2, &[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(out, bytes("FF FF FE 0A 82 38 02 01 02 03 04 05 06 26"));
        out.clear();
        write_sync_write(&mut out, 42, 2, &[1, 2, 3, 4, 5, 6].map(|id| (id, 2048u16.to_le_bytes()))).unwrap();
        let golden = "FF FF FE 16 83 2A 02 01 00 08 02 00 08 03 00 08 04 00 08 05 00 08 06 00 08 F7";
        assert_eq!(out, bytes(golden));
    }

    #[test]
    fn a_sync_packet_that_does_not_fit_is_refused() {
        assert!(write_sync_read(&mut Vec::new(), 56, 2, &[]).is_err());
        assert!(write_sync_write(&mut Vec::new(), 42, 2, &[(1, [0, 0]); 100]).is_err());
    }

    #[test]
    fn a_packet_behind_a_false_header_is_found_at_once_or_at_the_end() {
        let whole = Packet { id: 3, code: 0, params: vec![1, 2] };
        let mut parser = Parser::new(Listen::ToServos);
        parser.push(&[0xFF, 0xFF, 0x01, 0x00]);
        parser.push(&whole.to_bytes());
        assert_eq!(parser.next_packet(), Some(whole.clone()));
        // A header that promises 60 bytes hides what follows until the line is known to be quiet.
        parser.push(&[0xFF, 0xFF, 0x01, 60, 0x00]);
        parser.push(&whole.to_bytes());
        assert_eq!(parser.next_packet(), None);
        assert_eq!(parser.next_at_end(), Some(whole));
        assert_eq!(parser.next_at_end(), None);
    }

    #[test]
    fn an_answer_with_an_impossible_error_byte_is_noise() {
        let mut parser = Parser::new(Listen::ToServos);
        parser.push(&instruction_packet(1, instruction::SYNC_READ, &[]));
        assert_eq!(parser.next_packet(), None);
        assert_eq!(parser.skipped(), 6);
    }

    #[test]
    fn status_bits_have_words() {
        assert_eq!((StatusBits::OVERLOAD | StatusBits::VOLTAGE).words(), ["voltage", "overload"]);
        assert_eq!(StatusBits(0x50).words(), ["unknown bit"]);
        assert!(StatusBits(0).words().is_empty());
    }

    #[test]
    fn a_million_random_streams_are_survived() {
        use rand::rngs::ChaCha8Rng;
        use rand::{RngExt, SeedableRng};
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut found = 0u64;
        let mut stream = Vec::new();
        for round in 0..1_000_000u64 {
            stream.clear();
            for _ in 0..rng.random_range(0..48) {
                // Bytes that make headers and short lengths, which plain random bytes hardly ever are.
                stream.push(match rng.random_range(0..4) {
                    0 => 0xFF,
                    1 => rng.random_range(0..8),
                    _ => rng.random(),
                });
            }
            let mut parser = Parser::new(if round % 2 == 0 { Listen::ToServos } else { Listen::ToHost });
            let cut = stream.len() / 2;
            for part in [&stream[..cut], &stream[cut..]] {
                parser.push(part);
                while parser.next_packet().is_some() {
                    found += 1;
                }
            }
            while parser.next_at_end().is_some() {
                found += 1;
            }
        }
        // Chance makes a packet now and then; if it never did, this would test little.
        assert!((100..200_000).contains(&found), "{found}");
    }

    fn any_status() -> impl Strategy<Value = Packet> {
        (0..=MAX_ID, 0u8..0x80, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(id, code, params)| Packet {
            id,
            code,
            params,
        })
    }

    // Noise rich in the bytes that make headers, which plain random bytes hardly ever are.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![3 => Just(0xFFu8), 2 => 0u8..8, 3 => any::<u8>()], 0..300)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_cut_of_the_stream_gives_the_same_packets(
            packets in proptest::collection::vec(any_status(), 1..8),
            cuts in proptest::collection::vec(1usize..20, 1..40),
        ) {
            let stream: Vec<u8> = packets.iter().flat_map(Packet::to_bytes).collect();
            let mut parser = Parser::new(Listen::ToServos);
            let (mut seen, mut at, mut cut) = (Vec::new(), 0, cuts.iter().cycle());
            while at < stream.len() {
                let end = (at + cut.next().unwrap()).min(stream.len());
                parser.push(&stream[at..end]);
                seen.extend(std::iter::from_fn(|| parser.next_packet()));
                at = end;
            }
            prop_assert_eq!(seen, packets);
            prop_assert_eq!(parser.skipped(), 0);
        }

        #[test]
        fn random_bytes_never_panic_and_always_end(stream in noise(), listen_to_host in any::<bool>()) {
            let mut parser = Parser::new(if listen_to_host { Listen::ToHost } else { Listen::ToServos });
            parser.push(&stream);
            let mut count = 0;
            while parser.next_packet().is_some() {
                count += 1;
            }
            while parser.next_at_end().is_some() {
                count += 1;
            }
            prop_assert!(count * 6 <= stream.len());
        }

        #[test]
        fn a_whole_packet_is_found_after_any_noise(before in noise(), packet in any_status()) {
            let mut alone = Parser::new(Listen::ToServos);
            alone.push(&before);
            let swallowed: Vec<Packet> = std::iter::from_fn(|| alone.next_at_end()).collect();
            let mut parser = Parser::new(Listen::ToServos);
            parser.push(&before);
            parser.push(&packet.to_bytes());
            let found: Vec<Packet> = std::iter::from_fn(|| parser.next_at_end()).collect();
            // One false packet in some hundred may straddle the end of the noise: the checksum has eight bits.
            let straddles = found.len() > swallowed.len() && found.last() != Some(&packet);
            prop_assert!(found.last() == Some(&packet) || straddles, "{:?}", found);
        }
    }
}
