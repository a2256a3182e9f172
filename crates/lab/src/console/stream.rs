//! Server-sent events: one stream per tab, one frame a second. A tab that was away says which frame it saw last and gets what
//! it lacks; one that is too slow skips frames, and nothing is kept for it.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;

use super::{hub::Hub, page::Audience, problem::Problem, security};

/// Below the 15 s after which proxies and sleeping networks begin to forget.
const HEARTBEAT: Duration = Duration::from_secs(10);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) async fn get_stream(State(hub): State<Hub>, headers: HeaderMap) -> Result<Response, Problem> {
    // One with an old token may still watch.
    let audience = Audience::of(&hub, security::has_token(&hub, &headers).unwrap_or(false));
    let epoch = epoch(&hub);
    let since = headers.get(LAST_EVENT_ID).and_then(|id| last_seen(id.to_str().ok()?, &epoch)).unwrap_or(0);
    let mut frames = hub.frames.subscribe();
    // What is there already is new to this viewer.
    frames.mark_changed();
    let state = (hub, frames, since, epoch);
    let frames = stream::unfold(state, move |(hub, mut frames, since, epoch)| async move {
        loop {
            frames.changed().await.ok()?;
            let frame = frames.borrow_and_update().clone();
            if frame.id == 0 || hub.is_ending() {
                continue;
            }
            let text = frame.for_viewer(since, audience, &hub.history());
            let event = Event::default().event("frame").id(format!("{epoch}-{}", frame.id)).data(&*text);
            let since = frame.id;
            return Some((Ok::<_, Infallible>(event), (hub, frames, since, epoch)));
        }
    });
    Ok(Sse::new(frames).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// Which console a frame is of: the numbers of another one mean nothing here. No secret, unlike the token.
fn epoch(hub: &Hub) -> String {
    hub.options.epoch.to_string()
}

fn last_seen(id: &str, epoch: &str) -> Option<u64> {
    let (of, number) = id.rsplit_once('-')?;
    (of == epoch).then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_consoles_frames_are_known() {
        assert_eq!(last_seen("17-3", "17"), Some(3));
        for id in ["16-3", "17", "17-", "17-x", "", "3"] {
            assert_eq!(last_seen(id, "17"), None, "{id}");
        }
    }
}
