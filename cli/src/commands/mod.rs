//! One file per verb: its flags and what it does.

pub(crate) mod cert;
pub(crate) mod decrypt;
pub(crate) mod encrypt;
pub(crate) mod keygen;
pub(crate) mod seal;
