//! The policy of paths and calls: what each needs, the same for every protocol. Here stands which part of the server
//! is open, read, worked with or administered; [`crate::access`] knows which key is good for what.
//!
//! What is not listed needs the scope `admin`, so that a new path is closed until somebody opens it.

use std::{
    future::ready,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{MatchedPath, Request},
    http::{Extensions, HeaderMap, HeaderValue, Method, header},
    response::{IntoResponse, Response},
};

use super::{
    middleware::{After, Before, Boxed, Middleware},
    rpc::status,
    tls::ClientCertificate,
    web::{body, problem::Problem, scope::RequestScope},
};
use crate::{
    access::{Access, Caller, Scope},
    model::{Kind, Refusal, refusal::clip_to},
    operations::Service,
};

/// The other side of a connection, as an extension of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// What it showed of itself, where that is wanted.
    pub(crate) certificate: Option<ClientCertificate>,
}

impl Peer {
    /// Refuses whoever would not be let in any more.
    fn check(&self) -> Result<(), Refusal> {
        if self.certificate.as_ref().is_none_or(ClientCertificate::is_good) {
            return Ok(());
        }
        let detail = "the certificate that this connection began with is no longer good here";
        Err(Refusal::new(Kind::Unauthenticated, detail))
    }
}

/// Where proxies write down whom they ask for.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The listener that a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The only one.
    Only,
    /// That of clients, where operators have one of their own: metrics and administration are not answered here.
    Clients,
    /// That of operators: no work is done here.
    Operators,
}

/// What a path or call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Nothing: it tells nothing of models, or is a page.
    Nothing,
    /// Nothing, but it is the operator's.
    Metrics,
    /// A key that is good for the operation, which its declaration says.
    Work,
    /// A key with this scope.
    Scope(Scope),
}

/// Looks at every request of one listener.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    service: Arc<Service>,
    door: Door,
}

impl Guard {
    pub(crate) fn new(service: &Arc<Service>, door: Door) -> Self {
        Self {
            service: Arc::clone(service),
            door,
        }
    }

    fn of_route(&self, method: &Method, route: Option<&str>) -> Needs {
        // Where no route is, there is nothing to protect.
        let Some(route) = route else {
            return Needs::Nothing;
        };
        let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let last = route.rsplit('/').next().unwrap_or_default();
        match route.split('/').nth(1).unwrap_or_default() {
            "metrics" => Needs::Metrics,
            "v2" if matches!(
                route,
                "/v2" | "/v2/" | "/v2/health/live" | "/v2/health/ready" | "/v2/{*path}"
            ) =>
            {
                Needs::Nothing
            }
            "v2" if is_read || route == "/v2/repository/index" => Needs::Scope(Scope::Read),
            "v2" if last == "infer" => Needs::Work,
            "v1" if is_read => Needs::Scope(Scope::Read),
            "v1" if *method == Method::POST && self.service.operation(last).is_ok() => Needs::Work,
            // Probes and pages.
            _ if is_read => Needs::Nothing,
            _ => Needs::Scope(Scope::Admin),
        }
    }

    fn of_call(path: &str) -> Needs {
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let (service, call) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match (service, call) {
            ("density.v1.Density", _) => Needs::Work,
            ("inference.GRPCInferenceService", "ServerLive" | "ServerReady" | "ServerMetadata") => Needs::Nothing,
            (
                "inference.GRPCInferenceService",
                "ModelReady" | "ModelMetadata" | "ModelConfig" | "ModelStatistics" | "RepositoryIndex",
            ) => Needs::Scope(Scope::Read),
            ("inference.GRPCInferenceService", "ModelInfer" | "ModelStreamInfer") => Needs::Work,
            ("inference.GRPCInferenceService", _) => Needs::Scope(Scope::Admin),
            // Health and reflection.
            _ => Needs::Nothing,
        }
    }

    /// Whether it may come in by this door, and who it is.
    fn identify(&self, needs: Needs, request: &Request) -> Result<Caller, Refusal> {
        if let Some(peer) = request.extensions().get::<Peer>() {
            peer.check()?;
        }
        match (self.door, needs) {
            (Door::Clients, Needs::Metrics) => {
                let detail = "metrics are answered at the address of --probes";
                return Err(Refusal::new(Kind::UnknownRoute, detail));
            }
            (Door::Clients, Needs::Scope(Scope::Admin)) => {
                let detail = "this is answered at the address of --probes alone";
                return Err(Refusal::new(Kind::Forbidden, detail));
            }
            (Door::Operators, Needs::Work) => {
                let detail = "this is the address of operators, at which no work is done";
                return Err(Refusal::new(Kind::UnknownRoute, detail));
            }
            _ => {}
        }
        if matches!(needs, Needs::Nothing | Needs::Metrics) {
            return Ok(Caller::nobody());
        }
        self.service
            .access()
            .caller(key(request.headers()), self.address(request))
    }

