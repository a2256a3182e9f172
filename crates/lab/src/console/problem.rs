//! What is refused, as `application/problem+json` (RFC 9457), or as a page for a browser without scripts.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use stack::StackError;

#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: String) -> Self {
        Self { status, code, detail }
    }

    pub(super) fn invalid(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", detail)
    }
}

impl From<StackError> for Problem {
    fn from(error: StackError) -> Self {
        let (status, code) = match &error {
            StackError::Held { .. } => (StatusCode::CONFLICT, "held"),
            StackError::Conflict(_) | StackError::Busy { .. } | StackError::AlreadyRunning { .. } => {
                (StatusCode::CONFLICT, "conflict")
            }
            StackError::NotRunning { .. } => (StatusCode::CONFLICT, "not_running"),
            StackError::Usage(_) | StackError::UnknownTarget { .. } => (StatusCode::BAD_REQUEST, "invalid_request"),
            StackError::NotPermitted { .. } => (StatusCode::FORBIDDEN, "not_permitted"),
            StackError::Interrupted => (StatusCode::SERVICE_UNAVAILABLE, "ending"),
            StackError::NotConfirmed(_)
            | StackError::NotAllHealed { .. }
            | StackError::PortTaken { .. }
            | StackError::MissingPrograms { .. }
            | StackError::Start { .. }
            | StackError::Command { .. }
            | StackError::Record { .. }
            | StackError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        let json = HeaderValue::from_static("application/problem+json");
        (self.status, [(header::CONTENT_TYPE, json)], body.to_string()).into_response()
    }
}
