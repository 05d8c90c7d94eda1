//! The outer form of an OpenPGP message: whom it is for, before anything is decrypted (RFC 9580).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A message that is one encrypted packet, for keys alone: no signature, passphrase, or data beside it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The ids of the keys that it is for, 16 digits each, in upper case; zeros where one is hidden.
    pub(crate) key_ids: Vec<String>,
    /// Its packets, written anew: whoever reads them sees what was looked at here, and nothing else.
    pub(crate) packets: Vec<u8>,
}

impl Sealed {
    /// Reads an armored message; none if it has another form.
    pub(crate) fn parse(message: &str) -> Option<Self> {
        let bytes = dearmored(message)?;
        let mut rest = bytes.as_slice();
        let mut sealed = Self {
            key_ids: Vec::new(),
            packets: Vec::with_capacity(bytes.len() + 64),
        };
        loop {
            let packet = next_packet(&mut rest)?;
            packet.write(&mut sealed.packets)?;
            match packet.tag {
                SESSION_KEY => sealed.key_ids.push(packet.recipient()?),
                ENCRYPTED | ENCRYPTED_AEAD if rest.is_empty() => break,
                _ => return None,
            }
        }
        (!sealed.key_ids.is_empty()).then_some(sealed)
    }
}

/// Packet types (RFC 9580 5.1, 5.13; the AEAD packet is GnuPG's of RFC 4880bis).
const SESSION_KEY: u8 = 1;
const ENCRYPTED: u8 = 18;
const ENCRYPTED_AEAD: u8 = 20;

/// Takes the armor off (RFC 9580 6.2). Its checksum is not looked at: the encryption has a better one.
fn dearmored(message: &str) -> Option<Vec<u8>> {
    let mut lines = message.lines().map(str::trim);
    lines.find(|line| *line == "-----BEGIN PGP MESSAGE-----")?;
    // Headers end with an empty line.
    lines.find(|line| line.is_empty())?;
    let mut text = String::with_capacity(message.len());
    let mut is_text = true;
    for line in lines {
        if line == "-----END PGP MESSAGE-----" {
            return STANDARD.decode(text).ok();
        }
        is_text &= !line.starts_with('=');
        if is_text {
            text.push_str(line);
        }
    }
    None
}

struct Packet {
    tag: u8,
    body: Vec<u8>,
}

impl Packet {
    /// Returns whom a session key is for (RFC 9580 5.1.1); GnuPG has version 3 only.
    fn recipient(&self) -> Option<String> {
        let (3, id) = (*self.body.first()?, self.body.get(1..9)?) else {
            return None;
        };
        Some(id.iter().map(|byte| format!("{byte:02X}")).collect())
    }

    /// Appends it with a length of five octets (RFC 9580 4.2.1.3).
    fn write(&self, to: &mut Vec<u8>) -> Option<()> {
        let length = u32::try_from(self.body.len()).ok()?;
        to.extend_from_slice(&[0xC0 | self.tag, 0xFF]);
        to.extend_from_slice(&length.to_be_bytes());
        to.extend_from_slice(&self.body);
        Some(())
    }
}

/// Takes a packet off the front; none where the bytes are no packet or end before it does (RFC 9580 4.2).
fn next_packet(rest: &mut &[u8]) -> Option<Packet> {
    let first = take_number(rest, 1)?;
    if first & 0x80 == 0 {
        return None;
    }
    let mut body = Vec::new();
    if first & 0x40 == 0 {
        let octets = match first & 3 {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => return None, // to the end of the file: nothing that is looked for here has that
        };
        let length = take_number(rest, octets)?;
        body.extend_from_slice(take(rest, length)?);
        return Some(Packet {
            tag: u8::try_from(first >> 2 & 0xF).ok()?,
            body,
        });
    }
    loop {
        let (length, is_last) = match take_number(rest, 1)? {
            length @ 0..192 => (length, true),
            high @ 192..224 => (((high - 192) << 8) + take_number(rest, 1)? + 192, true),
            partial @ 224..255 => (1 << (partial & 0x1F), false),
            _ => (take_number(rest, 4)?, true),
        };
        body.extend_from_slice(take(rest, length)?);
        if is_last {
            break;
        }
    }
    Some(Packet {
        tag: u8::try_from(first & 0x3F).ok()?,
        body,
    })
}

