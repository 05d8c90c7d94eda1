//! Resource versions: which one of two is the older.

/// Returns whether one resource version is older than another of the same resource.
///
/// They are decimal numbers that grow (Kubernetes 1.35 made that a promise, KEP 5504). With anything
/// else the watch is believed.
pub fn is_older(left: &str, right: &str) -> bool {
    match (left.parse::<u128>(), right.parse::<u128>()) {
        (Ok(left), Ok(right)) => left < right,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_versions_compare_as_numbers() {
        assert!(is_older("9", "10"));
        assert!(!is_older("10", "10"));
        assert!(!is_older("11", "10"));
        assert!(!is_older("x", "10"));
    }
}
