//! Insert: durable, all or nothing, one job per key.

use std::collections::HashMap;

use api_ack::store::{Inserted, Key, Outlet, State, StoreError};
use bytes::Bytes;
use uuid::Uuid;

use crate::ground::{Ground, SECOND, T0, accepted, key};

contract!(
    jobs_come_back_as_they_were_stored,
    a_taken_key_answers_with_the_job_that_has_it,
    keys_in_opposite_order_find_one_job_each,
    a_refused_row_leaves_nothing_behind,
    a_large_batch_is_stored,
);

async fn jobs_come_back_as_they_were_stored(ground: &Ground) {
    let mut plain = accepted("orders.place", "acme");
    plain.payload.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let mut later = accepted("orders.place", "grüße 🐇");
    later.job.status.state = State::Scheduled;
    later.job.status.due_at = T0 + 60 * SECOND;
    later.job.status.owner = Some(crate::ground::ME);
    later.payload.body = Bytes::from((0..=255).collect::<Vec<u8>>());
    let mut retried = accepted("mail", "");
    let status = &mut retried.job.status;
    (status.epoch, status.attempt, status.spent, status.starts, status.interrupted, status.lease) = (2, 3, 4, 5, 6, i64::MAX);
    (status.started_at, status.ended_at) = (Some(T0 - 5), Some(T0 - 4));
    (status.outlet, status.reason) = (Some(Outlet::Rung(broker_topology::Rung::S30)), Some("timeout".into()));
    status.error = Some("\"quoted\"\nand\\escaped\u{1}".into());
    retried.payload.body = Bytes::new();
    let batch = [plain, later, retried];
    ground.store(&batch).await;

    let ids: Vec<Uuid> = batch.iter().map(|new| new.job.id).chain([Uuid::now_v7()]).collect();
    let loaded: HashMap<Uuid, _> = ground.jobs.load(&ids).await.unwrap().into_iter().map(|job| (job.id, job)).collect();
    let payloads: HashMap<Uuid, _> = ground.jobs.payloads(&ids).await.unwrap().into_iter().collect();
    assert_eq!((loaded.len(), payloads.len()), (3, 3), "the unknown id is left out");
    for new in &batch {
        assert_eq!(loaded[&new.job.id], new.job);
        assert_eq!(payloads[&new.job.id], new.payload);
        let record = ground.jobs.record_of(new.job.id).await.unwrap().unwrap();
        assert_eq!((&record.job, &record.payload), (&new.job, &new.payload.outline()));
        assert!(record.history.is_empty() && record.result.is_none());
    }
    assert!(ground.jobs.record_of(ids[3]).await.unwrap().is_none());
    assert!(ground.jobs.insert(&[]).await.unwrap().is_empty());
    assert!(ground.jobs.load(&[]).await.unwrap().is_empty());
    ground.jobs.ping().await.unwrap();
}

async fn a_taken_key_answers_with_the_job_that_has_it(ground: &Ground) {
    let mut first = accepted("mail", "acme");
    first.key = Some(key(1));
    assert_eq!(ground.jobs.holder(key(1).hash).await.unwrap(), None);
    ground.store(std::slice::from_ref(&first)).await;
    assert_eq!(ground.jobs.holder(key(1).hash).await.unwrap(), Some((first.job.id, [9; 32])));

    let mut same = accepted("mail", "acme");
    same.key = Some(Key { fingerprint: [3; 32], ..key(1) });
    let mut fresh = accepted("mail", "acme");
    fresh.key = Some(key(2));
    let keyless = accepted("mail", "acme");
    let batch = [same, fresh, keyless];
    let inserted = ground.jobs.insert(&batch).await.unwrap();
    assert_eq!(
        inserted,
        [
            // The fingerprint of the first request, for the caller to compare.
            Inserted::Existing { id: first.job.id, fingerprint: [9; 32] },
            Inserted::New,
            Inserted::New,
        ]
    );
    let ids = batch.each_ref().map(|new| new.job.id);
    let mut loaded: Vec<Uuid> = ground.jobs.load(&ids).await.unwrap().into_iter().map(|job| job.id).collect();
    loaded.sort_unstable();
    let mut expected = [ids[1], ids[2]];
    expected.sort_unstable();
    assert_eq!(loaded, expected);
    assert_eq!(ground.jobs.payloads(&ids).await.unwrap().len(), 2);
}

