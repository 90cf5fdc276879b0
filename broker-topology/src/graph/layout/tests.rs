#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::{Binding, Exchange, ExchangeKind, Kind, Names, Queue, QueueKind, Topology, core, high_queue, subscriber, work_queue};

fn overlap(a: Rect, b: Rect) -> bool {
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h
}

fn kinds(count: usize) -> Topology {
    let names = Names::new("");
    (0..count).fold(core(&names), |all, n| {
        let kind = Kind::parse(&format!("area{}.thing.do{n}", n % 4)).unwrap();
        let high = if n % 3 == 0 { high_queue(&names, &kind, "hub") } else { Topology::default() };
        all.and(work_queue(&names, &kind, "hub")).and(high)
    })
}

/// All that the team may add: every type of exchange, exchanges bound to exchanges, in a ring too, dead letters by the default
/// exchange, several keys, long names, names that no font is narrow in.
fn odd() -> Topology {
    let names = Names::new("");
    let exchange = |name: &str, kind| Exchange::new(name, kind, "billing", "of the team");
    let queue = |name: &str| Queue::new(name, QueueKind::Quorum, "billing", "of the team");
    let long = "a.name.".repeat(20);
    kinds(2)
        .and(subscriber(
            &names,
            "billing.invoices",
            &["order.*", "refund.#", "invoice.written.twice.and.more.than.that"],
            "billing",
        ))
        .and(subscriber(&names, "mail.welcome", &["account.opened"], "mail"))
        .exchange(exchange("billing.in", ExchangeKind::Headers).with_alternate("billing.rest"))
        .exchange(exchange("billing.rest", ExchangeKind::Fanout))
        .exchange(exchange("billing.again", ExchangeKind::Topic))
        .exchange(exchange("ring", ExchangeKind::Fanout))
        .exchange(exchange(&long, ExchangeKind::Direct))
        .queue(queue("billing.rest"))
        .queue(queue("billing.slow").with("x-dead-letter-exchange", "").with("x-dead-letter-routing-key", "billing.rest"))
        .queue(queue("billing.bad").with("x-dead-letter-exchange", "billing.again").with("x-dead-letter-routing-key", "x"))
        .queue(queue(&format!("{long}q")))
        .queue(queue("請求書の待ち行列"))
        .queue(queue("alone"))
        .binding(Binding::to_queue("billing.rest", "billing.rest", ""))
        .binding(Binding::to_queue("billing.in", "billing.slow", ""))
        .binding(Binding::to_queue("billing.in", "billing.bad", ""))
        .binding(Binding::to_queue("billing.again", "billing.slow", "#"))
        .binding(Binding::to_queue("warren.events", "請求書の待ち行列", "請求書.*"))
        .binding(Binding::to_exchange("warren.events", "billing.in", "bill.#"))
        .binding(Binding::to_exchange("billing.again", "ring", "#"))
        .binding(Binding::to_exchange("ring", "billing.again", ""))
        .binding(Binding::to_queue(&long, format!("{long}q"), &long))
}

fn pictures() -> Vec<(&'static str, Graph, Picture)> {
    let all = [("none", Topology::default()), ("core", kinds(0)), ("three", kinds(3)), ("thirty", kinds(30)), ("odd", odd())];
    let drawn = |(name, topology): (&'static str, Topology)| {
        let graph = Graph::of(&topology, &Names::new(""));
        let picture = Picture::of(&graph);
        (name, graph, picture)
    };
    all.into_iter().map(drawn).collect()
}

type Point = (i32, i32);

/// The straight pieces of all wires, with their nets: from the lesser end to the greater.
fn pieces(picture: &Picture) -> Vec<(usize, Point, Point)> {
    let piece = |wire: &Wire| {
        let net = wire.net;
        wire.points.windows(2).map(move |two| (net, two[0].min(two[1]), two[0].max(two[1]))).collect::<Vec<_>>()
    };
    picture.wires.iter().flat_map(piece).collect()
}

#[test]
fn no_text_lies_on_another() {
    for (name, _, picture) in pictures() {
        let texts = picture.boxes.iter().flat_map(|one| [&one.name, &one.sub]);
        let texts: Vec<&Label> =
            texts.chain(&picture.keys).chain(&picture.headings).chain(picture.bands.iter().map(|b| &b.label)).collect();
        for (at, one) in texts.iter().enumerate() {
            let place = one.place();
            assert!(place.x >= 0 && place.x + place.w <= picture.width && place.y >= 0, "{name}: {one:?} is outside");
            for other in &texts[at + 1..] {
                assert!(!overlap(place, other.place()), "{name}: {one:?} lies on {other:?}");
            }
        }
    }
}

