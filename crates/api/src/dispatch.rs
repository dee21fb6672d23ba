//! From a parsed request to its answer: rates, route, credentials, body, handler, in that order.
//!
//! Nothing here allocates for a usual payment besides what the answer needs. Everything but the payment handler is
//! boxed, so that a connection's future stays small.

use std::sync::Arc;

use bytes::Bytes;
use engine::{Asker, Caller, Engine, RetryAfterMs};
use http::{
    HeaderMap, Method, Request,
    header::{ALLOW, ORIGIN},
    request::Parts,
};
use hyper::body::{Body, Incoming};
use ledger::{IdSealer, Timestamp, WalletId};
use matchit::Params;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use crate::{
    address,
    auth::{self, Principal},
    connection::Connection,
    errors::{Kind, Problem},
    gateway::Gateway,
    handlers,
    json::write::AmountStyle,
    limits::{Exhausted, SourceBuckets},
    metrics::{Outcome, Target},
    request::{self, Query},
    respond::{self, Answer, Reply},
    routes::{Auth, BodyClass, Found, Operation, RateClass, Route},
};

/// One request, ready for its handler.
pub(crate) struct Call<'r> {
    pub(crate) gateway: &'r Gateway,
    pub(crate) engine: &'r Engine,
    pub(crate) sealer: &'r IdSealer,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) query: Query,
    pub(crate) principal: Principal,
    /// Arrival.
    pub(crate) at: Timestamp,
    pub(crate) amounts: AmountStyle,
    pub(crate) body: Bytes,
    params: Params<'r, 'r>,
}

impl Call<'_> {
    /// The agent that asks.
    pub(crate) fn caller(&self) -> Result<&Caller, Problem> {
        self.principal.caller()
    }

    /// The agent that asks, or an operator where the route lets one through.
    pub(crate) fn asker(&self) -> Result<Asker<'_>, Problem> {
        match self.principal {
            Principal::Operator => Ok(Asker::Operator),
            Principal::Agent { .. } | Principal::Nobody => self.caller().map(Asker::Agent),
        }
    }

    /// A parameter of the path.
    pub(crate) fn param(&self, name: &'static str) -> Option<&str> {
        self.params.get(name)
    }

    /// The wallet in the path. What is no id at all is no wallet either.
    pub(crate) fn wallet_id(&self) -> Result<WalletId, Problem> {
        self.param("wallet_id")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Problem::new(Kind::UnknownWallet))
    }

    /// The body as JSON text; an empty one counts as an empty object.
    pub(crate) fn json(&self) -> &[u8] {
        if self.body.is_empty() { b"{}" } else { &self.body }
    }
}

/// What a request came to, before it is turned into a response.
struct Served {
    target: Target,
    amounts: AmountStyle,
    result: Result<Reply, Problem>,
}

impl Served {
    fn early(target: Target, problem: Problem) -> Self {
        Self { target, amounts: AmountStyle::Number, result: Err(problem) }
    }
}

impl Gateway {
    /// Answers one request.
    pub(crate) async fn answer(&self, connection: &Connection, request: Request<Incoming>) -> Answer {
        let _in_flight = self.metrics.in_flight();
        let begun = Instant::now();
        let at = self.clock.now();
        let (parts, body) = request.into_parts();
        let request_id = self.ids.of(&parts.headers);
        // Bytes behind a chunked body are not followed by the guard, so nothing may come behind one.
        let chunked = body.size_hint().exact().is_none();
        let mut body = Some(body);
        let served = self.carry_out(connection, &parts, &mut body, begun, at).await;
        let outcome = match &served.result {
            Ok(reply) => reply.outcome(),
            Err(problem) => Outcome::Problem(problem.kind),
        };
        self.metrics.answered(served.target, outcome, begun.elapsed());
        let mut answer = match served.result {
            Ok(reply) => reply.into_response(request_id),
            Err(problem) => {
                if problem.kind == Kind::Damaged {
                    tracing::error!(
                        ?request_id,
                        "a stored record can no longer be read; run `agentpay check`"
                    );
                }
                respond::refusal(&problem, served.amounts, request_id)
            }
        };
        if let Some(body) = body.filter(|body| !body.is_end_stream()) {
            request::discard(&parts.headers, body, &connection.pulse, &self.ticks).await;
        }
        self.cors.decorate(parts.headers.get(ORIGIN), &mut answer);
        if chunked {
            respond::close_after(&mut answer);
        }
        answer
    }

