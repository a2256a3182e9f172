//! One second of the page: its regions, rendered once for all viewers, and which of them a viewer still needs.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    history::{Band, History, Point},
    page::{self, Audience},
    view::View,
};

/// A part of the page that is replaced as a whole when it changes.
#[derive(Debug, Clone)]
struct Region {
    html: Arc<str>,
    /// The frame in which it changed last.
    changed: u64,
}

type Regions = BTreeMap<&'static str, Region>;

#[derive(Debug, Default)]
pub(super) struct Frame {
    /// Zero: nothing was looked at yet.
    pub(super) id: u64,
    regions: [Regions; 2],
    /// For a viewer that has the frame before: the same for all of them.
    next: [Arc<str>; 2],
}

#[derive(Serialize)]
struct Message<'a> {
    /// The viewer forgets what it has.
    reset: bool,
    points: Vec<Point>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bands: Option<Vec<Band>>,
    regions: BTreeMap<&'static str, &'a str>,
}

impl Frame {
    pub(super) fn new(id: u64, view: &View, before: &Self, history: &History) -> Self {
        let render = |audience: Audience| -> Regions {
            let earlier = &before.regions[audience as usize];
            let region = |(name, html): (&'static str, String)| match earlier.get(name) {
                Some(region) if *region.html == *html => (name, region.clone()),
                _ => (name, Region { html: html.into(), changed: id }),
            };
            page::regions(view, audience).into_iter().map(region).collect()
        };
        let mut frame =
            Self { id, regions: [render(Audience::Acting), render(Audience::Watching)], next: Default::default() };
        frame.next =
            [Audience::Acting, Audience::Watching].map(|audience| frame.message(id - 1, audience, history).into());
        frame
    }

    /// All that a viewer lacks that has seen the frame `since`; 0: everything.
    fn message(&self, since: u64, audience: Audience, history: &History) -> String {
        let regions = self.regions[audience as usize].iter();
        let message = Message {
            reset: since == 0,
            points: history.since(since),
            bands: history.bands_since(since),
            regions: regions
                .filter(|(_, region)| region.changed > since)
                .map(|(name, region)| (*name, &*region.html))
                .collect(),
        };
        serde_json::to_string(&message).unwrap_or_default()
    }

    /// As [`message`](Self::message), without its cost for viewers that follow.
    pub(super) fn for_viewer(&self, since: u64, audience: Audience, history: &History) -> Arc<str> {
        if since > 0 && since + 1 == self.id {
            return self.next[audience as usize].clone();
        }
        // A frame from the future is one of another console.
        self.message(if since > self.id { 0 } else { since }, audience, history).into()
    }

    pub(super) fn region(&self, name: &str, audience: Audience) -> Option<Arc<str>> {
        self.regions[audience as usize].get(name).map(|region| region.html.clone())
    }
}
