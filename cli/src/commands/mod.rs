//! One file per verb: its flags and what it does.

pub(crate) mod cert;
pub(crate) mod completion;
pub(crate) mod decrypt;
pub(crate) mod edit;
pub(crate) mod encrypt;
pub(crate) mod exec;
pub(crate) mod groups;
pub(crate) mod keygen;
pub(crate) mod keyservice;
pub(crate) mod publish;
pub(crate) mod rekey;
pub(crate) mod rotate;
pub(crate) mod rules;
pub(crate) mod seal;
pub(crate) mod set;
pub(crate) mod status;
pub(crate) mod updatekeys;
