//! Many devices of a hub, and who sends to them, in one process:
//! `cargo run --release -p mobile-delivery --example device_load -- <hold|send|room|broadcast> <hub url> ...`, with an owner's token in `TOKEN`.
//!
//! `hold <url> <devices>` registers the devices, connects all of them, and prints `{"registered_per_second", "idle_seconds"}` once each has had its
//! `idle`. For each line `cut` on its input all connections are broken at one moment, and all devices come back at once: `{"idle_seconds", "tries"}` when the last one has
//! had its `idle` again. It ends with its input.
//!
//! `send <url> <devices> <messages per second> <seconds>` has so many devices connected, and prints `{"idle_seconds"}` once they are idle. With the line `send` on
//! its input it sends each message to the next one of them, at a constant rate whatever the answers take, after 2 s that are not counted. Prints how long
//! it took from the moment a request was due to the frame on the socket, and to the 202.
//!
//! `room` is the same with each message published by the next one of them, over its socket, to a room that all of them are in: how long it took from the moment it was due to the frame on each
//! of their sockets, and to the `published`.
//!
//! `broadcast <url> <devices>` has so many devices connected, and prints `{"idle_seconds"}`. For each line `send` on its input one message is sent to all: how long it took
//! to the 202, to the last frame, and until all acks were stored.
//!
//! Devices are plain: they ack each message at once, and ping as often as they are told to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
// It drains nothing, and is told its token by its runner.
#![allow(clippy::disallowed_methods)]

mod device;
mod owner;
mod sending;

use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, Instant};

use device::{Fleet, Member};
use futures::StreamExt;
use futures::stream::iter;
use owner::Owner;
use sending::To;
use tokio::sync::mpsc;

/// Requests at one time while devices are registered.
const TOGETHER: usize = 64;

/// For each thing that is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

async fn registered(owner: &Owner, count: usize) -> Vec<Arc<Member>> {
    let one = |n: usize| async move {
        let id = format!("load-{n}");
        let token = owner.register(&id, n).await;
        Arc::new(Member { id, token })
    };
    iter((0..count).map(one)).buffered(TOGETHER).collect().await
}

/// The lines of the input, as they come.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (said, hear) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).take_while(|line| said.send(line.clone()).is_ok()).for_each(drop);
    });
    hear
}

async fn hold(owner: Owner, count: usize) {
    let begun = Instant::now();
    let members = registered(&owner, count).await;
    let registered_per_second = count as f64 / begun.elapsed().as_secs_f64();
    let mut fleet = Fleet::start(&owner.address(), members, |_| {});
    let (idle_seconds, _) = fleet.idle(PATIENCE).await;
    println!("{{\"registered_per_second\": {registered_per_second}, \"idle_seconds\": {idle_seconds}}}");
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        assert_eq!(line, "cut", "what is to be done is not known");
        fleet.cut();
        let (idle_seconds, tries) = fleet.idle(PATIENCE).await;
        println!("{{\"idle_seconds\": {idle_seconds}, \"tries\": {tries}}}");
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let token = std::env::var("TOKEN").expect("an owner's token in TOKEN");
    match arguments.as_slice() {
        ["hold", url, devices] => hold(Owner::new(url, token), number(devices)).await,
        [what @ ("send" | "room"), url, devices, rate, seconds] => {
            let owner = Owner::new(url, token);
            let members = registered(&owner, number(devices)).await;
            let to = if *what == "room" { To::Room } else { To::Each };
            if to == To::Room {
                owner.open_room().await;
            }
            sending::measure(owner, members, to, number(rate), number(seconds)).await;
        }
        ["broadcast", url, devices] => {
            let owner = Owner::new(url, token);
            let members = registered(&owner, number(devices)).await;
            sending::broadcast(owner, members).await;
        }
        _ => panic!("device_load hold|broadcast <url> <devices> | send|room <url> <devices> <messages per second> <seconds>"),
    }
}
