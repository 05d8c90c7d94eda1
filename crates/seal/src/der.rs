//! The few DER reads that no dependency offers: the numbers of an RSA public key, the key in PKCS#8.

/// The contents of one DER value with `tag`, and what follows it.
pub(crate) fn value(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, tail) = rest.split_at_checked(count)?;
        length = bytes
            .iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        rest = tail;
    }
    (found == tag).then_some(())?;
    rest.split_at_checked(length)
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 A.1.1), each as its DER contents.
pub(crate) fn rsa_public_key(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (fields, _) = value(input, SEQUENCE)?;
    let (modulus, rest) = value(fields, INTEGER)?;
    let (exponent, _) = value(rest, INTEGER)?;
    Some((modulus, exponent))
}

/// The private key inside a PKCS#8 `PrivateKeyInfo` (RFC 5208 5), if it is an RSA key.
pub(crate) fn rsa_key_in_pkcs8(input: &[u8]) -> Option<&[u8]> {
    let (fields, _) = value(input, SEQUENCE)?;
    let (_version, rest) = value(fields, INTEGER)?;
    let (algorithm, rest) = value(rest, SEQUENCE)?;
    let (oid, _) = value(algorithm, OBJECT_IDENTIFIER)?;
    (oid == RSA_ENCRYPTION).then_some(())?;
    let (key, _) = value(rest, OCTET_STRING)?;
    Some(key)
}

/// Whether the input looks like a private key structure of any kind: a sequence that starts with
/// a version number.
pub(crate) fn is_versioned_sequence(input: &[u8]) -> bool {
    value(input, SEQUENCE).is_some_and(|(fields, _)| value(fields, INTEGER).is_some())
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// 1.2.840.113549.1.1.1 (RFC 8017 A.1).
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(value(&[0x30, 0x02, 1], SEQUENCE), None);
        assert_eq!(value(&[0x30, 0x80, 1], SEQUENCE), None);
        assert_eq!(value(&[0x30, 0x85, 1, 1, 1, 1, 1], SEQUENCE), None);
        assert_eq!(value(&[0x30], SEQUENCE), None);
        assert_eq!(
            value(&[0x02, 0x81, 0x01, 7, 9], INTEGER),
            Some((&[7][..], &[9][..]))
        );
    }
}
