//! The Lease against a server of the tests, which hangs and refuses as told; `tests/tests/sealed`
//! has the real one.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::json;
use tower::{BoxError, service_fn};

use super::{
    super::{
        health::Health,
        shutdown::{ShutdownTrigger, shutdown},
    },
    *,
};

/// Long enough for a loaded machine.
const LONG: Duration = Duration::from_secs(60);

const PACE: Pace = Pace {
    duration: Duration::from_secs(15),
    deadline: Duration::from_secs(10),
    renewal: Duration::from_millis(20),
    retry: Duration::from_millis(20),
    forbidden: Duration::from_millis(20),
};

/// One Lease.
#[derive(Default)]
struct Server {
    lease: Mutex<Option<serde_json::Value>>,
    /// The first requests never get an answer.
    hangs: AtomicUsize,
    /// The next requests are refused.
    forbids: AtomicUsize,
    /// Time for an answer to a write.
    delay: Duration,
    writes: Mutex<Vec<Instant>>,
}

impl Server {
    fn client(self: &Arc<Self>) -> Client {
        let server = Arc::clone(self);
        let service = service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move { server.answer(request).await }
        });
        Client::new(service, "ns")
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        if take_one(&self.hangs) {
            std::future::pending::<()>().await;
        }
        if take_one(&self.forbids) {
            return Ok(status(403, "Forbidden"));
        }
        if *request.method() == Method::GET {
            let lease = self.lease.lock().unwrap().clone();
            return Ok(lease.map_or_else(|| status(404, "NotFound"), |lease| answer(200, &lease)));
        }
        self.writes.lock().unwrap().push(Instant::now());
        tokio::time::sleep(self.delay).await;
        let body = request.into_body().collect_bytes().await?;
        let mut lease: serde_json::Value = serde_json::from_slice(&body)?;
        let version = |lease: &serde_json::Value| lease["metadata"]["resourceVersion"].clone();
        let present = self.lease.lock().unwrap().as_ref().map(version);
        if present.is_some_and(|present| present != version(&lease)) {
            return Ok(status(409, "Conflict"));
        }
        lease["metadata"]["resourceVersion"] = json!(self.writes.lock().unwrap().len().to_string());
        *self.lease.lock().unwrap() = Some(lease.clone());
        Ok(answer(200, &lease))
    }

    fn holder(&self) -> String {
        let lease = self.lease.lock().unwrap();
        let holder = lease.as_ref().map(|lease| &lease["spec"]["holderIdentity"]);
        holder
            .and_then(|holder| holder.as_str())
            .unwrap_or_default()
            .to_owned()
    }

    fn count(&self) -> usize {
        self.writes.lock().unwrap().len()
    }
}

fn take_one(count: &AtomicUsize) -> bool {
    let less = |count: usize| count.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

fn answer(code: u16, body: &serde_json::Value) -> Response<Body> {
    let body = Body::from(serde_json::to_vec(body).unwrap());
    Response::builder().status(code).body(body).unwrap()
}

fn status(code: u16, reason: &str) -> Response<Body> {
    answer(
        code,
        &json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason }),
    )
}

fn candidate(pace: Pace) -> Candidate {
    Candidate {
        namespace: "ns".to_owned(),
        name: "l".to_owned(),
        identity: "a".to_owned(),
        pace,
    }
}

/// A process that competes, until dropped.
struct Running {
    tenure: Tenure,
    leading: watch::Receiver<bool>,
    health: Health,
    shutdown: ShutdownTrigger,
    finished: ShutdownTrigger,
    end: tokio::task::JoinHandle<LeaseEnd>,
}

fn run(server: &Arc<Server>, pace: Pace) -> Running {
    let (shutdown_trigger, shutdown_seen) = shutdown();
    let (finished_trigger, finished_seen) = shutdown();
    let (leads, leading) = watch::channel(false);
    let tenure = Tenure::none();
    let health = Health::default();
    let gate = health.gate("the Lease");
    let (client, term) = (server.client(), tenure.clone());
    let end = tokio::spawn(async move {
        let leadership = Leadership {
            tenure: &term,
            leading: &leads,
            gate,
            shutdown: &shutdown_seen,
            finished: &finished_seen,
        };
        lead(client, &candidate(pace), leadership).await
    });
    Running {
        tenure,
        leading,
        health,
        shutdown: shutdown_trigger,
        finished: finished_trigger,
        end,
    }
}

impl Running {
    async fn leads(&mut self) {
        let leads = self.leading.wait_for(|leading| *leading);
        timeout(LONG, leads).await.unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end.abort();
    }
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, wait).await.unwrap();
}

