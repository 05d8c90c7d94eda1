//! What an error code of AWS means for every service.

/// Why a service of AWS said no, as far as that is the same for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Credentials are missing, wrong, expired, or do not allow it.
    Denied,
    /// It may work later: the service fails, or throttles.
    Unavailable,
    /// Anything else.
    Other,
}

impl Refusal {
    /// Sorts an answer by its code, and by its HTTP status where the code says nothing.
    ///
    /// Codes: "Common Error Types" of the API references of AWS; `AuthFailure` is moto's and EC2's.
    pub(crate) fn of(code: &str, status: u16) -> Self {
        match code {
            "AccessDeniedException"
            | "AccessDenied"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "AuthFailure" => Self::Denied,
            _ if status == 401 || status == 403 => Self::Denied,
            _ if status >= 500 || status == 429 || code.contains("Throttl") => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_by_code_then_by_status() {
        for (code, status, refusal) in [
            ("AccessDeniedException", 400, Refusal::Denied),
            ("ExpiredToken", 400, Refusal::Denied),
            ("Unknown", 403, Refusal::Denied),
            ("AccessDenied", 500, Refusal::Denied),
            ("ThrottlingException", 400, Refusal::Unavailable),
            ("Unknown", 429, Refusal::Unavailable),
            ("InternalServiceError", 500, Refusal::Unavailable),
            ("ValidationException", 400, Refusal::Other),
        ] {
            assert_eq!(Refusal::of(code, status), refusal, "{code} {status}");
        }
    }
}
