//! SealedSecrets on a real API server: sealed by the real kubeseal, materialised by our controller.

mod drift;
mod harness;
mod http;
mod keys;
mod process;
mod refusals;
mod replicas;
mod restart;
mod scopes;
