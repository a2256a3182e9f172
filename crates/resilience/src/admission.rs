//! An admission limit: at most `limit` requests are in flight. Any further request is refused at once and does not
//! wait.
//!
//! # In the order of time
//! A request calls [`AdmissionLimit::try_admit`]. If a place is free, it gets a [`Place`] and keeps it until the
//! `Place` is dropped, however the request ends: answered, failed, or cancelled because its client disconnected. If
//! none is free, it gets [`Overloaded`] and never queues: a queue in front of an overloaded service only makes every
//! answer late.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clones share the places.
#[derive(Debug, Clone)]
pub struct AdmissionLimit {
    places: Arc<Semaphore>,
    limit: usize,
}

/// A request's place; dropping it frees the place.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// All places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all places are taken")]
pub struct Overloaded;

impl AdmissionLimit {
    /// Admits at most `limit` requests at a time.
    pub fn new(limit: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(limit)), limit }
    }

    /// Takes a place without waiting.
    ///
    /// # Errors
    /// [`Overloaded`] when none is free.
    pub fn try_admit(&self) -> Result<Place, Overloaded> {
        Arc::clone(&self.places).try_acquire_owned().map(Place).map_err(|_| Overloaded)
    }

    /// The number of places taken now.
    pub fn in_flight(&self) -> usize {
        self.limit - self.places.available_permits()
    }

    /// The number of places.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_exactly_the_request_over_the_limit() {
        let limit = AdmissionLimit::new(100);
        let mut places: Vec<Place> = (0..100).map(|_| limit.try_admit().expect("a place is free")).collect();
        assert_eq!(limit.try_admit().unwrap_err(), Overloaded);
        assert_eq!(limit.in_flight(), 100);
        places.pop();
        assert!(limit.try_admit().is_ok(), "a freed place is taken again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_request_frees_its_place() {
        let limit = AdmissionLimit::new(1);
        let place = limit.try_admit().expect("a place is free");
        let request = tokio::spawn(async move {
            let _place = place;
            std::future::pending::<()>().await;
        });
        request.abort();
        assert!(request.await.expect_err("aborted").is_cancelled());
        assert_eq!(limit.in_flight(), 0);
    }

    #[test]
    fn never_admits_more_than_the_limit_from_many_threads() {
        let limit = AdmissionLimit::new(7);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let place = limit.try_admit();
                        assert!(limit.in_flight() <= 7);
                        drop(place);
                    }
                });
            }
        });
        assert_eq!(limit.in_flight(), 0);
    }
}
