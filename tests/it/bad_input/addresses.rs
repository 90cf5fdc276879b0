//! Every address with the methods it does not take, and with bytes that name nothing, on each listener: a problem document.

use reqwest::Method;
use warren_tests::hub::{Answer, HubClient};
use warren_tests::process::workspace;

use super::{Door, check};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];

/// What may stand where an address has a name, and is none.
const NO_NAMES: [&str; 6] = ["%ff", "%c3%28", "%00", "..%2f..%2fetc", "%20", "%F0%9F%92%A9"];

/// Addresses of the public listener, and the methods they take.
const PUBLIC: &[(&str, &[&str])] = &[
    ("/v1/kinds/{kind}/jobs", &["POST"]),
    ("/v1/orders", &["POST"]),
    ("/v1/jobs", &["GET", "POST"]),
    ("/v1/jobs/{id}", &["GET", "PATCH"]),
    ("/v1/jobs/{id}/cancel", &["POST"]),
    ("/v1/jobs/{id}/events", &["GET"]),
    ("/v1/jobs/{id}/result", &["PUT"]),
    ("/v1/jobs/{id}/progress", &["POST"]),
    ("/v1/kinds", &["GET"]),
    ("/v1/kinds/{kind}", &["GET"]),
    ("/v1/kinds/{kind}/events", &["GET"]),
    ("/v1/devices", &["GET"]),
    ("/v1/devices/{id}", &["GET", "PUT", "DELETE"]),
    ("/v1/devices/{id}/messages", &["POST"]),
    ("/v1/devices/{id}/revoke", &["POST"]),
    ("/v1/devices/{id}/token", &["POST"]),
    ("/v1/users/{user}/messages", &["POST"]),
    ("/v1/groups/{group}/messages", &["POST"]),
    ("/v1/groups/{group}", &["GET", "PUT"]),
    ("/v1/groups/{group}/members/{device}", &["PUT", "DELETE"]),
    ("/v1/broadcasts", &["POST"]),
    ("/v1/messages", &["POST"]),
    ("/v1/messages/{id}", &["GET", "DELETE"]),
    ("/v1/messages/{id}/pause", &["POST"]),
    ("/v1/messages/{id}/resume", &["POST"]),
    ("/v1/device/socket", &["GET"]),
    ("/v1/device/messages", &["GET"]),
    ("/v1/device/stream", &["GET"]),
    ("/v1/device/acks", &["POST"]),
    ("/v1/device/groups", &["GET"]),
    ("/v1/device/groups/{group}/members", &["GET"]),
    ("/v1/device/groups/{group}/messages", &["GET", "POST"]),
    ("/problems/{code}", &["GET"]),
    ("/openapi.json", &["GET"]),
    ("/asyncapi.json", &["GET"]),
    ("/docs", &["GET"]),
    ("/docs/", &["GET"]),
    ("/docs/{*rest}", &["GET"]),
];

const ADMIN: &[(&str, &[&str])] = &[
    ("/admin/jobs", &["GET"]),
    ("/admin/jobs/{id}", &["GET"]),
    ("/admin/jobs/{id}/cancel", &["POST"]),
    ("/admin/kinds", &["GET"]),
    ("/admin/kinds/{kind}/pause", &["POST"]),
    ("/admin/kinds/{kind}/resume", &["POST"]),
    ("/admin/destinations", &["GET"]),
    ("/admin/callbacks", &["GET"]),
    ("/admin/callbacks/disabled", &["GET"]),
    ("/admin/callbacks/enable", &["POST"]),
    ("/admin/callbacks/{id}", &["GET"]),
    ("/admin/callbacks/{id}/redrive", &["POST"]),
    ("/admin/dead-letters", &["GET"]),
    ("/admin/dead-letters/groups", &["GET"]),
    ("/admin/dead-letters/selections", &["POST"]),
    ("/admin/dead-letters/selections/{id}", &["GET"]),
    ("/admin/dead-letters/selections/{id}/redrive", &["POST"]),
    ("/admin/dead-letters/selections/{id}/discard", &["POST"]),
    ("/admin/dead-letters/{id}", &["GET"]),
    ("/admin/dead-letters/{id}/body", &["GET"]),
    ("/admin/dead-letters/{id}/redrive", &["POST"]),
    ("/admin/dead-letters/{id}/discard", &["POST"]),
    ("/admin/dead-letters/{id}/edit", &["POST"]),
    ("/admin/devices", &["GET"]),
    ("/admin/devices/{number}", &["GET"]),
    ("/admin/devices/{tenant}/{id}", &["GET"]),
    ("/admin/devices/{tenant}/{id}/purge", &["POST"]),
    ("/admin/devices/{tenant}/{id}/kick", &["POST"]),
    ("/admin/devices/{tenant}/{id}/token", &["POST"]),
    ("/admin/audit", &["GET"]),
    ("/admin/topology/keys", &["GET"]),
    ("/admin/topology/pending", &["GET"]),
];

