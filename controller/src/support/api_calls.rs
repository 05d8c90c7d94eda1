//! What stands around every call of the API server: a time limit, and the right to write.
//!
//! kube's client waits for an answer as long as the connection lives, and repeats a call that the
//! server puts off for up to hours; one such call would hold a worker all that time.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Method, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::{Client, Config, client::Body, client::ClientBuilder};
use tokio::time::{Instant, Sleep, sleep, timeout_at};
use tower::{BoxError, Layer, Service};

use super::{
    bucket::{Bucket, Rate},
    lease::{Permit, Tenure},
};

/// Time for connecting, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time for the head of an answer, kube's repetitions included, and then for each piece of it.
const LIMIT: Duration = Duration::from_secs(30);

/// Makes a client whose calls end in time, and which writes only within `tenure`, if there is one.
///
/// Watches stay open as long as the watcher wants: it has limits of its own.
/// With a `rate` its calls wait for each other (`--kubeclient-qps`).
pub fn client(
    mut config: Config,
    tenure: Option<Tenure>,
    rate: Option<Rate>,
) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.write_timeout = Some(LIMIT);
    let calls = ApiCalls {
        tenure,
        limit: LIMIT,
        rate,
    };
    Ok(ClientBuilder::try_from(config)?.with_layer(&calls).build())
}

/// Why a call was not answered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Another replica may lead.
    #[error("nothing was sent: this replica does not hold the Lease and must not write")]
    NotLeading,
    /// The write was under way when the Lease came to its end.
    #[error("the API server did not answer before the Lease came to its end")]
    LeaseEnds,
    /// No answer, or no end of it.
    #[error("the API server did not answer within {0:?}")]
    Late(Duration),
}

/// The layer.
#[derive(Clone, Debug)]
struct ApiCalls {
    tenure: Option<Tenure>,
    limit: Duration,
    rate: Option<Rate>,
}

impl<S> Layer<S> for ApiCalls {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        let turns = self.rate.map(|rate| Turns {
            rate,
            bucket: Bucket::full(rate, Instant::now()),
            wait: None,
            taken: false,
        });
        Guarded {
            inner,
            calls: self.clone(),
            turns,
        }
    }
}

/// A service whose calls are limited.
struct Guarded<S> {
    inner: S,
    calls: ApiCalls,
    turns: Option<Turns>,
}

/// The turns of calls under a rate. Callers stand in kube's buffer meanwhile, first come first served.
struct Turns {
    rate: Rate,
    bucket: Bucket,
    wait: Option<Pin<Box<Sleep>>>,
    /// A token was taken for the call to come.
    taken: bool,
}

impl Turns {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while !self.taken {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(context));
                self.wait = None;
            }
            match self.bucket.take(self.rate, Instant::now()).refused_for {
                Some(time) => self.wait = Some(Box::pin(sleep(time))),
                None => self.taken = true,
            }
        }
        Poll::Ready(())
    }
}

impl<S, B> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<InTime<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if let Some(turns) = &mut self.turns {
            ready!(turns.poll(context));
        }
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(turns) = &mut self.turns {
            turns.taken = false;
        }
        let now = Instant::now();
        let limit = self.calls.limit;
        let late = (now + limit, CallError::Late(limit));
        let (until, error) = match self.calls.permit(request.method(), now) {
            Permit::Refused => return Box::pin(async { Err(CallError::NotLeading.into()) }),
            Permit::Until(end) if end < late.0 => (end, CallError::LeaseEnds),
            Permit::Until(_) | Permit::Unlimited => late,
        };
        let limit = (!is_watch(&request)).then_some(limit);
        let answer = self.inner.call(request);
        Box::pin(async move {
            match timeout_at(until, answer).await {
                Ok(answer) => {
                    let answer = answer.map_err(Into::into)?;
                    Ok(answer.map(|body| InTime::new(body, limit)))
                }
                Err(_) => Err(error.into()),
            }
        })
    }
}

impl ApiCalls {
    fn permit(&self, method: &Method, now: Instant) -> Permit {
        match &self.tenure {
            Some(tenure) if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) => {
                tenure.permit(now)
            }
            _ => Permit::Unlimited,
        }
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| pair == "watch=true")
}

