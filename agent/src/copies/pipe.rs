//! The bytes of one copied request, between the exchange that passes them on and the task that carries the copy. The
//! exchange never waits; what finds no room ends the copy.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bridge_proto::tunnel::Hold;
use bytes::Bytes;
use http::HeaderMap;

use crate::requests::GivenUp;

/// The memory of a piece besides its bytes.
const PIECE: usize = 64;

/// The end that bytes go into.
#[derive(Debug)]
pub(crate) struct Inlet(Arc<Mutex<State>>);

/// The end that bytes come out of.
#[derive(Debug)]
pub(crate) struct Outlet(Arc<Mutex<State>>);

/// What comes out next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Bytes(Bytes),
    /// The request is whole. HTTP/2 has trailers apart from the bytes.
    End(Option<HeaderMap>),
}

#[derive(Debug)]
struct State {
    /// The number of bytes that have still to fall.
    skipped: usize,
    pieces: VecDeque<Bytes>,
    /// The memory of the pieces,
    held: usize,
    /// and what there is for them, until the copy is whole or given up.
    room: Option<Hold>,
    end: Option<End>,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum End {
    Whole(Option<HeaderMap>),
    GivenUp(GivenUp),
}

/// A pipe for as many bytes as `room` holds, that lets the first `skipped` ones fall.
pub(crate) fn pipe(room: Hold, skipped: usize) -> (Inlet, Outlet) {
    let state = State { skipped, pieces: VecDeque::new(), held: 0, room: Some(room), end: None, waker: None };
    let shared = Arc::new(Mutex::new(state));
    (Inlet(shared.clone()), Outlet(shared))
}

impl Inlet {
    /// Puts a copy of these bytes in; without room for them, the copy is given up.
    pub(crate) fn put(&self, bytes: &[u8]) {
        let mut state = lock(&self.0);
        let fallen = bytes.len().min(state.skipped);
        state.skipped -= fallen;
        let bytes = &bytes[fallen..];
        if bytes.is_empty() {
            return;
        }
        let Some(room) = &state.room else { return };
        let held = state.held + bytes.len() + PIECE;
        if held as u64 > room.amount() {
            return state.ends(End::GivenUp(GivenUp::TooSlow));
        }
        state.held = held;
        state.pieces.push_back(Bytes::copy_from_slice(bytes));
        state.wakes();
    }

    /// The request is whole.
    pub(crate) fn whole(self, trailers: Option<HeaderMap>) {
        lock(&self.0).ends(End::Whole(trailers));
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        lock(&self.0).ends(End::GivenUp(GivenUp::CutShort));
    }
}

impl Outlet {
    /// What comes next; before anything else, that the copy is given up.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, GivenUp>> {
        let mut state = lock(&self.0);
        if let Some(End::GivenUp(why)) = state.end {
            return Poll::Ready(Err(why));
        }
        if let Some(piece) = state.pieces.pop_front() {
            state.held -= piece.len() + PIECE;
            return Poll::Ready(Ok(Next::Bytes(piece)));
        }
        match &mut state.end {
            Some(End::Whole(trailers)) => {
                let trailers = trailers.take();
                state.room = None;
                Poll::Ready(Ok(Next::End(trailers)))
            }
            _ => state.waits(cx),
        }
    }

    /// Resolves when the copy is given up.
    pub(crate) fn poll_given_up(&mut self, cx: &mut Context<'_>) -> Poll<GivenUp> {
        let mut state = lock(&self.0);
        match state.end {
            Some(End::GivenUp(why)) => Poll::Ready(why),
            _ => state.waits(cx),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Next, GivenUp> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) async fn given_up(&mut self) -> GivenUp {
        std::future::poll_fn(|cx| self.poll_given_up(cx)).await
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        lock(&self.0).clear();
    }
}

impl State {
    /// The first end counts.
    fn ends(&mut self, end: End) {
        if self.end.is_none() {
            if matches!(end, End::GivenUp(_)) {
                self.clear();
            }
            self.end = Some(end);
            self.wakes();
        }
    }

