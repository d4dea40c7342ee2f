//! The bearer token of changing calls. Where none is configured, nothing that changes anything is served at all.
//!
//! What must stay true: the comparison takes the same time whatever was guessed right, also of the length: digests are compared.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::Problem;

/// The digest of the token.
#[derive(Clone)]
pub struct Token(Arc<[u8; 32]>);

/// A digest of a weak token is a secret too.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Keeps the digest.
    #[must_use]
    pub fn new(token: &SecretString) -> Self {
        Self(Arc::new(digest(token.expose_secret().as_bytes())))
    }

    /// Whether these are the bytes.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        digest(given).ct_eq(&*self.0).into()
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lets a call through that brings the token.
pub(super) async fn demand(State(token): State<Token>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let refusal = match given.map(bearer) {
        Some(Some(given)) if token.is(given) => return next.run(request).await,
        Some(Some(_)) => "this is not the token",
        Some(None) => "the authorization is not of the kind Bearer",
        None => "a bearer token is needed",
    };
    Problem::new(StatusCode::UNAUTHORIZED, refusal).into_response()
}

/// What follows the scheme, whose case does not matter.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_is_the_token() {
        let token = Token::new(&SecretString::from("0123456789abcdef"));
        assert!(token.is(b"0123456789abcdef"));
        for guess in ["", "0", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef0", "X123456789abcdef"]
        {
            assert!(!token.is(guess.as_bytes()), "{guess}");
        }
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer(b"Bearer x"), Some(&b"x"[..]));
        assert_eq!(bearer(b"bEARER  x "), Some(&b"x"[..]));
        for wrong in ["", "Bearer", "Basic x", "x"] {
            assert_eq!(bearer(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
