//! One virtual host of a private node: a test's own broker, as far as it can tell.

use std::net::SocketAddr;

use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::Management;
use crate::{percent, runtime};

/// A virtual host with a user of its own; both are deleted when it is dropped.
///
/// Publishing and reading go through the management API, so that a test sees what a stranger sees.
pub struct Vhost {
    name: String,
    user: String,
    password: String,
    amqp: SocketAddr,
    pub(super) management: Management,
    /// For exact depths. Opened at the first question, and again after a fault.
    probe: Mutex<Option<Connection>>,
}

impl Vhost {
    pub(super) async fn create(management: Management, amqp: SocketAddr, number: u64) -> Self {
        let vhost = Self {
            name: format!("t/{number}"),
            user: format!("tester-{number}"),
            password: format!("canary-amqp-{number}"),
            amqp,
            management,
            probe: Mutex::new(None),
        };
        let user = json!({"password": vhost.password, "tags": "policymaker"});
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        let admin = format!("/api/permissions/{}/{}", vhost.segment(), super::ADMIN);
        vhost.put(&format!("/api/vhosts/{}", vhost.segment()), json!({})).await;
        vhost.put(&format!("/api/users/{}", vhost.user), user).await;
        vhost.put(&admin, all).await;
        vhost.set_permissions(".*", ".*", ".*").await;
        vhost
    }

    /// The name as RabbitMQ has it, slash included.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the user; its password is in [`Vhost::url`].
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The AMQP URL, with the name of the virtual host percent-encoded.
    pub fn url(&self) -> String {
        self.url_at(self.amqp)
    }

    /// The same on another node of the cluster.
    pub(super) fn url_at(&self, node: SocketAddr) -> String {
        format!("amqp://{}:{}@{node}/{}", self.user, self.password, self.segment())
    }

    /// Messages ready in a queue (not those handed out and unacknowledged), exact at this moment;
    /// `None` when there is no such queue.
    ///
    /// # Panics
    /// When the broker does not answer, or refuses to tell.
    pub async fn queue_depth(&self, queue: &str) -> Option<u32> {
        Some(self.passive(queue).await?.0)
    }

    /// How many consume from a queue, exact at this moment; `None` when there is no such queue.
    ///
    /// # Panics
    /// When the broker does not answer, or refuses to tell.
    pub async fn consumers(&self, queue: &str) -> Option<u32> {
        Some(self.passive(queue).await?.1)
    }

    /// Declares passively. A refusal closes the channel, so each question has its own.
    async fn passive(&self, queue: &str) -> Option<(u32, u32)> {
        let name = ShortString::try_new(queue.to_owned()).expect("a queue's name has 255 bytes at most");
        let mut probe = self.probe.lock().await;
        let connection = match probe.take() {
            Some(open) if open.status().connected() => open,
            _ => self.connect().await,
        };
        let (connection, answer) = runtime::run(async move {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let answer = async {
                let channel = connection.create_channel().await?;
                let found = channel.queue_declare(name, options, FieldTable::default()).await?;
                let counts = (found.message_count(), found.consumer_count());
                channel.close(200, "OK".into()).await?;
                Ok::<_, lapin::Error>(counts)
            };
            let answer = answer.await;
            (connection, answer)
        })
        .await;
        match answer {
            Ok(counts) => {
                *probe = Some(connection);
                Some(counts)
            }
            Err(error) if is_not_found(&error) => {
                *probe = Some(connection);
                None
            }
            Err(error) => panic!("RabbitMQ would not tell the depth of {queue}: {error}"),
        }
    }

    async fn connect(&self) -> Connection {
        let (user, password) = self.management.credentials();
        let url = format!("amqp://{user}:{password}@{}/{}", self.amqp, self.segment());
        let properties = ConnectionProperties::default().with_connection_name("harness".into());
        let opened = runtime::run(async move { Connection::connect(&url, properties).await });
        match opened.await {
            Ok(connection) => connection,
            Err(error) => panic!("the harness could not connect to {}: {error}", self.name),
        }
    }

    /// The arguments a queue was declared with.
    ///
    /// # Panics
    /// When there is no such queue.
    pub async fn queue_arguments(&self, queue: &str) -> Value {
        self.queue(queue).await["arguments"].clone()
    }