    async fn carry_out(
        &self,
        connection: &Connection,
        parts: &Parts,
        body: &mut Option<Incoming>,
        begun: Instant,
        at: Timestamp,
    ) -> Served {
        let forwarded = self.forwarded_buckets(connection, parts, begun);
        let buckets = forwarded.as_ref().unwrap_or(&connection.buckets);
        let nanos = self.nanos(begun);
        if let Err(exhausted) = buckets.every.take(self.rates.address, nanos) {
            return Served::early(Target::Unmatched, Problem::rate_limited(exhausted, at));
        }
        let (route, place, params) = match self.table.find(&parts.method, parts.uri.path()) {
            Found::Route(route, place, params) => (route, place, params),
            Found::Nothing => return Served::early(Target::Unmatched, Problem::new(Kind::UnknownRoute)),
            Found::OtherMethods(allow) if parts.method == Method::OPTIONS => {
                let result = Ok(self.cors.options(&parts.headers, allow));
                return Served { target: Target::Unmatched, amounts: AmountStyle::Number, result };
            }
            Found::OtherMethods(allow) => {
                let mut problem = Problem::new(Kind::MethodNotAllowed);
                problem.headers.push((ALLOW, allow.clone()));
                return Served::early(Target::Unmatched, problem);
            }
        };
        let target = Target::Route(place);
        if matches!(route.operation, Operation::Health | Operation::Readiness | Operation::Version) {
            let result = handlers::health::answer(self, route.operation);
            return Served { target, amounts: AmountStyle::Number, result };
        }
        let Some(attached) = self.attached.get() else {
            return Served::early(target, Problem::new(Kind::Starting));
        };
        let admitted = self.admit(route, &parts.headers, &attached.engine, buckets, nanos, at);
        let (principal, amounts) = match admitted {
            Ok(admitted) => admitted,
            Err(problem) => return Served::early(target, problem),
        };
        let query = match Query::parse(parts.uri.query(), route.parameters) {
            Ok(query) => query,
            Err(problem) => return Served { target, amounts, result: Err(problem) },
        };
        let (body, _room) = match self.body(connection, route, parts, body).await {
            Ok(body) => body,
            Err(problem) => return Served { target, amounts, result: Err(problem) },
        };
        let call = Call {
            gateway: self,
            engine: &attached.engine,
            sealer: &attached.sealer,
            headers: &parts.headers,
            query,
            principal,
            at,
            amounts,
            body,
            params,
        };
        let result = match route.operation {
            Operation::Pay => handlers::payments::pay(&call).await,
            operation => Box::pin(handlers::run(operation, &call)).await,
        };
        Served { target, amounts, result }
    }

    /// The buckets of a client behind trusted proxies.
    fn forwarded_buckets(
        &self,
        connection: &Connection,
        parts: &Parts,
        now: Instant,
    ) -> Option<Arc<SourceBuckets>> {
        if self.settings.trusted_hops == 0 {
            return None;
        }
        let client = address::client(connection.peer, &parts.headers, self.settings.trusted_hops);
        Some(self.sources.of(client.into(), self.nanos(now)))
    }

    /// Credentials, rates and formats: everything that can be refused before the body is read.
    fn admit(
        &self,
        route: &Route,
        headers: &HeaderMap,
        engine: &Engine,
        buckets: &SourceBuckets,
        nanos: u64,
        at: Timestamp,
    ) -> Result<(Principal, AmountStyle), Problem> {
        let anonymous = route.rate == RateClass::Anonymous;
        // What is public is told to everybody alike. In production agents are made by operators only.
        let public = route.auth == Auth::None && !anonymous;
        let principal = if public || (anonymous && !self.settings.production) {
            Principal::Nobody
        } else {
            auth::identify(headers, engine, self.settings.admin_token_hash.as_ref(), at)?
        };
        auth::authorise(route, &principal)?;
        match &principal {
            Principal::Agent { caller, .. } => {
                let rate = self.settings.agent_requests_per_second;
                caller.meter.try_take(at.millis(), rate, 1).map_err(|RetryAfterMs(retry_after_ms)| {
                    let exhausted =
                        Exhausted { limit: rate, retry_after_ms, reset_after_ms: retry_after_ms.max(1_000) };
                    Problem::rate_limited(exhausted, at)
                })?;
            }
            Principal::Nobody if anonymous => {
                let taken = buckets.anonymous.take(self.rates.anonymous, nanos);
                taken.map_err(|exhausted| Problem::rate_limited(exhausted, at))?;
            }
            Principal::Nobody | Principal::Operator => {}
        }
        let amounts = request::accepted(headers, route.operation == Operation::Entries)?;
        Ok((principal, amounts))
    }

    /// Reads the body that the route takes. The permit holds the memory that a batch may use.
    async fn body(
        &self,
        connection: &Connection,
        route: &Route,
        parts: &Parts,
        body: &mut Option<Incoming>,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
        let (bytes_max, room) = match (route.body, body.as_ref()) {
            (BodyClass::None, _) | (_, None) => return Ok((Bytes::new(), None)),
            (BodyClass::Json, Some(_)) => (self.settings.body_bytes_max, None),
            (BodyClass::Large, Some(body)) => {
                let bytes_max = self.settings.batch_body_bytes_max;
                let declared = body.size_hint().exact().unwrap_or(bytes_max as u64);
                let kibibytes =
                    u32::try_from(declared.min(bytes_max as u64).div_ceil(1_024)).unwrap_or(u32::MAX);
                let room = self.batch_kibibytes.clone().try_acquire_many_owned(kibibytes);
                (bytes_max, Some(room.map_err(|_| Problem::new(Kind::Overloaded))?))
            }
        };
        let empty = body.as_ref().is_none_or(Body::is_end_stream);
        request::check_content_type(&parts.headers, empty)?;
        let Some(body) = body.take() else { return Ok((Bytes::new(), None)) };
        let bytes =
            request::read_body(&parts.headers, body, bytes_max, &connection.pulse, &self.ticks).await?;
        Ok((bytes, room))
    }
}
