//! Where everything is, in units of the picture. Places depend on the number of replicas only, so nothing moves while it is
//! looked at.

use stack::Target;

pub(super) const WIDTH: f64 = 1_240.0;
const MARGIN: f64 = 24.0;
/// From one replica's top to the next one's.
const PITCH: f64 = 138.0;
const CARD_HEIGHT: f64 = 112.0;
/// More than these stand in two columns.
const ONE_COLUMN: usize = 4;
/// Over nginx and under it.
const LEAST_HEIGHT: f64 = 300.0;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Card {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Card {
    fn middle(self) -> f64 {
        self.y + self.height / 2.0
    }

    fn right(self) -> f64 {
        self.x + self.width
    }
}

/// Where a label stands, and where its text ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spot {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) anchor: &'static str,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    replicas: usize,
    pub(super) height: f64,
}

impl Layout {
    pub(super) fn new(replicas: usize) -> Self {
        let rows = if replicas > ONE_COLUMN { replicas.div_ceil(2) } else { replicas };
        // The second column stands half a row lower.
        let lower = if replicas > ONE_COLUMN && replicas.is_multiple_of(2) { PITCH / 2.0 } else { 0.0 };
        let height = (rows as f64 * PITCH + lower - (PITCH - CARD_HEIGHT)).max(LEAST_HEIGHT) + 2.0 * MARGIN;
        Self { replicas, height }
    }

    pub(super) fn is_wrapped(&self) -> bool {
        self.replicas > ONE_COLUMN
    }

    fn first_column(&self) -> usize {
        if self.is_wrapped() { self.replicas.div_ceil(2) } else { self.replicas }
    }

    fn centered(&self, x: f64, width: f64, height: f64, at: f64) -> Card {
        Card { x, y: self.height * at - height / 2.0, width, height }
    }

    pub(super) fn clients(&self) -> Card {
        self.centered(8.0, 116.0, 74.0, 0.5)
    }

    pub(super) fn nginx(&self) -> Card {
        self.centered(290.0, 150.0, 92.0, 0.5)
    }

    pub(super) fn replica(&self, index: usize) -> Card {
        let rows = self.first_column();
        let (column, row) = (index / rows.max(1), index % rows.max(1));
        let (x, width) = match (self.is_wrapped(), column) {
            (false, _) => (600.0, 210.0),
            (true, 0) => (530.0, 200.0),
            (true, _) => (790.0, 200.0),
        };
        let block = rows as f64 * PITCH - (PITCH - CARD_HEIGHT);
        let top = if self.is_wrapped() { MARGIN } else { (self.height - block) / 2.0 };
        let y = top + row as f64 * PITCH + column as f64 * PITCH / 2.0;
        Card { x, y, width, height: CARD_HEIGHT }
    }

    pub(super) fn dependency(&self, target: Target) -> Card {
        let at = if target == Target::Redis { 0.27 } else { 0.73 };
        self.centered(1_056.0, 176.0, 92.0, at)
    }

    pub(super) fn entry(&self) -> String {
        let (from, to) = (self.clients(), self.nginx());
        format!("M{:.0} {:.0} H{:.0}", from.right(), from.middle(), to.x)
    }

    pub(super) fn entry_label(&self) -> Spot {
        let (from, to) = (self.clients(), self.nginx());
        Spot { x: f64::midpoint(from.right(), to.x), y: from.middle() - 12.0, anchor: "middle" }
    }

    /// To the second column, edges run through the gaps of the first.
    pub(super) fn to_replica(self, index: usize) -> String {
        let (from, to) = (self.nginx(), self.replica(index));
        let bend = self.replica(0).x - 6.0;
        format!(
            "M{:.0} {:.0} {} H{:.0}",
            from.right(),
            from.middle(),
            curve((from.right(), from.middle()), (bend, to.middle())),
            to.x
        )
    }

    pub(super) fn replica_label(&self, index: usize) -> Spot {
        let to = self.replica(index);
        // On the side from which the edge does not come.
        let y = if to.middle() > self.nginx().middle() + 1.0 && !self.is_wrapped() { 20.0 } else { -9.0 };
        Spot { x: to.x - 10.0, y: to.middle() + y, anchor: "end" }
    }

    pub(super) fn to_dependency(self, index: usize, target: Target) -> String {
        let (from, to) = (self.replica(index), self.dependency(target));
        let last = self.replica(self.replicas.saturating_sub(1)).right().max(from.right()) + 6.0;
        format!(
            "M{:.0} {:.0} H{last:.0} {}",
            from.right(),
            from.middle(),
            curve((last, from.middle()), (to.x, to.middle()))
        )
    }

    pub(super) fn dependency_label(&self, target: Target) -> Spot {
        let card = self.dependency(target);
        let y = if target == Target::Redis { card.y - 10.0 } else { card.y + card.height + 20.0 };
        Spot { x: card.x + card.width / 2.0, y, anchor: "middle" }
    }
}

/// From one point to another, level at both.
fn curve((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    let bend = (x2 - x1) * 0.5;
    format!("C{:.0} {y1:.0} {:.0} {y2:.0} {x2:.0} {y2:.0}", x1 + bend, x2 - bend)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(a: Card, b: Card) -> bool {
        a.x < b.right() && b.x < a.right() && a.y < b.y + b.height && b.y < a.y + a.height
    }

    #[test]
    fn no_two_cards_overlap_and_all_are_inside() {
        for replicas in 1..=16 {
            let layout = Layout::new(replicas);
            let mut cards = vec![
                layout.clients(),
                layout.nginx(),
                layout.dependency(Target::Redis),
                layout.dependency(Target::Postgres),
            ];
            cards.extend((0..replicas).map(|index| layout.replica(index)));
            for (index, card) in cards.iter().enumerate() {
                assert!(card.x >= 0.0 && card.right() <= WIDTH && card.y >= 0.0, "{replicas}: {card:?}");
                assert!(card.y + card.height <= layout.height, "{replicas}: {card:?} in {}", layout.height);
                for other in &cards[index + 1..] {
                    assert!(!overlap(*card, *other), "{replicas}: {card:?} {other:?}");
                }
            }
        }
    }
}
