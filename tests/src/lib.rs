//! The test bed: real servers, the original tools and our own programs, as the suites of
//! `tests/tests` use them.
//!
//! - [`bed`]: the cache folder that `make testbed` fills, and a folder for what a run leaves
//!   behind;
//! - [`cluster`]: etcd, kube-apiserver and kube-controller-manager; one cluster serves a whole test
//!   binary, see [`cluster::Cluster::shared`];
//! - [`openbao`], [`moto`]: a Vault API and AWS;
//! - [`controller`], [`selkie`], [`originals`]: the programs under test and those they are compared
//!   with;
//! - [`generate`], [`corpus`], [`sops_file`], [`counts`]: YAML files from a seed and by hand, encrypted
//!   by one tool and opened by another;
//! - [`transcript`]: scripts that an original and ours are run with;
//! - [`repository`]: a folder in which ours and the originals work on the same files;
//! - [`wait`]: waiting for what happens by itself.
//!
//! A server ends with the test process, however that ends, and its log stays in the run folder,
//! whose path is in the output of a test that failed. Nothing here uses a fixed port.

pub mod bed;
pub mod clouds;
pub mod cluster;
pub mod controller;
pub mod corpus;
pub mod counts;
pub mod generate;
pub mod moto;
pub mod openbao;
pub mod originals;
pub mod program;
pub mod repository;
pub mod selkie;
pub mod server;
pub mod sops_file;
pub mod transcript;
pub mod wait;