    /// Where a request began: at the other side of the connection, or before it, if that is a proxy that is believed.
    fn address(&self, request: &Request) -> Option<IpAddr> {
        let peer = request.extensions().get::<Peer>()?;
        let forwarded = request.headers().get_all(FORWARDED_FOR).into_iter();
        // What is no text tells nothing, and must not let what stands before it count.
        let forwarded = forwarded.flat_map(|value| value.to_str().unwrap_or_default().split(','));
        Some(self.service.access().origin(peer.address.ip(), forwarded))
    }

    /// Lets a request in, or has it refused. Whoever is let in stands in the extensions. What changes the server for
    /// everybody is written down, and what tried to.
    fn pass(
        &self,
        needs: Needs,
        mut request: Request,
        refuse: impl FnOnce(Request, Refusal) -> Boxed<Response>,
    ) -> Before<Option<Audited>> {
        let caller = self.identify(needs, &request);
        let audited = (needs == Needs::Scope(Scope::Admin))
            .then(|| Audited::new(&request, caller.as_ref().ok(), self.address(&request)));
        let admitted = caller.and_then(|caller| match needs {
            Needs::Scope(scope) => caller.may(scope).map(|()| caller),
            _ => Ok(caller),
        });
        match admitted {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Before::Goes(request, audited)
            }
            Err(refusal) => Before::Ends(refuse(request, refusal), audited),
        }
    }
}

/// The layer of HTTP.
#[derive(Debug, Clone)]
pub(crate) struct GuardRoutes(pub(crate) Guard);

impl Middleware for GuardRoutes {
    type Seen = Option<Audited>;

    fn before(&self, request: Request) -> Before<Option<Audited>> {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let needs = self.0.of_route(request.method(), route);
        self.0.pass(needs, request, |request, refusal| {
            Box::pin(async {
                let (parts, unread) = request.into_parts();
                body::refuse(unread, RequestScope::of(&parts).announced()).await;
                let is_unknown = refusal.kind() == Kind::Unauthenticated;
                let mut response = Problem(refusal).into_response();
                if is_unknown {
                    let bearer = HeaderValue::from_static("Bearer realm=\"density-server\"");
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
                }
                response
            })
        })
    }

    fn after(audited: Option<Audited>, response: Response) -> After {
        audit(audited, response)
    }
}

/// The layer of gRPC.
#[derive(Debug, Clone)]
pub(crate) struct GuardCalls(pub(crate) Guard);

impl Middleware for GuardCalls {
    type Seen = Option<Audited>;

    fn before(&self, request: Request) -> Before<Option<Audited>> {
        let needs = Guard::of_call(request.uri().path());
        self.0.pass(needs, request, |_, refusal| {
            let status = status::status(&refusal, refusal.to_string());
            Box::pin(ready(status.into_http()))
        })
    }

    fn after(audited: Option<Audited>, response: Response) -> After {
        audit(audited, response)
    }
}

fn audit(audited: Option<Audited>, response: Response) -> After {
    if let Some(audited) = audited {
        audited.write(&response);
    }
    After::Goes(response)
}

/// Whoever the guard let in.
pub(crate) fn caller(extensions: &Extensions) -> Caller {
    extensions.get::<Caller>().cloned().unwrap_or_else(Caller::nobody)
}

/// Whoever the guard let in, for as long as a stream of many requests stands.
#[derive(Debug)]
pub(crate) struct Standing {
    caller: Caller,
    peer: Option<Peer>,
}

impl Standing {
    pub(crate) fn new(extensions: &Extensions) -> Self {
        Self {
            caller: caller(extensions),
            peer: extensions.get::<Peer>().cloned(),
        }
    }

    /// The caller as it would be let in now, if it would be.
    pub(crate) fn caller(&self, access: &Access) -> Result<Caller, Refusal> {
        self.peer.as_ref().map_or(Ok(()), Peer::check)?;
        access.again(&self.caller)
    }
}

/// `Authorization: Bearer KEY`, or `X-API-Key: KEY`.
fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| text("x-api-key"))
}

/// The longest path of a call that can be answered has a name as long as a folder's may be. Of more, a line of the log
/// tells no more.
const LONGEST_CALL: usize = 400;

/// One line of the log for a call that administers the server.
pub(crate) struct Audited {
    caller: Option<String>,
    address: Option<IpAddr>,
    call: String,
    request_id: Option<String>,
}

impl Audited {
    fn new(request: &Request, caller: Option<&Caller>, address: Option<IpAddr>) -> Self {
        let scope = request.extensions().get::<Arc<RequestScope>>();
        Self {
            caller: caller.and_then(Caller::name).map(str::to_owned),
            address,
            call: format!("{} {}", request.method(), clip_to(LONGEST_CALL, request.uri().path())),
            request_id: scope.map(|scope| scope.id().to_owned()),
        }
    }

    fn write(self, response: &Response) {
        let grpc = tonic::Status::from_header_map(response.headers());
        tracing::info!(
            target: "density_server::audit",
            caller = self.caller,
            address = self.address.map(tracing::field::display),
            call = self.call,
            status = response.status().as_u16(),
            grpc_status = grpc.map(|status| status::name(status.code())),
            request_id = self.request_id,
            "audit"
        );
    }
}