/// The body of an answer, each piece of which has to come in time.
struct InTime<B> {
    inner: B,
    limit: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl<B> InTime<B> {
    fn new(inner: B, limit: Option<Duration>) -> Self {
        Self {
            inner,
            limit: limit.map(|limit| (limit, Box::pin(sleep(limit)))),
        }
    }
}

impl<B> HttpBody for InTime<B>
where
    B: HttpBody + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            if let Some((limit, sleep)) = &mut this.limit {
                sleep.as_mut().reset(Instant::now() + *limit);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if let Some((limit, sleep)) = &mut this.limit
            && sleep.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err(CallError::Late(*limit).into())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tower::service_fn;

    use super::*;

    /// How the server behaves.
    #[derive(Clone, Copy)]
    enum Server {
        Answers,
        NeverAnswers,
        StopsAmidTheBody,
    }

    /// A body that never ends.
    struct Endless;

    impl HttpBody for Endless {
        type Data = <Body as HttpBody>::Data;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
            Poll::Pending
        }
    }

    type Boxed = Box<
        dyn HttpBody<Data = <Body as HttpBody>::Data, Error = BoxError> + Send + Unpin + 'static,
    >;

    struct Whole(Body);

    impl HttpBody for Whole {
        type Data = <Body as HttpBody>::Data;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
            let frame = Pin::new(&mut self.0).poll_frame(context);
            frame.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
        }
    }

    fn guarded(server: Server, tenure: Option<Tenure>, limit: Duration) -> Client {
        paced(server, tenure, limit, None)
    }

    fn paced(
        server: Server,
        tenure: Option<Tenure>,
        limit: Duration,
        rate: Option<Rate>,
    ) -> Client {
        let service = service_fn(move |_: Request<Body>| async move {
            let body: Boxed = match server {
                Server::NeverAnswers => std::future::pending().await,
                Server::StopsAmidTheBody => Box::new(Endless),
                Server::Answers => Box::new(Whole(Body::from(b"{}".to_vec()))),
            };
            Ok::<_, BoxError>(Response::new(body))
        });
        ClientBuilder::new(service, "default")
            .with_layer(&ApiCalls {
                tenure,
                limit,
                rate,
            })
            .build()
    }

    fn request(method: &str, uri: &str) -> Request<Vec<u8>> {
        let request = Request::builder().method(method).uri(uri);
        request.body(Vec::new()).unwrap()
    }

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_call_that_hangs_ends() {
        for server in [Server::NeverAnswers, Server::StopsAmidTheBody] {
            let client = guarded(server, None, SHORT);
            let answer = client.request_text(request("GET", "/api/v1/secrets"));
            let error = tokio::time::timeout(LONG, answer).await.unwrap();
            let error = error.unwrap_err().to_string();
            assert!(error.contains("did not answer within 20ms"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_silent_watch_goes_on() {
        let client = guarded(Server::StopsAmidTheBody, None, SHORT);
        let watch = request("GET", "/api/v1/secrets?watch=true&timeoutSeconds=290");
        let mut body = client
            .send(watch.map(Body::from))
            .await
            .unwrap()
            .into_body();
        let event = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let event = tokio::time::timeout(SHORT * 10, event).await;
        assert!(event.is_err(), "the watch ended");
    }

    #[tokio::test]
    async fn calls_keep_to_the_rate() {
        let client = paced(Server::Answers, None, LONG, Rate::new(20.0, 2));
        let began = Instant::now();
        let calls = (0..6).map(|_| client.request_text(request("GET", "/api/v1/secrets")));
        for answer in futures::future::join_all(calls).await {
            assert_eq!(answer.unwrap(), "{}");
        }
        // Two at once, then one each 50 ms.
        assert!(began.elapsed() >= Duration::from_millis(190));
    }

    #[tokio::test]
    async fn nobody_writes_without_the_lease() {
        let client = guarded(Server::Answers, Some(Tenure::none()), LONG);
        let read = client.request_text(request("GET", "/api/v1/secrets")).await;
        assert_eq!(read.unwrap(), "{}");
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let error = client
                .request_text(request(method, "/api/v1/secrets"))
                .await;
            let error = error.unwrap_err().to_string();
            assert!(error.contains("must not write"), "{error}");
        }
        for tenure in [Some(Tenure::unlimited()), None] {
            let client = guarded(Server::Answers, tenure, LONG);
            let written = client.request_text(request("PUT", "/api/v1/secrets")).await;
            assert_eq!(written.unwrap(), "{}");
        }
    }
}
