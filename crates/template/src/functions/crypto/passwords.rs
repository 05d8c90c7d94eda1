//! bcrypt, the Master Password algorithm and AES-256-CBC.

use std::sync::LazyLock;

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::super::Args as _;
use super::super::encoding::{base64, from_base64};
use crate::error::Failure;
use crate::run::Run;
use crate::value::{Str, Value};

type Result = std::result::Result<Value, Failure>;

/// What a slow function counts as, in steps: about as many as take as long.
const SLOW: usize = 100_000;

/// Go's `bcrypt.DefaultCost`.
const BCRYPT_COST: u32 = 10;
const BCRYPT_LONGEST: usize = 72;

pub(super) fn bcrypt(run: &mut Run<'_, '_>, password: &[u8]) -> std::result::Result<Str, Failure> {
    if password.len() > BCRYPT_LONGEST {
        return Ok(
            "failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes".into(),
        );
    }
    run.step(SLOW)?;
    run.look()?;
    let mut salt = [0; 16];
    (run.env.random)(&mut salt);
    let hash = bcrypt::hash_with_salt(password, BCRYPT_COST, salt)
        .map_err(|_| Failure::new("bcrypt failed"))?;
    Ok(hash.format_for_version(bcrypt::Version::TwoA).into())
}

pub(super) fn htpasswd(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let name = a.str(0);
    if name.contains(&b':') {
        return Ok(Value::string([b"invalid username: ", &*name].concat()));
    }
    let hash = bcrypt(run, &a.str(1))?;
    Ok(Value::string([&*name, b":", &*hash].concat()))
}

/// Master Password, version 1 as sprig has it (lengths in bytes).
pub(super) fn derive(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    const SEED: &[u8] = b"com.lyndir.masterpassword";
    let (kind, password, user, site) = (a.str(1), a.str(2), a.str(3), a.str(4));
    let Some(templates) = templates(&kind) else {
        return Ok(Value::string(
            [b"cannot find password template ", &*kind].concat(),
        ));
    };
    run.step(2 * SLOW)?;
    run.look()?;
    let length = |text: &[u8]| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let salt = [SEED, &length(&user), &user].concat();
    static COST: LazyLock<Option<scrypt::Params>> =
        LazyLock::new(|| scrypt::Params::new(15, 8, 2, 64).ok());
    let mut key = Zeroizing::new([0; 64]);
    let derived = COST
        .as_ref()
        .map(|cost| scrypt::scrypt(&password, &salt, cost, &mut *key));
    if !matches!(derived, Some(Ok(()))) {
        return Err(Failure::new("the password could not be derived"));
    }
    let counter = u32::try_from(a.int(0)).unwrap_or(0).to_be_bytes();
    let message = [SEED, &length(&site), &site, &counter].concat();
    let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*key), &message);
    let seed = seed.as_ref();
    let template = templates[usize::from(seed[0]) % templates.len()];
    let password: Vec<u8> = template
        .bytes()
        .zip(&seed[1..])
        .map(|(class, byte)| {
            let characters = characters(class);
            characters[usize::from(*byte) % characters.len()]
        })
        .collect();
    Ok(Value::string(password))
}

fn templates(kind: &[u8]) -> Option<&'static [&'static str]> {
    Some(match kind {
        b"maximum" => &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"],
        b"long" => &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
        b"medium" => &["CvcnoCvc", "CvcCvcno"],
        b"short" => &["Cvcn"],
        b"basic" => &["aaanaaan", "aannaaan", "aaannaaa"],
        b"pin" => &["nnnn"],
        _ => return None,
    })
}

fn characters(class: u8) -> &'static [u8] {
    match class {
        b'V' => b"AEIOU",
        b'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        b'v' => b"aeiou",
        b'c' => b"bcdfghjklmnpqrstvwxyz",
        b'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        b'n' => b"0123456789",
        b'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

const BLOCK: usize = 16;

/// The first 32 bytes of the password, filled up with zeros, are the key.
fn cipher(password: &[u8]) -> Aes256 {
    let mut key = Zeroizing::new([0; 32]);
    let length = password.len().min(32);
    key[..length].copy_from_slice(&password[..length]);
    Aes256::new(&(*key).into())
}

pub(super) fn encrypt_aes(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let plain = a.str(1);
    if plain.is_empty() {
        return Ok(Value::string(""));
    }
    run.step(plain.len() / BLOCK)?;
    run.work(plain.len() * 2)?;
    let cipher = cipher(&a.str(0));
    let mut before = [0; BLOCK];
    (run.env.random)(&mut before);
    let mut out = before.to_vec();
    let padding = BLOCK - plain.len() % BLOCK;
    let mut padded = Zeroizing::new(plain.to_vec());
    padded.extend(std::iter::repeat_n(
        u8::try_from(padding).unwrap_or(0),
        padding,
    ));
    for block in padded.chunks_exact(BLOCK) {
        let mut mixed = [0; BLOCK];
        for (at, byte) in mixed.iter_mut().enumerate() {
            *byte = block[at] ^ before[at];
        }
        let mut mixed = mixed.into();
        cipher.encrypt_block(&mut mixed);
        before = mixed.into();
        out.extend_from_slice(&before);
    }
    Ok(Value::string(base64(&out)))
}

pub(super) fn decrypt_aes(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let source = a.str(1);
    if source.is_empty() {
        return Ok(Value::string(""));
    }
    run.step(source.len() / BLOCK)?;
    run.work(source.len())?;
    let sealed = from_base64(&source)
        .map_err(|at| Failure::new(format!("illegal base64 data at input byte {at}")))?;
    let Some((first, sealed)) = sealed.split_at_checked(BLOCK) else {
        return Err(Failure::new("runtime error: slice bounds out of range"));
    };
    if sealed.len() % BLOCK != 0 {
        return Err(Failure::new("crypto/cipher: input not full blocks"));
    }
    let cipher = cipher(&a.str(0));
    let mut before = first;
    let mut out = Zeroizing::new(Vec::with_capacity(sealed.len()));
    for block in sealed.chunks_exact(BLOCK) {
        let mut copy = [0; BLOCK];
        copy.copy_from_slice(block);
        let mut copy = copy.into();
        cipher.decrypt_block(&mut copy);
        out.extend(copy.iter().zip(before).map(|(one, two)| one ^ two));
        before = block;
    }
    // The padding is not checked, as in the original.
    let kept = out
        .last()
        .and_then(|padding| out.len().checked_sub(usize::from(*padding)));
    match kept {
        Some(kept) => Ok(Value::string(&out[..kept])),
        None => Err(Failure::new("runtime error: slice bounds out of range")),
    }
}