#[tokio::test]
async fn the_tenure_counts_from_before_the_request() {
    let server = Arc::new(Server {
        delay: Duration::from_millis(200),
        ..Server::default()
    });
    let mut running = run(&server, PACE);
    for writes in [1, 2] {
        until(|| server.count() >= writes).await;
        running.leads().await;
        // Before the answer to the next one, so that the terms are those of this one.
        let sent = server.writes.lock().unwrap()[writes - 1];
        until(|| server.count() > writes).await;
        let late = sent + PACE.deadline;
        assert_eq!(running.tenure.permit(late), Permit::Refused);
        let Permit::Until(end) = running.tenure.permit(Instant::now()) else {
            panic!("it leads and may not write");
        };
        assert!(end <= sent + PACE.duration);
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_asked_again() {
    let server = Arc::new(Server {
        hangs: AtomicUsize::new(2),
        ..Server::default()
    });
    let pace = Pace {
        deadline: Duration::from_millis(300),
        ..PACE
    };
    run(&server, pace).leads().await;
}

#[tokio::test]
async fn without_the_right_to_leases_nobody_leads_and_the_right_may_come() {
    let server = Arc::new(Server {
        forbids: AtomicUsize::new(5),
        ..Server::default()
    });
    let mut running = run(&server, PACE);
    until(|| server.forbids.load(Ordering::SeqCst) < 3).await;
    assert!(!*running.leading.borrow());
    assert_eq!(running.tenure.permit(Instant::now()), Permit::Refused);
    assert_eq!(running.health.closed(), ["the Lease"]);
    running.leads().await;
    assert_eq!(server.forbids.load(Ordering::SeqCst), 0);
    assert!(running.health.closed().is_empty());
}

#[tokio::test]
async fn it_is_kept_until_the_rest_has_finished_and_given_back_then() {
    let server = Arc::new(Server::default());
    let mut running = run(&server, PACE);
    running.leads().await;
    running.shutdown.request();
    let before = server.count();
    until(|| server.count() > before + 2).await;
    assert_eq!(server.holder(), "a");
    running.finished.request();
    let end = timeout(LONG, &mut running.end).await.unwrap().unwrap();
    assert_eq!(end, LeaseEnd::Released);
    assert_eq!(server.holder(), "");
    assert_eq!(running.tenure.permit(Instant::now()), Permit::Refused);
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_lost_and_the_tenure_with_it() {
    let server = Arc::new(Server::default());
    let pace = Pace {
        deadline: Duration::from_millis(500),
        ..PACE
    };
    let mut running = run(&server, pace);
    running.leads().await;
    server.hangs.store(usize::MAX, Ordering::SeqCst);
    let end = timeout(LONG, &mut running.end).await.unwrap().unwrap();
    assert_eq!(end, LeaseEnd::Lost);
    assert_eq!(running.tenure.permit(Instant::now()), Permit::Refused);
}

#[tokio::test]
async fn a_lease_of_another_is_lost_at_once() {
    let server = Arc::new(Server::default());
    let mut running = run(&server, PACE);
    running.leads().await;
    {
        let mut lease = server.lease.lock().unwrap();
        let lease = lease.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = json!("b");
        lease["metadata"]["resourceVersion"] = json!("b's");
    }
    let end = timeout(LONG, &mut running.end).await.unwrap().unwrap();
    assert_eq!(end, LeaseEnd::Lost);
    assert_eq!(running.tenure.permit(Instant::now()), Permit::Refused);
    assert_eq!(server.holder(), "b");
}

fn lease(version: &str, holder: &str) -> Lease {
    Lease {
        metadata: ObjectMeta {
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(10),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        }),
    }
}

#[test]
fn a_lease_expires_when_it_stands_still_for_its_duration() {
    let mut seen = Observed::default();
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut expired = |version, now| seen.expired(&lease(version, "b"), now, &Pace::default());
    assert!(!expired("1", start));
    assert!(!expired("1", after(9)));
    assert!(!expired("2", after(11)), "it was renewed");
    assert!(!expired("2", after(20)));
    assert!(expired("2", after(21)));
}

#[test]
fn a_new_holder_counts_as_a_transition() {
    let candidate = candidate(Pace::default());
    let now = Timestamp::from_second(1_000_000).unwrap();
    let taken = held(&candidate, lease("1", "b").spec.as_ref(), now);
    assert_eq!(taken.lease_transitions, Some(4));
    assert_eq!(taken.lease_duration_seconds, Some(15));
    assert_eq!(taken.acquire_time, Some(MicroTime(now)));
    let later = Timestamp::from_second(1_000_005).unwrap();
    let renewed = held(&candidate, Some(&taken), later);
    assert_eq!(renewed.lease_transitions, Some(4));
    assert_eq!(renewed.acquire_time, Some(MicroTime(now)));
    assert_eq!(renewed.renew_time, Some(MicroTime(later)));
    assert_eq!(held(&candidate, None, now).lease_transitions, Some(0));
}
