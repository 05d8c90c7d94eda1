//! Readiness: named gates that all have to open once.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// All gates of the process.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Vec<Gate>>>);

/// One thing that has to be ready.
#[derive(Clone, Debug)]
pub struct Gate {
    name: &'static str,
    open: Arc<AtomicBool>,
}

impl Health {
    /// Adds a closed gate. `name` is shown by `/readyz` while it is closed.
    pub fn gate(&self, name: &'static str) -> Gate {
        let gate = Gate {
            name,
            open: Arc::default(),
        };
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.push(gate.clone());
        gate
    }

    /// Returns the names of the gates that are closed; empty means ready.
    pub fn closed(&self) -> Vec<&'static str> {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates
            .iter()
            .filter(|gate| !gate.open.load(Ordering::Acquire))
            .map(|gate| gate.name)
            .collect()
    }
}

impl Gate {
    /// Opens the gate for good.
    pub fn ready(&self) {
        self.open.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_gate_is_open() {
        let health = Health::default();
        let (keys, watch) = (health.gate("keys"), health.gate("watch"));
        watch.ready();
        assert_eq!(health.closed(), ["keys"]);
        keys.ready();
        assert!(health.closed().is_empty());
    }
}
