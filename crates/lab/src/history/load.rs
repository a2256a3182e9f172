//! The clients: seeded writers and readers that send requests to nginx or a replica, and record every call.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use fastrand::Rng;

use super::{
    Asked, Call, Item, Line, Outcome,
    file::Log,
    population::{FIRST_PAGE, Population},
    recorder::{Clock, micros},
};
use crate::client::{Reply, Request, header};

/// The target of requests.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// `nginx`, or the replica's name.
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

/// The state that all clients share.
#[derive(Debug)]
pub(super) struct Load<'a> {
    /// nginx first, then the replicas.
    pub(super) bases: &'a [Base],
    pub(super) population: &'a Population,
    pub(super) log: &'a Log,
    pub(super) clock: Clock,
    pub(super) stop: &'a AtomicBool,
}

/// One client, which sends one request at a time.
pub(super) struct Client<'a> {
    number: u32,
    seed: u64,
    rng: Rng,
    load: &'a Load<'a>,
    values: u64,
}

/// For so long all writers keep to one replica, or to none: one such time in three is of the first kind. What the other
/// replicas know of Redis and Postgres then comes from their reads and probes alone.
const TURN: Duration = Duration::from_secs(2);

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(15);

impl<'a> Client<'a> {
    pub(super) fn new(number: u32, seed: u64, load: &'a Load<'a>) -> Self {
        // Neighbouring seeds must not give neighbouring clients the same sequence.
        let rng = Rng::with_seed(seed ^ u64::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Self { number, seed, rng, load, values: 0 }
    }

    pub(super) fn write_until_stopped(mut self) {
        while !self.load.stop.load(Ordering::Relaxed) {
            self.write();
            thread::sleep(PAUSE);
        }
    }

    pub(super) fn read_until_stopped(mut self) {
        while !self.load.stop.load(Ordering::Relaxed) {
            match self.rng.u8(0..100) {
                0..=69 => {
                    let id = self.load.population.to_read(&mut self.rng);
                    self.read(id);
                }
                70..=84 => self.page(0, *FIRST_PAGE.end()),
                _ => {
                    let after = self.load.population.before_living();
                    self.page(after, 20);
                }
            }
            thread::sleep(PAUSE);
        }
    }

    fn write(&mut self) {
        let population = self.load.population;
        let written = match self.rng.u8(0..100) {
            0..=49 => {
                let id = population.to_write(&mut self.rng);
                self.replace(id, None)
            }
            50..=67 => {
                let id = population.to_write(&mut self.rng);
                // Now and then one that is out of date.
                let expected =
                    population.version(id).map(|version| (version - i64::from(self.rng.u8(0..5) == 0)).max(1));
                self.replace(id, expected)
            }
            68..=77 => match population.take(&mut self.rng) {
                Some(id) => self.delete(id),
                None => self.create(),
            },
            78..=87 => self.create(),
            _ => self.create_with_key(),
        };
        // Clients usually read their own write first.
        if let Some(id) = written
            && self.rng.bool()
        {
            self.read(id);
        }
    }

    /// Half of the requests go through nginx, the others to a replica.
    fn base(&mut self, is_read: bool) -> &'a Base {
        let replicas = self.load.bases.len() - 1;
        if !is_read && let Some(only) = self.only_writer(replicas) {
            return &self.load.bases[only];
        }
        let place = if self.rng.bool() || replicas == 0 { 0 } else { self.rng.usize(1..=replicas) };
        &self.load.bases[place]
    }

