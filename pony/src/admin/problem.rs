//! Why something that was asked for is not done.

use hyper::{
    StatusCode,
    header::{ALLOW, HeaderValue},
};
use serde::{Deserialize, Serialize};

use crate::http::{self, Answer, JSON};

/// What is wrong with a request, where, and what to do instead.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) details: Details,
    /// For [`StatusCode::METHOD_NOT_ALLOWED`].
    pub(super) allow: Option<&'static str>,
}

/// What the client is told of it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Details {
    /// The field of the request, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    pub(super) problem: String,
    pub(super) remedy: String,
}

/// The body of an answer.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Body {
    pub(super) error: Details,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            status,
            details: Details {
                field: None,
                value: None,
                problem: problem.into(),
                remedy: remedy.into(),
            },
            allow: None,
        }
    }

    pub(super) fn bad(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, problem, remedy)
    }

    /// It is about this field.
    pub(super) fn of(mut self, field: &str, value: impl Into<String>) -> Self {
        self.details.field = Some(field.to_owned());
        self.details.value = Some(value.into());
        self
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let remedy = format!("use one of: {allow}");
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "that cannot be done here",
                remedy,
            )
        }
    }

    pub(super) fn answer(self) -> Answer {
        let body = Body {
            error: self.details,
        };
        let mut answer = match serde_json::to_vec(&body) {
            Ok(body) => http::answer(self.status, JSON, body),
            Err(error) => http::failed(&error.to_string()),
        };
        if let Some(allow) = self.allow {
            (answer.headers_mut()).insert(ALLOW, HeaderValue::from_static(allow));
        }
        answer
    }
}

impl std::fmt::Display for Details {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        if let Some(value) = &self.value {
            write!(f, "{value:?} ")?;
        }
        write!(f, "{}\n    {}", self.problem, self.remedy)
    }
}
