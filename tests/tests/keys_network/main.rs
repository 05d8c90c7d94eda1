//! Key services over the network, on real servers and beside the real sops: AWS KMS on moto, transit
//! on OpenBao (issue 4, "Must show" 4).

#[path = "../formats/compare.rs"]
mod compare;
#[path = "../formats/document.rs"]
#[expect(dead_code, reason = "interop_formats makes its documents smaller, too")]
mod document;
mod kms;
mod mixed;
mod refused;
mod transit;
mod work;
