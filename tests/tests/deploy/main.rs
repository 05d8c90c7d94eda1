//! What `deploy/` installs: rendered by the real helm and kubectl, compared with the stock chart, accepted by a real API
//! server, and run under the rights that it grants (issue 5, Must show 10).

#![allow(clippy::print_stdout, reason = "the counts that `make verify` sums up")]

mod docs;
mod files;
mod harness;
mod metrics;
mod needed;
mod rights;
mod running;
mod stock_keys;
mod upgrade;
mod values;
