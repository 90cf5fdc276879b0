//! The lane of a device, as the broker knows it: which queue, and which keys lead to it.

use broker_topology::Names;
use messaging::devices::Lane;

use crate::store::{Device, Number, Tier};

/// The queue of a device, by its number and the tier that the queue is named by.
pub fn queue_of(device: Number, tier: Tier) -> broker_topology::Device {
    let tier = match tier {
        Tier::Standard => broker_topology::Tier::Standard,
        Tier::Lite => broker_topology::Tier::Lite,
    };
    broker_topology::Device { number: device.0.unsigned_abs(), tier }
}

/// The queue that the broker's MQTT plugin makes for the subscriptions of a device with QoS 1.
pub fn mqtt_queue(tenant: &str, id: &str) -> String {
    format!("mqtt-subscription-{}qos1", broker_name(tenant, id))
}

/// What a device is called by the broker: the user that it logs in as, and the id of its MQTT client.
pub fn broker_name(tenant: &str, id: &str) -> String {
    format!("{tenant}/{id}")
}

/// All that leads to a device: its own key, that of its user, those of its groups as far as a topic key can spell them, and broadcasts.
pub fn lane_of(device: &Device) -> Lane {
    let registration = &device.registration;
    let tenant = registration.tenant.as_str();
    let groups = registration.groups.iter().filter_map(|group| Names::group_key(tenant, group));
    let keys = std::iter::once(Names::user_key(tenant, &registration.user)).chain(groups).collect();
    Lane { device: queue_of(device.number, device.queue_tier), keys, broadcast: true }
}