fn take_number(rest: &mut &[u8], octets: usize) -> Option<usize> {
    let octets = take(rest, octets)?.iter();
    Some(octets.fold(0, |number, octet| number << 8 | usize::from(*octet)))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armored(packets: &[u8]) -> String {
        let text = STANDARD.encode(packets);
        let (one, two) = text.split_at(text.len() / 2);
        format!(
            "-----BEGIN PGP MESSAGE-----\nComment: a: b\n\n{one}\n{two}\n=abcd\n-----END PGP MESSAGE-----\n"
        )
    }

    fn key_ids(packets: &[u8]) -> Option<Vec<String>> {
        Sealed::parse(&armored(packets)).map(|sealed| sealed.key_ids)
    }

    /// A session key for the key 0102030405060708, with a length of one octet, in the old form.
    const KEY: &[u8] = b"\x84\x0b\x03\x01\x02\x03\x04\x05\x06\x07\x08\x01\xAA";
    /// A packet of 3 bytes that is encrypted.
    const DATA: &[u8] = b"\xd2\x03\x01BC";

    #[test]
    fn a_message_for_keys_is_written_anew() {
        let sealed = Sealed::parse(&armored(&[KEY, DATA].concat())).unwrap();
        assert_eq!(sealed.key_ids, ["0102030405060708"]);
        let key = [b"\xc1\xff\x00\x00\x00\x0b", &KEY[2..]].concat();
        let data = [b"\xd2\xff\x00\x00\x00\x03", &DATA[2..]].concat();
        assert_eq!(sealed.packets, [key, data].concat());
        assert_eq!(Sealed::parse(&armored(&sealed.packets)), Some(sealed));
        assert_eq!(key_ids(&[KEY, KEY, DATA].concat()).unwrap().len(), 2);
    }

    #[test]
    fn every_form_of_a_length_is_read() {
        let content = vec![b'x'; 500];
        for (head, length) in [
            (&b"\xd2\x05"[..], 5),
            (b"\xd2\xc0\x00", 192),
            (b"\xd2\xc1\x34", 500),
            (b"\xd2\xff\x00\x00\x01\xf4", 500),
        ] {
            let message = [KEY, head, &content[..length]].concat();
            assert!(key_ids(&message).is_some(), "{head:?}");
            assert_eq!(key_ids(&message[..message.len() - 1]), None, "{head:?}");
        }
        let parts = [KEY, b"\xd2\xe2abcd\xe0e\x02fg"].concat();
        let sealed = Sealed::parse(&armored(&parts)).unwrap();
        assert!(sealed.packets.ends_with(b"\x00\x00\x00\x07abcdefg"));
        for head in [&b"\x85\x00\x0b"[..], b"\x86\x00\x00\x00\x0b", b"\xc1\x0b"] {
            let message = [head, &KEY[2..], DATA].concat();
            assert!(key_ids(&message).is_some(), "{head:?}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let literal = b"\xcb\x09b\x00\x00\x00\x00\x00xyz";
        let passphrase = b"\xc3\x04\x04\x09\x00\x08";
        let no_integrity = b"\xc9\x03abc";
        let version_6 = b"\xc1\x0b\x06\x01\x02\x03\x04\x05\x06\x07\x08\x01\xAA";
        for parts in [
            &[&literal[..], KEY, DATA][..],
            &[KEY, literal, DATA],
            &[KEY, DATA, literal],
            &[KEY, DATA, KEY, DATA],
            &[KEY, passphrase, DATA],
            &[passphrase, DATA],
            &[KEY, no_integrity],
            &[version_6, DATA],
            &[b"\xc1\x05\x03\x01\x02\x03\x04", DATA],
            &[KEY, b"\xd2\xff\xff\xff\xff\xff"],
            &[KEY, b"\xd2\xfe"],
            &[KEY, b"\x87\x00"],
            &[DATA],
            &[KEY],
            &[b"text"],
            &[],
        ] {
            assert_eq!(key_ids(&parts.concat()), None, "{parts:?}");
        }
        let message = armored(&[KEY, DATA].concat());
        let at = message.find("-----END").unwrap();
        for text in ["", "text", &message[..at], &message.replace("\n\n", "\n")] {
            assert_eq!(Sealed::parse(text), None, "{text}");
        }
    }
}
