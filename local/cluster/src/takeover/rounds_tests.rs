//! Counts a connect's waits for the API server, in simulated time: each answer takes a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::race_tests::{connect, world};
use crate::pretended::ApiServer;

/// The rounds of requests, one after the other, and how many requests there are, of a connect by this user.
async fn of(server: &ApiServer, user: &'static str, header: &'static str) -> (u64, usize) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let cluster = server.cluster_before(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1))
    });
    let began = Instant::now();
    connect(cluster, user, header).await.unwrap();
    (began.elapsed().as_secs(), requests.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn a_connect_reads_side_by_side_and_creates_nothing_that_stands() {
    let server = world();
    let first = of(&server, "alice", "x: alice").await;
    let (before, again) = (server.changes(), of(&server, "alice", "x: alice").await);
    assert_eq!(server.changes()[before.len()..], ["PATCH services/orders"], "its claim");
    // One of the requests asks whether agents have an account to restore by, beside the others.
    assert_eq!(first, (13, 29), "rounds and requests of the first one");
    assert_eq!(again, (10, 27), "and of one that finds its stand-in");
}
