//! Shamir's secret sharing over GF(2^8), as HashiCorp's `shamir` package and sops write it
//! (sops-format.md 10).
//!
//! No table is indexed by a secret byte and no branch depends on one: the arithmetic takes the same
//! time whatever the secret is.

use zeroize::Zeroizing;

use crate::keys::RandomError;

/// Most shares of one secret: the x-coordinates are 1 to 255.
pub(crate) const MAX_SHARES: usize = 255;

/// Why shares do not give a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShamirError {
    /// One share gives nothing.
    #[error("a secret needs two shares or more")]
    TooFew,
    /// The shares are of different secrets, or damaged.
    #[error("the shares have different lengths, so they are not of one data key")]
    Lengths,
    /// Two groups hold the same share.
    #[error("two shares have the same position, so the file was put together wrongly")]
    SamePosition,
}

/// Splits `secret` into `shares` shares, of which any `threshold` give it back. Each share is the
/// y-values and, as its last byte, the x-coordinate: 1 for the first share, 2 for the second.
///
/// The caller has checked that 2 <= `threshold` <= `shares` <= [`MAX_SHARES`].
pub(crate) fn split(
    secret: &[u8],
    shares: usize,
    threshold: usize,
) -> Result<Vec<Zeroizing<Vec<u8>>>, RandomError> {
    // One polynomial per byte; its constant term is the byte.
    let mut random = Zeroizing::new(vec![0; secret.len() * (threshold - 1)]);
    getrandom::fill(&mut random).map_err(|_| RandomError)?;
    let positions = (1..=shares).map(|x| u8::try_from(x).unwrap_or(u8::MAX));
    let share = |x: u8| {
        let mut share = Zeroizing::new(Vec::with_capacity(secret.len() + 1));
        for (byte, terms) in secret.iter().zip(random.chunks_exact(threshold - 1)) {
            // Horner's rule, from the highest term down.
            let y = terms.iter().rev().fold(0, |y, term| multiply(y, x) ^ term);
            share.push(multiply(y, x) ^ byte);
        }
        share.push(x);
        share
    };
    Ok(positions.map(share).collect())
}

/// Interpolates the secret from all `shares` given; more than the threshold do no harm.
///
/// A wrong share gives a wrong secret: there is no redundancy to notice it by.
pub(crate) fn combine(shares: &[Zeroizing<Vec<u8>>]) -> Result<Zeroizing<Vec<u8>>, ShamirError> {
    let length = shares.first().map_or(0, |share| share.len());
    if shares.len() < 2 || length < 2 {
        return Err(ShamirError::TooFew);
    }
    if shares.iter().any(|share| share.len() != length) {
        return Err(ShamirError::Lengths);
    }
    let positions: Vec<u8> = shares.iter().map(|share| share[length - 1]).collect();
    let repeated = |(i, x)| positions[..i].contains(x);
    if positions.iter().enumerate().any(repeated) {
        return Err(ShamirError::SamePosition);
    }
    // Lagrange at 0: the weight of a share is the product of x_j / (x_j - x_i).
    let weights: Vec<u8> = positions
        .iter()
        .map(|x| {
            let others = positions.iter().filter(|other| *other != x);
            others.fold(1, |weight, other| {
                multiply(weight, multiply(*other, inverse(*other ^ *x)))
            })
        })
        .collect();
    let mut secret = Zeroizing::new(vec![0; length - 1]);
    for (share, weight) in shares.iter().zip(&weights) {
        for (byte, y) in secret.iter_mut().zip(share.iter()) {
            *byte ^= multiply(*y, *weight);
        }
    }
    Ok(secret)
}

/// Multiplies in GF(2^8) with x^8+x^4+x^3+x+1.
fn multiply(mut a: u8, b: u8) -> u8 {
    let mut product = 0;
    for bit in 0..8 {
        product ^= a & 0u8.wrapping_sub((b >> bit) & 1);
        a = (a << 1) ^ (0x1b & 0u8.wrapping_sub(a >> 7));
    }
    product
}

/// Returns a^254, which is 1/a (and 0 for 0).
fn inverse(a: u8) -> u8 {
    let mut power = a;
    // 254 = 0b1111_1110.
    for _ in 0..6 {
        power = multiply(multiply(power, power), a);
    }
    multiply(power, power)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sops-format.md 23, made by the real 3.11 binary.
    #[test]
    fn published_shares_give_their_secret() {
        let bytes = |hex: &str| {
            let digits: Vec<u8> = hex
                .bytes()
                .map(|b| (b as char).to_digit(16).unwrap() as u8)
                .collect();
            Zeroizing::new(digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect())
        };
        let shares: Vec<Zeroizing<Vec<u8>>> = [
            "be7abcc4d4af7b8e1555dbde110e2a5abe916a4dc3498091485726e4c4ccb52101",
            "ab6c1c61a2f5e6902e4dce0dad6d72658c321fea31c00d8fc6fd72f4b043af2b02",
            "51977c0279c3649ace4534b5304cb3706b53c57e964e7685bc9bb70d9ccf502d03",
        ]
        .map(bytes)
        .to_vec();
        let secret: Zeroizing<Vec<u8>> =
            bytes("4481dca70f99f984f55d21668c2feb4f59f0b0d964c7fb9b3231e31de8404a27");
        for picked in [&[0, 1][..], &[1, 2], &[2, 0], &[0, 1, 2]] {
            let picked: Vec<_> = picked.iter().map(|i| shares[*i].clone()).collect();
            assert_eq!(*combine(&picked).unwrap(), *secret);
        }
    }

    #[test]
    fn every_number_but_zero_has_an_inverse() {
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1, "{a}");
        }
        // FIPS 197, 4.2.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
    }

    #[test]
    fn any_threshold_of_shares_gives_the_secret_and_fewer_do_not() {
        let secret: Vec<u8> = (0..32).map(|i| i * 7 + 1).collect();
        for (count, threshold) in [(2, 2), (3, 2), (5, 3), (7, 7), (255, 4), (9, 8)] {
            let shares = split(&secret, count, threshold).unwrap();
            assert!(shares.iter().all(|share| share.len() == 33));
            assert_eq!(shares[count - 1][32], count as u8);
            for start in 0..count {
                let picked: Vec<_> = (0..threshold)
                    .map(|i| shares[(start + i) % count].clone())
                    .collect();
                assert_eq!(**combine(&picked).unwrap(), secret[..]);
                if threshold > 2 {
                    assert_ne!(**combine(&picked[1..]).unwrap(), secret[..]);
                }
            }
        }
    }

    #[test]
    fn shares_that_do_not_belong_together_are_refused() {
        let shares = split(&[1, 2, 3], 3, 2).unwrap();
        assert_eq!(combine(&[]), Err(ShamirError::TooFew));
        assert_eq!(combine(&shares[..1]), Err(ShamirError::TooFew));
        let twice = [shares[0].clone(), shares[0].clone()];
        assert_eq!(combine(&twice), Err(ShamirError::SamePosition));
        let short = Zeroizing::new(vec![1, 2, 3]);
        let mixed = [shares[0].clone(), short];
        assert_eq!(combine(&mixed), Err(ShamirError::Lengths));
    }
}
