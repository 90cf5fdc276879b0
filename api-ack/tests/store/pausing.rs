//! Pauses: only added to, and the latest counts.

use api_ack::store::Pause;

use crate::ground::{Ground, T0};

contract!(the_latest_line_of_a_kind_is_how_it_stands, asking_again_adds_nothing);

fn pause(kind: &str, paused: bool, at: i64) -> Pause {
    Pause { kind: kind.into(), at, paused, actor: "ann".into(), note: "down\0".into() }
}

fn stored(kind: &str, paused: bool, at: i64) -> Pause {
    Pause { note: "down\u{fffd}".into(), ..pause(kind, paused, at) }
}

async fn the_latest_line_of_a_kind_is_how_it_stands(ground: &Ground) {
    assert!(ground.pauses.pauses().await.unwrap().is_empty());
    assert_eq!(ground.pauses.put_pause(&pause("b", true, T0)).await.unwrap(), stored("b", true, T0));
    ground.pauses.put_pause(&pause("a", true, T0 + 1)).await.unwrap();
    ground.pauses.put_pause(&pause("b", false, T0 + 2)).await.unwrap();
    assert_eq!(ground.pauses.pauses().await.unwrap(), [stored("a", true, T0 + 1), stored("b", false, T0 + 2)]);
    ground.pauses.put_pause(&pause("b", true, T0 + 3)).await.unwrap();
    assert_eq!(ground.pauses.pauses().await.unwrap()[1], stored("b", true, T0 + 3));
}

async fn asking_again_adds_nothing(ground: &Ground) {
    let first = ground.pauses.put_pause(&pause("a", true, T0)).await.unwrap();
    let again = Pause { actor: "bob".into(), ..pause("a", true, T0 + 5) };
    assert_eq!(ground.pauses.put_pause(&again).await.unwrap(), first, "who was first stays on record");
    // What was never paused is resumed already, and leaves no line.
    assert!(!ground.pauses.put_pause(&pause("never", false, T0)).await.unwrap().paused);
    assert_eq!(ground.pauses.pauses().await.unwrap(), [first]);
}