    /// The replica that all writers keep to now, if to one.
    fn only_writer(&self, replicas: usize) -> Option<usize> {
        let turn = self.load.clock.now() / micros(TURN);
        let mut rng = Rng::with_seed(self.seed.wrapping_add(turn).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        (replicas > 0 && rng.u8(0..3) == 0).then(|| rng.usize(1..=replicas))
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> String {
        self.values += 1;
        format!("w{}.{}", self.number, self.values)
    }

    fn replace(&mut self, id: i64, expected: Option<i64>) -> Option<i64> {
        let value = self.value();
        let mut request = Request::new("PUT", format!("/data/{id}")).record(&value);
        if let Some(expected) = expected {
            request = request.header("If-Match", &format!("\"{expected}\""));
        }
        let answer =
            self.call(&request, |reply| Asked::Replace { id, expected, value: value.clone(), answer: reply.item() });
        answer.map(|item| item.id)
    }

    fn delete(&mut self, id: i64) -> Option<i64> {
        let request = Request::new("DELETE", format!("/data/{id}"));
        self.call(&request, |_| Asked::Delete { id, expected: None });
        Some(id)
    }

    fn create(&mut self) -> Option<i64> {
        let value = self.value();
        let request = Request::new("POST", "/data".to_owned()).record(&value);
        let answer =
            self.call(&request, |reply| Asked::Create { key: None, value: value.clone(), answer: reply.item() });
        answer.map(|item| item.id)
    }

    /// A new key, sent one to three times; or one that a client has sent shortly before.
    fn create_with_key(&mut self) -> Option<i64> {
        let known = if self.rng.bool() { self.load.population.key(&mut self.rng) } else { None };
        let (key, value) = known.unwrap_or_else(|| {
            let value = self.value();
            let pair = (format!("history-{value}"), value);
            self.load.population.note_key(pair.clone());
            pair
        });
        let request = Request::new("POST", "/data".to_owned()).record(&value).header("Idempotency-Key", &key);
        let mut id = None;
        for _ in 0..self.rng.u8(1..=3) {
            let asked =
                |reply: &Answer| Asked::Create { key: Some(key.clone()), value: value.clone(), answer: reply.item() };
            id = self.call(&request, asked).map(|item| item.id).or(id);
        }
        id
    }

    fn read(&mut self, id: i64) {
        let request = Request::new("GET", format!("/data/{id}"));
        self.call(&request, |reply| Asked::Read { id, answer: reply.item(), stale: reply.is_stale() });
    }

    fn page(&mut self, after: i64, limit: i64) {
        let request = Request::new("GET", format!("/data?after={after}&limit={limit}"));
        self.call(&request, |reply| {
            let (items, upto) = reply.page().unwrap_or_default();
            Asked::Page { after, upto, items, stale: reply.is_stale() }
        });
    }

    /// Sends a request, records it, and returns the record in the answer.
    fn call(&mut self, request: &Request, asked: impl FnOnce(&Answer) -> Asked) -> Option<Item> {
        let base = self.base(request.is_read());
        let begin = self.load.clock.now();
        let answer = Answer(request.send(base.address));
        let end = self.load.clock.now();
        let asked = asked(&answer);
        let call = Call {
            client: self.number,
            via: base.name.clone(),
            outcome: answer.outcome(&asked),
            status: answer.status(),
            instance: answer.header("x-instance").map(str::to_owned),
            note: answer.note(),
            asked,
            begin,
            end,
        };
        self.load.population.note(&call);
        let item = call.asked.answered().first().cloned();
        self.load.log.add(Line::Call(call));
        item
    }
}

/// A reply, reduced to what a history needs.
pub(super) struct Answer(pub(super) Reply);

impl Answer {
    pub(super) fn status(&self) -> u16 {
        match &self.0 {
            Reply::Answer { status, .. } => *status,
            Reply::NotSent(_) | Reply::Lost(_) => 0,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        match &self.0 {
            Reply::Answer { head, .. } => header(head, name),
            Reply::NotSent(_) | Reply::Lost(_) => None,
        }
    }

    fn json(&self) -> Option<serde_json::Value> {
        match &self.0 {
            Reply::Answer { body, .. } => serde_json::from_str(body).ok(),
            Reply::NotSent(_) | Reply::Lost(_) => None,
        }
    }

    fn is_stale(&self) -> bool {
        self.header("cache-status").is_some_and(|status| status.contains("detail=stale"))
    }

    /// The record in a good answer.
    pub(super) fn item(&self) -> Option<Item> {
        let good = (200..300).contains(&self.status());
        good.then(|| item(&self.json()?)).flatten()
    }

    /// The records of a page, and the id up to which it is complete.
    fn page(&self) -> Option<(Vec<Item>, Option<i64>)> {
        let page = self.json()?;
        let items: Option<Vec<Item>> = page["items"].as_array()?.iter().map(item).collect();
        Some((items?, page["next"].as_i64()))
    }

    fn outcome(&self, asked: &Asked) -> Outcome {
        let (status, body) = match &self.0 {
            Reply::NotSent(_) => return Outcome::Refused,
            Reply::Lost(_) => return Outcome::Doubt,
            Reply::Answer { status, body, .. } => (*status, body),
        };
        match asked {
            Asked::Read { answer: Some(_), .. } if status == 200 => Outcome::Ok,
            Asked::Read { .. } if status == 404 => Outcome::Ok,
            Asked::Page { .. } if status == 200 && !body.is_empty() => Outcome::Ok,
            Asked::Create { answer: Some(_), .. } if status == 201 => Outcome::Ok,
            Asked::Replace { answer: Some(_), .. } if status == 200 => Outcome::Ok,
            Asked::Delete { .. } if status == 204 => Outcome::Ok,
            Asked::Read { .. }
            | Asked::Page { .. }
            | Asked::Create { .. }
            | Asked::Replace { .. }
            | Asked::Delete { .. } => {
                if (400..500).contains(&status) {
                    Outcome::Refused
                } else {
                    Outcome::Doubt
                }
            }
        }
    }

    fn note(&self) -> Option<String> {
        match &self.0 {
            Reply::NotSent(why) => Some(format!("not sent: {why}")),
            Reply::Lost(why) => Some(format!("lost: {why}")),
            Reply::Answer { status, .. } if *status >= 400 && *status != 404 => {
                Some(self.json()?["code"].as_str()?.to_owned())
            }
            Reply::Answer { .. } => self.header("cache-status").map(str::to_owned),
        }
    }
}

fn item(json: &serde_json::Value) -> Option<Item> {
    Some(Item {
        id: json["id"].as_i64()?,
        version: json["version"].as_i64()?,
        value: json["value"].as_str()?.to_owned(),
    })
}
