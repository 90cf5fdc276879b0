//! What a device shows for a token.

use mobile_delivery::store::{Claimed, Hash, Refreshed};

use crate::ground::{Ground, ME, SECOND, T0, registration, to, to_user};

contract![
    each_is_taken_for_the_next,
    a_lost_answer_is_made_good_by_showing_the_same_again,
    an_old_one_revokes_the_device_and_an_unknown_one_does_not,
    a_revoked_device_keeps_its_messages_and_is_let_in_with_a_new_credential,
];

const GRACE: i64 = 60 * SECOND;

fn secret(name: &str) -> Hash {
    Hash::of(name)
}

async fn show(ground: &Ground, shown: &str, fresh: &str, at: i64) -> Refreshed {
    ground.another.devices.refresh(secret(shown), secret(fresh), at, GRACE).await.unwrap()
}

async fn each_is_taken_for_the_next(ground: &Ground) {
    let device = ground.device("phone").await;
    assert!(ground.stores.devices.credit(device, secret("a"), T0).await.unwrap());
    for (n, pair) in ["a", "b", "c", "d"].windows(2).enumerate() {
        let done = show(ground, pair[0], pair[1], T0 + i64::try_from(n).unwrap()).await;
        assert_eq!(done, Refreshed::Done { device, tenant: "acme".into(), id: "phone".into() });
    }
    // Many later, the first is known no more; all that are known are hashes.
    for n in 0..40 {
        let (shown, fresh) = if n == 0 { ("d".to_owned(), "0".to_owned()) } else { ((n - 1).to_string(), n.to_string()) };
        assert!(matches!(show(ground, &shown, &fresh, T0 + 10 + n).await, Refreshed::Done { .. }));
    }
    assert_eq!(ground.count("device_credentials").await, 18);
    assert_eq!(show(ground, "a", "z", T0 + 99).await, Refreshed::Unknown);
}

async fn a_lost_answer_is_made_good_by_showing_the_same_again(ground: &Ground) {
    let device = ground.device("phone").await;
    ground.stores.devices.credit(device, secret("a"), T0).await.unwrap();
    let done = |answer| assert!(matches!(answer, Refreshed::Done { .. }), "{answer:?}");
    done(show(ground, "a", "b", T0).await);
    // The hub did not hear of its commit and does it again; then the device did not hear of it and shows the same for another.
    done(show(ground, "a", "b", T0 + 1).await);
    done(show(ground, "a", "c", T0 + GRACE).await);
    done(show(ground, "c", "d", T0 + GRACE).await);
    assert!(matches!(show(ground, "b", "e", T0 + GRACE).await, Refreshed::Reused { .. }), "the one that was lost is nobody's");
}

async fn an_old_one_revokes_the_device_and_an_unknown_one_does_not(ground: &Ground) {
    let device = ground.device("phone").await;
    ground.stores.devices.credit(device, secret("a"), T0).await.unwrap();
    let fence = ground.connect(device).await;
    show(ground, "a", "b", T0).await;
    assert_eq!(show(ground, "guessed", "x", T0).await, Refreshed::Unknown);
    let Refreshed::Reused { device: found, session } = show(ground, "a", "x", T0 + GRACE + 1).await else {
        panic!("it was taken late")
    };
    assert_eq!((found, session.unwrap().fence), (device, fence));
    assert_eq!(show(ground, "b", "x", T0).await, Refreshed::Revoked { device });
    assert_eq!(ground.claim(device, ME).await, Claimed::Revoked);
}

async fn a_revoked_device_keeps_its_messages_and_is_let_in_with_a_new_credential(ground: &Ground) {
    let device = ground.device("phone").await;
    ground.send(&to("phone")).await;
    assert_eq!(ground.stores.devices.revoke(device, T0 + 5).await.unwrap(), Some(None));
    // By name it would be refused.
    ground.send(&to_user(&registration("phone").user)).await;
    ground.stores.devices.revoke(device, T0 + 6).await.unwrap();
    assert_eq!(ground.stores.devices.get("acme", "phone").await.unwrap().unwrap().revoked_at, Some(T0 + 5));
    let tokens_since = async || ground.stores.devices.get("acme", "phone").await.unwrap().unwrap().tokens_since;
    assert_eq!(tokens_since().await, None);
    assert!(ground.stores.devices.credit(device, secret("a"), T0 + 7).await.unwrap());
    assert_eq!(tokens_since().await, Some(T0 + 5), "tokens of before do not count again");
    assert!(ground.stores.devices.credit(device, secret("c"), T0 + 8).await.unwrap());
    assert_eq!(tokens_since().await, Some(T0 + 5), "nor do those of since stop for a new credential");
    assert!(matches!(ground.claim(device, ME).await, Claimed::Yours { backlog: 2, .. }));
    let gone = mobile_delivery::store::Number(device.0 + 1);
    assert!(!ground.stores.devices.credit(gone, secret("b"), T0).await.unwrap());
    assert_eq!(ground.stores.devices.revoke(gone, T0).await.unwrap(), None);
}