    /// All that the management API tells of a queue; its counters lag.
    ///
    /// # Panics
    /// When there is no such queue.
    pub async fn queue(&self, queue: &str) -> Value {
        self.management.get(&self.path("queues", queue)).await
    }

    /// Declares a durable queue with these arguments.
    pub async fn declare_queue(&self, queue: &str, arguments: Value) {
        let body = json!({"durable": true, "auto_delete": false, "arguments": arguments});
        self.put(&self.path("queues", queue), body).await;
    }

    /// Deletes a queue and what lies in it.
    pub async fn delete_queue(&self, queue: &str) {
        self.delete(&self.path("queues", queue)).await;
    }

    /// Throws away the ready messages of a queue.
    pub async fn purge(&self, queue: &str) {
        self.delete(&format!("{}/contents", self.path("queues", queue))).await;
    }

    /// Declares a durable exchange.
    pub async fn declare_exchange(&self, exchange: &str, kind: &str, arguments: Value) {
        let body = json!({"type": kind, "durable": true, "arguments": arguments});
        self.put(&self.path("exchanges", exchange), body).await;
    }

    /// Deletes an exchange.
    pub async fn delete_exchange(&self, exchange: &str) {
        self.delete(&self.path("exchanges", exchange)).await;
    }

    /// Binds a queue to an exchange.
    pub async fn bind(&self, exchange: &str, queue: &str, key: &str) {
        let path = self.bindings(exchange, queue);
        let body = json!({"routing_key": key, "arguments": {}});
        self.management.call("POST", &path, Some(body)).await;
    }

    /// Removes the binding with this key; it must have no arguments.
    pub async fn unbind(&self, exchange: &str, queue: &str, key: &str) {
        // An empty key is spelt "~" by the API.
        let key = if key.is_empty() { "~".to_owned() } else { percent::encode(key) };
        self.delete(&format!("{}/{key}", self.bindings(exchange, queue))).await;
    }

    /// Everything declared here: queues, exchanges, bindings, policies.
    pub async fn definitions(&self) -> Value {
        self.management.get(&format!("/api/definitions/{}", self.segment())).await
    }

    /// Sets a policy.
    pub async fn set_policy(&self, policy: &str, pattern: &str, apply_to: &str, definition: Value) {
        let body = json!({"pattern": pattern, "apply-to": apply_to, "definition": definition});
        self.put(&self.path("policies", policy), body).await;
    }

    /// Lets this virtual host have no more queues than these.
    pub async fn limit_queues(&self, count: usize) {
        let path = format!("/api/vhost-limits/{}/max-queues", self.segment());
        self.put(&path, json!({"value": count})).await;
    }

    /// Replaces what the user of this virtual host may do; `"^$"` is nothing.
    pub async fn set_permissions(&self, configure: &str, write: &str, read: &str) {
        let path = format!("/api/permissions/{}/{}", self.segment(), self.user);
        let body = json!({"configure": configure, "write": write, "read": read});
        self.put(&path, body).await;
    }

    /// Gives the user another password; [`Vhost::url`] goes on naming the first.
    pub async fn change_password(&self, password: &str) {
        let body = json!({"password": password, "tags": "policymaker"});
        self.put(&format!("/api/users/{}", self.user), body).await;
    }

    async fn put(&self, path: &str, body: Value) {
        self.management.call("PUT", path, Some(body)).await;
    }

    async fn delete(&self, path: &str) {
        self.management.call("DELETE", path, None).await;
    }

    fn segment(&self) -> String {
        percent::encode(&self.name)
    }

    pub(super) fn path(&self, kind: &str, name: &str) -> String {
        format!("/api/{kind}/{}/{}", self.segment(), percent::encode(name))
    }

    fn bindings(&self, exchange: &str, queue: &str) -> String {
        let (exchange, queue) = (percent::encode(exchange), percent::encode(queue));
        format!("/api/bindings/{}/e/{exchange}/q/{queue}", self.segment())
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        let management = self.management.clone();
        let vhost = format!("/api/vhosts/{}", self.segment());
        let user = format!("/api/users/{}", self.user);
        let probe = self.probe.get_mut().take();
        runtime::start(async move {
            drop(probe);
            // The node may be gone already, and this with it.
            let _ = management.try_call("DELETE", &vhost, None).await;
            let _ = management.try_call("DELETE", &user, None).await;
        });
    }
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal) if refusal.get_id() == 404)
}
