//! Key services over the network, on real servers and beside the real sops: AWS KMS on moto, transit
//! on OpenBao (issue 4, "Must show" 4).

mod kms;
mod refused;
mod transit;
mod work;
