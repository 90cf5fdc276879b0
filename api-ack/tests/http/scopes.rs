//! Every route against every scope. A route that is missing here fails the last test.

use crate::ground::{Ground, start, token};

const SCOPES: [&str; 7] = ["", "jobs:submit", "jobs:read", "jobs:read:all", "jobs:cancel", "jobs:admin", "jobs:*"];

/// Method, path, and the scopes that are let in; `None` needs no token at all.
const ROUTES: &[(&str, &str, Option<&[&str]>)] = &[
    ("post", "/v1/kinds/demo.echo/jobs", Some(&["jobs:submit"])),
    ("get", "/v1/jobs/67e55044-10b1-426f-9247-bb680e5fe0c8", Some(&["jobs:read", "jobs:read:all"])),
    ("get", "/v1/kinds", Some(&SCOPES)),
    ("get", "/v1/kinds/demo.echo", Some(&SCOPES)),
    ("get", "/problems/unknown-kind", None),
    ("post", "/v1/orders", Some(&["jobs:submit"])),
    ("post", "/v1/jobs", Some(&["jobs:submit"])),
    ("get", "/v1/jobs", Some(&["jobs:read", "jobs:read:all"])),
    ("get", "/v1/jobs/1/events", Some(&["jobs:read", "jobs:read:all"])),
    ("post", "/v1/jobs/1/cancel", Some(&["jobs:cancel"])),
    ("patch", "/v1/jobs/1", Some(&["jobs:submit"])),
    ("get", "/v1/kinds/demo.echo/events", Some(&["jobs:read", "jobs:read:all"])),
    ("put", "/v1/jobs/1/result", Some(&SCOPES)),
    ("post", "/v1/jobs/1/progress", Some(&SCOPES)),
];

async fn status(ground: &Ground, method: &str, path: &str, token: Option<&str>) -> u16 {
    let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    let url = ground.url(&format!("{path}?scope=jobs:submit%20jobs:read%20jobs:admin"));
    let request = ground.client.request(method, url).body("{\"scope\":\"jobs:submit jobs:read\"}");
    let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_scope_opens_its_routes_and_no_other() {
    let ground = start().await;
    for (method, path, open) in ROUTES {
        let anonymous = status(&ground, method, path, None).await;
        assert_eq!(anonymous == 401, open.is_some(), "{method} {path}: {anonymous}");
        for scope in SCOPES {
            let got = status(&ground, method, path, Some(&token("acme", "ada", scope))).await;
            let let_in = open.is_none_or(|open| open.contains(&scope));
            assert_eq!(got != 403, let_in, "{method} {path} with `{scope}`: {got}");
            assert_ne!(got, 401, "{method} {path} with `{scope}`");
        }
    }
    // One by `jobs:submit`; a scope in a body or a query opened nothing.
    assert_eq!(ground.jobs().await, 1);
}

#[tokio::test]
async fn every_described_route_is_in_the_table() {
    let openapi = crate::rest::described().await;
    for (path, operations) in openapi["paths"].as_object().unwrap() {
        let pattern: Vec<_> = path.split('/').collect();
        for method in operations.as_object().unwrap().keys() {
            let listed = ROUTES.iter().any(|(listed, path, _)| {
                let path: Vec<_> = path.split('/').collect();
                listed == method
                    && path.len() == pattern.len()
                    && pattern.iter().zip(&path).all(|(a, b)| a == b || a.starts_with('{'))
            });
            assert!(listed, "{method} {path}");
        }
    }
}
