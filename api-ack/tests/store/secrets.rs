//! Secrets: made once, the same for everybody, and kept.

use api_ack::run_token::RunTokens;
use futures::future::join_all;
use messaging::message::Run;
use uuid::Uuid;

use crate::ground::Ground;

contract!(the_first_secret_of_a_name_stays, processes_that_make_it_at_once_agree);

async fn the_first_secret_of_a_name_stays(ground: &Ground) {
    assert_eq!(ground.secrets.secret("one", &[1; 32]).await.unwrap(), [1; 32]);
    assert_eq!(ground.secrets_of_another.secret("one", &[2; 32]).await.unwrap(), [1; 32]);
    assert_eq!(ground.secrets.secret("other", &[3; 32]).await.unwrap(), [3; 32]);
    // One that was damaged is no reason to make another: every token that is out would be void.
    let damage = match &ground.place {
        crate::ground::Place::Postgres(_) => "UPDATE secrets SET secret = '\\x01' WHERE name = 'one'",
        crate::ground::Place::Sqlite(..) => "UPDATE secrets SET secret = x'01' WHERE name = 'one'",
    };
    ground.execute(damage).await;
    let error = ground.secrets.secret("one", &[1; 32]).await.unwrap_err().to_string();
    assert!(error.contains("`one`") && error.contains("1 bytes"), "{error}");
}

async fn processes_that_make_it_at_once_agree(ground: &Ground) {
    let openings = (0..8).map(|n| {
        let store = if n % 2 == 0 { ground.secrets.clone() } else { ground.secrets_of_another.clone() };
        async move { RunTokens::open(&*store).await.unwrap() }
    });
    let (job, run) = (Uuid::from_u128(7), Run::default());
    let mut tokens: Vec<String> = join_all(openings).await.into_iter().map(|opened| opened.of(job, run)).collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert!(RunTokens::open(&*ground.secrets).await.unwrap().matches(job, run, &tokens[0]));
}
