//! One request to end, seen by every task.

use tokio::sync::watch;

/// The side that tasks hold.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// The side that asks for the end; dropping it asks, too.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// Makes both sides.
pub fn shutdown() -> (ShutdownTrigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (ShutdownTrigger(sender), Shutdown(receiver))
}

impl Shutdown {
    /// Completes once the end was requested.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        // An error means that the trigger is gone, which asks for the end as well.
        let _ = receiver.wait_for(|requested| *requested).await;
    }

    /// Returns whether the end was requested.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Runs `future` until it completes (`Some`) or the end is requested (`None`).
    pub async fn or<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.requested() => None,
            output = future => Some(output),
        }
    }
}

impl ShutdownTrigger {
    /// Asks for the end.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_sees_the_request() {
        let (trigger, seen) = shutdown();
        let other = seen.clone();
        assert!(!seen.is_requested());
        assert_eq!(seen.or(async { 7 }).await, Some(7));
        trigger.request();
        seen.requested().await;
        assert!(other.is_requested());
        assert_eq!(other.or(std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn a_dropped_trigger_asks_for_the_end() {
        let (trigger, seen) = shutdown();
        drop(trigger);
        seen.requested().await;
        assert!(seen.is_requested());
    }
}
