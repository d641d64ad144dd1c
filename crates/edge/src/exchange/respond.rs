//! The response phase: from where an answer comes to the head and the bytes that one client gets.

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, Version, header};

use super::{Exchange, Outcome, insert_text};
use crate::{
    Body, CacheStatus,
    delivery::{Delivery, Source},
    fetch::declared_length,
    freshness::age_value,
    object::{CACHE_STATUS, Head, SERVER_TIMING, strip_hop_by_hop},
    problem::Problem,
    select::{Selection, select},
};

/// What a web page may read of an answer where the route is open to every page.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("age, content-length, content-range, date, etag, server-timing, x-cache-status");

impl Exchange {
    pub(super) fn respond(&mut self, outcome: Outcome) -> Response<Delivery> {
        let (mut response, status) = match outcome {
            Outcome::Refused(problem) => (self.own(problem.response()), CacheStatus::None),
            Outcome::Own(status, headers) => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                (self.own(response), CacheStatus::None)
            }
            Outcome::Kept(object, status) => {
                let age = Some(object.head.freshness.age(self.site.now()));
                let source = Source::Kept { object: object.clone(), next: 0 };
                (self.select(&object.head, source, age), status)
            }
            Outcome::Flight(reader, head, status) => {
                let now = self.site.now();
                let is_aged = status == CacheStatus::Hit || !head.freshness.initial_age.is_zero();
                let age = is_aged.then(|| head.freshness.age(now));
                (self.select(&head, Source::Flight(reader), age), status)
            }
            Outcome::Origin(answer, status) => (self.pass(answer), status),
        };
        self.finish_head(&mut response, status);
        let delivery = match self.log.take() {
            Some(mut log) => {
                log.status = response.status();
                log.cache = status;
                self.site.metrics(self.route).on_head(log.started.elapsed());
                let Planned { source, skip, length } = std::mem::replace(response.body_mut(), Planned::NOTHING);
                Delivery::new(source, skip, length, log)
            }
            // Only a panic while a response was being made comes here twice.
            None => Delivery::nothing(),
        };
        response.map(|_| delivery)
    }

    fn own(&self, response: Response<Bytes>) -> Response<Planned> {
        let is_head = self.parts.method == Method::HEAD;
        response.map(|bytes| match bytes.len() as u64 {
            length if length > 0 && !is_head => Planned { source: Source::Own(bytes), skip: 0, length: Some(length) },
            _ => Planned::NOTHING,
        })
    }

    /// The asked part of a response that may be shared.
    fn select(&self, head: &Head, source: Source, age: Option<Duration>) -> Response<Planned> {
        let is_get = self.parts.method == Method::GET;
        let mut planned = Planned { source, skip: 0, length: head.length };
        let mut status = head.status;
        let mut headers = head.headers.clone();
        match select(&self.parts.headers, head, is_get) {
            Selection::Whole => {}
            Selection::Part { first, last, total } => {
                status = StatusCode::PARTIAL_CONTENT;
                let length = last.saturating_sub(first).saturating_add(1);
                (planned.skip, planned.length) = (first, Some(length));
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                insert_text(&mut headers, header::CONTENT_RANGE, format!("bytes {first}-{last}/{total}"));
            }
            Selection::NotModified => {
                status = StatusCode::NOT_MODIFIED;
                planned = Planned::NOTHING;
                for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::ACCEPT_RANGES] {
                    headers.remove(name);
                }
            }
            Selection::Unsatisfiable { total } => {
                let problem = Problem::new(416, "range-not-satisfiable", "The range lies outside of the resource")
                    .hint("Content-Range says how long the resource is");
                let mut response = self.own(problem.response());
                insert_text(response.headers_mut(), header::CONTENT_RANGE, format!("bytes */{total}"));
                return response;
            }
        }
        if !is_get || matches!(status, StatusCode::NO_CONTENT) {
            planned = Planned::NOTHING;
        }
        if let Some(age) = age {
            headers.insert(header::AGE, age_value(age));
        }
        let mut response = Response::new(planned);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// An answer for this client alone, as the origin gave it.
    fn pass(&self, answer: Response<Body>) -> Response<Planned> {
        let length = declared_length(&answer);
        let is_head = self.parts.method == Method::HEAD;
        let has_body = !is_head && !matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let (mut parts, body) = answer.into_parts();
        strip_hop_by_hop(&mut parts.headers);
        // What is said of the length and what is sent must agree; an answer to HEAD speaks of what GET would get.
        if !is_head {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        if let Some(length) = length.filter(|_| has_body) {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let planned = match has_body {
            true => Planned { source: Source::Origin(body), skip: 0, length },
            false => Planned::NOTHING,
        };
        Response::from_parts(parts, planned)
    }

    /// What every answer says.
    fn finish_head<B>(&self, response: &mut Response<B>, cache: CacheStatus) {
        let framed = is_http_1(self.parts.version) && self.parts.headers.contains_key(header::TRANSFER_ENCODING);
        let headers = response.headers_mut();
        // A body framed by chunks may have come with a Content-Length, too, which somebody on the way may have believed; nothing
        // more is read from such a connection (RFC 9112 6.1).
        if framed {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if cache != CacheStatus::None {
            headers.insert(CACHE_STATUS, HeaderValue::from_static(cache.label()));
        }
        if let Some(log) = &self.log {
            headers.append(SERVER_TIMING, server_timing(log.started.elapsed(), self.origin_time));
        }
        if self.route().is_some_and(|route| route.policy.cors)
            && !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
        {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// The bytes that an answer will have.
struct Planned {
    source: Source,
    skip: u64,
    length: Option<u64>,
}

impl Planned {
    const NOTHING: Self = Self { source: Source::Nothing, skip: 0, length: Some(0) };
}

/// `edge` is the time from the request's head to the answer's, `origin` how much of it the origin took to begin.
fn server_timing(edge: Duration, origin: Option<Duration>) -> HeaderValue {
    let mut text = String::with_capacity(48);
    let ms = |time: Duration| time.as_micros() as f64 / 1_000.0;
    let _ = write!(text, "edge;dur={:.3}", ms(edge));
    if let Some(origin) = origin {
        let _ = write!(text, ", origin;dur={:.3}", ms(origin));
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("edge"))
}

fn is_http_1(version: Version) -> bool {
    matches!(version, Version::HTTP_10 | Version::HTTP_11)
}