const INTERNAL: &[(&str, &[&str])] = &[("/metrics", &["GET"])];

/// On every listener.
const HEALTH: &[(&str, &[&str])] = &[("/live", &["GET"]), ("/ready", &["GET"]), ("/health", &["GET"])];

/// `path` with `name` wherever it has one.
fn named(path: &str, name: &str) -> String {
    let named = |part: &str| if part.starts_with('{') { name.to_owned() } else { part.to_owned() };
    path.split('/').map(named).collect::<Vec<_>>().join("/")
}

async fn ask(client: &HubClient, method: &str, path: &str) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = client.request(method, path).header("content-type", "application/json").body("{\"reason\": \"why\"}");
    client.send(request).await.unwrap()
}

/// An answer to `HEAD` has no body to look at.
fn refused(answer: &Answer, method: &str, status: u16, code: &str, what: &str) {
    if method == "HEAD" {
        let kind = answer.header("content-type");
        assert_eq!((answer.status, kind), (status, Some("application/problem+json")), "{what}");
    } else {
        check(answer, status, code, what);
    }
}

#[tokio::test]
async fn no_listener_refuses_an_address_or_a_method_without_a_problem_document() {
    let door = Door::new().await;
    let internal = HubClient::new(door.hub.internal_url(), None);
    let listeners = [("public", &door.client, PUBLIC), ("admin", &door.admin, ADMIN), ("internal", &internal, INTERNAL)];
    for (listener, client, own) in listeners {
        for (path, taken) in own.iter().chain(HEALTH) {
            let some = named(path, "01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77");
            for method in METHODS {
                if taken.contains(&method) || method == "HEAD" && taken.contains(&"GET") {
                    continue;
                }
                let (answer, what) = (ask(client, method, &some).await, format!("{listener}: {method} {path}"));
                refused(&answer, method, 405, "method-not-allowed", &what);
                let allowed: Vec<&str> = answer.header("allow").expect(&what).split(',').collect();
                assert!(taken.iter().all(|method| allowed.contains(method)), "{what}: {allowed:?}");
            }
            for name in NO_NAMES.iter().filter(|_| path.contains('{')) {
                for method in *taken {
                    let (answer, what) =
                        (ask(client, method, &named(path, name)).await, format!("{listener}: {method} {path}, {name}"));
                    let code = answer.code().unwrap_or_else(|| panic!("{what}: {} {:?}", answer.status, answer.body)).to_owned();
                    assert!((400..500).contains(&answer.status), "{what}: {}", answer.body);
                    check(&answer, answer.status, &code, &what);
                }
            }
        }
        for path in ["/nothing", "/admin", "/%ff", "/v1/jobs/1/2/3", "//"] {
            for method in METHODS {
                refused(&ask(client, method, path).await, method, 404, "not-found", &format!("{listener}: {method} {path}"));
            }
        }
    }
}

/// Every route that the sources add, and every address that the API describes, is in the tables above.
#[tokio::test]
async fn no_address_is_left_out() {
    let known = |path: &str| [PUBLIC, ADMIN, INTERNAL, HEALTH].into_iter().flatten().any(|(one, _)| *one == path);
    let mut routes = 0;
    for folder in ["hub/src", "api-ack/src"] {
        let mut folders = vec![workspace().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                for added in std::fs::read_to_string(&path).unwrap().split(".route(\"").skip(1) {
                    let address = added.split('"').next().unwrap();
                    assert!(known(address), "{}: {address}", path.display());
                    routes += 1;
                }
            }
        }
    }
    assert!(routes > 20, "{routes}");
    let door = Door::new().await;
    let document = door.client.get("/openapi.json").await.unwrap().body;
    for address in document["paths"].as_object().unwrap().keys() {
        assert!(known(address), "{address}");
    }
}
