//! Waiting for what happens by itself.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Repeats `look` until it succeeds and returns what it returned.
///
/// Fails with the last error of `look` when `limit` has passed. A look that hangs ends with the
/// limit too.
pub async fn eventually<T, F, Fut>(limit: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let end = Instant::now() + limit;
    let mut last = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {}
        }
        if Instant::now() + PAUSE >= end {
            let error = last.unwrap_or_else(|| anyhow::anyhow!("the first look did not end"));
            return Err(error).with_context(|| format!("not so after {limit:?}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Checks again and again that `look` succeeds for as long as `span`; fails at once when it does
/// not.
pub async fn throughout<F, Fut>(span: Duration, mut look: F) -> Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let began = Instant::now();
    loop {
        look()
            .await
            .with_context(|| format!("no longer so after {:?}", began.elapsed()))?;
        if began.elapsed() >= span {
            return Ok(());
        }
        tokio::time::sleep(PAUSE.min(span)).await;
    }
}
