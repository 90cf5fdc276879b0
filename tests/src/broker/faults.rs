//! What can happen to a broker. Only to a dedicated one: the shared node serves other tests.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::Broker;
use super::node::MEMORY_LIMIT;
use crate::wait;

/// How long the node may take to show or clear an alarm, or to leave when asked.
const SOON: Duration = Duration::from_secs(30);

impl Broker {
    /// Kills the node as `kill -9` does and waits until it is gone. Its files stay.
    pub fn kill9(&self) {
        self.only_dedicated("kill9");
        self.server.lock().unwrap().kill9();
    }

    /// Makes the node write down what was declared so far.
    ///
    /// RabbitMQ confirms messages only once they are on disk, but keeps the register of its quorum
    /// queues in memory for about a second. Killed within that second after a declaration, the node
    /// comes back with the name of the queue and nothing behind it: its depth is 0, reading hangs,
    /// confirmed messages are out of reach (seen on 3.10.8). A test that declares, publishes and
    /// kills calls this before it kills, unless that second is what it is about.
    pub async fn sync_declarations(&self) {
        self.ctl(&["eval", "[ok = dets:sync(T) || T <- dets:all()], mnesia:sync_log()."]).await;
    }

    /// Stops the node in good order (SIGTERM) and waits until it is gone. Its files stay.
    ///
    /// # Panics
    /// When it does not leave within 30 seconds.
    pub async fn stop(&self) {
        self.only_dedicated("stop");
        self.server.lock().unwrap().signal(Signal::SIGTERM);
        wait::until_true(SOON, "RabbitMQ to leave after SIGTERM", async || self.server.lock().unwrap().poll().is_some()).await;
    }

    /// Starts a killed or stopped node again, with its files, on its ports, and waits until it
    /// serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_again(&self) {
        self.start_again_unready();
        if let Err(sentence) = self.node.ready(&self.server, &self.management).await {
            panic!("{sentence}");
        }
        if !self.node.is_one_of_many() {
            self.elect().await;
        }
    }

    /// Gives every quorum queue without a leader one: RabbitMQ 3.x may forget to elect the only member there is when it starts
    /// (rabbitmq/rabbitmq-server#10070; seen on 3.10.8).
    async fn elect(&self) {
        const ELECT: &str =
            "[ra:trigger_election({element(1, S), node()}) || S <- ets:tab2list(ra_state), element(2, S) =:= follower].";
        self.ctl(&["eval", ELECT]).await;
    }

    /// Starts a killed or stopped node again and does not wait for it.
    pub fn start_again_unready(&self) {
        self.only_dedicated("start_again");
        let mut server = self.server.lock().unwrap();
        assert!(server.poll().is_some(), "start_again is for a node that was killed or stopped before");
        *server = self.node.start_server();
    }

    /// Stops the node in its tracks (SIGSTOP): its sockets stay open and say nothing.
    pub fn stop_signal(&self) {
        self.only_dedicated("stop_signal");
        self.server.lock().unwrap().signal(Signal::SIGSTOP);
    }

    /// Lets a stopped node go on (SIGCONT).
    pub fn continue_signal(&self) {
        self.only_dedicated("continue_signal");
        self.server.lock().unwrap().signal(Signal::SIGCONT);
    }

    /// Closes every connection of one virtual host from the broker's side (320 CONNECTION_FORCED).
    ///
    /// Allowed on the shared node too: it touches one virtual host only.
    pub async fn close_all_connections(&self, vhost: &str) {
        self.ctl(&["close_all_connections", "--vhost", vhost, "closed by the test"]).await;
    }

    /// Raises the memory alarm: connections that publish are blocked until it is cleared.
    ///
    /// # Panics
    /// When the node does not report the alarm.
    pub async fn raise_memory_alarm(&self) {
        self.only_dedicated("raise_memory_alarm");
        self.ctl(&["set_vm_memory_high_watermark", "0.0000001"]).await;
        self.alarm_is(true).await;
    }

    /// Clears the memory alarm.
    ///
    /// # Panics
    /// When the node goes on reporting it.
    pub async fn clear_memory_alarm(&self) {
        self.only_dedicated("clear_memory_alarm");
        self.ctl(&["set_vm_memory_high_watermark", "absolute", MEMORY_LIMIT]).await;
        self.alarm_is(false).await;
    }

    async fn alarm_is(&self, on: bool) {
        let what = format!("RabbitMQ's alarm to be {}", if on { "on" } else { "off" });
        wait::until_true(SOON, &what, async || {
            let path = "/api/health/checks/local-alarms";
            let answer = self.management.try_call("GET", path, None).await;
            answer.is_ok_and(|(status, _)| (status == 503) == on)
        })
        .await;
    }

    pub(super) fn only_dedicated(&self, what: &str) {
        assert!(!self.shared, "{what} would hit the tests that share this node: use Broker::dedicated()");
    }
}
