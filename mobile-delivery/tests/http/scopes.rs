//! Every route against every scope. A route that is missing here fails the last test.

use crate::ground::{Ground, start, token};

const SCOPES: [&str; 10] = [
    "",
    "devices:write",
    "devices:read",
    "messages:send",
    "messages:broadcast",
    "messages:read",
    "device",
    "jobs:admin",
    "jobs:submit jobs:read:all",
    "devices:*",
];

/// Method, path, and the scopes that are let in; `None` needs no token at all. The device `d` is the token's subject.
const ROUTES: &[(&str, &str, Option<&[&str]>)] = &[
    ("put", "/v1/devices/d", Some(&["devices:write"])),
    ("get", "/v1/devices/d", Some(&["devices:read", "device"])),
    ("delete", "/v1/devices/d", Some(&["devices:write", "device"])),
    ("get", "/v1/devices", Some(&["devices:read"])),
    ("post", "/v1/devices/d/revoke", Some(&["devices:write"])),
    ("post", "/v1/devices/d/token", None),
    ("post", "/v1/devices/d/messages", Some(&["messages:send"])),
    ("post", "/v1/users/ada/messages", Some(&["messages:send"])),
    ("post", "/v1/groups/room/messages", Some(&["messages:send"])),
    ("post", "/v1/broadcasts", Some(&["messages:broadcast"])),
    ("put", "/v1/groups/room", Some(&["devices:write"])),
    ("get", "/v1/groups/room", Some(&["devices:read"])),
    ("put", "/v1/groups/room/members/d", Some(&["devices:write"])),
    ("delete", "/v1/groups/room/members/d", Some(&["devices:write"])),
    ("post", "/v1/messages", Some(&["messages:send"])),
    ("get", "/v1/messages/67e55044-10b1-426f-9247-bb680e5fe0c8", Some(&["messages:read"])),
    ("post", "/v1/messages/67e55044-10b1-426f-9247-bb680e5fe0c8/pause", Some(&["messages:send"])),
    ("post", "/v1/messages/67e55044-10b1-426f-9247-bb680e5fe0c8/resume", Some(&["messages:send"])),
    ("delete", "/v1/messages/67e55044-10b1-426f-9247-bb680e5fe0c8", Some(&["messages:send"])),
];

async fn status(ground: &Ground, method: &str, path: &str, token: Option<&str>) -> u16 {
    let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    let url = ground.url(&format!("{path}?scope=devices:write%20messages:send"));
    let request = ground.client.request(method, url).body("{\"scope\":\"devices:write\"}");
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
            let got = status(&ground, method, path, Some(&token("acme", "d", scope))).await;
            let let_in = open.is_none_or(|open| open.contains(&scope));
            assert_eq!(got != 403, let_in, "{method} {path} with `{scope}`: {got}");
            assert_ne!(got, 401, "{method} {path} with `{scope}`");
        }
    }
}

#[tokio::test]
async fn every_described_route_is_in_the_table() {
    let openapi = crate::described::described().await;
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
