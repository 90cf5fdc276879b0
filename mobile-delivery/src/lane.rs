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

/// All that leads to a device: its own key, that of its user, those of its groups as far as a topic key can spell them, and broadcasts.
pub fn lane_of(device: &Device) -> Lane {
    let registration = &device.registration;
    let tenant = registration.tenant.as_str();
    let groups = registration.groups.iter().filter_map(|group| Names::group_key(tenant, group));
    let keys = std::iter::once(Names::user_key(tenant, &registration.user)).chain(groups).collect();
    Lane { device: queue_of(device.number, device.queue_tier), keys, broadcast: true }
}