    /// Takes nothing in any more, and holds nothing.
    fn clear(&mut self) {
        self.pieces = VecDeque::new();
        self.room = None;
    }

    fn waits<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn wakes(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// No code that holds the lock can leave its data half changed, so a panic elsewhere does no harm.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bridge_proto::tunnel::Budget;

    use super::*;

    /// The bytes that may wait, pieces included.
    const ROOM: usize = 1000;

    /// A pipe, and the budget that it takes its room from.
    fn pipe(skipped: usize) -> (Inlet, Outlet, Budget) {
        let budget = Budget::new(1 << 20);
        let room = budget.begin(ROOM as u64).expect("there is room");
        let (inlet, outlet) = super::pipe(room, skipped);
        (inlet, outlet, budget)
    }

    fn next(outlet: &mut Outlet) -> Poll<Result<Next, GivenUp>> {
        outlet.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn bytes(text: &'static str) -> Poll<Result<Next, GivenUp>> {
        Poll::Ready(Ok(Next::Bytes(Bytes::from_static(text.as_bytes()))))
    }

    #[test]
    fn bytes_come_out_in_order_and_then_the_end() {
        let (inlet, mut outlet, budget) = pipe(5);
        inlet.put(b"GET");
        assert_eq!(next(&mut outlet), Poll::Pending, "the head falls");
        inlet.put(b" /one");
        inlet.put(b"two");
        let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
        inlet.whole(Some(trailers.clone()));
        assert_eq!(next(&mut outlet), bytes("one"));
        assert_eq!(next(&mut outlet), bytes("two"));
        assert_eq!(next(&mut outlet), Poll::Ready(Ok(Next::End(Some(trailers)))));
        assert_eq!(budget.held(), 0, "a copy that is whole needs no room");
    }

    #[test]
    fn a_request_that_is_cut_short_takes_what_waits_with_it() {
        let (inlet, mut outlet, _budget) = pipe(0);
        inlet.put(b"half of");
        drop(inlet);
        assert_eq!(next(&mut outlet), Poll::Ready(Err(GivenUp::CutShort)));
    }

    #[test]
    fn more_than_may_wait_ends_the_copy_and_frees_it() {
        for (piece, fit) in [(ROOM - PIECE, 1), (1, ROOM / (1 + PIECE))] {
            let (inlet, mut outlet, budget) = pipe(0);
            for _ in 0..fit {
                inlet.put(&vec![b'x'; piece]);
            }
            assert!(matches!(next(&mut outlet), Poll::Ready(Ok(Next::Bytes(_)))), "as much as may wait");
            inlet.put(&vec![b'x'; piece]);
            inlet.put(&vec![b'x'; piece]);
            assert_eq!(next(&mut outlet), Poll::Ready(Err(GivenUp::TooSlow)), "pieces of {piece}");
            assert_eq!(budget.held(), 0);
            inlet.whole(None);
            assert_eq!(next(&mut outlet), Poll::Ready(Err(GivenUp::TooSlow)), "given up stays given up");
        }
    }

    #[test]
    fn nothing_is_kept_for_an_outlet_that_is_gone() {
        let (inlet, outlet, budget) = pipe(0);
        inlet.put(b"one");
        drop(outlet);
        inlet.put(b"two");
        assert!(lock(&inlet.0).pieces.is_empty());
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_bytes_and_by_the_end() {
        let (inlet, mut outlet, _budget) = pipe(0);
        let reader = tokio::spawn(async move { (outlet.next().await, outlet.next().await) });
        tokio::task::yield_now().await;
        inlet.put(b"one");
        tokio::task::yield_now().await;
        inlet.whole(None);
        let (one, end) = reader.await.expect("no panic");
        assert_eq!((one, end), (Ok(Next::Bytes(Bytes::from_static(b"one"))), Ok(Next::End(None))));
    }
}
