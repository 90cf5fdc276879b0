//! Every sort of finding there is. `docs/doctor.md` is generated from this list.

use super::finding::Rule;
use super::finding::Severity::{Error, Info, Warning};

macro_rules! rules {
    ($($name:ident $code:literal $severity:ident $why:literal;)*) => {
        $(pub(super) const $name: Rule = Rule { code: $code, severity: $severity, why: $why };)*
        /// All of them, in the order of the page.
        #[cfg(test)]
        pub(super) const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    // Looking.
    BROKER_AWAY "broker-away" Error "Nothing is published or consumed without the broker; jobs are accepted and wait in the store.";
    STRANGER "broker-stranger" Error "Warren rests on quorum queues, publisher confirms and at-least-once dead-lettering as RabbitMQ has them.";
    MANAGEMENT_AWAY "management-away" Error "Policies, alarms, limits and most of what goes wrong in a broker are seen through its management API alone.";
    UNSEEN "unseen" Warning "What was not looked at may be wrong.";
    UNSEEN_ADMIN "unseen-admin" Info "Only an administrator sees users, their limits, and on some versions more; default passwords may go unnoticed.";
    STATS_OFF "stats-off" Info "Without statistics nobody sees consumers and depths of queues here; the Prometheus plugin has them.";

    // The broker.
    VERSION_OLD "version-old" Error "Before 3.10 quorum queues have no message TTL and no at-least-once dead-lettering: retries would be lost.";
    VERSION_UNTESTED "version-untested" Info "Warren's tests have not run on this series.";
    VERSION_ENDED "version-ended" Warning "Only the newest series of RabbitMQ gets fixes, security ones too, without a contract.";
    VERSION_ADVISORIES "version-advisories" Warning "Published security advisories are not fixed in this release.";
    VERSIONS_MIXED "versions-mixed" Warning "An upgrade that stopped half-way keeps new feature flags off, and nodes of the old version must not be added again.";
    ERLANG_OLD "erlang-old" Warning "This Erlang/OTP gets no fixes any more.";
    PLUGIN_PROMETHEUS "plugin-prometheus" Info "The broker's own metrics are scraped through it; those of the management API are on their way out.";
    FLAG_QUORUM "flag-quorum-queue" Error "Every queue of Warren but those of devices is a quorum queue: none can be declared.";
    FLAG_OFF "flag-off" Warning "The next upgrade of RabbitMQ refuses to start while a stable feature flag is off.";
    FLAG_KHEPRI "flag-khepri" Info "From 4.2 on RabbitMQ keeps its metadata in Khepri; a cluster on Mnesia has to move before 4.3.";
    DEPRECATED "deprecated-used" Warning "A later release of RabbitMQ refuses it.";
    CLUSTER_SINGLE "cluster-single" Info "A quorum queue with one member is away while its node is; jobs are accepted and wait meanwhile.";
    CLUSTER_EVEN "cluster-even" Warning "Of an even number of nodes half may be cut off, and then no side has a majority; one node fewer stands as much.";
    NODE_DOWN "node-down" Error "Quorum queues have a member less; the next node that goes may take the majority with it.";
    PARTITION "partition" Error "Nodes do not see each other: queues of the smaller side stand still, and topology may differ.";

    // Its resources.
    ALARM_MEMORY "alarm-memory" Error "RabbitMQ stops reading from everybody who publishes, on all nodes: nothing is handed over until it is cleared.";
    ALARM_DISK "alarm-disk" Error "RabbitMQ stops reading from everybody who publishes, on all nodes: nothing is handed over until it is cleared.";
    MEMORY_NEAR "memory-near" Warning "At the watermark RabbitMQ stops reading from everybody who publishes.";
    MEMORY_SMALL "memory-small" Warning "A node needs about 150 MiB for itself; the rest is soon used by a backlog, and the alarm stops all publishing.";
    DISK_NEAR "disk-near" Warning "At the limit RabbitMQ stops reading from everybody who publishes; a full disk stops the node.";
    DISK_LIMIT "disk-limit" Warning "The default leaves 50 MB: a node that pages or compacts fills that before the alarm helps, and then crashes.";
    FILES_FEW "files-few" Warning "Connections and queues with messages hold files; at the limit the node takes no more connections, and breaks.";
    FILES_NEAR "files-near" Warning "At the limit the node takes no more connections, and breaks.";
    SOCKETS_NEAR "sockets-near" Warning "At the limit the node takes no more connections.";
    PROCESSES_NEAR "processes-near" Warning "Every queue, channel and connection takes Erlang processes; at the limit the node dies.";

    // Who may do what.
    GUEST_OPEN "guest-open" Error "Anybody on the network can log in as an administrator with the password that everybody knows.";
    GUEST_PASSWORD "guest-password" Warning "Whoever gets onto the broker's machine, or into a container beside it, is its administrator.";
    USER_UNLIMITED "user-unlimited" Info "On a shared broker one client that leaks connections takes them from all others.";
    VHOST_QUEUES "vhost-queues" Error "A queue that Warren needs is refused, and the topology is not there until it is.";
    VHOST_CONNECTIONS "vhost-connections" Warning "A process of the hub takes three connections, each worker one or more; beyond the limit they are refused.";
    QUEUE_TYPE_DEFAULT "queue-type-default" Info "What others declare here without a type is classic, on one node, and gone with it; Warren states the type of all it declares.";

    // Policies.
    POLICY_LENGTH "policy-length" Error "A full queue refuses or drops messages; one that does not take what comes back from a rung stops that rung for every kind.";
    POLICY_EXPIRES "policy-expires" Error "RabbitMQ deletes the queue when nobody has used it for that long, with the messages in it.";
    POLICY_TTL "policy-ttl" Error "Messages that wait longer are dead-lettered or dropped though nobody has worked on them; in a rung they come back too early.";
    POLICY_DEAD_LETTER "policy-dead-letter" Error "Warren gives dead-lettering as arguments, where it wants it; a policy on the other queues sends messages where nobody looks, or in a circle.";
    POLICY_DELIVERY_LIMIT "policy-delivery-limit" Error "When a process dies, every message it had prefetched counts as a failed delivery: a small limit dead-letters innocent ones, or drops them.";
    POLICY_CONSUMER_TIMEOUT "policy-consumer-timeout" Error "RabbitMQ takes deliveries back earlier than Warren reckons with: work runs twice.";
    CONSUMER_TIMEOUT_UNSEEN "consumer-timeout-unseen" Info "RabbitMQ takes back what is not acked in that time, and no API tells it; Warren goes by broker.consumer_timeout.";

    // Queues.
    QUEUE_MISSING "queue-missing" Error "What is meant for it goes to warren.lost, or waits in the store.";
    QUEUE_TYPE "queue-type" Error "Warren's promises rest on quorum queues.";
    QUEUE_LEADERLESS "queue-leaderless" Error "Without a leader a queue takes and gives nothing; what is dead-lettered to it stops a whole rung.";
    QUEUE_MINORITY "queue-minority" Error "With less than a majority of its members a queue takes and gives nothing.";
    QUEUE_MEMBERS "queue-members" Warning "With fewer members than the cluster could give, the loss of one node takes the queue away.";
    QUEUE_UNACKED "queue-unacked" Warning "Many messages are with consumers that ack none: they hang, or their work takes longer than the broker waits.";
    QUEUE_UNATTENDED "queue-unattended" Warning "Messages wait, and nobody is there to take them.";
    LOST "lost-messages" Warning "These messages reached no queue; with the keeper running they are in `warren dead list` within seconds.";

    // Devices.
    DEVICE_POLICY_MISSING "device-policy-missing" Error "Nothing bounds the queue of a device that stays away; the hub lets no device in until something does.";
    DEVICE_POLICY_WRONG "device-policy-wrong" Error "A queue of a device would fill the disk, refuse messages or vanish with them; the hub lets no device in until that is mended.";
    DEVICE_POLICY_UNREAD "device-policy-unread" Warning "Whether it holds for queues of devices is not known.";
    DEVICE_QUEUES "device-queues" Error "The hub declares them otherwise: what RabbitMQ has is refused, and their devices get messages from the store alone, later.";
    FILES_OWN "files-own" Warning "Each device that is connected is an open file; without a free one the hub takes no connection until another ends.";

    // The way there.
    CLOCK_SKEW "clock-skew" Warning "Deadlines, schedules and tokens go by clocks; the broker's stamps and ours do not compare.";
    HEARTBEAT_OFF "heartbeat-off" Error "A connection that died without a word is noticed after minutes, and holds its messages as long.";
    HEARTBEAT_FAST "heartbeat-fast" Warning "Below 5 s a busy machine or network is taken for a dead one.";
    HEARTBEAT_SLOW "heartbeat-slow" Warning "A connection that died is noticed after twice as long, and holds its messages meanwhile.";
    FRAME_SMALL "frame-small" Warning "Headers of a message go in one frame: up to 16 KiB of ours, and what a trace or CloudEvents attributes add.";
    PLAIN_NETWORK "plain-network" Warning "User, password and every message cross the network in the clear.";
    CERTIFICATE_ENDED "certificate-ended" Error "Clients that check it refuse the connection.";
    CERTIFICATE_ENDS "certificate-ends" Warning "Once it has ended, clients that check it refuse the connection.";
    CERTIFICATE_UNREAD "certificate-unread" Warning "Nobody will be told before it ends.";

    // The store.
    STORE_AWAY "store-away" Error "Nothing is accepted without the store.";
    STORE_SCHEMA "store-schema" Error "This version of Warren cannot work on it.";
    STORE_NEW "store-new" Info "The first `warren serve` makes it.";
    STORE_UNSAFE "store-unsafe" Error "A 202 says that the job is on disk; with this setting a power cut may lose it, or the whole database.";
    STORE_COMMIT "store-commit" Warning "Warren's hub turns it on for itself; services and others on this server may lose what they have committed in a crash.";
    STORE_NETWORK "store-network" Error "SQLite's locks and its log do not work over a network file system: two processes would write one file.";
    STORE_DISK "store-disk" Warning "A full disk is 503 for every job.";
}
