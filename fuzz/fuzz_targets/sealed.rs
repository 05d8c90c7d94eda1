#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use selkie_fuzz::{manifest, objects};
use selkie_seal::Certificate;

static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| {
    let key = selkie_seal::PrivateKey::generate(2048).expect("a key");
    let now = jiff::Timestamp::UNIX_EPOCH;
    Certificate::self_signed(&key, "", now, jiff::SignedDuration::from_hours(24))
        .expect("a certificate")
});

fuzz_target!(|bytes: &[u8]| {
    manifest::manifest(bytes, &CERTIFICATE);
    objects::secrets(bytes, &CERTIFICATE);
    objects::sealed(bytes);
});
