//! What is answered to which request.

use std::sync::Arc;

use hyper::{Method, Request, StatusCode, body::Incoming};
use serde::Serialize;

use super::{
    desk::Desk,
    problem::Problem,
    request::{BanRequest, LiftRequest, unknown_path},
};
use crate::http::{self, Answer, BodyError, Bounds, JSON};

pub(super) struct Answers {
    desk: Arc<Desk>,
    bounds: Bounds,
}

impl Answers {
    pub(super) fn new(desk: Arc<Desk>, bounds: Bounds) -> Self {
        Self { desk, bounds }
    }

    async fn bans(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        match *request.method() {
            Method::GET | Method::HEAD => Ok(json(&self.desk.list())),
            Method::PUT | Method::POST => {
                let body = http::body(self.bounds, request.into_body()).await;
                let request = BanRequest::read(&body.map_err(unread)?)?;
                self.desk.ban(&request).await.map(|began| json(&began))
            }
            _ => Err(Problem::method_not_allowed("GET, PUT, POST")),
        }
    }

    async fn ban_of(&self, address: &str, request: &Request<Incoming>) -> Result<Answer, Problem> {
        if request.method() != Method::DELETE {
            return Err(Problem::method_not_allowed("DELETE"));
        }
        let query = request.uri().query().unwrap_or_default();
        let request = LiftRequest::read(address, query)?;
        self.desk.lift(&request).await.map(|lifted| json(&lifted))
    }
}

impl http::Answers for Answers {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let answer = match path.strip_prefix("/bans") {
            Some("" | "/") => self.bans(request).await,
            Some(rest) if rest.starts_with('/') => self.ban_of(&rest[1..], &request).await,
            _ => Err(unknown_path(&path)),
        };
        answer.unwrap_or_else(Problem::answer)
    }
}

fn json(answer: &impl Serialize) -> Answer {
    match serde_json::to_vec(answer) {
        Ok(body) => http::answer(StatusCode::OK, JSON, body),
        Err(error) => http::failed(&error.to_string()),
    }
}

fn unread(error: BodyError) -> Problem {
    let (status, problem) = match error {
        BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
        BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
        BodyError::Broken => (StatusCode::BAD_REQUEST, "the body could not be read"),
    };
    Problem::new(status, problem, "send one small JSON object")
}

#[cfg(test)]
mod tests;
