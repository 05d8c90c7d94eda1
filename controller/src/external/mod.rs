//! ExternalSecrets and their stores.

use crate::support::context::Context;

/// Runs the controllers of this module until the shutdown is requested.
pub async fn run(context: Context) {
    context.shutdown.requested().await;
}
