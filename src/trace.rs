//! Traces: what became of a request, part by part, for a collector of OpenTelemetry.
//!
//! A [`Trace`] is a place in a trace; spans are begun at it. Where nobody collects, or the client asks for its request
//! not to be traced, it is nothing, and so is every span: that costs a comparison. As of the log, there is one
//! collector for each process, since the two say the same of the same requests.
//!
//! Architecture invariant: nothing here knows what is traced, and nobody else knows OpenTelemetry.

mod export;

use std::{
    fmt,
    future::Future,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue, Value,
    propagation::{Extractor, TextMapPropagator},
    trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, Span as SdkSpan},
};

pub use self::export::{Export, ExportError, start};

/// Who makes spans, where they are collected.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

tokio::task_local! {
    /// Where the task is that runs.
    static CURRENT: Trace;
}

/// A place in a trace: the span that what is done next is a part of.
#[derive(Clone, Default)]
pub struct Trace(Option<Arc<At>>);

struct At {
    tracer: SdkTracer,
    context: SpanContext,
}

/// A part of what a request came to. It ends when it is dropped.
#[derive(Default)]
pub struct Span(Option<Box<Open>>);

struct Open {
    span: SdkSpan,
    trace: Trace,
}

/// Begins the span of a request as its server. `header` reads one of its headers: those of W3C Trace Context say which
/// span it belongs to, if any.
pub fn request<'a>(name: impl FnOnce() -> String, header: impl Fn(&str) -> Option<&'a str>) -> Span {
    let Some(tracer) = TRACER.get() else {
        return Span::default();
    };
    let builder = SpanBuilder::from_name(name()).with_kind(SpanKind::Server);
    // Without the current context: threads of the runtime have none, and nobody else's is meant.
    let headers = Headers {
        parent: header("traceparent"),
        state: header("tracestate"),
    };
    let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    Span::new(tracer, builder, &caller)
}

/// Where the task is that runs.
pub fn current() -> Trace {
    CURRENT.try_with(Trace::clone).unwrap_or_default()
}

/// Begins a span at the place where the task is that runs.
pub fn span(name: &'static str) -> Span {
    CURRENT.try_with(|trace| trace.span(name)).unwrap_or_default()
}

impl Trace {
    /// Whether anybody collects what is done.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span here.
    pub fn span(&self, name: &'static str) -> Span {
        self.begin(SpanBuilder::from_name(name))
    }

    /// A span here of what began some time ago.
    pub fn span_since(&self, name: &'static str, time: Duration) -> Span {
        match self.0 {
            Some(_) => self.begin(SpanBuilder::from_name(name).with_start_time(SystemTime::now() - time)),
            None => Span::default(),
        }
    }

    fn begin(&self, builder: SpanBuilder) -> Span {
        self.0.as_ref().map_or_else(Span::default, |at| {
            let here = Context::new().with_remote_span_context(at.context.clone());
            Span::new(&at.tracer, builder, &here)
        })
    }

    /// Runs `work`, all of which is done here.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        if self.is_on() {
            CURRENT.scope(self, work).await
        } else {
            work.await
        }
    }

    /// The id of the trace, as 32 hexadecimal digits.
    pub fn id(&self) -> Option<String> {
        self.0.as_ref().map(|at| at.context.trace_id().to_string())
    }

    /// The place as W3C Trace Context writes it, for whoever is to know of it.
    pub fn header(&self) -> Option<String> {
        let context = &self.0.as_ref()?.context;
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
        Some(format!("00-{trace}-{span}-{:02x}", flags.to_u8()))
    }

    /// Whether both are the same place.
    pub fn is(&self, other: &Self) -> bool {
        let id = |trace: &Self| trace.0.as_ref().map(|at| (at.context.trace_id(), at.context.span_id()));
        id(self) == id(other)
    }
}

impl Span {
    fn new(tracer: &SdkTracer, builder: SpanBuilder, parent: &Context) -> Self {
        let span = tracer.build_with_context(builder, parent);
        // One that is not sampled has no children either.
        let open = span.is_recording().then(|| {
            let at = At {
                tracer: tracer.clone(),
                context: span.span_context().clone(),
            };
            let trace = Trace(Some(Arc::new(at)));
            Box::new(Open { span, trace })
        });
        Self(open)
    }

    /// Its place, for what is a part of it.
    pub fn trace(&self) -> Trace {
        self.0.as_ref().map_or_else(Trace::default, |open| open.trace.clone())
    }

    /// Whether anybody collects it.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Does some work that is a part of it.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(open) => CURRENT.sync_scope(open.trace.clone(), work),
            None => work(),
        }
    }

    /// Says something of it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            open.span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Says that it has to do with another place.
    pub fn link(&mut self, other: &Trace) {
        if let (Some(open), Some(other)) = (&mut self.0, &other.0) {
            open.span.add_link(other.context.clone(), Vec::new());
        }
    }

    /// Says that it came to nothing.
    pub fn fail(&mut self, cause: impl Into<String>) {
        if let Some(open) = &mut self.0 {
            open.span.set_status(Status::error(cause.into()));
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({:?})", self.header())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({:?})", self.trace().header())
    }
}

/// Headers as the propagator reads them.
struct Headers<'a> {
    parent: Option<&'a str>,
    state: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.parent,
            "tracestate" => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}