#[test]
fn boxes_stand_apart_and_hold_their_text() {
    for (name, _, picture) in pictures() {
        for (at, one) in picture.boxes.iter().enumerate() {
            for text in [&one.name, &one.sub] {
                let (text, room) = (text.place(), one.at);
                let inside = text.x >= room.x
                    && text.x + text.w <= room.x + room.w
                    && text.y >= room.y
                    && text.y + text.h <= room.y + room.h;
                assert!(inside, "{name}: {one:?}");
            }
            assert!(picture.boxes[at + 1..].iter().all(|other| !overlap(one.at, other.at)), "{name}: {one:?}");
            assert!(picture.keys.iter().all(|key| !overlap(one.at, key.place())), "{name}: {one:?}");
        }
    }
}

#[test]
fn no_line_goes_through_a_box_or_a_text() {
    for (name, _, picture) in pictures() {
        for (_, from, to) in pieces(&picture) {
            // As thin as it is drawn; it may end at the edge of a box.
            let line = Rect { x: from.0, y: from.1, w: (to.0 - from.0).max(1), h: (to.1 - from.1).max(1) };
            for one in &picture.boxes {
                let inner = Rect { x: one.at.x + 1, y: one.at.y + 1, w: one.at.w - 2, h: one.at.h - 2 };
                assert!(!overlap(line, inner), "{name}: {line:?} goes through {one:?}");
            }
            for key in &picture.keys {
                let text = key.place();
                assert!(!overlap(line, Rect { h: text.h - 2, ..text }), "{name}: {line:?} goes through {key:?}");
            }
        }
    }
}

#[test]
fn lines_of_different_exchanges_cross_and_never_run_together() {
    for (name, _, picture) in pictures() {
        let pieces = pieces(&picture);
        for (at, (net, from, to)) in pieces.iter().enumerate() {
            for (other, start, end) in &pieces[at + 1..] {
                let level = from.1 == to.1 && start.1 == end.1 && from.1 == start.1 && from.0 <= end.0 && start.0 <= to.0;
                let upright = from.0 == to.0 && start.0 == end.0 && from.0 == start.0 && from.1 <= end.1 && start.1 <= to.1;
                assert!(net == other || !(level || upright), "{name}: {from:?}-{to:?} and {start:?}-{end:?}");
            }
        }
    }
}

#[test]
fn every_edge_is_a_line_that_ends_at_both_its_nodes() {
    for (name, graph, picture) in pictures() {
        let at = |node: usize| picture.boxes.iter().find(|one| one.node == node).unwrap().at;
        for (number, net) in picture.nets.iter().enumerate() {
            let mine: Vec<&Wire> = picture.wires.iter().filter(|wire| wire.net == number).collect();
            let ends: Vec<(i32, i32)> = mine.iter().flat_map(|wire| wire.points.iter().copied()).collect();
            let touches = |node: usize, right: bool| {
                let room = at(node);
                let x = if right { room.x + room.w } else { room.x };
                ends.iter().any(|end| end.0 == x && end.1 > room.y && end.1 < room.y + room.h)
            };
            assert!(touches(net.hub, net.outward()), "{name}: {net:?}");
            assert!(net.spokes.iter().all(|(spoke, _)| touches(*spoke, !net.outward())), "{name}: {net:?}");
            let arrows = mine.iter().filter(|wire| wire.arrow).count();
            assert_eq!(arrows, if net.outward() { net.spokes.len() } else { 1 }, "{name}: {net:?}");
        }
        let edges: usize = picture.nets.iter().map(|net| net.spokes.len()).sum();
        assert_eq!(edges, graph.edges.len(), "{name}");
    }
}

#[test]
fn messages_go_from_left_to_right() {
    let graph = Graph::of(&kinds(3), &Names::new(""));
    let picture = Picture::of(&graph);
    let x = |name: &str, exchange| {
        let wanted = |one: &&Placed| graph.nodes[one.node].name == name && graph.nodes[one.node].is_exchange() == exchange;
        picture.boxes.iter().find(wanted).unwrap().at.x
    };
    let way = [
        x("warren.jobs", true),
        x("jobs.area1.thing.do1", false),
        x("warren.dead", true),
        x("jobs.area1.thing.do1.dead", false),
        x("warren.return", true),
        x("warren.lost", true),
        x("warren.lost", false),
    ];
    assert!(way.is_sorted_by(|a, b| a < b), "{way:?}");
}
