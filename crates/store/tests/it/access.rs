//! Users, tokens and idempotency keys.

use futures_util::future::join_all;
use store::{
    Error, IDEMPOTENCY_KEPT_MS, IN_FLIGHT_MS_MAX, Idempotency, Principal, Scope, StoredResponse, Token, TokenId, User,
    UserId,
};

use crate::both::{BEGIN, Db};

const SECRET: &str = "hw_0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

fn user(name: &str) -> User {
    User {
        id: UserId::new(),
        name: name.into(),
        scopes: vec![Scope::Write],
        tenant: Some("default".into()),
        created: BEGIN,
    }
}

fn token(label: &str) -> Token {
    Token {
        id: TokenId::new(),
        label: label.into(),
        scopes: vec![Scope::Read, Scope::Worker],
        tenant: None,
        user: None,
        expires: None,
        created: BEGIN,
    }
}

fn answer(body: &[u8]) -> StoredResponse {
    StoredResponse {
        status: 201,
        headers: vec![("location".into(), "/api/v1/assets/1".into()), ("x".into(), "ü".into())],
        body: body.to_vec(),
    }
}

both! {
    async fn a_user_is_kept_under_a_name_of_its_own(db: Db) {
        let (zoe, ann) = (user("zoe"), user("ann"));
        for user in [&zoe, &ann] {
            db.catalogue.create_user(user).await.expect("created");
        }
        let taken = db.catalogue.create_user(&user("zoe")).await.expect_err("the name is taken");
        assert!(matches!(taken, Error::Conflict { .. }), "{taken}");
        assert_eq!(db.catalogue.users().await.expect("asked"), [ann, zoe.clone()]);
        assert_eq!(db.catalogue.user("zoe").await.expect("asked"), Some(zoe.clone()));
        assert_eq!(db.catalogue.user("Zoe").await.expect("asked"), None);
        assert!(db.catalogue.delete_user(&zoe.id).await.expect("removed"));
        assert!(!db.catalogue.delete_user(&zoe.id).await.expect("asked"));
    }

    async fn a_token_opens_with_its_secret_until_it_is_revoked(db: Db) {
        let token = token("worker 1");
        db.catalogue.create_token(&token, SECRET).await.expect("created");
        let expected = Principal { name: token.id.to_string(), scopes: token.scopes.clone(), tenant: None };
        assert_eq!(db.catalogue.authenticate(SECRET).await.expect("asked"), Some(expected));
        for wrong in ["", "hw_", &SECRET[..SECRET.len() - 1], &SECRET.to_uppercase(), token.id.as_str()] {
            assert_eq!(db.catalogue.authenticate(wrong).await.expect("asked"), None, "{wrong}");
        }
        let again = Token { id: TokenId::new(), ..token.clone() };
        assert!(db.catalogue.create_token(&again, SECRET).await.is_err(), "a secret opens one token");

        assert_eq!(db.catalogue.tokens().await.expect("asked"), std::slice::from_ref(&token));
        assert!(db.catalogue.revoke_token(&token.id).await.expect("revoked"));
        assert!(!db.catalogue.revoke_token(&token.id).await.expect("asked"));
        assert_eq!(db.catalogue.authenticate(SECRET).await.expect("asked"), None);
    }

    async fn a_token_ends_by_the_databases_time(db: Db) {
        let token = Token { expires: Some(BEGIN.plus_ms(1_000)), ..token("short") };
        db.catalogue.create_token(&token, SECRET).await.expect("created");
        db.advance_ms(999);
        assert!(db.catalogue.authenticate(SECRET).await.expect("asked").is_some());
        db.advance_ms(1);
        assert_eq!(db.catalogue.authenticate(SECRET).await.expect("asked"), None);
    }

    async fn a_users_token_is_held_to_the_user_and_goes_with_it(db: Db) {
        let owner = user("ann");
        let token = Token { scopes: vec![Scope::Admin, Scope::Read], user: Some(owner.id.clone()), ..token("laptop") };
        assert!(db.catalogue.create_token(&token, SECRET).await.is_err(), "there is no such user");
        db.catalogue.create_user(&owner).await.expect("created");
        db.catalogue.create_token(&token, SECRET).await.expect("created");

        let principal = db.catalogue.authenticate(SECRET).await.expect("asked").expect("it opens");
        assert!(principal.may(Scope::Write) && !principal.may(Scope::Admin), "{principal:?}");
        assert_eq!(principal.tenant.as_deref(), Some("default"));
        db.catalogue.delete_user(&owner.id).await.expect("removed");
        assert_eq!(db.catalogue.authenticate(SECRET).await.expect("asked"), None);
        assert!(db.catalogue.tokens().await.expect("asked").is_empty());
    }

    async fn a_request_is_done_once_and_answered_again(db: Db) {
        let begin = |principal, fingerprint| db.catalogue.idempotency_begin("key", principal, fingerprint);
        assert_eq!(begin("tok_1", "POST a").await.expect("asked"), Idempotency::New);
        assert_eq!(begin("tok_1", "POST a").await.expect("asked"), Idempotency::InFlight);
        assert_eq!(begin("tok_1", "POST b").await.expect("asked"), Idempotency::Mismatch);
        assert_eq!(begin("tok_2", "POST b").await.expect("asked"), Idempotency::New, "each has its own keys");

        let response = answer(&[0, 255, 1]);
        db.catalogue.idempotency_finish("key", "tok_1", &response).await.expect("kept");
        db.catalogue.idempotency_finish("key", "tok_1", &answer(b"late")).await.expect("nothing to do");
        db.catalogue.idempotency_abandon("key", "tok_1").await.expect("nothing to do");
        assert_eq!(begin("tok_1", "POST a").await.expect("asked"), Idempotency::Replay(response.clone()));
        assert_eq!(begin("tok_1", "POST b").await.expect("asked"), Idempotency::Mismatch);

        db.advance_ms(IDEMPOTENCY_KEPT_MS as u64 - 1);
        assert_eq!(begin("tok_1", "POST a").await.expect("asked"), Idempotency::Replay(response));
        db.advance_ms(1);
        assert_eq!(begin("tok_1", "POST b").await.expect("asked"), Idempotency::New, "a day later the key is free");
    }

    async fn a_request_that_came_to_nothing_may_come_again(db: Db) {
        let begin = || db.catalogue.idempotency_begin("key", "tok_1", "POST a");
        assert_eq!(begin().await.expect("asked"), Idempotency::New);
        db.catalogue.idempotency_abandon("key", "tok_1").await.expect("forgotten");
        assert_eq!(begin().await.expect("asked"), Idempotency::New);

        db.advance_ms(IN_FLIGHT_MS_MAX as u64 - 1);
        assert_eq!(begin().await.expect("asked"), Idempotency::InFlight);
        db.advance_ms(1);
        assert_eq!(begin().await.expect("asked"), Idempotency::New, "its server was lost");
    }

    async fn of_many_who_begin_at_once_one_does_it(db: Db) {
        let other = db.another().await;
        let handles = [&db.catalogue, &other];
        for key in ["a", "b", "c"] {
            let calls = (0..8).map(|caller| handles[caller % 2].idempotency_begin(key, "tok_1", "POST a"));
            let outcomes: Vec<_> = join_all(calls).await.into_iter().map(|outcome| outcome.expect("asked")).collect();
            let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
            assert_eq!((count(Idempotency::New), count(Idempotency::InFlight)), (1, 7), "{outcomes:?}");
        }
    }

    async fn keys_that_are_out_of_date_are_swept(db: Db) {
        for number in 0..150 {
            let key = format!("{number}");
            db.catalogue.idempotency_begin(&key, "tok_1", "POST a").await.expect("asked");
            db.catalogue.idempotency_finish(&key, "tok_1", &answer(b"")).await.expect("kept");
        }
        db.advance_ms(IDEMPOTENCY_KEPT_MS as u64);
        let other = db.another().await;
        let handles = [&db.catalogue, &other];
        let keys: Vec<_> = (0..8).map(|number| format!("new {number}")).collect();
        let calls = keys.iter().enumerate().map(|(i, key)| handles[i % 2].idempotency_begin(key, "tok_1", "POST a"));
        for outcome in join_all(calls).await {
            assert_eq!(outcome.expect("asked"), Idempotency::New);
        }
    }
}

/// What lies on the disk is worth nothing to a thief.
#[tokio::test]
async fn the_secret_is_nowhere_in_the_database() {
    let db = Db::disk().await;
    db.catalogue.create_token(&token("laptop"), SECRET).await.expect("created");
    let path = std::path::Path::new(db.url().trim_start_matches("sqlite:"));
    let folder = path.parent().expect("it lies in a folder");
    let mut searched = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        searched += bytes.len();
        assert!(!bytes.windows(16).any(|window| window == &SECRET.as_bytes()[..16]));
    }
    assert!(searched > 4_096, "the database was among the files");
}
