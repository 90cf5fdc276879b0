//! What the section on devices may say.

use super::*;

#[test]
fn what_devices_cannot_have_is_refused() {
    let refused = |text: &str, part: &str| {
        let error = given().file(text).error();
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    };
    refused("roles = 'devices'", "`roles` leaves this process nothing to do: set devices.enabled = true");
    assert!(given().file("roles = 'devices'\ndevices.enabled = true").load().is_ok());
    refused("devices.payload = '1MiB'", "`devices.payload` must be from 1B to 256KiB");
    refused("devices.ttl_lite = '29d'", "`devices.ttl_lite` must be from 1s to 28d");
    refused("devices.queue_lite.ttl = '29d'", "`devices.queue_lite.ttl` must be from 1m to 28d");
    refused("devices.queue_standard.messages = 0", "`devices.queue_standard.messages` must be from 1 to 100000");
    let small = "devices = { payload = '128KiB', queue_lite = { bytes = '64KiB' } }";
    refused(small, "`devices.queue_lite.bytes` has no room for a message of devices.payload (128KiB)");
}

#[test]
fn an_address_of_devices_is_not_a_kinds() {
    for own in ["/v1/device", "/v1/devices", "/v1/messages", "/v1/users"] {
        for route in [own.to_owned(), format!("{own}/a")] {
            let error = given().file(&format!("[[kind]]\nname = 'a'\nroutes = [\n  '{route}',\n]")).error();
            let said =
                format!("0.toml:3: `kind[0].routes` has the address `{route}`, but {own} is Warren's own: take another one");
            assert!(error.contains(&said), "{error}");
        }
    }
    assert!(given().file("[[kind]]\nname = 'a'\nroutes = ['/v1/device-orders']").load().is_ok());
}