async fn keys_in_opposite_order_find_one_job_each(ground: &Ground) {
    for round in 0..20 {
        let batch = |reversed: bool| {
            let mut jobs: Vec<_> = (0..64).map(|n| (n, accepted("mail", "acme"))).collect();
            jobs.iter_mut().for_each(|(n, new)| new.key = Some(key(round * 64 + *n)));
            if reversed {
                jobs.reverse();
            }
            jobs.into_iter().map(|(_, new)| new).collect::<Vec<_>>()
        };
        let (one, two) = (batch(false), batch(true));
        let (of_one, of_two) = tokio::join!(ground.jobs.insert(&one), ground.jobs_of_another.insert(&two));
        let mut holder: HashMap<[u8; 32], Uuid> = HashMap::new();
        let became: Vec<_> = one.iter().chain(&two).zip(of_one.unwrap().into_iter().chain(of_two.unwrap())).collect();
        for (new, became) in &became {
            if *became == Inserted::New {
                assert!(holder.insert(new.key.unwrap().hash, new.job.id).is_none(), "one key, two jobs");
            }
        }
        assert_eq!(holder.len(), 64);
        for (new, became) in &became {
            if let Inserted::Existing { id, .. } = became {
                assert_eq!(*id, holder[&new.key.unwrap().hash]);
            }
        }
    }
}

async fn a_refused_row_leaves_nothing_behind(ground: &Ground) {
    let stored = accepted("mail", "acme");
    ground.store(std::slice::from_ref(&stored)).await;
    let with_nul = |place: usize| {
        let mut bad = accepted("mail", "acme");
        match place {
            0 => bad.job.tenant = "a\0b".into(),
            1 => bad.payload.subject = "a\0b".into(),
            2 => bad.payload.content_type = "a\0b".into(),
            _ => bad.payload.traceparent = Some("a\0b".into()),
        }
        bad
    };
    let mut same_id = accepted("mail", "acme");
    same_id.job.id = stored.job.id;
    for bad in (0..4).map(with_nul).chain([same_id]) {
        let mut good = accepted("mail", "acme");
        good.key = Some(key(1));
        let batch = [good.clone(), bad];
        let answer = ground.jobs.insert(&batch).await;
        assert!(matches!(answer, Err(StoreError::Refused(_))), "{answer:?}");
        assert!(ground.jobs.load(&[good.job.id]).await.unwrap().is_empty());
        assert!(ground.jobs.payloads(&[good.job.id]).await.unwrap().is_empty());
    }
    // Its key was not taken either.
    let mut good = accepted("mail", "acme");
    good.key = Some(key(1));
    ground.store(&[good]).await;
}

async fn a_large_batch_is_stored(ground: &Ground) {
    let mut batch: Vec<_> = (0..512).map(|n| (n, accepted("mail", "acme"))).collect();
    for (n, new) in &mut batch {
        new.key = Some(key(*n));
        new.payload.body = Bytes::from(vec![u8::try_from(*n % 256).unwrap(); 8192]);
    }
    let batch: Vec<_> = batch.into_iter().map(|(_, new)| new).collect();
    ground.store(&batch).await;
    let ids: Vec<Uuid> = batch.iter().map(|new| new.job.id).collect();
    assert_eq!(ground.jobs.load(&ids).await.unwrap().len(), 512);
    let payloads: HashMap<Uuid, _> = ground.jobs.payloads(&ids).await.unwrap().into_iter().collect();
    assert!(batch.iter().all(|new| payloads[&new.job.id] == new.payload));
}
